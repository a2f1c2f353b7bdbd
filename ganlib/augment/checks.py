"""Checks of an augmenter's training data, and warnings before and after fitting."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn.utils.multiclass import check_classification_targets

from ganlib.data.schema import Schema
from ganlib.errors import ConfigError, DataError
from ganlib.registry import Entry, entries

PROBE, SEEN = 32, 256  # examples generated after a fit, and real ones to compare them with
COLLAPSED = 0.01  # smallest acceptable spread, relative to the real rows


def check_labels(y: Any) -> None:
    """Raise DataError unless ``y`` names a class for each example."""
    labels = np.asarray(y, dtype=None if hasattr(y, "dtype") else object)
    if labels.ndim == 0:
        raise DataError(f"y holds one label for each example; got {type(y).__name__}")
    if labels.ndim == 1 and (lacking := int(pd.isna(labels).sum())):
        raise DataError(f"y lacks {lacking} labels; leave these examples out, or use augment() on a table")
    if labels.ndim > 1 and labels.shape[1] > 1 and not set(np.unique(labels)) <= {0, 1}:
        raise DataError("y describes each row by several numbers; attributes are for images and series")
    if labels.dtype.kind == "f" and labels.ndim == 1 and (labels != np.rint(labels)).any():
        raise DataError(
            "Unknown label type: continuous. y names classes, and holds numbers with a fraction: put them in bins "
            "(pandas.qcut), use augment(target='numeric'), "
            "or, for images and series and a model conditioned on attributes, give y[:, None]"
        )
    try:
        check_classification_targets(y)
    except TypeError as error:
        raise DataError(f"y mixes labels of several kinds, which cannot be put in order: {error}") from error


def one_axis(y: Any, model: Entry) -> np.ndarray | None:
    """Class names ``(n,)`` for array examples; raises ConfigError for other shapes."""
    if y is None:
        return None
    shape = np.shape(y)
    if len(shape) == 2 and shape[1] == 1:
        y = np.asarray(y)[:, 0]
    elif len(shape) > 1:
        able = ", ".join(e.name for e in entries("augmenter") if "attributes" in e.takes)
        raise ConfigError(
            f"y names a class for each example, shape (n,), and has shape {shape}: give y.argmax(1) for one-hot "
            f"labels; model {model.name!r} cannot be conditioned on attributes, {able} can"
        )
    check_labels(y)
    return np.asarray(y)


def reject_sparse(X: Any) -> Any:
    """Return dense ``X``; raises TypeError for sparse data, as scikit-learn requires."""
    if issparse(X):
        raise TypeError("Sparse data was passed, but dense data is required; use X.toarray()")
    return X


def warn_of_left_out(schema: Schema, frame: pd.DataFrame, resampling: bool) -> None:
    """Warn about columns that are not generated.

    Raises DataError if ``resampling``, which keeps dtypes, and such a column's dtype cannot hold missing values.
    """
    absent = {
        c.name: c.note or ("free text" if c.kind == "text" else f"role {c.role}")
        for c in schema.columns
        if c.role != "label" and (c.kind == "text" or c.role != "feature")
    }
    for name, note in absent.items():
        dtype = frame[name].dtype if name in frame else None
        if resampling and isinstance(dtype, np.dtype) and dtype.kind in "iub":
            raise DataError(
                f"column {name!r} is not generated ({note}), and {frame[name].dtype} cannot hold missing values: "
                "drop it, or give a schema in which its role is feature"
            )
    if absent:
        named = "; ".join(f"{name!r} ({note})" for name, note in absent.items())
        warnings.warn(f"not generated, and missing in generated rows: {named}", stacklevel=6)


def warn_of_collapse(real: np.ndarray, made: np.ndarray) -> None:
    """Warn about mode collapse: generated examples of a class hardly differ, unlike a sample of real ones."""
    some = real[:: -(-len(real) // SEEN)]
    own, usual = (float(np.asarray(values, dtype=np.float64).std(0).mean()) for values in (made, some))
    if own < COLLAPSED * usual:
        warnings.warn(
            f"the generated examples hardly differ from each other ({own / usual:.1%} of the real ones' spread): the "
            "training collapsed. Try a smaller learning_rate, more steps, or another model",
            stacklevel=4,
        )
