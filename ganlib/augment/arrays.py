"""Generators of images and series from plain arrays: by class, or by description."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ganlib.augment.checks import PROBE, one_axis
from ganlib.augment.classes import Classes
from ganlib.augment.counts import check_rows
from ganlib.augment.generator import GenerationPlan, fit_prior, is_conditional, merged, train_plan
from ganlib.data.captions import CaptionEncoder
from ganlib.data.readers import Reader
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, DataError
from ganlib.nn.sampler import InUnits, OnlyClass, Sampler
from ganlib.registry import Entry
from ganlib.training import Algorithm, History

Scale = tuple[Tensor, Tensor]


class Arrays:
    """Base of array generators: converts the training data for the network, and samples back to its format.

    ``X`` is what ``reader`` opened. ``models`` are the trained models, and ``samplers`` their samplers in the units of
    the series.
    """

    classes: Classes
    models: list[Algorithm]
    history: History

    def __init__(self, reader: Reader, X: np.ndarray) -> None:
        self.reader = reader.fit(X)
        self.attribute_scale: Scale | None = None
        self.x = self.reader.read(X)

    @property
    def algorithm(self) -> Algorithm:
        """The first model."""
        return self.models[0]

    def in_units(self, sampler: Sampler) -> Sampler:
        """A model's sampler in the units of the training data; unchanged for images."""
        if self.reader.scale is None and self.attribute_scale is None:
            return sampler
        return InUnits(sampler, self.attribute_scale, self.reader.scale).eval()

    def _keep(self, models: list[Algorithm], history: History) -> None:
        self.models, self.history = models, history
        self.samplers = [self.in_units(model.sampler()) for model in models]


class ArrayGenerator(Arrays):
    """A trained generator of arrays, by class if there are classes.

    A conditional model is trained once; an unconditional model is trained per class. A model of neighbours receives
    training examples, sampled at random.
    """

    def __init__(self, reader: Reader, X: np.ndarray, y: Any, plan: GenerationPlan) -> None:
        super().__init__(reader, X)
        self.classes = Classes.read(one_axis(y, plan.model), len(X), plan.spread)
        self.conditional, self.labelled = is_conditional(plan.model), self.classes.codes is not None
        self.codes = np.zeros(len(X), dtype=np.int64) if self.classes.codes is None else self.classes.codes
        classes = int(self.codes.max()) + 1
        self.spec = DataSpec.of(self.reader.spec.x, classes if self.conditional else 0)
        self._keep(*self._train(self.x, torch.as_tensor(self.codes), plan))
        if not self.samplers[0].by_example:
            del self.x

    def in_units(self, sampler: Sampler) -> Sampler:
        """As ``Arrays.in_units``; a conditional model fitted without labels always gets class 0."""
        needless = self.conditional and not self.labelled and not sampler.by_example
        return super().in_units(OnlyClass(sampler) if needless else sampler)

    def _train(self, x: Tensor, y: Tensor, plan: GenerationPlan) -> tuple[list[Algorithm], History]:
        if self.conditional:
            model, history = train_plan(self.spec, plan, {"x": x, "y": y}, {"x": x[:0], "y": y[:0]})
            if plan.class_prior:
                fit_prior(model, x, y)
            return [model], history
        plan.training.check_models(int(y.max()) + 1)
        groups = [train_plan(self.spec, plan, {"x": x[y == c]}, {"x": x[:0]}) for c in range(int(y.max()) + 1)]
        return [model for model, _ in groups], merged([history for _, history in groups])

    def sample(self, n: int | None, conditions: Any, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Examples by class, in the order requested, and their labels."""
        counts, order, labels = self.classes.requested(n, conditions)
        return self.by_class(counts, seed)[order], labels

    def probe(self, X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Real examples of the largest class, and a few generated ones."""
        largest = self.classes.largest
        counts = np.bincount([largest] * PROBE, minlength=len(self.classes.counts))
        return X[self.codes == largest], self.by_class(counts, seed)

    @torch.no_grad()
    def by_class(self, counts: np.ndarray, seed: int) -> np.ndarray:
        """``counts[c]`` examples of each class, in class order."""
        rng = np.random.Generator(np.random.Philox(seed))
        parts = [self._draw(label, int(n), rng) for label, n in enumerate(counts) if n]
        empty = torch.zeros(0, *self.spec.shape)
        return self.reader.restore(torch.cat(parts) if parts else empty)

    def _draw(self, label: int, n: int, rng: np.random.Generator) -> Tensor:
        sampler = self.samplers[0 if self.conditional else label]
        own = np.flatnonzero(self.codes == label)
        made = []
        for start in range(0, n, sampler.most_rows):
            rows = min(sampler.most_rows, n - start)
            z = torch.from_numpy(rng.standard_normal((rows, sampler.latent_dim), dtype=np.float32))
            if sampler.by_example:
                made.append(sampler(z, self.x[rng.choice(own, rows)]))
            else:
                by_class = self.conditional and self.labelled
                made.append(sampler(z, torch.full((rows,), label)) if by_class else sampler(z))
        return torch.cat(made)


class DescribedGenerator(Arrays):
    """A trained generator of arrays, conditioned on captions or attributes ``(n, k)``.

    Captions (any text, including class names) are embedded by a ``CaptionEncoder`` fitted to them; attributes are
    standardised. Raises DataError if descriptions are missing or all equal, and ConfigError for a model that cannot be
    conditioned on them.
    """

    def __init__(self, reader: Reader, X: np.ndarray, descriptions: Any, plan: GenerationPlan) -> None:
        super().__init__(reader, X)
        self.classes = Classes.none(len(X))
        self.captions: CaptionEncoder | None = None
        self.seen = np.asarray(descriptions)
        if len(self.seen) != len(X):
            raise DataError(f"X has {len(X)} rows and y {len(self.seen)}")
        if self.seen.ndim == 1:
            if lacking := int(pd.isna(self.seen).sum()):
                raise DataError(f"{lacking} captions are missing; leave these examples out")
            self.seen = self.seen.astype(str)
            self.captions = CaptionEncoder().fit(self.seen.tolist())
        else:
            self.attribute_scale = _scale_of(self.seen)
        embedded = self.embed(self.seen)
        if self.attribute_scale is not None:
            embedded = (embedded - self.attribute_scale[0]) / self.attribute_scale[1]
        self.spec = DataSpec.of(self.reader.spec.x, attributes=embedded.shape[1])
        model, history = train_plan(self.spec, plan, {"x": self.x, "c": embedded}, {"x": self.x[:0]})
        self._keep([model], history)
        del self.x

    def embed(self, descriptions: np.ndarray) -> Tensor:
        """Descriptions as conditions of the sampler, float32 ``(n, k)``; raises DataError for unreadable ones."""
        if not len(descriptions):
            return torch.zeros(0, self.spec.attributes)
        if self.captions is not None:
            return self.captions.transform([str(text) for text in descriptions])
        return _attributes(descriptions, self.seen.shape[1])

    @torch.no_grad()
    def sample(self, n: int | None, conditions: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Generate ``n`` examples; returns them and the description of each.

        ``conditions`` is one description for all examples, one for each, or None to sample training descriptions.
        Raises ConfigError if their number is not ``n``.
        """
        rng = np.random.Generator(np.random.Philox(seed))
        requested = self._requested(n, conditions, rng)
        sampler, embedded, made = self.samplers[0], self.embed(requested), []
        for part in embedded.split(sampler.most_rows):
            z = torch.from_numpy(rng.standard_normal((len(part), sampler.latent_dim), dtype=np.float32))
            made.append(sampler(z, part))
        return self.reader.restore(torch.cat(made) if len(embedded) else torch.zeros(0, *self.spec.shape)), requested

    def probe(self, X: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The real examples, and a few generated ones."""
        return X, self.sample(PROBE, None, seed)[0]

    def _requested(self, n: int | None, conditions: Any, rng: np.random.Generator) -> np.ndarray:
        check_rows(n)
        values = None if conditions is None else np.asarray(conditions)
        if values is not None and values.ndim == 0 and self.seen.shape[1:] == (1,):
            values = values[None]
        if values is not None and values.ndim == self.seen.ndim and n in (None, len(values)):
            return values
        if values is not None and values.ndim == self.seen.ndim:
            raise ConfigError(f"{len(values)} conditions were given for n={n} rows")
        if n is None:
            raise ConfigError("give the number of examples n, or a description for each")
        if values is None:
            return self.seen[rng.choice(len(self.seen), n)]
        if values.shape != self.seen.shape[1:]:
            wanted = "a caption" if self.captions else f"{self.seen.shape[1]} attributes"
            raise ConfigError(f"conditions are {wanted}, for all or for each; got an array of shape {values.shape}")
        return np.broadcast_to(values, (n, *values.shape)).copy()


def is_described(model: Entry, y: Any, tabular: bool = False) -> bool:
    """Whether ``y`` holds descriptions, that is attributes ``(n, k)`` or captions, instead of classes.

    Text is a caption for a model without classes (gan_int_cls) and a class for any other. Rows of tables are described
    only for such a model. Raises DataError if it gets no ``y``.
    """
    captions = model.takes == ("attributes",)
    if captions and y is None:
        raise DataError(f"model {model.name!r} generates from descriptions: give y, captions or attributes (n, k)")
    return captions or (not tabular and np.ndim(y) == 2 and "attributes" in model.takes)


def _attributes(values: Any, width: int) -> Tensor:
    try:
        numbers = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"attributes are numbers of shape (n, {width}), and names of classes have one axis, (n,): {error}"
        ) from error
    if numbers.ndim != 2 or numbers.shape[1] != width:
        raise DataError(f"attributes are numbers of shape (n, {width}); got shape {numbers.shape}")
    if lacking := int((~np.isfinite(numbers)).sum()):
        raise DataError(f"attributes are finite numbers; {lacking} are not: fill them, or leave these examples out")
    return torch.from_numpy(numbers)


def _scale_of(values: np.ndarray) -> Scale:
    """Mean and standard deviation of each attribute; raises DataError for a constant one."""
    numbers = _attributes(values, values.shape[1]).double()
    mean, deviation = numbers.mean(0), numbers.std(0, unbiased=False)
    if (deviation == 0).any():
        raise DataError(f"attribute {int(torch.argmin(deviation))} is constant; leave it out")
    return mean.float(), deviation.float()
