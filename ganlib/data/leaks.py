"""How well one column alone separates known anomalies from other rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ganlib.data.column import Column
from ganlib.data.values import NO_DATE, as_booleans, as_microseconds, as_numbers, as_strings

LEAST_ANOMALIES = 5  # known anomalies needed to detect a leak


def alone(column: Column, series: pd.Series, anomalous: np.ndarray, timezone: str) -> float:
    """AUROC of one column in either direction, or of its missing values; 0.5 if there are too few anomalies."""
    if min(anomalous.sum(), (~anomalous).sum()) < LEAST_ANOMALIES or column.kind == "text":
        return 0.5
    if column.clock == "recurring":  # its position in time is not read
        return 0.5
    if column.kind == "category":
        scores = _shares(as_strings(series), anomalous)
        return _auroc(scores, anomalous)
    if column.kind == "date":
        stamps = as_microseconds(series, column.timezone or timezone, layout=column.layout)
        values = np.where(stamps == NO_DATE, np.nan, stamps.astype(np.float64))
    else:
        read = as_booleans if column.kind == "boolean" else as_numbers
        values = read(series, layout=column.layout)
    lacks = ~np.isfinite(values)
    if not lacks.any():
        return _either(values, anomalous)
    filled = np.where(lacks, np.median(values[~lacks]) if not lacks.all() else 0.0, values)
    return max(_either(filled, anomalous), _either(lacks.astype(np.float64), anomalous))


def _shares(texts: np.ndarray, anomalous: np.ndarray) -> np.ndarray:
    """The share of anomalies among the rows with the same value; the overall share for rare values."""
    codes = pd.factorize(texts)[0]
    counts, hits = np.bincount(codes), np.bincount(codes, weights=anomalous.astype(np.float64))
    return np.where(counts >= LEAST_ANOMALIES, hits / counts, anomalous.mean())[codes]


def _either(scores: np.ndarray, anomalous: np.ndarray) -> float:
    figure = _auroc(scores, anomalous)
    return max(figure, 1.0 - figure)


def _auroc(scores: np.ndarray, anomalous: np.ndarray) -> float:
    """Mann and Whitney's statistic; ties count one half."""
    ranks, positives = pd.Series(scores).rank().to_numpy(), int(anomalous.sum())
    negatives = len(anomalous) - positives
    return float((ranks[anomalous].sum() - positives * (positives + 1) / 2) / (positives * negatives))
