"""The quantile map between a number column and normal scores, used by generators.

A standard normal score is mapped to a value by a piecewise linear, monotone function in float64, which a sealed graph
can compute as well. It preserves the main features of a column's distribution:

- An atom (a value that many rows share) is an interval of scores: every score in it gives exactly that value.
- A gap (wide, at least five rows on either side) is a jump: no score gives a value inside it. A sentinel such as -999
  is thus an atom behind a gap.
- Between edges, each group of neighbouring rows has a knot that restores the group's mean. Groups shrink to five rows
  towards the ends; the outermost also keep their spread. A heavy tail thus keeps its mean, deviation and quantiles.

Privacy: every knot is a statistic of at least five rows, a value that five rows share, a bound of the schema, or a
0.5 or 99.5 % point with five rows beyond it, rounded as in schemas. For a stretch of fewer rows between two atoms, the
mean and spread are stored; for an outermost row, its value. These are rounded to three significant digits (of the
value, or of the column's range if that is smaller).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

LEAST = 5
MOST_GROUPS = 32
ATOM = 1 / 128  # smallest share of the rows for a shared value to be an atom
QUANTILES = (0.005, 0.995)  # used as edges of groups, so that they are preserved
FAR = 8.0  # the outermost scores; samples do not exceed them
_GROWTH = 1.3
_WINDOW = 20
_MOST_GAPS = 16
_TINY = 1e-15
_LARGEST = 1e150  # squares of larger numbers overflow
_PARTS = np.array((0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0))  # of an outer group's reach, at its third point
_BASES = np.eye(4)[1:]
_END = 0.02  # of one row's share: where an outer group reaches its end
Knots = tuple[tuple[float, ...], tuple[float, ...]]
_Points = list[tuple[float, float]]


@dataclass(frozen=True)
class _Run:
    """Neighbouring sorted rows between atoms and gaps, with their cumulative shares and the bounds of values."""

    rows: np.ndarray
    low: float
    high: float
    floor: float
    ceiling: float


def fit_knots(values: np.ndarray, minimum: float | None, maximum: float | None, groups: int = MOST_GROUPS) -> Knots:
    """Values and their scores, both ascending: equal values are an atom, equal scores a gap.

    Both are empty if there are fewer than five rows, or numbers beyond 1e150.
    """
    rows = np.sort(np.asarray(values, dtype=np.float64))
    if len(rows) < LEAST or max(-rows[0], rows[-1]) > _LARGEST:
        return (), ()
    span = float(rows[-1] - rows[0])
    floor, ceiling = _end(rows, 0, span, minimum), _end(rows, -1, span, maximum)
    points: _Points = []
    stretches = _stretches(rows)
    for index, (start, end) in enumerate(stretches):
        below = _limit(rows[slice(*stretches[index - 1])], -1, span) if index else floor
        above = _limit(rows[slice(*stretches[index + 1])], 0, span) if index + 1 < len(stretches) else ceiling
        run = _Run(rows[start:end], start / len(rows), end / len(rows), below, above)
        points.extend(_run_points(run, span, groups))
    x = np.maximum.accumulate(np.array([value for value, _ in points]))
    # Round, because a score shared by two stretches may differ by 1e-15.
    y = np.maximum.accumulate(np.clip(np.round([score for _, score in points], 12), -FAR, FAR))
    x, y = np.concatenate([x[:1], x, x[-1:]]), np.concatenate([[-FAR], y, [FAR]])
    return _without_repeats(x, y)


def _end(rows: np.ndarray, at: int, span: float, bound: float | None) -> float:
    """The limit of values at one end: the bound, or without one (or beyond it) the outermost row, rounded outward."""
    row, outward = float(rows[at]), 1.0 if at else -1.0
    if bound is not None and (bound - row) * outward >= 0:
        return float(bound)
    unit = 0.0 if _is_shared(rows, at) else rounding_unit(row, span)
    return float(outward * np.ceil(outward * row / unit) * unit) if unit else row


def _limit(rows: np.ndarray, at: int, span: float) -> float:
    """The limit of values towards other rows: the first of these, rounded unless five rows share it."""
    return float(rows[at]) if _is_shared(rows, at) else rounded(float(rows[at]), span)


def _is_shared(rows: np.ndarray, at: int) -> bool:
    return int((rows == rows[at]).sum()) >= LEAST


def _without_repeats(x: np.ndarray, y: np.ndarray) -> Knots:
    """Keep only the first and last knot of each plateau and jump."""
    for axis in (0, 1):
        line = (x, y)[axis]
        inner = (np.diff(line, prepend=np.nan) == 0) & (np.diff(line, append=np.nan) == 0)
        x, y = x[~inner], y[~inner]
    same = (np.diff(x, prepend=np.nan) == 0) & (np.diff(y, prepend=np.nan) == 0)
    return tuple(map(float, x[~same])), tuple(map(float, y[~same]))


# -------------------------------------------------------------------------------------------------- where to cut
def _stretches(rows: np.ndarray) -> list[tuple[int, int]]:
    """Row ranges, in order: each atom, and each run of rows between atoms and gaps."""
    starts = np.flatnonzero(np.diff(rows, prepend=np.nan) != 0)
    counts = np.diff(np.append(starts, len(rows)))
    atoms = (counts >= LEAST) & (counts >= ATOM * len(rows))
    cuts = {0, len(rows)}
    cuts.update(int(c) for c in starts[atoms])
    cuts.update(int(c) for c in (starts + counts)[atoms])
    cuts.update(_gaps(rows, np.repeat(atoms, counts)))
    ordered = sorted(cuts)
    return list(pairwise(ordered))


def _gaps(rows: np.ndarray, atom: np.ndarray) -> list[int]:
    """Indices of the first rows after gaps, where rows jump by more than the span of twenty rows on either side."""
    n = len(rows)
    after = np.arange(LEAST, n - LEAST + 1)
    if not len(after):
        return []
    width = rows[after] - rows[after - 1]
    below = rows[after - 1] - rows[np.maximum(after - _WINDOW, 0)]
    above = rows[np.minimum(after + _WINDOW, n) - 1] - rows[after]
    light = rows[~atom]
    usual = float(np.subtract(*np.quantile(light, [0.75, 0.25]))) if len(light) else 0.0
    wide = (width > np.maximum(below, above)) & (width > 0.05 * usual) & ~(atom[after] | atom[after - 1])
    found = after[wide]
    return [int(i) for i in found[np.argsort(-width[wide], kind="stable")][:_MOST_GAPS]]


# -------------------------------------------------------------------------------------------------- knots of a run
def _run_points(run: _Run, span: float, groups: int) -> _Points:
    rows = run.rows
    if rows[0] == rows[-1] and len(rows) >= LEAST:
        return [(float(rows[0]), _score(run.low)), (float(rows[0]), _score(run.high))]
    if len(rows) < 2 * LEAST:
        return _spread(run, span)
    kept = _kept(len(rows), (np.array(QUANTILES) - run.low) / (run.high - run.low))
    bounds = _with_edges(_bounds(len(rows), groups), kept)
    shares = run.low + (run.high - run.low) * np.array(bounds) / len(rows)
    edges = [
        _edge(rows, b, float(share), span) if b in kept else _mean(rows[b - 3 : b + 3])
        for b, share in zip(bounds[1:-1], shares[1:-1], strict=True)
    ]
    points = _outer(-rows[: bounds[1]][::-1], 1 - shares[1], 1 - shares[0], -edges[0], -run.floor)
    points = [(-value, -score) for value, score in reversed(points)]
    for k in range(1, len(bounds) - 2):
        points.append((edges[k - 1], _score(shares[k])))
        group = rows[bounds[k] : bounds[k + 1]]
        points.append(_middle(_mean(group), shares[k], shares[k + 1], edges[k - 1], edges[k]))
    return points + _outer(rows[bounds[-2] :], shares[-2], shares[-1], edges[-1], run.ceiling)


def _bounds(n: int, groups: int) -> list[int]:
    """Row numbers that separate groups: five rows at either end, growing towards the middle."""
    most = max(LEAST, n // groups)
    size, ends = float(LEAST), [0]
    while ends[-1] + int(size) <= n // 2:
        ends.append(ends[-1] + int(size))
        size = min(size * _GROWTH, most)
    other = [n - end for end in reversed(ends)]
    if other[0] - ends[-1] < LEAST and len(ends) > 2:
        ends = ends[:-1]
    return sorted({*ends, *other})


def _kept(n: int, shares: np.ndarray) -> list[int]:
    """Row numbers of these shares, if five rows lie on either side."""
    at = np.round(np.clip(shares, 0, 1) * (n - 1) + 0.5).astype(int)
    return [int(b) for b in at if LEAST <= b <= n - LEAST]


def _with_edges(bounds: list[int], kept: list[int]) -> list[int]:
    """Bounds with those of ``kept``, and without their neighbours of less than five rows."""
    n = bounds[-1]
    for at in kept:
        bounds = sorted({*(b for b in bounds if b in (0, n) or abs(b - at) >= LEAST), at})
    return bounds


def _edge(rows: np.ndarray, at: int, share: float, span: float) -> float:
    """The quantile at a share of the column, rounded as in schemas; the mean of six rows where these lie closer."""
    near = rows[at - 3 : at + 3]
    value = rounded(float(np.interp(at - share, np.arange(at - 3, at + 3), near)), span)
    return value if near[0] < value < near[-1] else _mean(near)


def _mean(rows: np.ndarray) -> float:
    # The mean of equal numbers may differ in the last bit, which would hide a plateau.
    return float(rows[0]) if rows[0] == rows[-1] else float(rows.mean())


def _score(share: float) -> float:
    from scipy.special import ndtri

    # Not np.clip: this runs on scalars, thousands of times per table.
    return max(-FAR, min(FAR, float(ndtri(max(_TINY, min(1 - _TINY, share))))))


def _grid(low: float, high: float, size: int) -> np.ndarray:
    """Scores at evenly spaced shares."""
    from scipy.special import ndtri

    return ndtri(np.clip(low + (high - low) * (np.arange(size) + 0.5) / size, _TINY, 1 - _TINY))


def _middle(mean: float, low: float, high: float, first: float, last: float) -> tuple[float, float]:
    """A knot in the middle of a group's share that gives the group its mean."""
    at = _score((low + high) / 2)
    weight = np.interp(_grid(low, high, 64), [_score(low), at, _score(high)], [0.0, 1.0, 0.0]).mean()
    ends = np.interp(_grid(low, high, 64), [_score(low), at, _score(high)], [first, 0.0, last]).mean()
    return float(np.clip((mean - ends) / weight, first, last)), at


def _outer(rows: np.ndarray, low: float, high: float, edge: float, limit: float) -> _Points:
    """The upper end of a run from ``edge``: preserves the mean of the rows exactly and their spread approximately.

    The curve has four points: ``edge``, two inner ones, and its reach. The reach is a multiple of the rows' root mean
    square distance from the edge, and at least the distance of the largest row.
    """
    n, grid = len(rows), _grid(low, high, 40 * len(rows))
    target = np.repeat(rows, 40) - edge
    # Rounded up, because an outlier would otherwise be stored exactly.
    reach = max(0.0, min(_rounded_up(float(np.sqrt(n * np.mean(target**2)))), limit - edge))
    best, chosen = np.inf, ((0.0, 0.5), (0.0, 0.9))
    mean = target.mean()
    for at, last in product((0.1, 0.2, 0.35, 0.5, 0.65, 1 - 1 / n), (1 - 0.9 / n, 1 - 0.5 / n, 1 - 0.1 / n)):
        scores = [_score(low + share * (high - low)) for share in (0.0, at, last, 1 - _END / n)]
        inner, upper, top = (np.interp(grid, scores, basis) for basis in _BASES)
        fixed = reach * (_PARTS[:, None] * upper + top)
        values = np.clip((mean - fixed.mean(1)) / inner.mean(), 0.0, _PARTS * reach)
        losses = _losses(values[:, None] * inner + fixed, target)
        least = int(losses.argmin())
        if losses[least] < best:
            best = float(losses[least])
            chosen = ((float(values[least]), at), (float(_PARTS[least]) * reach, last))
    points = [(0.0, 0.0), *chosen, (reach, 1 - _END / n), (reach, 1.0)]
    return [(edge + value, _score(low + share * (high - low))) for value, share in points]


def _rounded_up(value: float) -> float:
    """Round up to three significant digits."""
    if value <= 0:
        return 0.0
    unit = 10.0 ** (np.floor(np.log10(value)) - 2)
    return float(np.ceil(value / unit) * unit)


def _losses(curves: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Squared distance of curves ``(k, n)``, plus weighted differences in mean, spread and median: ``(k,)``."""
    half = len(target) // 2
    moments = 20 * (curves.mean(1) - target.mean()) ** 2 + np.abs((curves**2).mean(1) - np.mean(target**2))
    return ((curves - target) ** 2).mean(1) + moments + 2 * (curves[:, half] - target[half]) ** 2


def _spread(run: _Run, span: float) -> _Points:
    """For few rows: a straight line by mean and deviation that covers them all; rounded for fewer than five rows.

    No row is further from the mean than the deviation times the square root of n - 1.
    """
    mean, deviation, off = float(run.rows.mean()), float(run.rows.std()), 0.0
    if len(run.rows) < LEAST and span > 0:
        # Use the rounding unit instead of the error, which would reveal the exact mean.
        off, mean, deviation = rounding_unit(mean, span) / 2, rounded(mean, span), _rounded_up(deviation)
    far = deviation * max(1.5, np.sqrt(len(run.rows) - 1)) + off
    values = mean + np.array([-far, -far, -1.5 * deviation, 1.5 * deviation, far, far])
    shares = run.low + (run.high - run.low) * np.array([0.0, 0.02, 0.08, 0.92, 0.98, 1.0])
    ends = np.clip(values, run.floor, run.ceiling)
    return [(float(value), _score(share)) for value, share in zip(ends, shares, strict=True)]


def rounded(value: float, span: float) -> float:
    """``value`` to three significant digits, of the value or of the column's ``span`` if that is less."""
    unit = rounding_unit(value, span)
    return float(np.round(value / unit) * unit) if unit else 0.0


def rounding_unit(value: float, span: float) -> float:
    """The third significant digit of a value, or of a span if that is less; 0 where there is none."""
    size = min(abs(value) or span, span)
    return float(10.0 ** (np.floor(np.log10(size)) - 2)) if size > 1e-290 else 0.0


# -------------------------------------------------------------------------------------------------- there and back
def to_scores(
    values: np.ndarray, knots: tuple[float, ...], scores: tuple[float, ...], draw: np.ndarray | None = None
) -> np.ndarray:
    """Scores of values; values in a gap or beyond the outer knots are moved to the nearest knot.

    An atom gets the score in the middle of its mass or, with ``draw`` (one uniform number per value), a random one of
    its scores.
    """
    from scipy.special import ndtr, ndtri

    x, y = np.array(knots), np.array(scores)
    values = nearest(values, knots, scores)
    out = np.interp(values, x, y)
    first = np.flatnonzero(np.diff(x) == 0)
    where = np.searchsorted(x[first], values) if len(first) else np.zeros(len(values), dtype=int)
    atom = (where < len(first)) & (np.append(x[first], np.nan)[np.minimum(where, len(first))] == values)
    if atom.any():
        low, high = ndtr(y[first]), ndtr(y[first + 1])
        share = np.full(len(values), 0.5) if draw is None else draw
        k = where[atom]
        mass = low[k] + (high - low)[k] * share[atom]
        out[atom] = np.clip(ndtri(np.clip(mass, _TINY, 1 - _TINY)), y[first][k], y[first + 1][k])
    return out


def from_scores(encoded: np.ndarray, knots: tuple[float, ...], scores: tuple[float, ...]) -> np.ndarray:
    """Values of scores, the inverse of ``to_scores``; extrapolates beyond the outer knots with the mean slope."""
    x, y = np.array(knots), np.array(scores)
    slope = (x[-1] - x[0]) / (y[-1] - y[0])
    inside = np.interp(encoded, y, x)
    return inside + slope * (np.minimum(encoded - y[0], 0) + np.maximum(encoded - y[-1], 0))


def nearest(values: np.ndarray, knots: tuple[float, ...], scores: tuple[float, ...]) -> np.ndarray:
    """Move values in a gap to its nearer edge."""
    x, y = np.array(knots), np.array(scores)
    out = np.clip(values, x[0], x[-1])
    for k in np.flatnonzero(np.diff(y) == 0):
        inside = (out > x[k]) & (out < x[k + 1])
        out = np.where(inside, np.where(out - x[k] < x[k + 1] - out, x[k], x[k + 1]), out)
    return out
