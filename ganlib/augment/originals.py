"""Properties of the real rows that generated rows take over: types, original level objects, and rare levels.

They stay in the memory of a fitted estimator and are never sealed: artifacts list no level of fewer than five rows.
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
    """The real columns' types, their levels by category string, and their rare levels with counts per class.

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
        """Sample a rare level for each row, by its frequency in the row's class, or in all classes if it has none."""
        words, counts = self._rare[name]
        out = np.empty(len(codes), dtype=object)
        for label in np.unique(codes):
            own = counts[label] if counts[label].any() else counts.sum(0)
            chosen = codes == label
            out[chosen] = words[rng.choice(len(words), int(chosen.sum()), p=own / own.sum())]
        return out

    @property
    def rare_columns(self) -> list[str]:
        """Columns with rare levels, which are missing in rows of a sealed generator."""
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
