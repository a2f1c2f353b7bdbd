"""How data of a kind are generated: rows of tables or arrays, by class or by description."""

from __future__ import annotations

from typing import Any, Protocol, cast

import numpy as np

from ganlib.augment.arrays import ArrayGenerator, DescribedGenerator, is_described
from ganlib.augment.classes import Classes
from ganlib.augment.described import DescribedRows
from ganlib.augment.generator import GenerationPlan
from ganlib.augment.rows import RowGenerator
from ganlib.data.readers import Reader, TableReader
from ganlib.training import History


class ExampleGenerator(Protocol):
    """A trained generator of examples in the format of the training data."""

    classes: Classes
    history: History

    @property
    def algorithm(self) -> Any:
        """The trained model, or the first of several."""

    def sample(self, n: int | None, conditions: Any, seed: int) -> tuple[Any, np.ndarray | None]:
        """Examples, and the label or description of each, None if there are none.

        ``n`` and ``conditions`` are those of ``BaseAugmenter.sample``. Raises ConfigError if they do not fit.
        """

    def probe(self, examples: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Training ``examples`` of the largest class, and a few generated ones, to compare their spread."""


def generator_for(reader: Reader, examples: Any, y: Any, plan: GenerationPlan) -> ExampleGenerator:
    """Train the generator of this kind of data on opened examples, with labels or descriptions ``y`` or None."""
    if reader.tabular:
        rows = DescribedRows if is_described(plan.model, y, tabular=True) else RowGenerator
        return rows(cast("TableReader", reader), examples, y, plan)
    kind = DescribedGenerator if is_described(plan.model, y) else ArrayGenerator
    return kind(reader, examples, y, plan)
