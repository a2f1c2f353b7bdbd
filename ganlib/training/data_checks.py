"""What training data must be for a model, said before the first step instead of by a tensor's shape later."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.errors import DataError


def check_training_data(spec: DataSpec | None, data: Mapping[str, Tensor]) -> None:
    """Raise DataError where ``x`` has another shape than the model's or labels are out of range.

    Images and series must not be all the same; rows may, for a table of constant columns is still a table.
    """
    if spec is None:
        return
    x, y = data.get("x"), data.get("y")
    if x is not None and x.is_floating_point():
        _check_examples(spec, x)
    if y is not None and spec.classes and len(y):
        _check_labels(spec, y)


def _check_examples(spec: DataSpec, x: Tensor) -> None:
    if tuple(x.shape[1:]) != spec.shape:
        raise DataError(
            f"the model was built for examples of shape {spec.shape}, and these have {tuple(x.shape[1:])}: build it "
            "with a DataSpec of their shape (images are channels, height, width)"
        )
    if not bool(x.isfinite().all()):
        raise DataError(f"{int((~x.isfinite()).sum())} training values are NaN or infinite: fill or drop them")
    if spec.kind != "vector" and len(x) > 1 and bool((x == x[:1]).all()):
        raise DataError("all training examples are the same: there is nothing to learn from them")


def _check_labels(spec: DataSpec, y: Tensor) -> None:
    if y.is_floating_point() or y.ndim != 1:
        raise DataError(f"labels y are class indices, int64 of shape (n,); these are {y.dtype} of {tuple(y.shape)}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= spec.classes:
        raise DataError(
            f"labels run from {low} to {high}, and the model has classes 0 to {spec.classes - 1}: number them from 0, "
            f"or build it with classes={high + 1}"
        )


def is_lazy(data: object) -> bool:
    """Whether data are drawn batch by batch (``LazyImages``) instead of given as tensors."""
    return callable(getattr(data, "epoch", None)) and not isinstance(data, Mapping | torch.Tensor)
