"""Control of the false discovery rate, over a whole batch or one record at a time in a stream.

Batch: Benjamini & Hochberg, J. R. Stat. Soc. B 57 (1995); conformal p-values that share one calibration sample satisfy
its condition (Bates et al., Annals of Statistics 51 (2023), Theorem 2). Stream: LOND, Javanmard & Montanari, arXiv
1502.06197, which holds under that dependence too (Zrnic, Ramdas & Jordan, JMLR 22 (2021)).

Both use conformal p-values only, which are at least 1/(n + 1) for n calibration rows: a smaller p-value comes from the
fitted tail, an estimate with which neither rule would keep its rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from serving.errors import UsageError

# Anomalies of one in a hundred: the online rule must be able to select a record that comes this late.
_FIRST = 100
# Normalises the series of ``_share`` to one over all records (given with it in arXiv 1603.09000, section 2).
_SCALE = 0.07720838


def check_rate(rate: float | None) -> float | None:
    """The rate itself; raises UsageError outside (0, 1)."""
    if rate is not None and not 0 < rate < 1:
        raise UsageError(f"the false discovery rate must lie between 0 and 1, not {rate:g}")
    return rate


def least_p_value(calibration: Mapping[str, Any]) -> float:
    """The smallest p-value that the calibration sample alone gives: 1/(n + 1), of the smallest group if it has groups.

    ``calibration`` is the entry of the artifact's metadata.
    """
    groups = calibration.get("groups") or {}
    return 1 / (1 + min([calibration["n"], *(group["n"] for group in groups.values())]))


def nothing_selected(rate: float, rows: int, least: float) -> str:
    """Why Benjamini-Hochberg selects none of ``rows`` unless many score above all calibration rows, for people."""
    needed = math.ceil(rows * least / rate - 1e-9)
    return (
        f"the false discovery rate of {rate:g} selects no row: with {round(1 / least) - 1:,} calibration rows, "
        f"at least {needed:,} of {rows:,} rows would have to score above all of them"
    )


def check_calibration(rate: float, least: float) -> None:
    """Raise UsageError if, with p-values of at least ``least``, the online rule could never select a first anomaly that
    comes after a hundred records."""
    if least > rate * _share(_FIRST):
        needed = math.ceil(1 / (rate * _share(_FIRST))) - 1
        raise UsageError(
            f"--fdr {rate:g} on a stream needs a model with at least {needed:,} calibration rows (in each group, if it "
            f"has groups); this one has {round(1 / least) - 1:,}, with which an anomaly that comes after {_FIRST} "
            "records could never be selected. Train on more rows, choose a higher rate, or score batches"
        )


def batch_threshold(rate: float, rows: int, count: Callable[[float], int], least: float = 0.0) -> float:
    """The largest p-value that Benjamini-Hochberg selects among ``rows``; 0 if it selects none.

    ``count(t)`` is the number of p-values <= t; those below ``least`` count as ``least``. Starting at t = rate, the
    update t <- rate·count(t)/rows decreases to the largest t with t <= rate·count(t)/rows. Each step is one pass over
    the data, without sorting.
    """
    threshold = rate
    while threshold >= least and (selected := count(threshold)) > 0:
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
