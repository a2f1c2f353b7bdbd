"""Rows as numbers: standardised with categories one-hot, or unchanged with categories as ranks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from benchmarks.augmentation.tables import TARGET

_LEAST_DEVIATION = 1e-12


class Coding:
    """Scales, categories and whole numbers of the real training rows."""

    def __init__(self, real: pd.DataFrame) -> None:
        features = real.drop(columns=[TARGET], errors="ignore")
        self.columns = list(features.columns)
        self.numbers = list(features.select_dtypes("number").columns)
        self.categories = [name for name in self.columns if name not in self.numbers]
        values = features[self.numbers].to_numpy(float)
        deviation = values.std(0)
        self.mean = values.mean(0)
        self.deviation = np.where(deviation > _LEAST_DEVIATION, deviation, 1.0)
        self.levels = {name: np.array(sorted(features[name].unique())) for name in self.categories}
        self.is_whole = (np.mod(values, 1) == 0).all(0)

    def scaled(self, frame: pd.DataFrame) -> np.ndarray:
        """Standardised numbers, then a column for each level of each category; an unknown level has none."""
        numbers = (frame[self.numbers].to_numpy(float) - self.mean) / self.deviation
        levels = [(frame[name].to_numpy()[:, None] == self.levels[name]).astype(float) for name in self.categories]
        return np.hstack([numbers, *levels])

    def ranked(self, frame: pd.DataFrame) -> np.ndarray:
        """Numbers, then the rank of each category; an unknown level is -1."""
        ranks = [pd.Index(self.levels[name]).get_indexer(frame[name])[:, None] for name in self.categories]
        return np.hstack([frame[self.numbers].to_numpy(float), *(rank.astype(float) for rank in ranks)])

    def frame(self, scaled: np.ndarray) -> pd.DataFrame:
        """The inverse of ``scaled``: the likeliest level, whole numbers where all real ones are."""
        numbers, levels = np.split(scaled, [len(self.numbers)], axis=1)
        values = numbers * self.deviation + self.mean
        values[:, self.is_whole] = np.round(values[:, self.is_whole])
        found: dict[str, np.ndarray] = dict(zip(self.numbers, values.T, strict=True))
        first = 0
        for name in self.categories:
            count = len(self.levels[name])
            found[name] = self.levels[name][levels[:, first : first + count].argmax(1)].astype(object)
            first += count
        return pd.DataFrame(found)[self.columns]
