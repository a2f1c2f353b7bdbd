"""Pairs of examples of two domains: image files of equal names, or rows in one order."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from pipelines.readers import JobData
from serving.inputs.images import NAME
from serving.wording import counted, listed

IN_ORDER, BY_NAME = "in one order", "by file name"
Rows = np.ndarray


def pairs_of(a: JobData, b: JobData) -> tuple[Rows, Rows, str]:
    """The rows of both domains, each beside its counterpart, and how they were paired.

    Images of two folders are paired by their path without the ending, if any of them are equal; all else goes by order.
    Raises DataError naming the files without a counterpart, and for unequal numbers of rows.
    """
    from ganlib.errors import DataError

    if a.modality != "table" and all(NAME in domain.columns for domain in (a, b)):
        first, second = _places(a), _places(b)
        if common := first.keys() & second.keys():
            if lacking := sorted(first.keys() ^ second.keys()):
                raise DataError(
                    f"{counted(len(lacking), 'image has', 'images have')} no counterpart of the same name in the other "
                    f"folder: {listed(lacking, 5)}; add or remove them"
                )
            names = sorted(common)
            return np.array([first[n] for n in names]), np.array([second[n] for n in names]), BY_NAME
    if len(a) != len(b):
        raise DataError(
            f"pairs need as many rows of domain a as of domain b, in one order; there are {len(a):,} and {len(b):,}: "
            "complete them, or train without pairs (--model cyclegan, discogan)"
        )
    return np.arange(len(a)), np.arange(len(b)), IN_ORDER


def _places(domain: JobData) -> dict[str, int]:
    """Row of each file, by its path without the ending."""
    from ganlib.errors import DataError

    names = [str(PurePosixPath(str(name)).with_suffix("")) for name in domain.columns[NAME]]
    if twice := sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []:
        raise DataError(f"files of one name but of different endings cannot be paired: {listed(twice, 5)}; rename them")
    return {name: row for row, name in enumerate(names)}
