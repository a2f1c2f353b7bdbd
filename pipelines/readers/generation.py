"""What augmenting needs of the data, whatever its kind, and counts of rows by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipelines.errors import UsageError
from pipelines.sections import AugmentSettings, DataSettings
from serving.wording import listed

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.augment.lift import Lift
    from serving.artifact import Artifact

Build = Callable[..., Any]
"""An unfitted augmenter with these parameters beside those of the settings."""
Report = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """Real rows followed by generated ones, with their numbers, and counts of constraints that were enforced."""

    rows: Any
    real: int
    classes: Mapping[str, int]
    synthetic: int
    constraints: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class Generation(Protocol):
    """One augmentation of a job's data; ``budget`` is the time for measuring."""

    budget: str

    def check(self, sealed: bool) -> None:
        """Raise before anything is fitted if the output cannot hold the data, or the data cannot be learned from."""

    def classes(self) -> dict[str, int]:
        """Real rows by class or range, of those that satisfy the condition; empty without a label."""

    def wanted(self) -> dict[str, int]:
        """Rows that would be generated of each class or range; raises an error for an unknown one."""

    def notes(self) -> list[str]:
        """What to report about how the data are read."""

    def lift(self, build: Build, report: Callable[[int, int], None]) -> Lift:
        """What generated rows add, over several splits; ``report(done, total)`` follows each."""

    def fitted(self, build: Build) -> Made:
        """Fit an augmenter on all rows and generate."""

    def sealed(self, artifact: Artifact) -> Made:
        """Generate by a sealed augmenter."""

    def write(self, made: Made, report: Report) -> None:
        """Write the output, complete or not at all."""


def held_out_by(data: DataSettings, columns: pd.DataFrame) -> dict[str, np.ndarray]:
    """Groups or times by which rows are held out, as options of ``held_out_splits``; nothing for a split by content.

    Raises DataError if the column is missing, or a time in it.
    """
    from ganlib.data.read import need_column
    from ganlib.data.split import sortable_times
    from ganlib.data.values import as_strings

    if data.split == "hash":
        return {}
    name = str(data.split_column)
    need_column(columns, name, data.split)
    if data.split == "group":
        return {"groups": as_strings(columns[name]).astype(str)}
    return {"times": sortable_times(columns[name])}


def wanted_counts(chosen: AugmentSettings, names: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Rows to generate of each class: as many as balance the classes, or ``augment.rows`` of them.

    Raises ConfigError if ``augment.condition`` is not among the classes.
    """
    from ganlib.augment.counts import counts_for, share_out, to_balance

    lacking = to_balance(held)
    if chosen.condition is not None:
        _, one = counts_for(1, chosen.condition, names, list(names), held)
        return one * (int((lacking * one).sum()) if chosen.rows is None else chosen.rows)
    if chosen.rows is not None:
        return share_out(chosen.rows, lacking if lacking.sum() else np.ones(len(names)))
    return lacking


def class_counts(texts: np.ndarray | None) -> dict[str, int]:
    """Rows by class, of each row's class as text; empty texts have none."""
    if texts is None:
        return {}
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def wanted_of(chosen: AugmentSettings, classes: Mapping[str, int]) -> dict[str, int]:
    """Rows to generate of each class; raises UsageError if there is no class of that name."""
    if chosen.condition is not None and chosen.condition not in classes:
        raise UsageError(f"there is no class {chosen.condition!r}; the classes are {listed(list(classes))}")
    counts = wanted_counts(chosen, np.array(list(classes)), np.array(list(classes.values())))
    return dict(zip(classes, map(int, counts), strict=True))


def needs_rows(model: str, chosen: AugmentSettings) -> int:
    """The rows to generate by a sealed augmenter without classes; raises UsageError if none are given."""
    if chosen.rows is None:
        raise UsageError(f"augmenter {model} has no classes to balance: give --rows N")
    return chosen.rows


def needs_label(model: str, label: str | None, conditions: list[str]) -> str:
    """The label of classes that a sealed augmenter generates; raises UsageError if none is named."""
    if label is None:
        raise UsageError(f"augmenter {model} generates the classes {listed(conditions)}: give --label COLUMN")
    return label
