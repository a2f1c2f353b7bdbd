"""Generators of images and series from plain arrays: what ``BaseAugmenter`` does with data of three axes or more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ganlib.augment.generator import Plan, is_conditional, train_plan
from ganlib.data.images import to_tensor, to_uint8
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError
from ganlib.nn.sampler import Sampler
from ganlib.training import Algorithm, History

CHUNK = 512
SERIES, IMAGES = 3, 4


class ArrayGenerator:
    """A trained generator of arrays like those it was fitted on: same axes, same type, same range.

    ``X`` is images ``(n, h, w)``, ``(n, h, w, c)`` or ``(n, c, h, w)``, bytes or floats in [0, 1] or [-1, 1], or with
    ``series`` ``(n, channels, length)``. With classes, a model that is told the class is one model; another is fitted
    to each class. Raises DataError on other shapes or ranges, ConfigError on a model that does not make such data.
    """

    def __init__(self, X: np.ndarray, codes: np.ndarray | None, plan: Plan) -> None:
        modality = "image" if _are_images(X) else "series"
        if modality not in plan.model.modalities:
            raise ConfigError(
                f"model {plan.model.name!r} does not make {modality} data; "
                f"`ganlib models --task augmenter` lists what each makes"
            )
        x, self.restore = _read_images(X) if modality == "image" else _read_series(X)
        classes = 0 if codes is None else int(codes.max()) + 1
        self.conditional = is_conditional(plan.model)
        if self.conditional and not classes:
            raise DataError(f"model {plan.model.name!r} generates by class: give y")
        self.spec = DataSpec(tuple(x.shape[1:]), (), classes if self.conditional else 0)
        self.models, self.history = self._train(x, codes, plan)
        self.samplers: list[Sampler] = [model.sampler() for model in self.models]

    def _train(self, x: Tensor, codes: np.ndarray | None, plan: Plan) -> tuple[list[Algorithm], History]:
        y = torch.zeros(len(x), dtype=torch.int64) if codes is None else torch.as_tensor(codes)
        if self.conditional:
            model, history = train_plan(self.spec, plan, {"x": x, "y": y}, {"x": x[:0], "y": y[:0]})
            if plan.class_prior and hasattr(model, "fit_prior"):
                model.fit_prior(x, y)
            return [model], history
        groups = [train_plan(self.spec, plan, {"x": x[y == c]}, {"x": x[:0]}) for c in range(int(y.max()) + 1)]
        return [model for model, _ in groups], groups[0][1]

    @torch.no_grad()
    def sample(self, counts: np.ndarray, seed: int) -> np.ndarray:
        """``counts[c]`` examples of each class, in class order."""
        rng = np.random.Generator(np.random.Philox(seed))
        parts = [self._draw(label, int(n), rng) for label, n in enumerate(counts) if n]
        empty = torch.zeros(0, *self.spec.shape)
        return self.restore(torch.cat(parts) if parts else empty)

    def _draw(self, label: int, n: int, rng: np.random.Generator) -> Tensor:
        sampler = self.samplers[0 if self.conditional else label]
        made = []
        for start in range(0, n, CHUNK):
            rows = min(CHUNK, n - start)
            z = torch.from_numpy(rng.standard_normal((rows, sampler.latent_dim), dtype=np.float32))
            made.append(sampler(z, torch.full((rows,), label)) if self.conditional else sampler(z))
        return torch.cat(made)


def _are_images(X: np.ndarray) -> bool:
    """Three axes are grey images where both sides are alike in size or bytes, else series."""
    if X.ndim == IMAGES:
        return True
    return X.dtype == np.uint8 or 0.5 <= X.shape[1] / X.shape[2] <= 2


def _read_images(X: np.ndarray) -> tuple[Tensor, Callable[[Tensor], np.ndarray]]:
    x = to_tensor(X)
    first = X.ndim == IMAGES and x.shape[1:] == X.shape[1:]

    def restore(made: Tensor) -> np.ndarray:
        if X.dtype == np.uint8:
            arrays = to_uint8(made)
        else:
            arrays = made.clamp(-1, 1).permute(0, 2, 3, 1).numpy()
            arrays = (arrays if X.min() < 0 else (arrays + 1) / 2).astype(X.dtype)
        if first:
            return np.ascontiguousarray(arrays.transpose(0, 3, 1, 2))
        return arrays[..., 0] if X.ndim == SERIES else arrays

    return x, restore


def _read_series(X: np.ndarray) -> tuple[Tensor, Callable[[Tensor], np.ndarray]]:
    """Each channel centred and scaled by its own mean and deviation."""
    if not np.issubdtype(X.dtype, np.number) or not np.isfinite(X).all():
        raise DataError("series must be finite numbers of shape (n, channels, length); fill or drop the missing ones")
    mean, deviation = X.mean((0, 2), keepdims=True), X.std((0, 2), keepdims=True)
    if (deviation == 0).any():
        channel = int(np.flatnonzero(deviation.ravel() == 0)[0])
        raise DataError(f"channel {channel} of the series is constant; leave it out")
    x = torch.as_tensor((X - mean) / deviation, dtype=torch.float32)
    return x, lambda made: (made.numpy() * deviation + mean).astype(X.dtype)
