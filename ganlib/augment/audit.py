"""Audits synthetic rows: what they reveal of the training rows, and how far they are like real rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ganlib.augment.audited import (
    FIDELITY,
    PRIVACY,
    Audit,
    Bars,
    ColumnFigures,
    Figure,
    PairFigures,
    RuleFigures,
    flaws_of,
    leaks_of,
)
from ganlib.augment.filters import column_breaches
from ganlib.augment.sides import HOLDOUT, REAL, SYNTHETIC, Side, Sides, is_missing, read_sides
from ganlib.data.constraints import table_of
from ganlib.data.schema import Schema
from ganlib.data.values import reading
from ganlib.errors import DataError
from ganlib.metrics.features import precision_recall_density_coverage
from ganlib.metrics.fidelity import (
    contingency_similarity,
    correlation_similarity,
    ks_complement,
    tv_complement,
)
from ganlib.metrics.privacy import copied, membership_attack, nearest_records
from ganlib.metrics.two_sample import two_sample_auroc
from serving.wording import counted, listed

QUERIES = 2_000  # rows of a table whose nearest neighbours are searched
RECORDS = 50_000  # rows of a table among which they are searched
COMPARED = 5_000  # rows of each table whose columns are compared
JUDGED = 2_000  # of these, rows for the classifier and for density and coverage
LEAST_JUDGED = 10
PAIRED = 40  # columns of which all pairs are compared
LEVELS = 10  # levels of a category in a pair, with the others as one; deciles of a number
BINS, SHOWN = 20, 8
WORST = 10
Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def audit(
    real: Any,
    synthetic: Any,
    holdout: Any,
    *,
    label: str | None = None,
    schema: Schema | str | Path | None = None,
    seed: int = 0,
) -> Audit:
    """Measure privacy and fidelity of ``synthetic`` rows, each figure beside the same of real rows in their place.

    ``real`` are the rows that the generator learned from, ``holdout`` real rows that it did not. They are frames of the
    same columns; rows of ``synthetic`` that a column ``_synthetic`` marks False are left out. ``schema``, an object or
    a file, defaults to one inferred from ``real``.

    Privacy takes held-out rows as the reference, and no account of the label. Fidelity compares as many synthetic as
    held-out rows, and training rows as the reference. With ``label``, it compares as many of each class, and classes
    that a table lacks are left out.

    Large tables are sampled with ``seed``: neighbours of 2,000 rows of a table are searched among 50,000, columns of
    5,000 rows are compared, and 2,000 rows are classified. Copies are searched among all rows. ``notes`` of the result
    name what was sampled or left out.

    Raises DataError for empty tables, columns that differ, values that do not fit the schema, held-out rows that are
    training rows, or no common class.
    """
    sides = read_sides(real, synthetic, holdout, label, schema)
    rng = np.random.default_rng(seed)
    kept, notes = _common(sides)
    figures, counts, error, more = _privacy(sides, kept, rng)
    parts = _equal_parts(sides, rng)
    compared = len(parts[0])
    likeness, few = _likeness(sides, parts, seed)
    columns = tuple(_columns(sides, parts))
    pairs, unpaired = _pairs(sides, parts, rng)
    shapes = [(c.shape, c.usual_shape) for c in columns if c.shape is not None]
    means = [("shapes", shapes), ("trends", [(p.similarity, p.usual) for p in pairs])]
    fidelity = [Figure(name, FIDELITY, *map(float, np.mean(values, axis=0))) for name, values in means if values]
    fidelity += [*likeness, *_class_shares(sides)]
    rules = tuple(_rules(sides))
    return Audit(
        {REAL: len(sides.real), SYNTHETIC: len(sides.synthetic), HOLDOUT: len(sides.holdout), **counts,
         "compared": compared},
        (*figures, *fidelity), columns, tuple(sorted(pairs, key=lambda p: p.similarity - p.usual)[:WORST]), rules,
        (*sides.notes, *notes, *more, *few, *unpaired, *_sampled(sides, compared)),
        tuple(leaks_of(figures, counts["searched synthetic"], counts["searched holdout"], error)),
        tuple(flaws_of(fidelity, columns, pairs, rules, compared)),
    )  # fmt: skip


# ---------------------------------------------------------------- which rows
def _common(sides: Sides) -> tuple[list[str], list[str]]:
    """The classes that all tables have, and a note on synthetic rows of others; raises DataError for none."""
    each = [set(side.classes) for side in (sides.synthetic, sides.real, sides.holdout)]
    kept = sorted(set.intersection(*each))
    if not kept:
        raise DataError("no class is in all of real, synthetic and holdout: give tables with common classes")
    lost = sorted(each[0] - set(kept))
    rows = int(np.isin(sides.synthetic.classes, lost).sum())
    if not lost:
        return kept, []
    return kept, [
        f"{counted(rows, 'synthetic row')} of classes without training or held-out rows, searched for copies only: "
        f"{listed(lost)}"
    ]


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _equal_parts(sides: Sides, rng: np.random.Generator) -> Parts:
    """Positions of as many training, synthetic and held-out rows of each class, in random order."""
    each = (sides.real, sides.synthetic, sides.holdout)
    names, found = _common(sides)[0], [list[np.ndarray]() for _ in each]
    counts = np.array([min(int((side.classes == name).sum()) for side in each) for name in names])
    counts = np.maximum(1, counts * min(1.0, COMPARED / counts.sum())).astype(int)
    for name, count in zip(names, counts, strict=True):
        for side, chosen in zip(each, found, strict=True):
            chosen.append(rng.choice(np.flatnonzero(side.classes == name), count, replace=False))
    real, synthetic, holdout = (rng.permutation(np.concatenate(chosen)) for chosen in found)
    return real, synthetic, holdout


def _sampled(sides: Sides, compared: int) -> list[str]:
    most = max(len(sides.real), len(sides.synthetic), len(sides.holdout))
    notes = [f"columns are compared on {compared:,} rows of each table" + (", as many of each class" if _by_class(sides)
             else "")]  # fmt: skip
    if most > QUERIES:
        notes.append(f"neighbours of {QUERIES:,} sampled rows of a table are searched among at most {RECORDS:,}")
    return notes


def _by_class(sides: Sides) -> bool:
    return bool((sides.real.classes != "").any())


# ---------------------------------------------------------------- privacy
def _privacy(
    sides: Sides, kept: list[str], rng: np.random.Generator
) -> tuple[list[Figure], dict[str, int], float, list[str]]:
    """The figures of privacy, the numbers of searched rows, the attack's error under chance, and notes."""
    found = [Figure("copies", PRIVACY, *(float(copied(sides.real.codes, side.codes).mean())
             for side in (sides.synthetic, sides.holdout)))]  # fmt: skip
    real, made, held = (np.flatnonzero(np.isin(side.classes, kept))
                        for side in (sides.real, sides.synthetic, sides.holdout))  # fmt: skip
    records = sides.real.x[_some(np.arange(len(sides.real)), RECORDS, rng)]
    some, queries = _some(made, QUERIES, rng), _some(held, QUERIES, rng)
    counts, notes = {"searched synthetic": len(some), "searched holdout": len(queries)}, list[str]()
    if len(records) < 2:
        return found, counts, 0.0, ["real has one row: distances are not measured"]
    weights = _weights(sides.synthetic.classes[some], sides.holdout.classes[held])
    near = nearest_records(records, sides.synthetic.x[some], sides.holdout.x[queries], weights)
    found += [
        Figure("near_share", PRIVACY, near.share, near.usual_share),
        Figure("near_distance", PRIVACY, near.distance, near.usual_distance),
        Figure("ratio_share", PRIVACY, near.ratio_share, near.usual_ratio_share),
    ]
    if len(queries) < 4:
        return found, counts, 0.0, [f"{counted(len(queries), 'held-out row')}: too few for a membership attack"]
    attacks, error = _attacks(sides, real, _some(made, RECORDS, rng), rng.permutation(queries), rng)
    return found + attacks, counts, error, notes


def _attacks(
    sides: Sides, real: np.ndarray, made: np.ndarray, held: np.ndarray, rng: np.random.Generator
) -> tuple[list[Figure], float]:
    """Membership attacks on training rows, and the same on held-out rows in the synthetic rows' place."""
    members, synthetic = sides.real.x[_some(real, QUERIES, rng)], sides.synthetic.x[made]
    others, reference = np.array_split(sides.holdout.x[held], 2)
    found = membership_attack(members, others, synthetic)
    usual = membership_attack(members, others, reference)
    beside = membership_attack(members, others, synthetic, reference)
    figures = [
        Figure("membership", PRIVACY, found.auroc, usual.auroc),
        Figure("membership_difference", PRIVACY, beside.auroc, 0.5),
        Figure("membership_found_1", PRIVACY, found.found_1, usual.found_1),
        Figure("membership_found_10", PRIVACY, found.found_10, usual.found_10),
    ]
    return figures, found.error


def _weights(made: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Weights of synthetic rows that give their classes the shares of the held-out rows."""
    names, place, counts = np.unique(made, return_inverse=True, return_counts=True)
    usual = np.array([(held == name).sum() for name in names])
    weights: np.ndarray = (usual / counts)[place]
    return weights


# ---------------------------------------------------------------- fidelity
def _likeness(sides: Sides, parts: Parts, seed: int) -> tuple[list[Figure], list[str]]:
    """Figures of whole rows: a classifier, and precision, recall, density and coverage."""
    real, made, held = (_rows(sides, side, part[:JUDGED]) for side, part in zip(
        (sides.real, sides.synthetic, sides.holdout), parts, strict=True))  # fmt: skip
    if len(held) < LEAST_JUDGED:
        return [], [f"{counted(len(held), 'comparable row')}: too few for a classifier, density and coverage"]
    scores = [two_sample_auroc(held, other, seed) for other in (made, real)]
    found, usual = (precision_recall_density_coverage(held, other) for other in (made, real))
    names = ("precision", "recall", "density", "coverage")
    return [
        Figure("two_sample", FIDELITY, *scores),
        *(Figure(name, FIDELITY, getattr(found, name), getattr(usual, name)) for name in names),
    ], []


def _rows(sides: Sides, side: Side, part: np.ndarray) -> np.ndarray:
    """Encoded rows with their classes one-hot."""
    levels = np.unique(sides.real.classes)
    classes = side.classes[part][:, None] == levels if len(levels) > 1 else np.zeros((len(part), 0))
    return np.hstack([side.x[part], classes.astype(np.float64)])


def _class_shares(sides: Sides) -> Iterator[Figure]:
    if _by_class(sides):
        shares = [tv_complement(sides.real.classes, side.classes) for side in (sides.synthetic, sides.holdout)]
        yield Figure("classes", FIDELITY, *shares)


def _columns(sides: Sides, parts: Parts) -> Iterator[ColumnFigures]:
    breaches = [column_breaches(sides.schema, side.frame) for side in (sides.synthetic, sides.holdout)]
    kinds = {column.name: column.kind for column in sides.schema.columns}
    for name in sides.names:
        real, made, held = (side.values[name][part] for side, part in zip(
            (sides.real, sides.synthetic, sides.holdout), parts, strict=True))  # fmt: skip
        lacking = [float(is_missing(side.values[name]).mean()) for side in (sides.synthetic, sides.holdout)]
        yield ColumnFigures(
            name, kinds[name], _shape(held, made), _shape(held, real), *lacking,
            *(float(found[name].mean()) for found in breaches), _bars(held, made, kinds[name]),
        )  # fmt: skip


def _shape(held: np.ndarray, other: np.ndarray) -> float | None:
    """The similarity of the values that are not missing; None if no held-out row has one, 0 if no other row has."""
    known, others = held[~is_missing(held)], other[~is_missing(other)]
    if not len(known):
        return None
    if not len(others):
        return 0.0
    return (tv_complement if held.dtype == object else ks_complement)(known, others)


def _pairs(sides: Sides, parts: Parts, rng: np.random.Generator) -> tuple[list[PairFigures], list[str]]:
    """Similarities of all pairs of columns that can be compared."""
    names = [sides.names[place] for place in _some(np.arange(len(sides.names)), PAIRED, rng)]
    each = [{name: side.values[name][part] for name in names}
            for side, part in zip((sides.real, sides.synthetic, sides.holdout), parts, strict=True)]  # fmt: skip
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
    if held.dtype == object:
        levels = list(pd.Series(known).value_counts().index[:SHOWN])
        shares = [[float((values == level).mean()) if len(values) else 0.0 for level in levels]
                  for values in (known, others)]  # fmt: skip
        rest = [max(0.0, 1 - sum(part)) if len(values) else 0.0
                for part, values in zip(shares, (known, others), strict=True)]  # fmt: skip
        if max(rest) > 1e-9:
            levels, shares = [*levels, "others"], [[*part, more] for part, more in zip(shares, rest, strict=True)]
        return Bars(tuple(levels), *map(tuple, shares))
    both = np.concatenate([known, others])
    if not len(both):
        return Bars((), (), ())
    low, high = np.quantile(both, [0.005, 0.995])
    edges = np.linspace(low, high, BINS + 1) if high > low else np.array([low - 0.5, low + 0.5])
    shares = [np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(1, len(values))
              for values in (known, others)]  # fmt: skip
    words = [_date(edge) if kind == "date" else f"{edge:.4g}" for edge in edges]
    return Bars(tuple(words), *(tuple(map(float, part)) for part in shares))


def _date(microseconds: float) -> str:
    return str(pd.Timestamp(int(microseconds), unit="us").date())


def _rules(sides: Sides) -> Iterator[RuleFigures]:
    """The constraints of the schema, fitted to the training rows, on synthetic and on held-out rows."""
    schema = sides.schema
    if not schema.constraints:
        return
    needed = {name for rule in schema.constraints for name in rule.columns}
    real, made, held = (table_of(schema, side.frame, needed) for side in (sides.real, sides.synthetic, sides.holdout))
    for rule in schema.constraints:
        learned = reading(rule.learn)(real, 1)
        yield RuleFigures(learned.describe(), *(float(learned.broken(table).mean()) for table in (made, held)))
