"""Reads tables of any column types, by a schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_array
from torch import Tensor

from ganlib.data.content import row_hash
from ganlib.data.encoder import TableEncoder
from ganlib.data.frames import MARK, as_frame, check_frame
from ganlib.data.inference import infer_schema, with_public
from ganlib.data.readers.protocol import Feeds
from ganlib.data.schema import Column, Schema
from ganlib.data.spec import DataSpec
from ganlib.errors import DataError

_USED = ("feature", "group")


class TableReader:
    """Frames of any library that converts to pandas, and arrays ``(n, k)``, whose columns are then x0, x1, ...

    - ``schema``: a Schema or a path; inferred if None.
    - ``group``: the column that an inferred schema gives this role.
    - ``for_generation``: read for a generator, so that rows can be restored. Text columns are then not encoded.
    - ``numeric``: how numbers are then encoded (``TableEncoder``).

    After ``select``: ``schema``. After ``fit``: ``encoder``. Raises DataError for data that do not fit the schema.
    """

    modality: ClassVar[str] = "table"
    plural: ClassVar[str] = "tables"
    tabular: ClassVar[bool] = True
    scale: None = None
    schema: Schema
    encoder: TableEncoder

    def __init__(
        self,
        schema: Schema | str | Path | None = None,
        group: str | None = None,
        for_generation: bool = False,
        numeric: Literal["quantile", "standard"] = "quantile",
    ) -> None:
        self._given, self._group, self.for_generation, self.numeric = schema, group, for_generation, numeric
        self._named = True  # whether the columns have names of their own

    @property
    def named(self) -> bool:
        """Whether the columns have names of their own: a frame, not an array."""
        return self._named

    @property
    def spec(self) -> DataSpec:
        """Width and blocks of an encoded row."""
        return self.encoder.spec

    # ---------------------------------------------------------------- learning
    def open(self, X: Any) -> pd.DataFrame:
        """A frame with rows numbered from 0; checks arrays like scikit-learn."""
        X = _pandas(X)
        self._named = isinstance(X, pd.DataFrame)
        frame = as_frame(X if self._named else _checked(X)).reset_index(drop=True)
        check_frame(frame)
        return frame

    def take(self, examples: pd.DataFrame, chosen: np.ndarray) -> pd.DataFrame:
        """The chosen rows."""
        return examples.iloc[chosen]

    def labels(self, examples: pd.DataFrame) -> pd.Series | None:
        """The label column that a given schema names, if the data have it."""
        label = None if self._given is None else self._schema_for(examples).label
        return examples[label] if label in examples.columns else None

    def select(self, examples: pd.DataFrame) -> pd.DataFrame:
        """Infer the schema, or complete the given one; returns the columns that are read."""
        self.schema = self._schema_for(examples)
        if MARK in {c.name for c in self._used()}:
            raise DataError(
                f"the column {MARK!r} marks generated rows, and a model would learn it: leave out those rows and the "
                "column, or only the column to treat all rows as real"
            )
        return examples[[c.name for c in self._used() if c.name in examples.columns]]

    def _schema_for(self, frame: pd.DataFrame) -> Schema:
        if self._given is None:
            return infer_schema(frame, group=self._group, for_generation=self.for_generation)
        given = self._given if isinstance(self._given, Schema) else Schema.load(Path(self._given))
        return with_public(given, frame)

    def _used(self) -> list[Column]:
        return [c for c in self.schema.columns if c.role in _USED]

    def content(self, examples: pd.DataFrame) -> np.ndarray:
        """Hashes of the rows' values, whatever their types (``ganlib.data.content``), uint64 ``(n,)``."""
        return row_hash(examples)

    def fit(self, examples: pd.DataFrame) -> TableReader:
        """Fit the encoder; raises DataError if a generator would have no column to generate, or nothing to learn."""
        if not self.for_generation:
            self.encoder = TableEncoder(self.schema).fit(examples)
            return self
        made = tuple(c for c in self.schema.features if c.kind != "text")
        if not made:
            raise DataError("no column can be generated: every one is text, an identifier or empty")
        self.encoder = TableEncoder(self.schema.only(made), True, self.numeric).fit(examples)
        if all(examples[c.name].nunique(dropna=False) == 1 for c in made):
            raise DataError("every column holds a single value: there is nothing to learn")
        return self

    # ---------------------------------------------------------------- reading
    def again(self, X: Any) -> Any:
        """A frame without columns that are not read, or an array unchanged."""
        X = _pandas(X)
        if not isinstance(X, pd.DataFrame):
            return _checked(X)
        frame = as_frame(X)
        idle = {c.name for c in self.schema.columns} - {c.name for c in self._used()}
        return frame.loc[:, [name not in idle for name in frame.columns]]

    def features(self, examples: Any) -> Any:
        """What scikit-learn counts the features of: a frame of the columns that are read, or an unnamed array."""
        if not self._named:
            return np.asarray(examples)
        return examples[[c.name for c in self._used() if c.name in examples.columns]]

    def feeds(self, examples: Any) -> dict[str, np.ndarray]:
        """Raw values by input name; raises DataError if they do not fit the schema."""
        if isinstance(examples, np.ndarray) and examples.dtype.kind in "fiu" and self._all_numbers():
            # Fast path for the common case, arrays of numbers: the same feeds without a frame.
            columns = np.asfortranarray(examples, dtype=np.float64)
            return {c.input: columns[:, int(c.name[1:])] for c in self.schema.features}
        return self.encoder.feeds(as_frame(examples))

    def _all_numbers(self) -> bool:
        """Whether every column that is read is a number of an array (named x0, x1, ...)."""
        return not self._named and all(
            c.kind in ("number", "integer") and c.role != "group" and c.name[1:].isdigit() and c.name[0] == "x"
            for c in self._used()
        )

    def encode(self, feeds: Feeds) -> np.ndarray:
        """Encoded rows, float32 ``(n, d)``."""
        return self.encoder.encode(feeds)

    def read(self, examples: Any) -> Tensor:
        """Encoded rows as a tensor."""
        return torch.from_numpy(self.encode(self.feeds(examples)))

    def groups(self, feeds: Feeds) -> np.ndarray | None:
        """Each row's group, if the schema names a group column."""
        group = self.schema.group
        return None if group is None else feeds[self.schema.column(group).input]

    def restore(self, made: Tensor | np.ndarray) -> pd.DataFrame:
        """Raw columns of encoded rows, with dtypes, bounds, categories and missing values restored."""
        return self.encoder.inverse(np.asarray(made))


def _pandas(X: Any) -> Any:
    return X.to_pandas() if hasattr(X, "to_pandas") else X


def _checked(X: Any) -> np.ndarray:
    checked: np.ndarray = check_array(X, dtype=None, ensure_all_finite=False)
    return checked
