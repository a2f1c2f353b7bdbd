"""Select rows from an oversized pool: within the schema, not near copies of real rows, and most typical."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning

from ganlib.data.schema import Schema

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

MOST_ROWS = 5000  # real rows used by the forest and the neighbour search
NEAR = 0.05
TREES = 100
LINEAR_C = 0.1
NETWORKS = 3
FOREST_BYTES = 1 << 29


def schema_breaches(schema: Schema, frame: pd.DataFrame) -> np.ndarray:
    """Rows that violate the schema, bool ``(n,)``.

    A violation is as in ``column_breaches``.
    """
    broken = np.zeros(len(frame), dtype=bool)
    for rows in column_breaches(schema, frame).values():
        broken |= rows
    return broken


def column_breaches(schema: Schema, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Rows that violate the schema, bool ``(n,)``, for each of its columns in the frame, but for free text.

    A violation is a number or date outside its bounds, an unlisted category, or a missing value in a column that had
    none in training.
    """
    from ganlib.data.feeds import make_feeds
    from ganlib.data.values import NO_DATE

    columns = tuple(c for c in schema.features if c.name in frame.columns and c.kind != "text")
    feeds = make_feeds(schema.only(columns), frame)
    found = {}
    for column in columns:
        feed, broken = feeds[column.input], np.zeros(len(frame), dtype=bool)
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
        found[column.name] = broken
    return found


def near_copies(real: np.ndarray, made: np.ndarray, near: float = NEAR) -> np.ndarray:
    """Encoded rows ``made (m, d)`` that are closer to a real row than ``near`` times the usual gap, bool ``(m,)``.

    The usual gap is the median distance from a real row to its nearest distinct one. If most rows of the table are
    duplicates (few categories), equality reveals nothing about a person, and no row counts as a copy.
    """
    search, gap = _gap(real)
    if search is None:
        return np.zeros(len(made), dtype=bool)
    return search.kneighbors(made, n_neighbors=1)[0][:, 0] < near * gap


def near_twins(real: np.ndarray, made: np.ndarray, near: float = NEAR) -> np.ndarray:
    """Those of as many generated rows as there are real ones that are closer to another than ``near`` times the gap.

    The usual gap is as in ``near_copies``. Returns bool ``(min(n, m),)``.
    """
    search, gap = _gap(real)
    some = made[np.random.default_rng(0).permutation(len(made))[: len(real)]]
    if search is None or len(some) < 2:
        return np.zeros(len(some), dtype=bool)
    return search.fit(some).kneighbors(n_neighbors=1)[0][:, 0] < near * gap


def _gap(real: np.ndarray) -> tuple[NearestNeighbors | None, float]:
    """A search for neighbours among the distinct rows, and their usual gap; None if most rows are duplicates."""
    from sklearn.neighbors import NearestNeighbors

    if len(real) > MOST_ROWS:
        real = real[np.random.default_rng(0).permutation(len(real))[:MOST_ROWS]]
    distinct = np.unique(real, axis=0)
    if len(distinct) < max(3, len(real) / 2):
        return None, 0.0
    search = NearestNeighbors(n_neighbors=2).fit(distinct)
    return search, float(np.median(search.kneighbors(distinct)[0][:, 1]))


class Curator:
    """Rates how typical a generated row is of its class, by classifiers fitted on the real rows.

    These are a random forest, a logistic regression and three small networks, all with balanced classes: from few rows
    each learns something else, and their mean errs less than any. A row's rating is the mean of its ranks.

    Source: curation of generated rows by a model of the real ones is from Seedat et al., Curated LLM, arXiv 2312.12112.
    Unlike the paper, several classifiers of all real rows decide, instead of the training curves of one.
    """

    def __init__(self, real: np.ndarray, y: np.ndarray, seed: int) -> None:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.neural_network import MLPClassifier
        from sklearn.utils.class_weight import compute_sample_weight

        chosen = _keep_small_classes(y, np.random.default_rng(seed))
        # Each node stores a number per class, so thousands of classes would take gigabytes.
        leaves = max(2, FOREST_BYTES // (TREES * 2 * 8 * (int(y.max()) + 1)))
        bound = leaves if leaves < len(chosen) else None
        models = [
            RandomForestClassifier(TREES, random_state=seed, max_leaf_nodes=bound),
            LogisticRegression(C=LINEAR_C, max_iter=300),
            *(MLPClassifier((64,), alpha=1.0, max_iter=40, random_state=seed + more) for more in range(NETWORKS)),
        ]
        x, y = real[chosen], y[chosen]
        weights = compute_sample_weight("balanced", y)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a rough direction is enough
            self.models = [model.fit(x, y, sample_weight=weights) for model in models]

    def typicality(self, made: np.ndarray, label: int) -> np.ndarray:
        """Mean rank of rows ``made (m, d)`` by the probability of class ``label``, from 0 to 1, ``(m,)``."""
        ranks = [rankdata(model.predict_proba(made)[:, list(model.classes_).index(label)]) for model in self.models]
        found: np.ndarray = np.mean(ranks, axis=0) / max(1, len(made))
        return found


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
