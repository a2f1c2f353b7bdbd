"""Fidelity of synthetic rows: figures of whole rows, columns, pairs and constraints, beside those of real rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ganlib.augment.audited import FIDELITY, Bars, ColumnFigures, Figure, PairFigures, RuleFigures
from ganlib.augment.filters import column_breaches
from ganlib.augment.sides import Side, Sides, is_missing
from ganlib.data.constraints import table_of
from ganlib.data.values import reading
from ganlib.metrics.features import precision_recall_density_coverage
from ganlib.metrics.fidelity import contingency_similarity, correlation_similarity, ks_complement, tv_complement
from ganlib.metrics.two_sample import two_sample_auroc
from serving.wording import counted

JUDGED = 2_000  # rows for the classifier and for density and coverage
LEAST_JUDGED = 10
PAIRED = 40  # columns of which all pairs are compared
LEVELS = 10  # levels of a category in a pair, with the others as one; tenths of a number
BINS, SHOWN = 20, 8
Parts = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Positions of training, synthetic and held-out rows that are compared, as many of each."""


def likeness(sides: Sides, parts: Parts, seed: int) -> tuple[list[Figure], list[str]]:
    """Figures of whole rows: a classifier, and precision, recall, density and coverage."""
    each = zip(sides.each, parts, strict=True)
    real, made, held = (_rows(sides, side, part[:JUDGED]) for side, part in each)
    if len(held) < LEAST_JUDGED:
        return [], [f"{counted(len(held), 'comparable row')}: too few for a classifier, density and coverage"]
    found, usual = (precision_recall_density_coverage(held, other) for other in (made, real))
    names = ("precision", "recall", "density", "coverage")
    return [
        Figure("two_sample", FIDELITY, two_sample_auroc(held, made, seed), two_sample_auroc(held, real, seed)),
        *(Figure(name, FIDELITY, getattr(found, name), getattr(usual, name)) for name in names),
    ], []


def _rows(sides: Sides, side: Side, part: np.ndarray) -> np.ndarray:
    """Encoded rows with their classes one-hot."""
    levels = np.unique(sides.real.classes)
    classes = side.classes[part][:, None] == levels if len(levels) > 1 else np.zeros((len(part), 0))
    return np.hstack([side.x[part], classes.astype(np.float64)])


def class_shares(sides: Sides) -> Iterator[Figure]:
    """How far the shares of the classes are those of the training rows; nothing without a label."""
    if sides.label is not None:
        made, held = (tv_complement(sides.real.classes, side.classes) for side in sides.each[1:])
        yield Figure("classes", FIDELITY, made, held)


def columns_of(sides: Sides, parts: Parts) -> Iterator[ColumnFigures]:
    """The figures of each column; shares of invalid values are of all rows.

    The label has no shape, because as many rows of each class are compared; its bars are of all rows.
    """
    breaches = [column_breaches(sides.schema, side.frame) for side in (sides.synthetic, sides.holdout)]
    kinds = {column.name: column.kind for column in sides.schema.columns}
    for name in sides.names:
        real, made, held = (side.values[name][part] for side, part in zip(sides.each, parts, strict=True))
        lacking, usual = (float(is_missing(values).mean()) for values in (made, held))
        invalid, allowed = (float(found[name].mean()) for found in breaches)
        if name == sides.label:
            shape, other, bars = None, None, _level_bars(sides.holdout.values[name], sides.synthetic.values[name])
        else:
            shape, other, bars = _shape(held, made), _shape(held, real), _bars(held, made, kinds[name])
        yield ColumnFigures(name, kinds[name], shape, other, lacking, usual, invalid, allowed, bars)


def _shape(held: np.ndarray, other: np.ndarray) -> float | None:
    """The similarity of the values that are not missing; None if no held-out row has one, 0 if no other row has."""
    known, others = held[~is_missing(held)], other[~is_missing(other)]
    if not len(known):
        return None
    if not len(others):
        return 0.0
    return (tv_complement if held.dtype == object else ks_complement)(known, others)


def pairs_of(sides: Sides, parts: Parts, rng: np.random.Generator) -> tuple[list[PairFigures], list[str]]:
    """Similarities of all pairs of columns that can be compared."""
    names = [sides.names[place] for place in np.sort(rng.permutation(len(sides.names))[:PAIRED])]
    each = [{name: side.values[name][part] for name in names}
            for side, part in zip(sides.each, parts, strict=True)]  # fmt: skip
    coded: list[dict[str, np.ndarray]] = [{}, {}, {}]
    for name in names:
        for table, levels in zip(coded, _levels([values[name] for values in each], rng), strict=True):
            table[name] = levels
    found = []
    for first, second in combinations(names, 2):
        whole = not (sides.is_text(first) or sides.is_text(second))
        tables = [np.column_stack([values[first], values[second]]) for values in (each if whole else coded)]
        similar = correlation_similarity if whole else contingency_similarity
        value, usual = similar(tables[2], tables[1]), similar(tables[2], tables[0])
        if not np.isnan([value, usual]).any():
            found.append(PairFigures(first, second, value, usual))
    few = [f"pairs are compared of {PAIRED} of {len(sides.names)} columns"] if len(names) < len(sides.names) else []
    return found, few


def _levels(parts: Sequence[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """A column of the three tables as a few levels; -1 is missing.

    Of a category, levels that are common in the first table. Of a number, tenths of the rows of each table, ties in
    random order, so that another shape of the column alone makes no difference.
    """
    if parts[0].dtype == object:
        common = pd.Series(parts[0][parts[0] != ""]).value_counts().index[:LEVELS]
        places = [common.get_indexer(values) for values in parts]
        return [np.where(is_missing(values), -1, np.where(at < 0, LEVELS, at))
                for values, at in zip(parts, places, strict=True)]  # fmt: skip
    found = []
    for values in parts:
        known = np.flatnonzero(~np.isnan(values))
        order = known[np.lexsort((rng.random(len(known)), values[known]))]
        levels = np.full(len(values), -1)
        levels[order] = np.arange(len(known)) * LEVELS // max(1, len(known))
        found.append(levels)
    return found


def _bars(held: np.ndarray, made: np.ndarray, kind: str) -> Bars:
    known, others = held[~is_missing(held)], made[~is_missing(made)]
    return _level_bars(known, others) if held.dtype == object else _range_bars(known, others, kind)


def _level_bars(held: np.ndarray, made: np.ndarray) -> Bars:
    """Shares of the commonest levels of the held-out rows, and of all others."""
    levels = list(pd.Series(held).value_counts().index[:SHOWN])
    shares = [[float((values == level).sum()) / max(1, len(values)) for level in levels] for values in (held, made)]
    rest = [float((~np.isin(values, levels)).sum()) / max(1, len(values)) for values in (held, made)]
    if max(rest) > 0:
        levels, shares = [*levels, "others"], [[*part, more] for part, more in zip(shares, rest, strict=True)]
    return Bars(tuple(levels), tuple(shares[0]), tuple(shares[1]))


def _range_bars(held: np.ndarray, made: np.ndarray, kind: str) -> Bars:
    """Shares of equal ranges; values beyond the middle 99 % count as the first or last range.

    Empty if there are no values, or if they are too large to be divided.
    """
    both = np.concatenate([held, made])
    with np.errstate(over="ignore"):
        low, high = np.quantile(both, [0.005, 0.995]) if len(both) else (np.inf, np.inf)
        drawable = np.isfinite(high - low)
    if not drawable:
        return Bars((), (), ())
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    shares = [np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(1, len(values))
              for values in (held, made)]  # fmt: skip
    words = tuple(_date(edge) if kind == "date" else f"{edge:.4g}" for edge in edges)
    return Bars(words, tuple(shares[0].tolist()), tuple(shares[1].tolist()))


def _date(microseconds: float) -> str:
    return str(pd.Timestamp(int(microseconds), unit="us").date())


def rules_of(sides: Sides) -> Iterator[RuleFigures]:
    """The constraints of the schema, fitted to the training rows, on synthetic and on held-out rows."""
    schema = sides.schema
    if not schema.constraints:
        return
    needed = {name for rule in schema.constraints for name in rule.columns}
    real, made, held = (table_of(schema, side.frame, needed) for side in sides.each)
    for rule in schema.constraints:
        learned = reading(rule.learn)(real, 1)
        broken, usual = (float(learned.broken(table).mean()) for table in (made, held))
        yield RuleFigures(learned.describe(), broken, usual)
