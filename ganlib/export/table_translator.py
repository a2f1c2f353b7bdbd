"""Exports one direction of a fitted translator of tables as a graph from raw columns to raw columns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ganlib.data.encoder import TableEncoder
from ganlib.data.inverse import decode_feeds
from ganlib.data.readers import TableReader
from ganlib.errors import ParityError
from ganlib.export.arrays import model_card
from ganlib.export.augmenter import column_errors
from ganlib.export.builder import GraphBuilder
from ganlib.export.encode_rows import encode_rows
from ganlib.export.golden import ROWS, schema_feeds, to_json
from ganlib.export.network import export_network
from ganlib.export.parity import TOLERANCE, Parity, batches, open_session
from ganlib.export.parts import Sealed, check_names, public_schema
from ganlib.export.sampler_graph import decode_columns
from serving.opening.kinds.table_translator import TRANSLATED

FORMAT_VERSION = 3
_CHECKED = 2056
_COLUMN_TOLERANCE = 1e-4
_LEAST_FIRM = 0.1
_Feeds = dict[str, np.ndarray]


class _Reference:
    """The torch implementation, which the graph must reproduce."""

    def __init__(self, source: TableEncoder, target: TableEncoder, module: nn.Module) -> None:
        self.source, self.target, self.module = source, target, module

    def draw(self, rows: int, seed: int) -> _Feeds:
        """Artificial rows of the source's columns."""
        fed = schema_feeds(self.source, rows, seed)
        return {code.input: fed[code.input] for code in self.source.codes}

    @torch.no_grad()
    def columns(self, feeds: Mapping[str, np.ndarray], stretch: float = 1.0) -> _Feeds:
        """Raw columns of the target; ``stretch`` scales the encoded rows, to test the sensitivity to rounding."""
        encoded = torch.from_numpy(self.source.encode(feeds) * np.float32(stretch))
        return decode_feeds(self.target, self.module(encoded).numpy())

    def errors(self, got: _Feeds, expected: _Feeds, scaled: bool) -> np.ndarray:
        """Each row's largest difference relative to its tolerance, as ``column_errors``."""
        return column_errors(self.target, got, expected, scaled)

    def firm(self, feeds: _Feeds, expected: _Feeds, nudge: float, scaled: bool) -> np.ndarray:
        """Rows that stay within half the tolerance when the encoded row changes by the relative amount ``nudge``."""
        moved = [self.errors(self.columns(feeds, 1 + sign * nudge), expected, scaled) for sign in (-1, 1)]
        return np.maximum(*moved) <= 0.5


def seal_rows(estimator: Any, source: TableReader, target: TableReader, module: nn.Module, to: str) -> Sealed:
    """Build the graph, check it against torch, and choose golden rows. Raises ParityError, ConfigError."""
    reference = _Reference(source.encoder, target.encoder, module)
    outputs = [TRANSLATED + code.input for code in target.encoder.codes]
    check_names(source.encoder.columns(), outputs)
    if rare := [code.column for code in target.encoder.codes if code.kind == "category" and code.has_rare]:
        warnings.warn(
            f"levels that fewer than five rows share are left missing by the sealed translator, in {', '.join(rare)}; "
            "mark such a column `public: true` in the schema to list them in the file",
            stacklevel=4,
        )
    builder = GraphBuilder([*(c.input for c in source.encoder.schema.columns), *outputs])
    rows = encode_rows(builder, source.encoder)
    network = export_network(module, torch.zeros(2, source.encoder.width))
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    made = network.add_nodes(builder, weights, f"{builder.prefix}net/", rows)
    decode_columns(builder, target.encoder, made, TRANSLATED)
    model = builder.model("translator")
    session = open_session(model.SerializeToString())
    parity = _check(session, reference)
    metadata = {
        "format_version": FORMAT_VERSION,
        "model": model_card(estimator.algorithm_),
        "to": to,
        "schema": public_schema(source.encoder).to_dict(),
        "schema_b": public_schema(target.encoder).to_dict(),
        "features": [code.input for code in source.encoder.codes],
        "features_b": [code.input for code in target.encoder.codes],
        "golden": _golden(session, reference),
    }
    return Sealed("translator", model, network.exporter, parity, metadata)


def _run(session: Any, feeds: Mapping[str, np.ndarray]) -> _Feeds:
    names = [output.name for output in session.get_outputs()]
    made = session.run(names, dict(feeds))
    return {name.removeprefix(TRANSLATED): value for name, value in zip(names, made, strict=True)}


def _check(session: Any, reference: _Reference) -> Parity:
    """Check that all rows agree, except those where rounding decides between two values in torch as well."""
    feeds = reference.draw(_CHECKED, seed=1)
    expected = reference.columns(feeds)
    firm = reference.firm(feeds, expected, 1e-5, scaled=True)
    if firm.mean() < _LEAST_FIRM:
        raise ParityError(
            f"only {firm.mean():.0%} of translated rows keep their values when the encoded rows change by 1e-5, too "
            "few to compare the ONNX graph with torch; nothing was written"
        )
    worst = 0.0
    for rows in batches(_CHECKED):
        got = _run(session, {name: value[rows] for name, value in feeds.items()})
        errors = reference.errors(got, {n: v[rows] for n, v in expected.items()}, scaled=True)
        wrong = (errors > 1) & firm[rows]
        if wrong.any():
            raise ParityError(
                f"{int(wrong.sum())} of {len(errors)} translated rows differ between the ONNX graph and torch "
                f"(batch of {len(errors)}); nothing was written"
            )
        worst = max(worst, float(errors[firm[rows]].max(initial=0.0)))
    return Parity(worst * _COLUMN_TOLERANCE, _COLUMN_TOLERANCE, int(firm.sum()))


def _golden(session: Any, reference: _Reference) -> dict[str, Any]:
    """Artificial rows and their translations by torch, of rows that other machines translate alike."""
    feeds = reference.draw(_CHECKED, seed=2)
    expected = reference.columns(feeds)
    firm = reference.firm(feeds, expected, TOLERANCE / 10, scaled=False)
    firm &= reference.errors(_run(session, feeds), expected, scaled=False) <= 0.5
    if not firm.any():
        raise ParityError("no translated row is the same in the ONNX graph and in torch; nothing was written")
    rows = np.resize(np.flatnonzero(firm), ROWS)
    return {
        "columns": {name: to_json(value[rows]) for name, value in feeds.items()},
        "results": {TRANSLATED + name: to_json(value[rows]) for name, value in expected.items()},
    }
