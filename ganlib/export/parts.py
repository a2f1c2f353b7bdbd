"""Shared by the exporters of all kinds of artifacts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from ganlib.data.encoder import TableEncoder
from ganlib.data.schema import Column, Schema
from ganlib.errors import ConfigError, ParityError
from ganlib.export.parity import Parity


@dataclass(frozen=True)
class Sealed:
    """A graph that passed the parity gate, and its metadata; ``save_sealed`` writes it."""

    kind: str
    model: onnx.ModelProto
    exporter: str
    parity: Parity
    metadata: Mapping[str, Any]
    alpha_min: float | None = None


def check_names(columns: Iterable[Column], reserved: Iterable[str]) -> None:
    """Raise ConfigError if a column has an input name that the graph itself uses."""
    for column in columns:
        if column.input in reserved or not column.input:
            raise ConfigError(
                f"column {column.name!r} cannot be fed as {column.input!r}, a name that the sealed graph itself uses; "
                f"set its `input` in the schema file to 'column:{column.name}', or rename it in the data"
            )


def alarm_budget(estimator: Any) -> float:
    """The default alarm budget of a detector: that of the fit, as far as the calibration supports it."""
    return float(getattr(estimator, "alpha_", 0.01))


def in_either_precision(seal: Callable[[type[Single]], Sealed]) -> Sealed:
    """Seal in float32, or in double if float32 is too coarse. Raises the ParityError of float32 if neither agrees."""
    try:
        return seal(Single)
    except ParityError as coarse:
        try:
            return seal(Double)
        except ParityError:
            raise coarse from None


def public_schema(encoder: TableEncoder) -> Schema:
    """The schema for the file: label, id and dropped columns keep only their names."""
    columns = tuple(
        c
        if c.role in ("feature", "group")
        else replace(c, categories=None, quantiles=(), minimum=None, maximum=None, rare=False)
        for c in encoder.schema.columns
    )
    return replace(encoder.schema, columns=columns)


class Single(nn.Module):
    """A scorer, or another ``method`` of it, as a module."""

    def __init__(self, scorer: Any, method: str = "forward") -> None:
        super().__init__()
        self.scorer, self.method = copy.deepcopy(scorer), method

    def forward(self, x: Tensor) -> Tensor:
        """The scores of encoded examples."""
        return getattr(self.scorer, self.method)(x)


class Double(Single):
    """The same in double precision, float32 outside."""

    def __init__(self, scorer: Any, method: str = "forward") -> None:
        super().__init__(scorer, method)
        self.scorer = _without_leaky_relu(self.scorer).double()

    def forward(self, x: Tensor) -> Tensor:
        """The scores of encoded examples."""
        return super().forward(x.double()).float()


class _Slope(nn.Module):
    """LeakyReLU as a maximum: onnxruntime has no LeakyRelu in double."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.slope * x)


def _without_leaky_relu(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if isinstance(child, nn.LeakyReLU) and child.negative_slope <= 1:
            setattr(module, name, _Slope(child.negative_slope))
        else:
            _without_leaky_relu(child)
    return module
