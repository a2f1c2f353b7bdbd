"""Which of more rows than asked for to keep: those within the schema, no near copies of real rows, the most typical."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ganlib.data.schema import Schema

MOST_ROWS = 5000  # real rows that the forest and the neighbour search look at
NEAR = 0.05
TREES = 100
FOREST_BYTES = 1 << 29


def schema_breaches(schema: Schema, frame: pd.DataFrame) -> np.ndarray:
    """Rows of generated columns that leave the schema: bool ``(n,)``.

    A breach is a number or date outside its bounds, a category that is not listed, or a missing value in a column
    whose training rows lacked none.
    """
    from ganlib.data.feeds import make_feeds
    from ganlib.data.values import NO_DATE

    columns = tuple(c for c in schema.features if c.name in frame.columns and c.kind != "text")
    feeds = make_feeds(schema.only(columns), frame)
    broken = np.zeros(len(frame), dtype=bool)
    for column in columns:
        feed = feeds[column.input]
        if column.kind == "category":
            missing = feed == ""
            if not column.rare:
                broken |= ~missing & ~np.isin(feed.astype(str), list(column.categories or ()))
        else:
            missing = feed == NO_DATE if column.kind == "date" else np.isnan(feed)
            low, high = column.bounds
            broken |= ~missing & ((feed < low) | (feed > high))
        if not column.missing:
            broken |= missing
    return broken


def near_copies(real: np.ndarray, made: np.ndarray, near: float = NEAR) -> np.ndarray:
    """Encoded rows ``made (m, d)`` that lie closer to a real row than ``near`` times its usual gap: bool ``(m,)``.

    The usual gap is the median distance of a real row to its nearest different one. In a table where most rows have
    twins (few categories), equality says nothing about a person, and no row is a copy.
    """
    from sklearn.neighbors import NearestNeighbors

    if len(real) > MOST_ROWS:
        real = real[np.random.default_rng(0).permutation(len(real))[:MOST_ROWS]]
    distinct = np.unique(real, axis=0)
    if len(distinct) < max(3, len(real) / 2):
        return np.zeros(len(made), dtype=bool)
    search = NearestNeighbors(n_neighbors=2).fit(distinct)
    gap = float(np.median(search.kneighbors(distinct)[0][:, 1]))
    return search.kneighbors(made, n_neighbors=1)[0][:, 0] < near * gap


class Curator:
    """Tells how typical a generated row is of its class: a forest fitted on real rows that tells the classes apart.

    Source: the idea of curating generated rows by a model of the real ones is Seedat et al., Curated LLM,
    arXiv 2312.12112; a balanced random forest on all real rows, and keeping a share by rank, are ours.
    """

    def __init__(self, real: np.ndarray, y: np.ndarray, seed: int) -> None:
        from sklearn.ensemble import RandomForestClassifier

        chosen = _keep_small_classes(y, np.random.default_rng(seed))
        # A node holds a number for each class: thousands of classes would otherwise take gigabytes.
        leaves = max(2, FOREST_BYTES // (TREES * 2 * 8 * (int(y.max()) + 1)))
        bound = leaves if leaves < len(chosen) else None
        self.forest = RandomForestClassifier(TREES, class_weight="balanced", random_state=seed, max_leaf_nodes=bound)
        self.forest.fit(real[chosen], y[chosen])

    def typicality(self, made: np.ndarray, label: int) -> np.ndarray:
        """The forest's share of votes for class ``label``, ``(m,)``."""
        classes = list(self.forest.classes_)
        return self.forest.predict_proba(made)[:, classes.index(label)]


def _keep_small_classes(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most MOST_ROWS rows: equal shares of the classes, small ones whole."""
    labels = np.unique(y)
    share = max(1, MOST_ROWS // len(labels))
    return np.concatenate([rng.permutation(np.flatnonzero(y == c))[:share] for c in labels])


def choose(
    wanted: int, unfit: np.ndarray, typicality: np.ndarray | None, keep: float, rng: np.random.Generator
) -> np.ndarray:
    """Exactly ``wanted`` positions of a pool: drawn from the most typical share ``keep`` of the fit rows.

    ``unfit`` marks rows to be used only where nothing else is left.
    """
    rank = np.zeros(len(unfit)) if typicality is None else -typicality
    order = np.lexsort((rng.random(len(unfit)), rank, unfit))
    best = order[: max(wanted, int(keep * (~unfit).sum()))] if typicality is not None else order[:wanted]
    return np.sort(rng.permutation(best)[:wanted]) if typicality is not None else np.sort(best)
