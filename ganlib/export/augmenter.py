"""Exports a fitted augmenter as a graph from noise and a condition to raw columns."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ganlib.data.encoder import TableEncoder
from ganlib.data.inverse import decode_feeds
from ganlib.errors import ParityError
from ganlib.export.builder import GraphBuilder
from ganlib.export.golden import ROWS, to_json
from ganlib.export.network import export_network
from ganlib.export.parity import TOLERANCE, Parity, batches, open_session
from ganlib.export.parts import Sealed, check_names
from ganlib.export.sampler_graph import add_latent, decode_columns

RESERVED = ("z", "condition")
_CHECKED = 2056
_COLUMN_TOLERANCE = 1e-4
_LEAST_FIRM = 0.1
_Feeds = dict[str, np.ndarray]


def column_errors(encoder: TableEncoder, got: _Feeds, expected: _Feeds, scaled: bool) -> np.ndarray:
    """Each row's largest difference relative to its tolerance (inf if a discrete value differs), ``(n,)``.

    The tolerance of numbers is 1e-4 · max(1, |value|). With ``scaled`` it is at least 1e-4 of the column's scale,
    because values near 0 in a column of large numbers carry the rounding of the large ones.
    """
    worst = np.zeros(len(next(iter(expected.values()))))
    for code in encoder.codes:
        a, b = got[code.input], expected[code.input]
        if code.kind in ("category", "boolean"):
            same = (a == b) | ((a != a) & (b != b))
            share = np.where(same, 0.0, np.inf)
        else:
            unit = np.maximum(1.0, np.abs(b.astype(np.float64)))
            if scaled:
                unit = np.maximum(unit, float(code.scale))  # type: ignore[arg-type]
            with np.errstate(invalid="ignore"):
                share = np.abs(a.astype(np.float64) - b.astype(np.float64)) / (_COLUMN_TOLERANCE * unit)
            share = np.where((a != a) & (b != b), 0.0, np.nan_to_num(share, nan=np.inf))
        worst = np.maximum(worst, share)
    return worst


class _Reference:
    """The torch implementation, which the graph must reproduce."""

    def __init__(self, estimator: Any) -> None:
        self.encoder: TableEncoder = estimator.encoder_
        self.conditions = [str(c) for c in (estimator.conditions_ if estimator.conditions_ is not None else [])]
        self.sampler: nn.Module = copy.deepcopy(estimator.algorithm_.sampler()).cpu().eval()
        self.latent_dim = int(self.sampler.latent_dim)  # type: ignore[arg-type]

    def draw(self, rows: int, seed: int) -> _Feeds:
        """Sample inputs: noise by a seed, conditions in turn."""
        rng = np.random.Generator(np.random.Philox(seed))
        feeds = {"z": rng.standard_normal((rows, self.latent_dim), dtype=np.float32)}
        if self.conditions:
            feeds["condition"] = np.resize(np.array(self.conditions, dtype=object), rows)
        return feeds

    @torch.no_grad()
    def columns(self, feeds: Mapping[str, np.ndarray], stretch: float = 1.0) -> _Feeds:
        """Raw columns; ``stretch`` scales the noise, to test the sensitivity to rounding."""
        inputs = [torch.from_numpy(feeds["z"] * np.float32(stretch))]
        if self.conditions:
            number = {c: i for i, c in enumerate(self.conditions)}
            inputs.append(torch.tensor([number[c] for c in feeds["condition"]]))
        return decode_feeds(self.encoder, self.sampler(*inputs).numpy())

    def firm(self, feeds: _Feeds, expected: _Feeds, nudge: float, scaled: bool) -> np.ndarray:
        """Rows that stay within half the tolerance when the noise changes by the relative amount ``nudge``."""
        moved = [
            column_errors(self.encoder, self.columns(feeds, 1 + sign * nudge), expected, scaled) for sign in (-1, 1)
        ]
        return np.maximum(*moved) <= 0.5


def seal_augmenter(estimator: Any) -> Sealed:
    """Build the graph, check it against torch, and generate golden rows. Raises ParityError, ConfigError."""
    constraints = _constraints(estimator)
    reference = _Reference(estimator)
    encoder = reference.encoder
    check_names(encoder.columns(), RESERVED)
    if rare := [c.column for c in encoder.codes if c.kind == "category" and c.has_rare]:
        warnings.warn(
            f"levels that fewer than five rows share are left missing by the sealed generator, in {', '.join(rare)}; "
            "mark such a column `public: true` in the schema to list them in the file",
            stacklevel=4,
        )
    builder = GraphBuilder([c.input for c in encoder.schema.columns])
    inputs = add_latent(builder, reference.latent_dim, reference.conditions)
    classes = max(2, len(reference.conditions))
    examples = [torch.zeros(classes, reference.latent_dim), torch.arange(classes)][: len(inputs)]
    if len(reference.conditions) == 1:
        examples[1:] = [torch.zeros(classes, dtype=torch.int64)]
    network = export_network(reference.sampler, *examples)
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    decode_columns(builder, encoder, network.add_nodes(builder, weights, f"{builder.prefix}net/", *inputs))
    model = builder.model("augmenter")
    session = open_session(model.SerializeToString())
    parity = _check(session, reference)
    metadata = {
        "features": [c.input for c in encoder.codes],
        "latent_dim": reference.latent_dim,
        "conditions": reference.conditions,
        "golden": _golden(session, reference),
        **constraints,
    }
    return Sealed("augmenter", model, network.exporter, parity, metadata)


def _constraints(estimator: Any) -> dict[str, Any]:
    """The fitted relations for the sealed file; warns about those that may not be published."""
    keeper = getattr(estimator, "_keeper", None)
    entries, left_out = keeper.sealed() if keeper is not None else ([], {})
    if left_out:
        said = "; ".join(f"{name!r}: {why}" for name, why in left_out.items())
        warnings.warn(f"constraints that rows of the sealed file will not satisfy: {said}", stacklevel=5)
    return {"constraints": entries} if entries else {}


def _run(session: Any, feeds: Mapping[str, np.ndarray]) -> _Feeds:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _check(session: Any, reference: _Reference) -> Parity:
    """Check that all rows agree, except those where rounding decides between two values in torch as well."""
    feeds = reference.draw(_CHECKED, seed=1)
    expected = reference.columns(feeds)
    firm = reference.firm(feeds, expected, 1e-5, scaled=True)
    if firm.mean() < _LEAST_FIRM:
        raise ParityError(
            f"only {firm.mean():.0%} of generated rows keep their values when the noise changes by 1e-5, too few to "
            "compare the ONNX graph with torch; nothing was written"
        )
    worst = 0.0
    for rows in batches(_CHECKED):
        got = _run(session, {name: value[rows] for name, value in feeds.items()})
        errors = column_errors(reference.encoder, got, {n: v[rows] for n, v in expected.items()}, scaled=True)
        wrong = (errors > 1) & firm[rows]
        if wrong.any():
            raise ParityError(
                f"{int(wrong.sum())} of {len(errors)} generated rows differ between the ONNX graph and torch "
                f"(batch of {len(errors)}); nothing was written"
            )
        worst = max(worst, float(errors[firm[rows]].max(initial=0.0)))
    return Parity(worst * _COLUMN_TOLERANCE, _COLUMN_TOLERANCE, int(firm.sum()))


def _golden(session: Any, reference: _Reference) -> dict[str, Any]:
    feeds = reference.draw(_CHECKED, seed=2)
    expected = reference.columns(feeds)
    firm = reference.firm(feeds, expected, TOLERANCE / 10, scaled=False)
    firm &= column_errors(reference.encoder, _run(session, feeds), expected, scaled=False) <= 0.5
    if not firm.any():
        raise ParityError("no generated row is the same in the ONNX graph and in torch; nothing was written")
    rows = np.resize(np.flatnonzero(firm), ROWS)
    chosen = {name: value[rows] for name, value in feeds.items()}
    return {
        "z": to_json(chosen["z"]),
        **({"condition": to_json(chosen["condition"])} if reference.conditions else {}),
        "columns": {name: to_json(value[rows]) for name, value in expected.items()},
    }
