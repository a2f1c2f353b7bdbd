"""Why one row has its score, in words: where the score lies among normal rows, and what each column adds to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from serving.wording import counted, listed, shown

MOST = 8  # columns shown; the others are summed
LEAST = 0.005
ALONE = 0.5  # a column with this share explains a score by itself
PAIR = 0.8  # two columns explain it together with this share, if the second has more than half of the first's


@dataclass(frozen=True)
class Part:
    """What one column adds to a score.

    ``value`` is as in the row, ``None`` if missing; ``usual`` says what training rows had; ``remark`` what they never
    had: a missing value, an unseen category, a number out of their range. ``contribution`` is in units of the score,
    ``share`` its part of the row's positive contributions.
    """

    column: str
    value: str | None
    usual: str
    remark: str
    contribution: float
    share: float

    def cell(self) -> str:
        """The value and the remark."""
        value = "missing" if self.value is None else self.value
        return f"{value} ({self.remark})" if self.remark else value


@dataclass(frozen=True)
class Explanation:
    """A row's score and its parts, the largest first.

    ``normal_rows`` is the number of held-out normal rows that gave the p-value, those of ``group`` if the model has
    groups, and ``at_least`` how many of them have at least this score.
    """

    source: str
    source_row: int | None
    anomaly_score: float
    p_value: float
    is_anomaly: bool
    alpha: float
    normal_rows: int
    at_least: int
    group: str | None
    parts: tuple[Part, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values, the sentences among them."""
        return {**asdict(self), "sentences": [self.position(), self.verdict()]}

    def title(self) -> str:
        """Which row it is, and whether it alarms."""
        row = self.source if self.source_row is None else f"{self.source}, row {self.source_row}"
        return f"{row}: {'anomaly' if self.is_anomaly else 'no anomaly'} at alpha {self.alpha:g}"

    def position(self) -> str:
        """Where the score lies among normal rows."""
        among = counted(self.normal_rows, "held-out normal row")
        among += "" if self.group is None else f" of group {self.group!r}"
        said = f"score {self.anomaly_score:.4g}, p-value {self.p_value:.3g}"
        if self.at_least:
            return f"{said}: {self.at_least:,} of {among} {'has' if self.at_least == 1 else 'have'} at least this score"
        fitted = self.p_value < (1 - 1e-3) / (self.normal_rows + 1)
        return f"{said}{' by a fitted tail' if fitted else ''}: none of {among} has a score this high"

    def verdict(self) -> str:
        """Whether one column explains the score, or two that may not fit each other."""
        usual = "" if self.is_anomaly else "The row is not anomalous; its score is divided all the same. "
        return usual + _verdict([part for part in self.parts if part.share > 0])

    def shown(self) -> tuple[Part, ...]:
        """The columns to show: the largest, each with half a percent or more or a value unlike all training rows."""
        return tuple([part for part in self.parts if part.share >= LEAST or part.remark][:MOST])


def _verdict(parts: Sequence[Part]) -> str:
    if not parts:
        return "No column adds to the score."
    names, shares = [listed([part.column]) for part in parts[:2]], [part.share for part in parts[:2]]
    if len(parts) > 1 and sum(shares) >= PAIR and shares[0] < 2 * shares[1]:
        return (
            f"{' and '.join(names)} have {' and '.join(map(_percent, shares))} of the score: if they contradict each "
            "other, either may be the wrong one."
        )
    if shares[0] >= ALONE:
        return f"{names[0]} has {_percent(shares[0])} of the score."
    return (
        f"No single column explains the score: the largest share, of {names[0]}, is {_percent(shares[0])}, and half of "
        f"the score takes {_columns_for(parts, 0.5)} columns."
    )


def _columns_for(parts: Sequence[Part], share: float) -> int:
    """How many of the largest parts it takes to reach a share."""
    total = 0.0
    for number, part in enumerate(parts, 1):
        total += part.share
        if total >= share - 1e-9:
            return number
    return len(parts)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def report(explanations: Iterable[Explanation]) -> None:
    """Print the explanations on stdout, within the terminal's width."""
    for number, explanation in enumerate(explanations):
        print("\n" * (number > 0), end="")
        for line in (explanation.title(), explanation.position(), explanation.verdict()):
            _wrapped(line)
        _table(explanation)


def _wrapped(line: str) -> None:
    from rich.console import Console
    from rich.text import Text

    # Text, since values and names may look like markup.
    Console(highlight=False).print(Text(shown(line)))


def _table(explanation: Explanation) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    parts = explanation.shown()
    if not parts:
        return
    drawn = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    drawn.add_column("share", no_wrap=True, justify="right")
    drawn.add_column("column", overflow="fold", max_width=24, min_width=8)
    drawn.add_column("value", overflow="fold", max_width=30, min_width=8)
    drawn.add_column("usual", overflow="fold", min_width=8)
    rows = [(_percent(part.share), part.column, part.cell(), part.usual or "-") for part in parts]
    if rest := len(explanation.parts) - len(parts):
        share = sum(part.share for part in explanation.parts if part not in parts)
        rows.append((_percent(share), counted(rest, "other column"), "", ""))
    for row in rows:
        drawn.add_row(*(Text(shown(cell)) for cell in row))
    Console(soft_wrap=False, highlight=False).print(drawn)
