"""What generated rows need of the real ones to look like them: types, levels as the objects they are, rare words.

It lives in a fitted estimator's memory and is never sealed: no artifact lists a word that fewer than five rows share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from ganlib.data.encoder import TableEncoder
from ganlib.data.feeds import make_feeds
from ganlib.data.schema import Schema
from serving.table.decode import Like


class Originals:
    """The real columns' types, their levels by category string, and their rare words with each class's counts.

    ``codes`` are the rows' class indices, or None.
    """

    def __init__(self, frame: pd.DataFrame, encoder: TableEncoder, codes: np.ndarray | None) -> None:
        feeds = encoder.feeds(frame)
        labels = np.zeros(len(frame), dtype=np.int64) if codes is None else codes
        self.likes = likes_of(frame, encoder.schema.only(encoder.columns()))
        self._rare: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for column in encoder.columns():
            if column.kind != "category":
                continue
            texts = pd.Series(feeds[column.input], dtype=object)
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


def likes_of(frame: pd.DataFrame, schema: Schema) -> Mapping[str, Like]:
    """The types of a frame's columns, with the levels of those that a schema reads as categories."""
    likes = {name: Like(frame[name].dtype) for name in map(str, frame.columns)}
    read = tuple(c for c in schema.columns if c.kind == "category" and c.name in likes)
    used = schema.only(replace(c, role="feature") for c in read)
    feeds = make_feeds(used, frame) if read else {}
    for column in read:
        first = pd.Series(feeds[column.input], dtype=object).drop_duplicates()
        first = first[first != ""]
        objects = frame[column.name].iloc[first.index]
        likes[column.name] = Like(frame[column.name].dtype, dict(zip(first, objects, strict=True)))
    return likes
