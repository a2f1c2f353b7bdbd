"""The result of an audit of synthetic rows: figures beside those of real rows, and what they mean in words."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from serving.wording import counted

PRIVACY, FIDELITY = "privacy", "fidelity"
TITLES = {
    "copies": "rows equal to a training row",
    "near_share": "rows very near to a training row",
    "near_distance": "median distance to a training row",
    "ratio_share": "rows much nearer to one training row than to others",
    "membership": "membership attack, AUROC (chance: 0.5)",
    "membership_relative": "relative membership attack, AUROC (chance: 0.5)",
    "membership_found_1": "training rows found at 1 % false alarms",
    "membership_found_10": "training rows found at 10 % false alarms",
    "shapes": "column shapes, mean (1: equal)",
    "trends": "pair trends, mean (1: equal)",
    "two_sample": "AUROC of a classifier of the rows (0.5: equal)",
    "precision": "precision: rows where held-out rows lie",
    "recall": "recall: held-out rows where these rows lie",
    "density": "density of held-out rows around (1: equal)",
    "coverage": "coverage: held-out rows with such a row near",
    "classes": "class shares (1: as of training rows)",
}
SHAPE_GAP, TREND_GAP, MISSING_GAP, RULE_GAP, AUROC_GAP = 0.1, 0.15, 0.05, 0.01, 0.1
LEAST_COVERED = 0.5
RARE = 0.001
NOISE = 3.3  # standard errors, which two attacks exceed by chance in one of 1,000 cases
MOST_NAMED = 3
FEW = 50  # rows with which only strong faults are found


@dataclass(frozen=True)
class Figure:
    """One figure of the synthetic rows (``value``), and the same of real rows in their place (``usual``)."""

    name: str
    group: str
    value: float
    usual: float

    @property
    def title(self) -> str:
        """What it measures, in words."""
        return TITLES[self.name]


@dataclass(frozen=True)
class Bars:
    """Shares of held-out and of synthetic rows by range of a number, or by level; labels are values of the data."""

    labels: tuple[str, ...]
    real: tuple[float, ...]
    synthetic: tuple[float, ...]


@dataclass(frozen=True)
class ColumnFigures:
    """A column's shape (None if it has no values to compare), and shares of missing and of invalid values.

    ``usual_...``: of training rows for the shape, of held-out rows for the shares. ``invalid``: numbers and dates
    outside the schema's bounds, unlisted levels, and missing values where training rows have none.
    """

    name: str
    kind: str
    shape: float | None
    usual_shape: float | None
    missing: float
    usual_missing: float
    invalid: float
    usual_invalid: float
    bars: Bars


@dataclass(frozen=True)
class PairFigures:
    """Similarity (1: equal) of the relation of two columns to that of held-out rows; ``usual``: of training rows."""

    first: str
    second: str
    similarity: float
    usual: float


@dataclass(frozen=True)
class RuleFigures:
    """A constraint of the schema in words, and the shares of synthetic and held-out rows that break it."""

    rule: str
    broken: float
    usual_broken: float


@dataclass(frozen=True)
class Audit:
    """What synthetic rows reveal of the training rows, and how far they are like real rows.

    ``rows``: of each table (real, synthetic, holdout), and those compared (``compared`` for fidelity, ``searched``
    queries of a table for privacy). ``pairs`` are those that differ most. ``notes`` say what was not compared.
    ``leaks`` and ``flaws`` are what is worrying, in words; both are empty if nothing is.
    """

    rows: Mapping[str, int]
    figures: tuple[Figure, ...]
    columns: tuple[ColumnFigures, ...]
    pairs: tuple[PairFigures, ...]
    rules: tuple[RuleFigures, ...]
    notes: tuple[str, ...]
    leaks: tuple[str, ...]
    flaws: tuple[str, ...]

    def __getitem__(self, name: str) -> Figure:
        return next(figure for figure in self.figures if figure.name == name)

    def group(self, name: str) -> list[Figure]:
        """The figures of privacy or of fidelity."""
        return [figure for figure in self.figures if figure.group == name]

    @property
    def few(self) -> bool:
        """Whether so few rows are compared that only strong faults are found."""
        return min(self.rows["searched holdout"], self.rows["compared"]) < FEW

    @property
    def verdict(self) -> str:
        """What is worrying and what is fine, in a sentence on privacy and one on fidelity, and whether rows are few."""
        private = f"worrying: {'; '.join(self.leaks)}" if self.leaks else "no sign that rows were repeated"
        like = "; ".join(self.flaws) if self.flaws else "no clear difference from real rows"
        held, compared = counted(self.rows["searched holdout"], "held-out row"), counted(self.rows["compared"], "row")
        few = " So few rows show only strong faults." if self.few else ""
        return f"Privacy, beside {held}: {private}. Fidelity of {compared}: {like}.{few}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values, without values of the data: neither bars nor their labels."""
        columns = [{k: v for k, v in asdict(column).items() if k != "bars"} for column in self.columns]
        figures = {f.name: {"value": f.value, "usual": f.usual, "title": f.title} for f in self.figures}
        return {
            "verdict": self.verdict, "rows": dict(self.rows), "figures": figures, "columns": columns,
            "pairs": [asdict(pair) for pair in self.pairs], "rules": [asdict(rule) for rule in self.rules],
            "notes": list(self.notes), "leaks": list(self.leaks), "flaws": list(self.flaws),
        }  # fmt: skip


def leaks_of(figures: Iterable[Figure], rows: Mapping[str, int], repeated: float, error: float) -> list[str]:
    """What is worrying about privacy, beyond the noise of so many ``rows`` (as in ``Audit``).

    ``repeated`` is the share of training rows that equal another one, and ``error`` the standard error of the attack's
    AUROC under chance.
    """
    found = {figure.name: figure for figure in figures}
    holdout, members = rows["searched holdout"], rows["searched real"]
    leaks = []
    copies, others = found["copies"], rows["holdout"] + rows["real"]
    # Training rows say, too, how often rows are equal by chance.
    usual = (copies.usual * rows["holdout"] + repeated * rows["real"]) / others
    if copies.value > copies.usual and _above(copies.value, usual, rows["synthetic"], others):
        leaks.append(_share(copies, "equal a training row"))
    for name, words in (
        ("near_share", "are as near to a training row as few held-out rows are"),
        ("ratio_share", "are much nearer to one training row than to a second"),
    ):
        if name in found and _above(found[name].value, found[name].usual, rows["searched synthetic"], holdout):
            leaks.append(_share(found[name], words))
    if attacks := [found[name] for name in ("membership", "membership_relative") if name in found]:
        best = max(attacks, key=lambda figure: figure.value)
        if best.value > 0.5 + max(NOISE * error, 0.05):
            leaks.append(f"an attacker recognises training rows with AUROC {best.value:.2f} (chance: 0.50)")
    if "membership_found_1" in found:
        share, others = found["membership_found_1"].value, (holdout + 1) // 2  # half is the reference
        if _above(share, math.floor(0.01 * others) / others, members, others):
            leaks.append(f"{share:.1%} of the training rows are recognised at 1 % false alarms")
    return leaks


def _share(figure: Figure, words: str) -> str:
    return f"{figure.value:.1%} of the rows {words} ({figure.usual:.1%} of held-out rows)"


def _above(value: float, usual: float, rows: int, holdout: int) -> bool:
    """Whether chance makes a share of ``rows`` as far above that of ``holdout`` rows in less than one of 1,000 cases.

    The chance is exact for shares below a threshold that is the next larger value of the held-out rows: how many of
    other rows of one distribution lie below an order statistic has a beta-binomial distribution.
    """
    from scipy.stats import betabinom

    held = round(usual * holdout)
    if held >= holdout or value <= usual:
        return False
    return bool(betabinom.sf(round(value * rows) - 1, rows, held + 1, holdout - held) < RARE)


def flaws_of(
    figures: Iterable[Figure],
    columns: Sequence[ColumnFigures],
    pairs: Iterable[PairFigures],
    rules: Iterable[RuleFigures],
    compared: int,
    synthetic: int,
    holdout: int,
) -> list[str]:
    """Where synthetic rows differ clearly from real ones, beyond the noise of as many rows of both as ``compared``.

    Invalid values and broken constraints are counted among all ``synthetic`` and ``holdout`` rows.
    """
    found, noise = {figure.name: figure for figure in figures}, 1 / math.sqrt(max(1, compared))
    flaws = []
    if "two_sample" in found:
        score = found["two_sample"]
        if score.value > max(0.6, score.usual) + max(AUROC_GAP, 2 * noise):
            flaws.append(f"a classifier separates them from real rows (AUROC {score.value:.2f}; {_usual(score.usual)})")
    if "coverage" in found:
        covered = found["coverage"]
        if covered.value < LEAST_COVERED * covered.usual - noise:
            flaws.append(f"{covered.value:.0%} of held-out rows have such a row nearby (training rows: "
                         f"{covered.usual:.0%})")  # fmt: skip
    shifted = [name for name, column in _shifted(columns, noise).items() if column.kind in ("category", "boolean")]
    invalid = [(repr(column.name), column.invalid, column.usual_invalid) for column in columns]
    broken = [(rule.rule, rule.broken, rule.usual_broken) for rule in rules]
    return [
        *flaws, *_column_flaws(columns, noise), *_pair_flaws(pairs, shifted, noise),
        *_invalid("values that the schema does not allow", invalid, synthetic, holdout),
        *_invalid("broken constraints", broken, synthetic, holdout),
    ]  # fmt: skip


def _shifted(columns: Iterable[ColumnFigures], noise: float) -> dict[str, ColumnFigures]:
    """Columns of clearly another shape, by name."""
    found = {}
    for column in columns:
        # The largest gap of two equal distribution functions is above 2.76 / root n in one of 1,000 cases.
        far = column.shape is not None and 1 - column.shape > max(SHAPE_GAP, 2.76 * noise)
        if far and float(column.usual_shape or 0) - float(column.shape or 0) > SHAPE_GAP / 2:
            found[column.name] = column
    return found


def _column_flaws(columns: Sequence[ColumnFigures], noise: float) -> list[str]:
    shapes = [
        (float(column.shape or 0), f"{name!r} ({column.shape:.2f}; {_usual(float(column.usual_shape or 0))})")
        for name, column in _shifted(columns, noise).items()
    ]
    gaps = [
        (column.usual_missing - column.missing, f"{column.name!r} ({_missing(column)})")
        for column in columns
        if abs(column.missing - column.usual_missing) > max(MISSING_GAP, 2 * noise)
    ]
    return [*_named("other shapes", shapes), *_named("other shares of missing values", gaps)]


def _missing(column: ColumnFigures) -> str:
    return f"{column.missing:.0%}; held-out rows: {column.usual_missing:.0%}"


def _pair_flaws(pairs: Iterable[PairFigures], shifted: Collection[str], noise: float) -> list[str]:
    """Pairs of another relation; categories of other shares are left out, since these alone change their pairs."""
    far = [
        (pair.similarity - pair.usual, f"{pair.first!r} with {pair.second!r} ({_beside(pair)})")
        for pair in pairs
        if pair.usual - pair.similarity > max(TREND_GAP, 2 * noise) and not {pair.first, pair.second} & {*shifted}
    ]
    return _named("other relations of columns", far)


def _beside(pair: PairFigures) -> str:
    return f"{pair.similarity:.2f}; {_usual(pair.usual)}"


def _invalid(what: str, shares: Iterable[tuple[str, float, float]], synthetic: int, holdout: int) -> list[str]:
    """What synthetic rows break clearly more often than held-out rows, of names with both shares."""
    far = [
        (-share, f"{name} ({share:.1%}; held-out rows: {usual:.1%})")
        for name, share, usual in shares
        if share > usual + RULE_GAP and _above(share, usual, synthetic, holdout)
    ]
    return _named(what, far)


def _named(what: str, found: list[tuple[float, str]]) -> list[str]:
    """The worst few in words, none if there are none."""
    if not found:
        return []
    names = [name for _, name in sorted(found)]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return [f"{what}: {', '.join(names[:MOST_NAMED])}{more}"]


def _usual(value: float) -> str:
    return f"training rows: {value:.2f}"
