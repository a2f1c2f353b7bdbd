"""Audits synthetic rows: what they reveal of the training rows, and how far they are like real rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ganlib.augment.audited import FIDELITY, PRIVACY, Audit, Figure, flaws_of, leaks_of
from ganlib.augment.compared import Parts, class_shares, columns_of, likeness, pairs_of, rules_of
from ganlib.augment.sides import HOLDOUT, REAL, SYNTHETIC, Sides, read_sides, repeated
from ganlib.data.schema import Schema
from ganlib.errors import DataError
from ganlib.metrics.privacy import copied, membership_attack, nearest_records
from serving.wording import counted, listed

QUERIES = 2_000  # rows of a table whose nearest neighbours are searched
RECORDS = 50_000  # rows of a table among which they are searched
COMPARED = 5_000  # rows of each table whose columns are compared
WORST = 10  # pairs that are listed


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

    Privacy: held-out rows are the reference; the label is not part of distances. Fidelity: synthetic rows are compared
    with as many held-out rows, and training rows are the reference. With ``label``, as many rows of each class are
    compared; classes that a table lacks are left out, and noted.

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
    whole, few = likeness(sides, parts, seed)
    columns = tuple(columns_of(sides, parts))
    pairs, unpaired = pairs_of(sides, parts, rng)
    shapes = [(c.shape, float(c.usual_shape or 0)) for c in columns if c.shape is not None]
    fidelity = [*_mean("shapes", shapes), *_mean("trends", [(p.similarity, p.usual) for p in pairs])]
    fidelity += [*whole, *class_shares(sides)]
    rules, sizes = tuple(rules_of(sides)), dict(zip((REAL, SYNTHETIC, HOLDOUT), map(len, sides.each), strict=True))
    rows = {**sizes, **counts, "compared": compared}
    return Audit(
        rows, (*figures, *fidelity), columns, tuple(sorted(pairs, key=lambda p: p.similarity - p.usual)[:WORST]), rules,
        (*sides.notes, *notes, *more, *few, *unpaired, *_sampled(sides, compared)),
        tuple(leaks_of(figures, rows, repeated(sides.real), error)),
        tuple(flaws_of(fidelity, columns, pairs, rules, compared, sizes[SYNTHETIC], sizes[HOLDOUT])),
    )  # fmt: skip


def _mean(name: str, pairs: Sequence[tuple[float, float]]) -> list[Figure]:
    if not pairs:
        return []
    value, usual = np.mean(pairs, axis=0)
    return [Figure(name, FIDELITY, float(value), float(usual))]


# ---------------------------------------------------------------- which rows
def _common(sides: Sides) -> tuple[list[str], list[str]]:
    """The classes that all tables have, and a note on synthetic rows of others; raises DataError for none."""
    kept = sorted(set.intersection(*(set(side.classes) for side in sides.each)))
    if not kept:
        raise DataError("no class is in all of real, synthetic and holdout: give tables with common classes")
    lost = sorted(set(sides.synthetic.classes) - set(kept))
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
    each, names, found = sides.each, _common(sides)[0], [list[np.ndarray]() for _ in sides.each]
    counts = np.array([min(int((side.classes == name).sum()) for side in each) for name in names])
    counts = np.maximum(1, counts * min(1.0, COMPARED / counts.sum())).astype(int)
    for name, count in zip(names, counts, strict=True):
        for side, chosen in zip(each, found, strict=True):
            chosen.append(rng.choice(np.flatnonzero(side.classes == name), count, replace=False))
    real, synthetic, holdout = (rng.permutation(np.concatenate(chosen)) for chosen in found)
    return real, synthetic, holdout


def _sampled(sides: Sides, compared: int) -> list[str]:
    most = max(len(sides.real), len(sides.synthetic), len(sides.holdout))
    alike = "" if sides.label is None else ", as many of each class"
    notes = [f"columns are compared on {compared:,} rows of each table{alike}"]
    if most > QUERIES:
        notes.append(f"neighbours of {QUERIES:,} sampled rows of a table are searched among at most {RECORDS:,}")
    return notes


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
    searched = (min(len(real), QUERIES), len(some), len(queries))
    counts = dict(zip(("searched real", "searched synthetic", "searched holdout"), searched, strict=True))
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
    return found + attacks, counts, error, []


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
        Figure("membership_relative", PRIVACY, beside.auroc, 0.5),
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
