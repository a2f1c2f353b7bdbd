"""What generated rows need of the real ones to look like them: types, levels as the objects they are, rare words.

It lives in a fitted estimator's memory and is never sealed: no artifact lists a word that fewer than five rows share.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ganlib.data.encoder import TableEncoder
from serving.table.decode import Like


class Originals:
    """The real columns' types, their levels by category string, and their rare words with each class's counts.

    ``codes`` are the rows' class indices, or None.
    """

    def __init__(self, frame: pd.DataFrame, encoder: TableEncoder, codes: np.ndarray | None) -> None:
        feeds = encoder.feeds(frame)
        labels = np.zeros(len(frame), dtype=np.int64) if codes is None else codes
        self.likes: dict[str, Like] = {}
        self._rare: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for column in encoder.columns():
            series = frame[column.name]
            if column.kind != "category":
                self.likes[column.name] = Like(series.dtype)
                continue
            texts = pd.Series(feeds[column.input], dtype=object)
            first = texts[texts != ""].drop_duplicates()
            objects = series.iloc[first.index]
            self.likes[column.name] = Like(series.dtype, dict(zip(first, objects, strict=True)))
            rare = ~texts.isin([*(column.categories or ()), ""])
            if rare.any():
                words, place = np.unique(texts[rare].to_numpy(dtype=str), return_inverse=True)
                counts = np.zeros((int(labels.max()) + 1, len(words)))
                np.add.at(counts, (labels[rare.to_numpy()], place), 1)
                self._rare[column.name] = (words.astype(object), counts)

    def rare_words(self, name: str, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A rare word of a column for each row, by its frequency in the row's class, else in all classes."""
        words, counts = self._rare[name]
        out = np.empty(len(codes), dtype=object)
        for label in np.unique(codes):
            own = counts[label] if counts[label].any() else counts.sum(0)
            chosen = codes == label
            out[chosen] = words[rng.choice(len(words), int(chosen.sum()), p=own / own.sum())]
        return out

    @property
    def rare_columns(self) -> list[str]:
        """Columns with rare words, which a sealed generator leaves missing."""
        return list(self._rare)


def likes_of(frame: pd.DataFrame) -> Mapping[str, Like]:
    """The types of a frame's columns alone."""
    return {str(name): Like(frame.iloc[:, i].dtype) for i, name in enumerate(frame.columns)}
