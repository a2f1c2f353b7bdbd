"""Control of the false discovery rate, over a whole batch or one record at a time in a stream.

Batch: Benjamini & Hochberg, J. R. Stat. Soc. B 57 (1995); conformal p-values that share one calibration sample satisfy
its condition (Bates et al., Annals of Statistics 51 (2023), Theorem 2). Stream: LOND, Javanmard & Montanari, arXiv
1502.06197, which holds under that dependence too (Zrnic, Ramdas & Jordan, JMLR 22 (2021)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from serving.errors import UsageError

# Normalises the series of ``_share`` to one over all records (given with it in arXiv 1603.09000, section 2).
_SCALE = 0.07720838


def check_rate(rate: float | None) -> float | None:
    """The rate itself; raises UsageError outside (0, 1)."""
    if rate is not None and not 0 < rate < 1:
        raise UsageError(f"the false discovery rate must lie between 0 and 1, not {rate:g}")
    return rate


def batch_threshold(rate: float, rows: int, count: Callable[[float], int]) -> float:
    """The largest p-value that Benjamini-Hochberg selects among ``rows``; 0 if it selects none.

    ``count(t)`` is the number of p-values <= t. Starting at t = rate, the update t <- rate·count(t)/rows decreases to
    the largest t with t <= rate·count(t)/rows. Each step is one pass over the data, without sorting.
    """
    threshold = rate
    while (selected := count(threshold)) > 0:
        lower = rate * selected / rows
        if lower >= threshold:
            return threshold
        threshold = lower
    return 0.0


class Lond:
    """The online rule: record t is selected if p <= rate · share(t) · (selected so far + 1).

    Its state is two counters, stored in the stream's cursor. Decisions are final, so it selects far fewer records than
    the batch rule on the same data.
    """

    def __init__(self, rate: float, state: Mapping[str, Any] | None = None) -> None:
        self.rate = rate
        self.seen, self.selected = (int(state["seen"]), int(state["selected"])) if state else (0, 0)

    def decide(self, p_value: float) -> bool:
        """Whether the next record is a discovery."""
        self.seen += 1
        chosen = p_value <= self.rate * _share(self.seen) * (self.selected + 1)
        self.selected += chosen
        return bool(chosen)

    @property
    def state(self) -> dict[str, int]:
        """The counters to store in the cursor."""
        return {"seen": self.seen, "selected": self.selected}


def _share(t: int) -> float:
    return _SCALE * math.log(max(t, 2)) / (t * math.exp(math.sqrt(math.log(t))))
