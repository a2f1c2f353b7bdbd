"""What estimators, exports and comparisons may ask of the reader of any kind of data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from torch import Tensor

from ganlib.data.spec import DataSpec

Feeds = Mapping[str, np.ndarray]


class Reader(Protocol):
    """Reads examples of one kind for a network, and writes generated ones in the format of those it was fitted on.

    A fit takes three steps, since what is learned of all examples (which columns are used) must not be learned from
    the training part only: ``open`` the data, ``select`` what is used of the examples to learn from, ``fit`` on the
    part to train on. Afterwards ``again`` opens further data, ``feeds`` and ``encode`` read them.
    """

    modality: ClassVar[str]
    """Kind of data, as in the registry: ``table``, ``image``, ``series``."""
    plural: ClassVar[str]
    """What messages call the data."""
    tabular: ClassVar[bool]
    """Whether an example is a row of named columns: it then has a schema, and scores are explained by column."""

    @property
    def spec(self) -> DataSpec:
        """The encoded examples, as a model is built for them; after ``fit``."""

    @property
    def scale(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation by which series are scaled, for ``nn.sampler.InUnits``; None for other data."""

    def open(self, X: Any) -> Any:
        """The examples of ``X``, to be learned from; raises DataError for data of another kind."""

    def take(self, examples: Any, chosen: np.ndarray) -> Any:
        """The ``chosen`` examples, by position or by a mask."""

    def labels(self, examples: Any) -> Any:
        """Labels that the data themselves hold, None if they hold none."""

    def select(self, examples: Any) -> Any:
        """Decide from all examples to learn from what is used of them; returns that part."""

    def content(self, examples: Any) -> np.ndarray:
        """A 64-bit hash of each example's content, uint64 ``(n,)``: equal examples have equal hashes."""

    def fit(self, examples: Any) -> Self:
        """Learn the format, ranges and scales of examples; raises DataError where there is nothing to learn."""

    def features(self, examples: Any) -> Any:
        """What scikit-learn counts, and names, the features of: of tables the columns that are read."""

    def again(self, X: Any) -> Any:
        """Further examples of the kind that was fitted; raises DataError for others."""

    def feeds(self, examples: Any) -> Feeds:
        """Raw values by the input names of a sealed graph, each ``(n, ...)``."""

    def encode(self, feeds: Feeds) -> np.ndarray:
        """Examples for the network, float32 ``(n, *spec.shape)``."""

    def read(self, examples: Any) -> Tensor:
        """``encode(feeds(examples))`` as a tensor."""

    def groups(self, feeds: Feeds) -> np.ndarray | None:
        """The group of each example, if the data name groups."""

    def restore(self, made: Tensor) -> Any:
        """Generated examples in the format of those fitted on; raises DataError for non-finite values."""
