"""What a model and its training data must be, said before the first step instead of by a tensor's shape later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError
from ganlib.nn.layers import has_batch_norm
from ganlib.training.algorithm import Algorithm
from ganlib.training.batches import TensorBatches
from ganlib.training.config import TrainerConfig
from ganlib.training.ranks import Ranks

VECTORS = 2
# Rounding may carry pixels so far beyond [-1, 1].
SLACK = 0.01


def check_model(model: Any) -> None:
    """Raise ConfigError on what is no model but a model's name, or an estimator that holds one."""
    if isinstance(model, Algorithm):
        return
    mend = "ganlib.create(name, spec) builds one"
    if isinstance(model, str):
        mend = f"ganlib.create({model!r}, spec) builds it"
    elif callable(getattr(model, "fit", None)):
        mend = "an estimator trains by its own fit, then holds its model as algorithm_; ganlib.export.seal seals it"
    raise ConfigError(f"a model is needed, not {_named(model)}: {mend}")


def _named(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"


def training_tensors(data: Any) -> dict[str, Tensor]:
    """Tensors or arrays by name as networks take them: numbers float32, labels int64; raises DataError on others."""
    if not isinstance(data, Mapping):
        raise DataError(f"training data are tensors by name, such as {{'x': x, 'y': y}}; got {type(data).__name__}")
    return {name: _tensor(name, value) for name, value in data.items()}


def _tensor(name: str, value: Any) -> Tensor:
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"training data {name!r} cannot be read as numbers: {error}") from error
    if tensor.is_complex():
        raise DataError(f"training data {name!r} are complex; give real numbers")
    if tensor.is_floating_point():
        return tensor.float()
    if name in ("y", "labelled_y"):
        return tensor.long()
    if tensor.dtype in (torch.uint8, torch.bool):
        raise DataError(
            f"training data {name!r} are {tensor.dtype}; networks take numbers: images come from "
            "ganlib.data.images.to_tensor, other data as x.float()"
        )
    return tensor


def check_training_data(spec: DataSpec | None, data: Mapping[str, Tensor]) -> None:
    """Raise DataError where examples have another shape than the model's, labels are out of range, or attributes lack.

    Images and series must not be all the same; rows may, for a table of constant columns is still a table.
    """
    if spec is None:
        return
    for name in ("x", "x_b", "labelled_x"):
        if (x := data.get(name)) is not None and len(x):
            _check_examples(spec, x, name)
    for name in ("y", "labelled_y"):
        if (y := data.get(name)) is not None and spec.classes and len(y):
            _check_labels(spec, y)
    if spec.attributes and "c" in data:
        _check_attributes(spec, data["c"])


def _check_examples(spec: DataSpec, x: Tensor, name: str) -> None:
    if spec.vocabulary:
        return _check_tokens(spec, x)
    if not x.is_floating_point():
        raise DataError(f"training data {name!r} are {x.dtype}; give numbers with a fraction, x.float()")
    if tuple(x.shape[1:]) != spec.shape:
        raise DataError(
            f"the model was built for examples of shape {spec.shape}, and these have {tuple(x.shape[1:])}: build it "
            "with a DataSpec of their shape (images are channels, height, width)"
        )
    if not bool(x.isfinite().all()):
        raise DataError(f"{int((~x.isfinite()).sum())} training values are NaN or infinite: fill or drop them")
    if spec.kind != "vector" and len(x) > 1 and bool((x == x[:1]).all()):
        raise DataError("all training examples are the same: there is nothing to learn from them")
    if spec.kind == "image" and float(x.abs().max()) > 1 + SLACK:
        raise DataError(
            f"pixels run from {float(x.min()):g} to {float(x.max()):g}, and networks make images in [-1, 1]: "
            "ganlib.data.images.to_tensor brings them there"
        )


def _check_tokens(spec: DataSpec, x: Tensor) -> None:
    if x.is_floating_point() or tuple(x.shape[1:]) != spec.shape:
        raise DataError(f"sequences are token numbers, int64 of shape (n, {spec.shape[0]}); got {x.dtype} {_shape(x)}")
    if int(x.min()) < 0 or int(x.max()) >= spec.vocabulary:
        raise DataError(f"tokens run from {int(x.min())} to {int(x.max())}; the model knows 0 to {spec.vocabulary - 1}")


def _check_attributes(spec: DataSpec, c: Tensor) -> None:
    if c.ndim != VECTORS or c.shape[1] != spec.attributes or not c.is_floating_point():
        raise DataError(f"attributes c are numbers of shape (n, {spec.attributes}); these are {c.dtype} {_shape(c)}")
    if not bool(c.isfinite().all()):
        raise DataError(f"{int((~c.isfinite()).sum())} attributes are NaN or infinite: fill or drop them")


def _shape(x: Tensor) -> str:
    return str(tuple(x.shape))


def _check_labels(spec: DataSpec, y: Tensor) -> None:
    if y.is_floating_point() or y.ndim != 1:
        raise DataError(f"labels y are class indices, int64 of shape (n,); these are {y.dtype} of {tuple(y.shape)}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= spec.classes:
        raise DataError(
            f"labels run from {low} to {high}, and the model has classes 0 to {spec.classes - 1}: number them from 0, "
            f"or build it with classes={high + 1}"
        )


def check_known_labels(spec: DataSpec | None, data: Any) -> None:
    """Raise DataError on labels out of range, where what draws batches lazily knows all ``labels`` beforehand."""
    if (labels := getattr(data, "labels", None)) is not None:
        check_training_data(spec, training_tensors({"y": labels}))


def is_lazy(data: object) -> bool:
    """Whether data are drawn batch by batch (``LazyImages``) instead of given as tensors."""
    return callable(getattr(data, "epoch", None)) and not isinstance(data, Mapping | torch.Tensor)


def training_source(algorithm: Algorithm, data: Any, config: TrainerConfig, ranks: Ranks) -> Any:
    """Batches of tensors that were checked, or lazily drawn data, on the device.

    Raises DataError on labels out of range, ConfigError on lazy data under several processes and on batches of one
    row for batch norm.
    """
    if is_lazy(data):
        if not ranks.alone:
            raise ConfigError("batches drawn lazily cannot be split over processes: load the data as tensors")
        check_known_labels(getattr(algorithm, "spec", None), data)
        return data.to(ranks.device)
    batches = TensorBatches(data, config.batch_size, config.random_state, ranks=ranks)
    if batches.batch_size == 1 and has_batch_norm(algorithm):
        raise ConfigError(
            f"batch norm needs two examples in a batch, and batches of these {batches.rows} have one: give more "
            "examples or a larger batch_size, or set generator_norm and critic_norm to 'layer'"
        )
    return batches.to(ranks.device)
