"""Which models an automatic detector fuses, by kind of data, and with which options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.registry import entry

# A mixture's covariances are width squared each: at most 8 MB of a file.
_MOST_COVARIANCES = 2_000_000
_LEAST_ROWS = 20  # for each component of a mixture


@dataclass(frozen=True)
class Member:
    """A registered model in a fusion; ``options`` gives its options for data of a spec and number of rows, or a reason
    to leave it out; ``trainer`` its training options; ``closed`` if it is fitted in closed form, and to validation rows
    too; ``weight`` beside the others; ``steps`` of training where the user states no budget, however many the rows."""

    model: str
    options: Callable[[DataSpec, int], Mapping[str, Any] | str] = lambda spec, rows: {}
    trainer: Mapping[str, Any] = field(default_factory=dict)
    closed: bool = False
    weight: float = 1.0
    steps: int | None = None


def _mixture(spec: DataSpec, rows: int) -> Mapping[str, Any] | str:
    components = min(16, max(1, rows // _LEAST_ROWS), _MOST_COVARIANCES // spec.dim**2)
    if components == 0:
        return f"{spec.dim} encoded columns are too many for covariances"
    return {"components": components, "floor": 0.1, "updates": "em"}


def _denoiser(spec: DataSpec, rows: int) -> Mapping[str, Any]:
    return {"levels": 3, "largest": 0.7, "smallest": 0.2, "predicts": "example"}


def _principal(spec: DataSpec, rows: int) -> Mapping[str, Any]:
    leading = max(1, min(50, spec.dim, rows // _LEAST_ROWS))
    return {"leading": leading, "components": min(64, max(1, rows // (4 * leading)))}


def _windows(spec: DataSpec, rows: int) -> Mapping[str, Any]:
    return {**_principal(spec, rows), "residual": spec.shape[0] > 1}


def _forecast(spec: DataSpec, rows: int) -> Mapping[str, Any] | str:
    if spec.shape[0] == 1:
        return "of one channel, forecasts rank anomalies worse than the other members"
    return _possible("autoregression")(spec, rows)


def _local(spec: DataSpec, rows: int) -> Mapping[str, Any]:
    return {"leading": max(1, min(50, spec.dim, rows // _LEAST_ROWS))}


def _possible(model: str) -> Callable[[DataSpec, int], Mapping[str, Any] | str]:
    """No options; a reason if the model cannot be made for the data."""

    def options(spec: DataSpec, rows: int) -> Mapping[str, Any] | str:
        try:
            entry(model).create(spec)
        except ConfigError as error:
            return str(error)
        return {}

    return options


MEMBERS: Mapping[str, tuple[Member, ...]] = {
    # Quick ones first: a budget of time leaves out the last.
    "table": (
        Member("histogram", closed=True),
        Member("gaussian_mixture", _mixture, {"steps": 100, "batch_size": 1024, "ema": 0.0}, closed=True),
        Member("centroid_kernels", closed=True),
        # By itself the best of them on 16 tables.
        Member("denoising_score", _denoiser, weight=2.0),
        Member("vae"),
        Member("ganomaly"),
    ),
    "image": (
        Member("principal_mixture", _principal, closed=True),
        Member("ldcof", _local, closed=True),
        Member("patch_gaussian", _possible("patch_gaussian"), closed=True),
        # Its defects are fresh in each step: more rows need no more steps.
        Member("blended_patches", _possible("blended_patches"), steps=600),
    ),
    "series": (
        Member("centroid_kernels", closed=True),
        Member("principal_mixture", _windows, closed=True),
        # By itself the best of them on sensors of several channels.
        Member("autoregression", _forecast, closed=True, weight=2.0),
        Member("reconstruction_vae"),
    ),
}
