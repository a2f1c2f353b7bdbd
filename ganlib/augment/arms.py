"""The arms that are compared on one split of real rows: what augmentation adds, and what needs no generator.

A classifier is trained on the rows of each arm and evaluated by macro AUPRC on the same held-out real rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ganlib.augment.filters import near_copies, near_twins
from ganlib.data.encoder import TableEncoder
from ganlib.data.values import as_strings
from ganlib.errors import DataError

NONE, WEIGHTS, BAGGING, COPIES, SMOTE, MODEL = "none", "weights", "bagging", "copies", "smote", "model"
TRANSFORMS, BOTH = "transforms", "both"
TITLES = {
    NONE: "real rows alone", WEIGHTS: "class weights", BAGGING: "balanced bagging", COPIES: "copies added",
    SMOTE: "SMOTE rows added", MODEL: "generated rows added",
}  # fmt: skip
FOREST, LINEAR, RIDGE = "random forest", "logistic regression", "ridge regression"
NETWORK = "convolutional network"
TREES = 100
BAGS = 10
DRAWS = 20
Table = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Kind:
    """What is predicted, in the words of reports: the figure's name, the parts of the target, and each arm's title.

    ``unlearned`` says that the real rows teach nothing, ``instead`` what needs no generated rows. ``pairs`` are arms
    without and with generated rows that are otherwise alike; the pair that does better without them decides.
    """

    unit: str
    part: str
    titles: Mapping[str, str]
    unlearned: str
    instead: str
    pairs: tuple[tuple[str, str], ...] = ((NONE, MODEL),)


CLASSES = Kind(
    "macro AUPRC", "class", TITLES, "without them classifiers rank held-out rows no better than chance",
    "a threshold at the share of the scarce class needs no generated rows",
)  # fmt: skip
NUMBERS = Kind(
    "macro skill", "range", TITLES | {WEIGHTS: "weights by range", SMOTE: "SMOTER rows added"},
    "without them learners predict held-out rows no better than the median does",
    "weights by range need no generated rows",
)  # fmt: skip
EXAMPLES = Kind(
    "macro AUPRC", "class",
    {
        NONE: "real examples alone", COPIES: "copies added", SMOTE: "SMOTE examples added",
        TRANSFORMS: "real examples with transforms", MODEL: "generated examples added",
        BOTH: "generated examples added, with transforms",
    },
    "without them a network ranks held-out examples no better than chance",
    "class weights and transforms in training need no generated examples", ((NONE, MODEL), (TRANSFORMS, BOTH)),
)  # fmt: skip

NAMES: Mapping[str, str] = {**EXAMPLES.titles, **CLASSES.titles}
"""A title of each arm, whatever the data."""


@dataclass(frozen=True)
class Judged:
    """Figures of one split by learner and arm (0 to 1, higher is better), and what its generated rows repeat.

    ``chance`` is the mean figure of random rankings of the held-out rows. ``copies`` is the share of generated rows
    that nearly equal a row learned from, ``usual_copies`` that of held-out rows, and ``twins`` the share of as many
    generated rows as real ones that nearly equal another of them.
    """

    learners: Mapping[str, Mapping[str, float]]
    chance: float = 0.0
    copies: float = 0.0
    usual_copies: float = 0.0
    twins: float = 0.0

    @property
    def arms(self) -> dict[str, float]:
        """Mean figure of each arm over the learners."""
        each = list(self.learners.values())
        return {arm: float(np.mean([figures[arm] for figures in each])) for arm in each[0]}


def learners_of(learner: Any = None) -> dict[str, Any]:
    """The classifiers that judge rows, by name: the given one, or a random forest and a logistic regression."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    if learner is not None:
        return {type(learner).__name__: learner}
    return {FOREST: RandomForestClassifier(TREES, random_state=0), LINEAR: LogisticRegression(max_iter=300)}


def measure_of(learner: Any = None) -> str:
    """What is measured, in words."""
    names = list(learners_of(learner))
    of = f"of {names[0]}" if len(names) == 1 else f"(mean of {' and '.join(names)})"
    return f"macro AUPRC {of} on held-out real rows"


def judge_split(
    real: pd.DataFrame,
    made: pd.DataFrame,
    judged: pd.DataFrame,
    label: str,
    seed: int = 0,
    learner: Any = None,
    like: np.ndarray | None = None,
) -> Judged:
    """The figures on the rows ``judged`` of classifiers trained on ``real`` rows as each arm does.

    Every arm that adds rows adds the same number per class as ``made`` holds. Copies and SMOTE rows are those of the
    real rows ``like`` (bool, all if None). A ``learner`` without sample weights has no arm of class weights. Raises
    DataError if ``made`` is empty.
    """
    if len(made) == 0:
        raise DataError("no rows to generate: the classes are already balanced; give the number with rows")
    of = np.ones(len(real), dtype=bool) if like is None else like
    encoder = TableEncoder(features_of(real, label)).fit(real.drop(columns=[label]))

    def coded(frame: pd.DataFrame) -> Table:
        return encoder.transform(frame.drop(columns=[label])), as_strings(frame[label]).astype(str)

    base, more, test = coded(real), coded(made), coded(judged)
    added = {
        NONE: base, COPIES: _copies(base, more[1], of, seed), SMOTE: smote(base, more[1], of, seed),
        MODEL: (np.vstack([base[0], more[0]]), np.concatenate([base[1], more[1]])),
    }  # fmt: skip
    found = {name: _figures(one, name, added, test, seed) for name, one in learners_of(learner).items()}
    grown = np.unique(more[1])
    return Judged(
        found, chance(test[1], seed), share_of(near_copies, base, more, grown),
        share_of(near_copies, base, test, grown), share_of(near_twins, base, more, grown),
    )  # fmt: skip


def _figures(learner: Any, name: str, added: Mapping[str, Table], test: Table, seed: int) -> dict[str, float]:
    import warnings

    from sklearn.base import clone
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a rough direction is enough
        base = added[NONE]
        found = {
            WEIGHTS: _macro_auprc(weighed(learner, *base, base[1]), test),
            BAGGING: _bagged(learner, name, base, test, seed),
        }
        return found | {arm: _macro_auprc(clone(learner).fit(*table), test) for arm, table in added.items()}


def features_of(real: pd.DataFrame, label: str) -> Any:
    """The schema of the columns that learners read."""
    from ganlib.data.inference import infer_schema

    return infer_schema(real.drop(columns=[label]), for_generation=True)


def share_of(which: Callable[..., np.ndarray], base: Table, other: Table, classes: np.ndarray) -> float:
    """Share of the ``other`` rows of these classes that ``which`` marks, compared with those of their class."""
    found = []
    for name in classes:
        real, rows = base[0][base[1] == name], other[0][other[1] == name]
        if len(real) > 2 and len(rows):
            found.append(which(real, rows))
    return float(np.concatenate(found).mean()) if found else 0.0


def _copies(base: Table, labels: np.ndarray, like: np.ndarray, seed: int) -> Table:
    rows = with_copies(base[1], labels, like, seed)
    return base[0][rows], base[1][rows]


def with_copies(classes: np.ndarray, labels: np.ndarray, like: np.ndarray, seed: int) -> np.ndarray:
    """Positions of all rows of these classes, then those of copies: as many of each class as in ``labels``."""
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(sources(classes, c, like), n) for c, n in zip(*counts_of(labels), strict=True)]
    return np.concatenate([np.arange(len(classes)), *chosen])


def sources(classes: np.ndarray, one: Any, like: np.ndarray) -> np.ndarray:
    """Positions of the rows ``like`` of one class, or of all of its rows if none is."""
    mine = np.flatnonzero(like & (classes == one))
    return mine if len(mine) else np.flatnonzero(classes == one)


def smote(base: Table, labels: np.ndarray, like: np.ndarray, seed: int) -> Table:
    """SMOTE on the encoded rows ``like``; classes too small for five neighbours use fewer."""
    from imblearn.over_sampling import SMOTE as OverSampler

    x, y = base
    for name, count in zip(*counts_of(labels), strict=True):
        chosen = like | (base[1] != name)
        part = base[0][chosen], base[1][chosen]
        held = int((part[1] == name).sum())
        if held < 2:
            rows = with_copies(base[1], np.repeat(name, count), like, seed)[len(base[1]) :]
            x, y = np.vstack([x, base[0][rows]]), np.concatenate([y, base[1][rows]])
            continue
        sampler = OverSampler(sampling_strategy={name: held + count}, k_neighbors=min(5, held - 1), random_state=seed)
        grown, names = sampler.fit_resample(*part)
        x, y = np.vstack([x, grown[len(part[0]) :]]), np.concatenate([y, names[len(part[0]) :]])
    return x, y


def counts_of(labels: np.ndarray) -> tuple[list[Any], list[int]]:
    """Each class and its rows."""
    names, counts = np.unique(labels, return_counts=True)
    return names.tolist(), counts.tolist()


def weighed(learner: Any, x: np.ndarray, y: np.ndarray, parts: np.ndarray) -> Any:
    """A copy fitted so that ``parts`` (classes or ranges of the rows) weigh alike, if it takes weights at all."""
    from sklearn.base import clone
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.validation import has_fit_parameter

    one = clone(learner)
    if not has_fit_parameter(one, "sample_weight"):
        return one.fit(x, y)
    return one.fit(x, y, sample_weight=compute_sample_weight("balanced", parts))


def in_bags(learner: Any, x: np.ndarray, y: np.ndarray, parts: np.ndarray, count: int, seed: int) -> Iterator[Any]:
    """``count`` copies fitted to bags: of every part as many rows as the smallest has, drawn anew."""
    from sklearn.base import clone

    rng, rows = np.random.default_rng(seed), [np.flatnonzero(parts == one) for one in np.unique(parts)]
    least = min(map(len, rows))
    for _ in range(count):
        bag = np.concatenate([rng.choice(mine, least) for mine in rows])
        yield clone(learner).fit(x[bag], y[bag])


def _bagged(learner: Any, name: str, base: Table, test: Table, seed: int) -> float:
    """Of the mean of learners trained on balanced bags; of a forest each bag trains one tree."""
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_features="sqrt", random_state=0)
    each, count = (tree, TREES) if name == FOREST else (learner, BAGS)
    votes: Any = sum(model.predict_proba(test[0]) for model in in_bags(each, *base, base[1], count, seed))
    return macro(votes / count, np.unique(base[1]), test[1])


def chance(truth: np.ndarray, seed: int) -> float:
    """The mean figure of random rankings."""
    rng, classes = np.random.default_rng(seed), np.unique(truth)
    return float(np.mean([macro(rng.random((len(truth), len(classes))), classes, truth) for _ in range(DRAWS)]))


def _macro_auprc(model: Any, test: Table) -> float:
    return macro(model.predict_proba(test[0]), model.classes_, test[1])


def macro(votes: np.ndarray, classes: np.ndarray, truth: np.ndarray) -> float:
    """Mean AUPRC over the classes that ``truth`` holds; ``votes (n, k)`` are in the order of ``classes``."""
    from ganlib.metrics.detection import auprc

    present = [(place, name) for place, name in enumerate(classes) if (truth == name).any()]
    return float(np.mean([auprc(votes[:, place], truth == name) for place, name in present]))
