"""Contributions under an ``If``: computed only where ``explain`` is true; the branch reuses the outer weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ganlib.data.encoder import UNEXPECTED_WEIGHT, TableEncoder
from ganlib.explain.occlusion import block_masks, block_of_column, position_columns
from ganlib.export.builder import FLOAT, GraphBuilder
from ganlib.export.network import Network
from ganlib.export.preprocess import Encoded


def add_contributions(
    builder: GraphBuilder,
    encoder: TableEncoder,
    network: Network,
    weights: Mapping[str, str],
    encoded: Encoded,
    score: str,
    explain: str,
    residual: Network | None = None,
) -> None:
    """Add the output ``contributions``: float32 ``(n, features)``, or ``(0, features)`` where not asked for.

    ``residual`` is the scorer's residual, exported, where columns are explained by its shares instead of occlusion.
    """
    features = len(encoder.codes)
    then, other = builder.branch("explain"), builder.branch("otherwise")
    if residual is None:
        result = _occlusion(then, encoder, network, weights, encoded, score)
    else:
        own = residual.add_weights(then, f"{then.prefix}net/", shared=builder.initializers)
        result = _residual_shares(then, encoder, residual, own, encoded, score)
    # inf - inf: the score is beyond float32 whether or not this column is replaced.
    final = then.op("Where", then.op("IsNaN", result), then.constant(0.0, np.float32), result)
    then.output(final, FLOAT, "explained", features)
    none = other.op("Identity", other.constant(np.zeros((0, features), np.float32)))
    other.output(none, FLOAT, "explained", features)
    branches = {"then_branch": then.graph("explain"), "else_branch": other.graph("otherwise")}
    builder.op("If", explain, output="contributions", **branches)
    builder.output("contributions", FLOAT, "explained", features)


def _occlusion(
    b: GraphBuilder, encoder: TableEncoder, network: Network, weights: Mapping[str, str], encoded: Encoded, score: str
) -> str:
    """All rows with each block of columns at its reference are scored as one batch ``(n · blocks, d)``."""
    masks, axis = block_masks(encoder), b.constant([1], np.int64)
    rows = b.op("Unsqueeze", encoded.x, axis)
    replaced = b.op("Where", b.constant(masks[None]), b.constant(encoder.reference), rows)
    if encoded.unexpected:
        replaced = b.op("Sub", replaced, _taken_back(b, encoder, encoded))
    flat = b.op("Reshape", replaced, b.constant([-1, encoder.width], np.int64))
    rescored = network.add_nodes(b, weights, f"{b.prefix}net/", flat)
    table = b.op("Reshape", rescored, b.constant([-1, len(masks)], np.int64))
    drop = b.op("Sub", b.op("Unsqueeze", score, axis), table)
    blocks = block_of_column(encoder)
    return drop if len(masks) == len(blocks) else b.op("Gather", drop, b.constant(blocks, np.int64), axis=1)


def _taken_back(b: GraphBuilder, encoder: TableEncoder, encoded: Encoded) -> str:
    """What each block's unexpected missing values add to the row's last position: float32 ``(n, blocks, d)``."""
    blocks = np.eye(len(block_masks(encoder)), dtype=np.float32)[block_of_column(encoder)]
    counts = [b.op("MatMul", b.constant((select @ blocks).T), matrix) for matrix, select in encoded.unexpected]
    total = counts[0] if len(counts) == 1 else b.op("Add", *counts)
    each = b.op("Unsqueeze", b.op("Transpose", total, perm=[1, 0]), b.constant([2], np.int64))
    position = np.zeros(encoder.width, dtype=np.float32)
    position[encoder.unexpected_position] = UNEXPECTED_WEIGHT
    return b.op("Mul", each, b.constant(position))


def _residual_shares(
    b: GraphBuilder, encoder: TableEncoder, residual: Network, weights: Mapping[str, str], encoded: Encoded, score: str
) -> str:
    parts = residual.add_nodes(b, weights, f"{b.prefix}net/", encoded.x)
    shares = b.op("MatMul", parts, b.constant(position_columns(encoder)))
    axis = b.constant([1], np.int64)
    total = b.op("Max", b.op("ReduceSum", shares, axis), b.constant(1e-12, np.float32))
    return b.op("Mul", b.op("Div", shares, total), b.op("Unsqueeze", score, axis))
