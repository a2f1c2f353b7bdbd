"""Whether generated rows are worth adding: what was measured, weighed against what is usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganlib.augment.arms import CLASSES, MODEL
from ganlib.augment.lift import CONFIDENCE, Lift
from ganlib.augment.usual import ARMS, UNKNOWN, Usual

DIGITS = 3
MOST_COPIES = 0.5  # share of generated rows that nearly equal a real one (beyond that of held-out rows) or another


@dataclass(frozen=True)
class Expected:
    """The expected gain over the arm without generated rows, in ``Lift.kind.unit``, and its standard deviation."""

    mean: float
    error: float

    @property
    def chance(self) -> float:
        """The probability (0 to 1) that the gain is above zero."""
        from scipy.stats import norm

        if self.error == 0:
            return float(self.mean > 0)
        return float(norm.cdf(self.mean / self.error))


@dataclass(frozen=True)
class Verdict:
    """Whether generated rows are accepted, in words, and what to do instead (empty if they are).

    ``expected`` holds the expected gain by arm, and ``decides`` is the arm with generated rows that decides.
    """

    accepted: bool
    words: str
    advice: str
    expected: Mapping[str, Expected]
    decides: str = MODEL

    @property
    def chance(self) -> float:
        """The probability (0 to 1) that generated rows raise the figure."""
        return self.expected[self.decides].chance


def expected(lift: Lift, scarce: float, usual: Usual = UNKNOWN) -> dict[str, Expected]:
    """The expected gain of each arm over that of ``Lift.pair`` without generated rows: of tables, the real rows alone.

    It is the mean of what was measured and of what is usual, each weighed by its precision: the posterior under a
    normal prior (Gelman et al., Bayesian Data Analysis, section 2.5). ``usual`` is the usual gain of generated rows,
    on which nothing is built where the real rows alone rank no better than chance.
    ``scarce`` is the share of the classes that rows are added to, by which the gain of such a
    class counts in the mean over classes.
    """
    from scipy.stats import norm, t

    base = lift.pair[0]
    found = {base: Expected(0.0, 0.0)}
    for arm in lift.arms.keys() - {base}:
        known = UNKNOWN
        if lift.learnable and lift.kind is CLASSES:  # what is usual was measured for classes
            known = usual if arm == MODEL else ARMS.get(arm, UNKNOWN)
        before, spread, gap = scarce * known.mean, scarce * known.spread, lift.over(base, arm)
        if lift.splits < 2:
            found[arm] = Expected(before, spread)
            continue
        # Few splits know their spread badly: as wide as Student's t is.
        error = gap.error * float(t.ppf(norm.cdf(1.0), lift.splits - 1))
        trust = spread**2 / (spread**2 + error**2)
        found[arm] = Expected(trust * gap.mean + (1 - trust) * before, trust**0.5 * error)
    return found


def judge(lift: Lift, scarce: float, usual: Usual = UNKNOWN, confidence: float = CONFIDENCE) -> Verdict:
    """Accept generated rows if the chance that they help reaches ``confidence``, and most are no copies.

    ``scarce`` and ``usual`` are as in ``expected``.
    """
    gains, (base, decides) = expected(lift, scarce, usual), lift.pair
    gap, chance = lift.over(base), gains[decides].chance
    measured = (
        f"{_signed(gap.mean)} {lift.kind.unit} over the {lift.kind.titles[base]} ({_signed(gap.low)} to "
        f"{_signed(gap.high)} with 95 % confidence, {lift.splits} splits)"
    )
    if lift.copies > lift.usual_copies + MOST_COPIES:
        words = f"{lift.copies:.0%} of the generated rows nearly equal a real row; measured {measured}"
        return Verdict(False, words, "copies need no generator: use another model", gains, decides)
    if lift.twins > MOST_COPIES:
        words = f"{lift.twins:.0%} of the generated rows nearly equal another generated row; measured {measured}"
        return Verdict(
            False, words, "the generator repeats itself: use another model, or train it longer", gains, decides
        )
    words = f"{measured}; the chance that generated rows help is {chance:.0%}, and {confidence:.0%} is needed"
    if not lift.learnable:
        words += f"; {lift.kind.unlearned}"
    if chance >= confidence:
        return Verdict(True, words, "", gains, decides)
    return Verdict(False, words, _advice(lift, gains), gains, decides)


def _signed(value: float) -> str:
    """With its sign, but for zeros."""
    return f"{round(value, DIGITS) + 0.0:+.{DIGITS}f}"


def _advice(lift: Lift, gains: Mapping[str, Expected]) -> str:
    base, grown = lift.pair[0], [with_them for _, with_them in lift.kind.pairs]
    others = {arm: gain for arm, gain in gains.items() if arm not in grown}
    best = max(others, key=lambda arm: others[arm].mean)
    instead = f"use the {lift.kind.titles[base]}"
    gap = lift.over(base, best)
    if best != base and round(gap.mean, DIGITS) > 0:
        instead = f"of what was compared, {lift.kind.titles[best]} did best ({_signed(gap.mean)})"
    return f"{instead}; {lift.kind.instead}"
