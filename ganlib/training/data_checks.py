"""Validates a model and its training data before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ganlib.data.image_values import from_bytes
from ganlib.data.spec import DataSpec, Field, Image
from ganlib.errors import ConfigError, DataError
from ganlib.nn.layers import has_batch_norm
from ganlib.training.algorithm import Algorithm
from ganlib.training.batches import TensorBatches
from ganlib.training.config import TrainerConfig
from ganlib.training.ranks import Ranks


def check_model(model: Any) -> None:
    """Raise ConfigError unless ``model`` is an Algorithm, for example for a model's name or an estimator."""
    if isinstance(model, Algorithm):
        return
    fix = "ganlib.create(name, spec) builds one"
    if isinstance(model, str):
        fix = f"ganlib.create({model!r}, spec) builds it"
    elif callable(getattr(model, "fit", None)):
        fix = "an estimator is trained by its fit, and then has its model as algorithm_; ganlib.export.seal seals it"
    raise ConfigError(f"a model is needed, not {_named(model)}: {fix}")


def _named(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"a {type(value).__name__}"


def training_tensors(data: Any, spec: DataSpec | None = None) -> dict[str, Tensor]:
    """Tensors or arrays by name: numbers as float32, labels as int64, and bytes of image fields unchanged.

    Raises DataError for others.
    """
    if not isinstance(data, Mapping):
        raise DataError(f"training data must be tensors by name, such as {{'x': x, 'y': y}}; got {type(data).__name__}")
    return {name: _tensor(name, value, _field(spec, name)) for name, value in data.items()}


def _field(spec: DataSpec | None, name: str) -> Field | None:
    return None if spec is None else spec.field_of(name)


def _tensor(name: str, value: Any, field: Field | None) -> Tensor:
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
    if tensor.dtype == torch.uint8 and isinstance(field, Image):
        return tensor
    if tensor.dtype in (torch.uint8, torch.bool):
        raise DataError(
            f"training data {name!r} are {tensor.dtype}; networks take numbers: images come from "
            "ganlib.data.images.to_tensor, other data as x.float()"
        )
    return tensor


def check_training_data(spec: DataSpec | None, data: Mapping[str, Tensor]) -> None:
    """Raise DataError if training data do not match their fields."""
    for name, values in data.items():
        field = _field(spec, name)
        if field is None or not len(values):
            continue
        if values.dtype == torch.uint8 and isinstance(field, Image):
            # All bytes are in range; the float images of two are enough to check the rest.
            values = from_bytes(values[: 2 if bool((values == values[:1]).all()) else 1])
        field.check(values, name)


def check_known_labels(spec: DataSpec | None, data: Any) -> None:
    """Raise DataError for labels out of range, if a lazy source has its ``labels`` in memory."""
    if (labels := getattr(data, "labels", None)) is not None:
        check_training_data(spec, training_tensors({"y": labels}))


def is_lazy(data: object) -> bool:
    """Whether data are loaded batch by batch (``LazyImages``) instead of given as tensors."""
    return callable(getattr(data, "epoch", None)) and not isinstance(data, Mapping | torch.Tensor)


def training_source(algorithm: Algorithm, data: Any, config: TrainerConfig, ranks: Ranks) -> Any:
    """Batches on the device, of validated tensors or of a lazy source.

    Raises DataError for labels out of range, and ConfigError for a lazy source in several processes and for batches of
    one row with batch norm.
    """
    if is_lazy(data):
        if not ranks.alone:
            raise ConfigError("lazily loaded batches cannot be split over processes; load the data as tensors")
        check_known_labels(getattr(algorithm, "spec", None), data)
        return data.to(ranks.device)
    batches = TensorBatches(data, config.batch_size, config.random_state, ranks=ranks)
    if batches.batch_size == 1 and has_batch_norm(algorithm):
        raise ConfigError(
            f"batch norm needs two examples in a batch, and batches of these {batches.rows} have one: give more "
            "examples or a larger batch_size, or set generator_norm and critic_norm to 'layer'"
        )
    return batches.to(ranks.device)
