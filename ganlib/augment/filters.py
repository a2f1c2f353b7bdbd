"""Select rows from an oversized pool: within the schema, not near copies of real rows, and most typical."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ganlib.data.schema import Schema

MOST_ROWS = 5000  # real rows used by the forest and the neighbour search
NEAR = 0.05
TREES = 100
FOREST_BYTES = 1 << 29


def schema_breaches(schema: Schema, frame: pd.DataFrame) -> np.ndarray:
    """Rows that violate the schema, bool ``(n,)``.

    A violation is a number or date outside its bounds, an unlisted category, or a missing value in a column that had
    none in training.
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
    """Encoded rows ``made (m, d)`` that are closer to a real row than ``near`` times the usual gap, bool ``(m,)``.

    The usual gap is the median distance from a real row to its nearest distinct one. If most rows of the table are
    duplicates (few categories), equality reveals nothing about a person, and no row counts as a copy.
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
    """Rates how typical a generated row is of its class, with a random forest classifier fitted on real rows.

    Source: curation of generated rows by a model of the real ones is from Seedat et al., Curated LLM, arXiv 2312.12112.
    Unlike the paper, it uses a balanced random forest on all real rows and keeps a share by rank.
    """

    def __init__(self, real: np.ndarray, y: np.ndarray, seed: int) -> None:
        from sklearn.ensemble import RandomForestClassifier

        chosen = _keep_small_classes(y, np.random.default_rng(seed))
        # Each node stores a number per class, so thousands of classes would take gigabytes.
        leaves = max(2, FOREST_BYTES // (TREES * 2 * 8 * (int(y.max()) + 1)))
        bound = leaves if leaves < len(chosen) else None
        self.forest = RandomForestClassifier(TREES, class_weight="balanced", random_state=seed, max_leaf_nodes=bound)
        self.forest.fit(real[chosen], y[chosen])

    def typicality(self, made: np.ndarray, label: int) -> np.ndarray:
        """The forest's share of votes for class ``label``, ``(m,)``."""
        classes = list(self.forest.classes_)
        return self.forest.predict_proba(made)[:, classes.index(label)]


def _keep_small_classes(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At most MOST_ROWS rows, in equal shares of the classes; small classes are kept whole."""
    labels = np.unique(y)
    share = max(1, MOST_ROWS // len(labels))
    return np.concatenate([rng.permutation(np.flatnonzero(y == c))[:share] for c in labels])


def choose(
    wanted: int, unfit: np.ndarray, typicality: np.ndarray | None, keep: float, rng: np.random.Generator
) -> np.ndarray:
    """Exactly ``wanted`` positions of a pool, sampled from the most typical share ``keep`` of the fit rows.

    ``unfit`` rows are used only if no others are left.
    """
    rank = np.zeros(len(unfit)) if typicality is None else -typicality
    order = np.lexsort((rng.random(len(unfit)), rank, unfit))
    best = order[: max(wanted, int(keep * (~unfit).sum()))] if typicality is not None else order[:wanted]
    return np.sort(rng.permutation(best)[:wanted]) if typicality is not None else np.sort(best)
