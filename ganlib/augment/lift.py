"""Measures the lift of augmentation over splits of real rows, compared with what helps without generated rows.

On each split, ``ganlib.augment.arms`` evaluates classifiers that are trained on the real rows alone, with class
weights, in balanced bags, with copies, with SMOTE rows and with generated rows. Of a numeric target,
``ganlib.augment.numeric_arms`` evaluates regressors, and of images and series ``ganlib.augment.example_arms`` evaluates
convolutional networks. The differences are not independent across splits, so their interval uses the corrected variance
of Nadeau & Bengio, "Inference for the Generalization Error", Machine Learning 52 (2003), section 4.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ganlib.augment.arms import CLASSES, NONE, NUMBERS, Judged, Kind, judge_split, measure_of
from ganlib.augment.cells import Cells
from ganlib.augment.numeric_arms import judge_numbers, skill_of
from ganlib.augment.ranges import is_numeric_target
from ganlib.augment.splitting import HELD_OUT, Split, held_out_splits
from ganlib.data.conditions import Condition
from ganlib.data.values import as_strings
from ganlib.errors import DataError
from ganlib.estimator import seed_of

if TYPE_CHECKING:
    from ganlib.augment.base import BaseAugmenter

LEAST_SPLITS, USUAL_SPLITS, MOST_SPLITS = 3, 10, 30
WORTH = 0.01  # macro AUPRC: the gain that more splits should find
CONFIDENCE = 0.7  # with which 5 % of useless generators were accepted (docs/performance.md)
FOUND = 0.8
LEAST_ROWS = 4  # of a class that is measured
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Difference:
    """Mean difference of two arms over repeats, with a 95 % interval and its standard error."""

    mean: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Example:
    """The rows of one split: those learned from, those generated, and those held out."""

    real: pd.DataFrame
    synthetic: pd.DataFrame
    holdout: pd.DataFrame


@dataclass(frozen=True)
class Shown:
    """Examples of one split, for pictures: real ones learned from, and generated ones, each with classes as text.

    Images are as files hold them, ``(n, h, w)`` or ``(n, h, w, 3)``; series are ``(n, channels, length)``.
    """

    modality: str
    real: tuple[np.ndarray, np.ndarray]
    made: tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Lift:
    """Figures of each arm by split, means over the learners (higher is better, 1 at most).

    ``learners`` holds them by learner, and ``kind`` names them. ``chance`` is that of ``Judged`` by split; ``copies``,
    ``usual_copies`` and ``twins`` are means of its other shares. ``held_out`` is the share of held-out rows.
    ``example`` holds the rows of the first split, if requested and the target has classes, and ``shown`` its examples.
    """

    arms: Mapping[str, Sequence[float]]
    held_out: float
    measure: str = ""
    learners: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    chance: Sequence[float] = ()
    copies: float = 0.0
    usual_copies: float = 0.0
    twins: float = 0.0
    kind: Kind = CLASSES
    example: Example | None = field(default=None, compare=False, repr=False)
    shown: Shown | None = field(default=None, compare=False, repr=False)

    @property
    def splits(self) -> int:
        """Number of splits."""
        return len(self.arms[NONE])

    def mean(self, arm: str) -> float:
        """Mean figure of an arm."""
        return float(np.mean(self.arms[arm]))

    @property
    def pair(self) -> tuple[str, str]:
        """The arms without and with generated rows that decide: those that do best without them."""
        return max(self.kind.pairs, key=lambda pair: self.mean(pair[0]))

    def over(self, arm: str, of: str | None = None) -> Difference:
        """The difference between an arm, that with generated rows if None, and another; unbounded with one split."""
        from scipy.stats import t

        gaps = np.subtract(self.arms[of or self.pair[1]], self.arms[arm])
        repeats, mean = len(gaps), float(gaps.mean())
        if repeats < 2:
            return Difference(mean, -math.inf, math.inf, math.inf)
        error = float(gaps.std(ddof=1)) * _widening(repeats, self.held_out)
        reach = float(t.ppf(0.975, repeats - 1)) * error
        return Difference(mean, mean - reach, mean + reach, error)

    def detectable(self, splits: float | None = None, confidence: float = CONFIDENCE) -> float:
        """The true gain that ``splits`` like these (as many as there are, if None) would find in four of five cases.

        Found means that the measured gain is above zero with this confidence. It falls with more splits down to a bound
        that only more rows lower: ``splits=math.inf``.
        """
        from scipy.stats import norm

        base, grown = self.pair
        gaps = np.subtract(self.arms[grown], self.arms[base])
        if len(gaps) < 2:
            return math.inf
        errors = float(norm.ppf(FOUND) + norm.ppf(confidence))
        return errors * float(gaps.std(ddof=1)) * _widening(splits or len(gaps), self.held_out)

    @property
    def learnable(self) -> bool:
        """Whether the real rows alone rank held-out rows better than chance, with 95 % confidence or more."""
        from scipy.stats import t

        if len(self.chance) < 2:
            return True
        gaps = np.subtract(self.arms[NONE], self.chance)
        error = float(gaps.std(ddof=1)) * _widening(len(gaps), self.held_out)
        return bool(gaps.mean() > float(t.ppf(0.95, len(gaps) - 1)) * error)


def measure_lift(
    augmenter: BaseAugmenter,
    frame: pd.DataFrame,
    label: str,
    rows: int | None = None,
    *,
    condition: Any = None,
    where: str | Sequence[str] | Condition | None = None,
    target: str = "classes",
    repeats: int | None = None,
    held_out: float = HELD_OUT,
    seed: int = 0,
    learner: Any = None,
    seconds: float | None = None,
    groups: Any = None,
    times: Any = None,
    report: Report = lambda done, total: None,
    with_example: bool = False,
) -> Lift:
    """Refit a copy of ``augmenter`` on stratified splits and measure the lift of its rows.

    Each split has its own random seed of the augmenter, beginning with that of ``augmenter``. ``rows``, ``condition``,
    ``where`` and ``target`` are as in ``BaseAugmenter.augment`` for the whole frame; ``rows`` is scaled by the training
    share. Rows without a label and classes of fewer than four rows are left out. ``learner`` is the classifier or
    regressor, a random forest and a logistic (of numbers a ridge) regression if None; it reads encoded rows.

    With ``where`` learners train on all real rows, and are evaluated on the held-out rows that satisfy the condition;
    copies and SMOTE rows are those of such rows too.

    ``repeats`` is the number of splits. None is ten, and up to thirty where more than ten, but not more than thirty,
    find a gain of 0.01 in four of five cases. After three splits, none begins that would not end within ``seconds``.
    ``groups`` and ``times``, a value for each row, hold out rows as ``held_out_splits`` says. ``report(done, total)``
    is called after each split. ``with_example`` keeps the rows of the first split. Raises DataError if fewer than two
    classes remain, or no split has each on both sides.
    """
    from sklearn.base import clone

    study = _study(augmenter, frame, label, where, target)
    known, first = frame.iloc[study.rows].reset_index(drop=True), seed_of(augmenter.random_state)
    # A split keeps each stratum on both sides.
    size, examples = max(held_out, len(np.unique(study.strata)) / len(known)), list[Example]()

    def split(number: int, train: np.ndarray, test: np.ndarray) -> Judged:
        real = known.iloc[train].reset_index(drop=True)
        wanted = None if rows is None else max(1, round(rows * (1 - size)))
        one = clone(augmenter).set_params(random_state=(first + number) % 2**32)
        if "compare" in one.get_params():
            one.set_params(compare=False)  # measured are the rows that an automatic augmenter would generate
        made = one.augment(real, label, wanted, condition=condition, only_synthetic=True, **study.given)
        held = known.iloc[test[study.held[test]]]
        if with_example and study.kind is CLASSES and not examples:
            like = real[study.held[train]]  # of rows that satisfy the condition, as those generated and held out do
            examples.append(Example(like.reset_index(drop=True), made, held.reset_index(drop=True)))
        return study.judge(real, made, held, label, seed + number, learner, study.held[train])

    def of_kept(values: Any) -> np.ndarray | None:
        return None if values is None else np.asarray(values)[study.rows]

    splits = held_out_splits(
        study.strata, repeats or MOST_SPLITS, seed, share=size, groups=of_kept(groups), times=of_kept(times)
    )
    said = measure_of(learner) if study.kind is CLASSES else skill_of(learner)
    if "where" in study.given:
        said += " that satisfy the condition"
    lift = lift_over(splits, split, said, repeats=repeats, seconds=seconds, report=report, kind=study.kind)
    return replace(lift, example=examples[0]) if examples else lift


@dataclass(frozen=True)
class _Study:
    """The ``rows`` (positions) that are split by ``strata``; ``held`` are evaluated; ``given`` is for ``augment``."""

    rows: np.ndarray
    strata: np.ndarray
    held: np.ndarray
    kind: Kind
    judge: Callable[..., Judged]
    given: Mapping[str, Any]


def _study(augmenter: BaseAugmenter, frame: pd.DataFrame, label: str, where: Any, target: str) -> _Study:
    """What is split and evaluated; raises DataError if too few rows can be."""
    numeric = is_numeric_target(frame[label], target)
    if where is None and not numeric:
        kept = judgeable(frame[label], label)
        texts = as_strings(frame[label].iloc[kept]).astype(str)
        return _Study(kept, texts, np.ones(len(kept), dtype=bool), CLASSES, judge_split, {})
    condition = None if where is None else Condition.of(where, frame, augmenter.schema, label)
    cells = Cells.read(frame, label, condition, numeric)
    counts = pd.Series(cells.names).map(pd.Series(cells.names).value_counts()).to_numpy()
    kept = np.flatnonzero(counts >= LEAST_ROWS)
    least = 1 if numeric else 2
    if len(np.unique(cells.names[kept][cells.held[kept]].astype(str))) < least:
        some = "a range" if numeric else "two classes"
        raise DataError(
            f"the lift needs {some} of {label!r} of which {LEAST_ROWS} rows or more satisfy the condition "
            f"{cells.describe()!r}; add rows or widen it"
        )
    given: dict[str, Any] = {"target": "numeric" if numeric else "classes"}
    if condition is not None:
        given["where"] = condition
    kind, judge = (NUMBERS, judge_numbers) if numeric else (CLASSES, judge_split)
    return _Study(cells.rows[kept], cells.names[kept].astype(str), cells.held[kept], kind, judge, given)


def lift_over(
    splits: Iterable[Split],
    judge: Callable[[int, np.ndarray, np.ndarray], Judged],
    measure: str,
    *,
    repeats: int | None,
    seconds: float | None,
    report: Report = lambda done, total: None,
    kind: Kind = CLASSES,
) -> Lift:
    """The lift over splits that ``judge(number, learned, held out)`` evaluates one by one.

    ``repeats`` and ``seconds`` are as in ``measure_lift``.
    """
    start, found, sizes, total = time.monotonic(), list[Judged](), list[float](), repeats or USUAL_SPLITS
    for number, (train, test) in enumerate(splits):
        took = time.monotonic() - start
        if seconds is not None and number >= LEAST_SPLITS and took * (number + 1) / number > seconds:
            break
        if number == USUAL_SPLITS and repeats is None:
            total = splits_needed(_joined(found, sizes, measure, kind))
        if number >= total:
            break
        found.append(judge(number, train, test))
        sizes.append(len(test) / (len(train) + len(test)))
        report(number + 1, total)
    return _joined(found, sizes, measure, kind)


def splits_needed(lift: Lift) -> int:
    """How many splits like those measured find a gain of ``WORTH``; the usual number if thirty do not."""
    more = range(USUAL_SPLITS, MOST_SPLITS + 1)
    return next((count for count in more if lift.detectable(count) <= WORTH), USUAL_SPLITS)


def judgeable(labels: pd.Series, name: str) -> np.ndarray:
    """Positions of the rows of classes with four rows or more; raises DataError for fewer than two such classes."""
    counts = labels.map(labels.value_counts())
    kept = np.flatnonzero((labels.notna() & (counts >= LEAST_ROWS)).to_numpy())
    if labels.iloc[kept].nunique() < 2:
        raise DataError(f"the lift needs two classes of four rows or more in {name!r}; add rows")
    return kept


def _joined(found: Sequence[Judged], sizes: Sequence[float], measure: str, kind: Kind) -> Lift:
    def by_split(each: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
        return {arm: [figures[arm] for figures in each] for arm in each[0]}

    learners = {name: by_split([one.learners[name] for one in found]) for name in found[0].learners}
    copies, usual, twins = (
        float(np.mean([getattr(one, name) for one in found])) for name in ("copies", "usual_copies", "twins")
    )
    arms, chance = by_split([one.arms for one in found]), [one.chance for one in found]
    return Lift(arms, float(np.mean(sizes)), measure, learners, chance, copies, usual, twins, kind)


def _widening(splits: float, held_out: float) -> float:
    """From the spread of differences between splits to the standard error of their mean."""
    return math.sqrt(1 / splits + held_out / (1 - held_out))
