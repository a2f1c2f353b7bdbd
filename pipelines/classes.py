"""Classes of a label column, and whether they can be learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipelines.readers.generation import wanted_of
from serving.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.sections import AugmentSettings

LEAST_CLASS = 4  # rows that a class needs before one of them can be held out


def learnable_classes(frame: pd.DataFrame, label: str) -> dict[str, int]:
    """Rows by class; raises DataError if the column is absent or none of its classes can be learned."""
    from ganlib.data.read import need_column
    from ganlib.data.values import as_strings
    from ganlib.errors import DataError

    texts = as_strings(need_column(frame, label)).astype(str)
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    if len(names) == 0:
        raise DataError(
            f"label column {label!r} holds no value: all of them are missing; name another column with --label"
        )
    if len(names) == 1:
        raise DataError(
            f"label column {label!r} holds one class, {str(names[0])!r}; an augmenter needs two or more: name another "
            "column with --label"
        )
    if counts.max() < LEAST_CLASS:
        raise DataError(
            f"label column {label!r} divides {counted(len(frame), 'row')} into {len(names)} classes, and none has "
            f"{LEAST_CLASS} rows or more: no class can be learned; add rows, or name another column with --label"
        )
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def check_learnable(frame: pd.DataFrame, label: str | None, chosen: AugmentSettings) -> None:
    """Raise DataError, before anything is fitted, if the table is too small to learn from or already balanced."""
    from ganlib.errors import DataError

    if label is None:
        if len(frame) < LEAST_CLASS:
            raise DataError(f"{counted(len(frame), 'row')}: an augmenter needs {LEAST_CLASS} or more; add rows")
        return
    classes = learnable_classes(frame, label)
    if chosen.rows is None and not any(wanted_of(chosen, classes).values()):
        one = f"class {chosen.condition!r} of {label!r} is the largest"
        what = f"the classes of {label!r} are balanced" if chosen.condition is None else one
        raise DataError(f"{what}: no rows are missing; give --rows N to add some")
