"""Selects the rows a detector learns from, and the held-out rows for early stopping and calibration."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

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


def hold_out(content: np.ndarray, validation: float, calibration: float, seed: int) -> HeldOut:
    """Split examples by ``content``, their hashes uint64 ``(n,)``: the split hardly depends on order or later rows.

    Copies of a row are numbered and split independently. The parts are thus exchangeable, as conformal p-values
    require, and the most common row of a table is not confined to one part. Positions are in hash order, so that
    training does not depend on the order of the table. Raises ConfigError for fractions that leave nothing to train
    on, DataError for fewer than 10 rows.
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
    order = _hash_order(content, seed)
    held = max(1, round(n * calibration))
    validation = max(1, round(n * validation)) if validation else 0
    return HeldOut(order[held + validation :], order[held : held + validation], order[:held])


def _hash_order(content: np.ndarray, seed: int) -> np.ndarray:
    """Positions sorted by a seeded hash of (row content, number of the copy)."""
    copies = pd.Series(content).groupby(content).cumcount().to_numpy(dtype=np.uint64)
    keys = seeded(content, seed)
    keys = mixed(keys + mixed(copies + np.uint64(0x632BE59BD9B4E019)))
    return np.lexsort((copies, keys))
