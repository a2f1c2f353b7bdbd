"""Contributions under an ``If``, computed only if ``explain`` is true; the branch reuses the outer weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ganlib.data.encoder import UNEXPECTED_WEIGHT, TableEncoder
from ganlib.explain.occlusion import (
    EVEN_PART,
    HIGHEST,
    LARGEST_WEIGHT,
    LEAST_DISTANCE,
    LEAST_WEIGHT,
    block_of_column,
    column_blocks,
    in_blocks,
    position_columns,
    replacements,
)
from ganlib.export.builder import GraphBuilder
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
    base: float = 0.0,
    median: float = 0.0,
) -> None:
    """Add the output ``contributions``: float32 ``(n, features)``, or ``(0, features)`` without ``explain``.

    ``residual`` is the exported residual of the scorer, if columns are weighted by it. ``base`` and ``median`` are as
    in ``ganlib.explain.contributions``.
    """
    features = len(encoder.codes)
    then = builder.branch("explain")
    if residual is None:
        drops = _drops(then, encoder, network, weights, encoded, score)
    else:
        own = residual.add_weights(then, f"{then.prefix}net/", shared=builder.initializers)
        drops = _residuals(then, encoder, residual, own, encoded)
    final = _shares(then, drops, score, features, base, median)
    builder.output_if(explain, "contributions", then, final, features)


def _shares(b: GraphBuilder, drops: str, score: str, features: int, base: float, median: float) -> str:
    """Divide the score above ``base`` in proportion to the columns' drops, plus a small even part."""

    def number(value: float) -> str:
        return b.constant(value, np.float32)

    axis = b.constant([1], np.int64)
    column = b.op("Unsqueeze", score, axis)
    # inf - inf: the score overflows float32 with and without replacing this column.
    known = b.op("Where", b.op("IsNaN", drops), number(0.0), drops)
    size = b.op("Min", b.op("Max", b.op("Abs", column), number(median)), number(LARGEST_WEIGHT))
    even = b.op("Max", b.op("Mul", size, number(EVEN_PART / features)), number(LEAST_WEIGHT))
    weights = b.op("Add", b.op("Clip", known, number(0.0), number(LARGEST_WEIGHT)), even)
    shares = b.op("Div", weights, b.op("ReduceSum", weights, axis))
    height = b.op("Clip", b.op("Sub", column, number(base)), number(0.0), number(HIGHEST))
    return b.op("Mul", height, shares)


def _drops(
    b: GraphBuilder, encoder: TableEncoder, network: Network, weights: Mapping[str, str], encoded: Encoded, score: str
) -> str:
    """Score all rows with each replacement of each column, as one batch ``(n · replacements, d)``."""
    plan, axis = replacements(encoder), b.constant([1], np.int64)
    rows = b.op("Unsqueeze", encoded.x, axis)
    replaced = b.op("Where", b.constant(plan.masks[None]), b.constant(plan.values[None]), rows)
    if encoded.unexpected:
        replaced = b.op("Sub", replaced, _taken_back(b, encoder, encoded, plan.blocks))
    flat = b.op("Reshape", replaced, b.constant([-1, encoder.width], np.int64))
    rescored = network.add_nodes(b, weights, f"{b.prefix}net/", flat)
    infinite = b.constant(np.inf, np.float32)
    worst = b.op("Where", b.op("Less", b.op("Abs", rescored), infinite), rescored, infinite)
    table = b.op("Reshape", worst, b.constant([-1, len(plan.masks)], np.int64))
    choices = b.op("Gather", table, b.constant(plan.choices, np.int64), axis=1)
    least = b.op("ReduceMin", choices, b.constant([2], np.int64), keepdims=0)
    drops = b.op("Sub", b.op("Unsqueeze", score, axis), least)
    return b.op("Mul", drops, _parts_of_blocks(b, encoder, encoded)) if in_blocks(encoder) else drops


def _parts_of_blocks(b: GraphBuilder, encoder: TableEncoder, encoded: Encoded) -> str:
    """The part of each column in its block, by distance from the reference: float32 ``(n, features)``."""
    gaps = b.op("Abs", b.op("Sub", encoded.x, b.constant(encoder.reference[None])))
    distances = b.op("MatMul", gaps, b.constant(position_columns(encoder)))
    if encoded.unexpected:
        distances = b.op("Add", distances, b.op("Mul", _lacks(b, encoded), b.constant(UNEXPECTED_WEIGHT, np.float32)))
    distances = b.op("Add", distances, b.constant(LEAST_DISTANCE, np.float32))
    sums = b.op("MatMul", distances, b.constant(column_blocks(encoder)))
    return b.op("Div", distances, b.op("Gather", sums, b.constant(block_of_column(encoder), np.int64), axis=1))


def _lacks(b: GraphBuilder, encoded: Encoded) -> str:
    """Which columns have unexpected missing values, float32 0/1 ``(n, features)``."""
    counts = [b.op("MatMul", b.constant(select.T.copy()), matrix) for matrix, select in encoded.unexpected]
    total = counts[0] if len(counts) == 1 else b.op("Add", *counts)
    return b.op("Transpose", total, perm=[1, 0])


def _taken_back(b: GraphBuilder, encoder: TableEncoder, encoded: Encoded, replaced: np.ndarray) -> str:
    """The part of the last position that each replacement's unexpected missing values add, float32 ``(n, k, d)``."""
    blocks = column_blocks(encoder)[:, replaced]
    counts = [b.op("MatMul", b.constant((select @ blocks).T), matrix) for matrix, select in encoded.unexpected]
    total = counts[0] if len(counts) == 1 else b.op("Add", *counts)
    each = b.op("Unsqueeze", b.op("Transpose", total, perm=[1, 0]), b.constant([2], np.int64))
    position = np.zeros(encoder.width, dtype=np.float32)
    position[encoder.unexpected_position] = UNEXPECTED_WEIGHT
    return b.op("Mul", each, b.constant(position))


def _residuals(
    b: GraphBuilder, encoder: TableEncoder, residual: Network, weights: Mapping[str, str], encoded: Encoded
) -> str:
    parts = residual.add_nodes(b, weights, f"{b.prefix}net/", encoded.x)
    columns = b.op("MatMul", parts, b.constant(position_columns(encoder)))
    if not encoded.unexpected:
        return columns
    lacks, axis = _lacks(b, encoded), b.constant([1], np.int64)
    many = b.op("Max", b.op("ReduceSum", lacks, axis), b.constant(1.0, np.float32))
    missing = b.op("Gather", parts, b.constant([encoder.unexpected_position], np.int64), axis=1)
    return b.op("Add", columns, b.op("Div", b.op("Mul", missing, lacks), many))
