"""Exports one direction of a fitted translator of tables as a graph from raw columns to raw columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ganlib.data.encoder import TableEncoder
from ganlib.data.inverse import decode_feeds
from ganlib.data.readers import TableReader
from ganlib.export.arrays import model_card
from ganlib.export.builder import GraphBuilder
from ganlib.export.columns import ColumnReference, Feeds, check_columns, golden_columns, warn_of_rare
from ganlib.export.encode_rows import encode_rows
from ganlib.export.golden import schema_feeds, to_json
from ganlib.export.network import export_network
from ganlib.export.parity import open_session
from ganlib.export.parts import Sealed, check_names, public_schema
from ganlib.export.sampler_graph import decode_columns
from serving.opening.kinds.table_translator import TRANSLATED

FORMAT_VERSION = 3


class _Reference(ColumnReference):
    """The encoder of one domain, the translation in torch and the decoder of the other."""

    made, moved, prefix = "translated", "the encoded rows change", TRANSLATED

    def __init__(self, source: TableEncoder, target: TableEncoder, module: nn.Module) -> None:
        self.source, self.encoder, self.module = source, target, module

    def draw(self, rows: int, seed: int) -> Feeds:
        """Artificial rows of the source's columns."""
        fed = schema_feeds(self.source, rows, seed)
        return {code.input: fed[code.input] for code in self.source.codes}

    @torch.no_grad()
    def columns(self, feeds: Mapping[str, np.ndarray], stretch: float = 1.0) -> Feeds:
        """Raw columns of the target; ``stretch`` scales the encoded rows, to test the sensitivity to rounding."""
        encoded = torch.from_numpy(self.source.encode(feeds) * np.float32(stretch))
        return decode_feeds(self.encoder, self.module(encoded).numpy())


def seal_rows(estimator: Any, source: TableReader, target: TableReader, module: nn.Module, to: str) -> Sealed:
    """Build the graph, check it against torch, and choose golden rows. Raises ParityError, ConfigError."""
    reference = _Reference(source.encoder, target.encoder, module)
    outputs = [TRANSLATED + code.input for code in target.encoder.codes]
    check_names(source.encoder.columns(), outputs)
    warn_of_rare(target.encoder, "translator", stacklevel=4)
    builder = GraphBuilder([*(c.input for c in source.encoder.schema.columns), *outputs])
    rows = encode_rows(builder, source.encoder)
    network = export_network(module, torch.zeros(2, source.encoder.width))
    weights = network.add_weights(builder, f"{builder.prefix}weights/")
    made = network.add_nodes(builder, weights, f"{builder.prefix}net/", rows)
    decode_columns(builder, target.encoder, made, TRANSLATED)
    model = builder.model("translator")
    session = open_session(model.SerializeToString())
    parity = check_columns(session, reference)
    given, results = golden_columns(session, reference)
    metadata = {
        "format_version": FORMAT_VERSION,
        "model": model_card(estimator.algorithm_),
        "to": to,
        "schema": public_schema(source.encoder).to_dict(),
        "schema_b": public_schema(target.encoder).to_dict(),
        "features": [code.input for code in source.encoder.codes],
        "features_b": [code.input for code in target.encoder.codes],
        "golden": {
            "columns": {name: to_json(values) for name, values in given.items()},
            "results": {TRANSLATED + name: to_json(values) for name, values in results.items()},
        },
    }
    return Sealed("translator", model, network.exporter, parity, metadata)
