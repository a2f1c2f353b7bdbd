"""Selects the rows a detector learns from, and the held-out rows for early stopping and calibration."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ganlib.data.content import row_hash
from ganlib.data.split import mixed, seeded
from ganlib.errors import ConfigError, DataError

LEAST_ROWS = 10
_NORMAL_WORDS = {"0", "0.0", "false", "normal"}


@dataclass(frozen=True)
class HeldOut:
    """Row positions of the three parts, disjoint and complete."""

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray


def normal_rows(y: Any, rows: int) -> np.ndarray:
    """Mask of the rows whose label is normal or missing, bool ``(rows,)``.

    ``y`` may hold 0 and 1 or False and True (1 = known anomaly), or strings, of which ``normal``, ``0`` and ``false``
    mark normal rows. Other numbers are ignored with a warning, as scikit-learn's detectors ignore any ``y``. Raises
    DataError for a wrong length or if no normal rows remain.
    """
    if y is None:
        return np.ones(rows, dtype=bool)
    labels = pd.Series(np.asarray(y, dtype=object).ravel()) if not isinstance(y, pd.Series) else y.astype(object)
    if len(labels) != rows:
        raise DataError(f"y has {len(labels)} labels for {rows} rows; give one label to each row")
    labels = labels.reset_index(drop=True)
    present = labels[labels.notna()]
    if all(isinstance(value, str) for value in present):
        anomalous = labels.notna() & ~labels.astype(str).str.strip().str.lower().isin([*_NORMAL_WORDS, ""])
    elif set(pd.to_numeric(present, errors="coerce")) <= {0, 1}:
        anomalous = labels.notna() & (pd.to_numeric(labels, errors="coerce") == 1)
    else:
        shown = ", ".join(repr(v) for v in list(dict.fromkeys(present))[:5])
        warnings.warn(
            f"y was ignored: it holds {shown}, but a detector reads 0 (normal) and 1 (anomaly), or words of which "
            "'normal' marks normal rows",
            UserWarning,
            stacklevel=3,
        )
        return np.ones(rows, dtype=bool)
    if anomalous.all():
        raise DataError(
            f"y marks none of the {rows} rows as normal; mark normal rows with 0, false or 'normal' or leave them empty"
        )
    return ~anomalous.to_numpy()


def runs_of(runs: Any, rows: int) -> np.ndarray:
    """Labels of runs ``(rows,)``; raises DataError for another length or a missing label."""
    labels = np.asarray(runs).ravel()
    if len(labels) != rows:
        raise DataError(f"runs has {len(labels)} labels for {rows} rows; give one label to each row")
    if pd.isna(labels).any():
        raise DataError("a label of runs is missing; give one to each row")
    return labels


def hold_out(
    content: np.ndarray, validation: float, calibration: float, seed: int, runs: np.ndarray | None = None
) -> HeldOut:
    """Split examples by ``content``, their hashes uint64 ``(n,)``: the split hardly depends on order or later rows.

    Copies of a row are numbered and split independently. The parts are thus exchangeable, as conformal p-values
    require, and the most common row of a table is not confined to one part. Positions are in hash order, so that
    training does not depend on the order of the table.

    ``runs`` holds a label of each example, ``(n,)``: examples of one run stay together, as windows that share rows
    must, and p-values then hold for examples of runs like those of the calibration part.

    Raises ConfigError for fractions that leave nothing to train on, DataError for fewer than 10 rows or too few runs.
    """
    if validation + calibration >= 1:
        raise ConfigError(
            f"validation_fraction and calibration_fraction leave nothing to train on: {validation} + {calibration}"
        )
    n = len(content)
    if n < LEAST_ROWS:
        raise DataError(
            f"a detector needs at least {LEAST_ROWS} normal rows, to train and to calibrate; got n_samples={n}"
        )
    held = max(1, round(n * calibration))
    validation = max(1, round(n * validation)) if validation else 0
    if runs is None:
        order = _hash_order(content, seed)
        return HeldOut(order[held + validation :], order[held : held + validation], order[:held])
    return _hold_out_runs(pd.Series(np.asarray(runs)), held, validation, seed)


def _hold_out_runs(runs: pd.Series, calibration: int, validation: int, seed: int) -> HeldOut:
    """Whole runs in the order of their seeded hashes: at least these numbers of examples for each part."""
    keys = mixed(seeded(row_hash(runs.to_frame("run")), seed))
    order = np.argsort(keys, kind="stable")
    ordered, cuts = keys[order], [0]
    for size in (calibration, validation):
        last = min(cuts[-1] + size, len(order)) - 1
        cuts.append(int(np.searchsorted(ordered, ordered[last], side="right")) if size else cuts[-1])
    train = order[cuts[2] :]
    if not len(train):
        raise DataError(
            f"{runs.nunique()} runs are too few to train on one part of them, to stop early and to calibrate on "
            "others; add runs, or give smaller fractions"
        )
    return HeldOut(train, order[cuts[1] : cuts[2]], order[: cuts[1]])


def _hash_order(content: np.ndarray, seed: int) -> np.ndarray:
    """Positions sorted by a seeded hash of (row content, number of the copy)."""
    copies = pd.Series(content).groupby(content).cumcount().to_numpy(dtype=np.uint64)
    keys = seeded(content, seed)
    keys = mixed(keys + mixed(copies + np.uint64(0x632BE59BD9B4E019)))
    return np.lexsort((copies, keys))
