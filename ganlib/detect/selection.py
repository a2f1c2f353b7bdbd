"""Comparing fitted detectors on held-out rows with known anomalies; rows altered as a check without any."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ganlib.data.feeds import as_frame
from ganlib.detect.rows import normal_rows
from ganlib.errors import ConfigError, DataError
from ganlib.metrics.detection import auprc, auroc

if TYPE_CHECKING:
    from ganlib.detect.base import BaseDetector


@dataclass(frozen=True)
class Comparison:
    """The result: name of the ``measure``, ``values`` by candidate (higher is better), and the ``best`` candidate."""

    measure: str
    values: Mapping[str, float]
    best: str


def permuted_columns(
    data: Any, random_state: int = 0, share: float = 1 / 3, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """Generate anomalies without labels: take a random third of each row's columns from other rows.

    In each row, ``ceil(share · columns)`` values are permuted across rows. All values occur in the data; only their
    dependence is broken. ``columns`` limits the columns to permute. Raises DataError for fewer than two rows.
    """
    frame = as_frame(data).reset_index(drop=True)
    names = list(frame.columns) if columns is None else list(columns)
    if len(frame) < 2:
        raise DataError(f"permuting columns needs at least two rows; got {len(frame)}")
    rng = np.random.default_rng(random_state)
    count = max(1, math.ceil(share * len(names)))
    chosen = rng.random((len(frame), len(names))).argsort(axis=1) < count
    out = frame.copy()
    for position, name in enumerate(names):
        rows = np.flatnonzero(chosen[:, position])
        sources = np.arange(len(frame))
        # A cyclic shift of a random order: no row keeps its own value.
        order = rng.permutation(len(frame))
        sources[order] = np.roll(order, 1)
        taken = np.arange(len(frame))
        taken[rows] = sources[rows]
        out[name] = frame[name].take(taken).set_axis(frame.index)
    return out


def compare_detectors(detectors: Mapping[str, BaseDetector], X: Any, y: Any) -> Comparison:
    """Compare fitted detectors on held-out rows of which ``y`` marks the known anomalies.

    The measure is the area under the precision-recall curve; ties are won by the first detector. Raises ConfigError
    without known anomalies: measures without labels, AUROC against altered rows among them, chose no better than chance
    on labelled tables. ``AutoDetector(members=...)`` fuses several models instead.
    """
    if not detectors:
        raise DataError("there are no detectors to compare")
    anomalous = ~normal_rows(y, len(X))
    if not anomalous.any():
        raise ConfigError(
            "nothing but known anomalies shows which detector is best: give a y that marks some, or fuse the models by "
            "AutoDetector(members=[...])"
        )
    values = {name: auprc(d.anomaly_score(X), anomalous) for name, d in detectors.items()}
    return Comparison("validation AUPRC", values, max(values, key=lambda name: values[name]))


def contrast(detector: BaseDetector, X: Any, random_state: int = 0) -> float:
    """AUROC of held-out rows against themselves with a random third of their columns permuted; 0.5 is chance.

    It shows that a detector learned some dependence of columns. It does not show which of several detectors is better:
    over 13 tables its rank correlation with the true AUROC was .13.
    """
    if not detector.reader_.tabular:
        raise ConfigError("columns are permuted of tables; this detector reads images or series")
    features = [c.name for c in detector.schema_.features]
    broken = permuted_columns(X, random_state, columns=features)
    # A detector fitted on arrays scores arrays.
    rows = broken if isinstance(X, pd.DataFrame) else broken.to_numpy()
    scores = np.concatenate([detector.anomaly_score(X), detector.anomaly_score(rows)])
    return auroc(scores, np.repeat([0, 1], len(rows)))
