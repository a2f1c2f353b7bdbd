"""Trains a generator of encoded rows: resampling, marginals, one or several models, and one sampler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.config import Config
from ganlib.data.encoder import TableEncoder
from ganlib.data.spec import DataSpec
from ganlib.errors import DivergenceError
from ganlib.nn.gaussian import normal_cdf
from ganlib.nn.marginals import Marginals
from ganlib.nn.sampler import Sampler
from ganlib.recipe import Training
from ganlib.registry import Entry
from ganlib.training import Algorithm, History

HOLD_OUT_FROM = 50  # smaller classes use all of their rows for training
LEAST_VALIDATION = 20
MOST_SEPARATE = 32  # classes that fused models learn each by itself


class ByClassSampler(Sampler):
    """``forward(z (n, latent_dim), condition int64 (n,)) -> (n, d)`` encoded rows; without classes ``forward(z)``.

    ``samplers`` holds one sampler given the class, or one per class.
    """

    samplers: Sequence[Sampler]

    def __init__(self, samplers: Sequence[Sampler], marginals: Marginals, given_class: bool) -> None:
        super().__init__()
        self.samplers = cast("Sequence[Sampler]", nn.ModuleList(samplers))
        self.marginals, self.given_class = marginals, given_class
        self.latent_dim = max(int(s.latent_dim) for s in samplers)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate rows."""
        if self.given_class:
            index = torch.zeros_like(z[:, 0], dtype=torch.int64) if condition is None else condition
            scores = self.samplers[0](z, index)
        elif len(self.samplers) == 1:
            scores = self.samplers[0](z)
        else:
            assert condition is not None
            scores = _picked([s(z[:, : s.latent_dim]) for s in self.samplers], condition)
        return self.marginals(scores, condition)


def _picked(each: Sequence[Tensor], index: Tensor) -> Tensor:
    """Row i of ``each[index[i]]``, of operators that sealed graphs have; of the last one beyond it."""
    chosen = each[-1]
    for place, made in enumerate(each[:-1]):
        chosen = torch.where((index == place).unsqueeze(1), made, chosen)
    return chosen


class FusedSampler(Sampler):
    """Rows of several samplers in equal shares; the first value of ``z (n, latent_dim)`` chooses one for each row."""

    samplers: Sequence[Sampler]

    def __init__(self, samplers: Sequence[Sampler]) -> None:
        super().__init__()
        self.samplers = cast("Sequence[Sampler]", nn.ModuleList(samplers))
        self.latent_dim = 1 + max(s.latent_dim for s in samplers)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate rows."""
        given = () if condition is None else (condition,)
        place = (normal_cdf(z[:, 0]) * len(self.samplers)).to(torch.int64)
        return _picked([s(z[:, 1 : 1 + s.latent_dim], *given) for s in self.samplers], place)


@dataclass(frozen=True, kw_only=True)
class FusedConfig(Config):
    """The registry names of the ``members``."""

    members: tuple[str, ...]


class TableGenerator(nn.Module):
    """Trained models behind one ``sampler()``, as returned by ``fit_generator``.

    ``models`` is one conditional model, or one unconditional model per class. ``config`` is that of the first model.
    """

    models: Sequence[Algorithm]

    def __init__(self, models: Sequence[Algorithm], marginals: Marginals, given_class: bool) -> None:
        super().__init__()
        self.models = cast("Sequence[Algorithm]", nn.ModuleList(models))
        self.marginals, self.given_class = marginals, given_class
        self.config, self.spec = models[0].config, models[0].spec

    def sampler(self) -> Sampler:
        """An exportable sampler without randomness of its own; all noise is the input ``z``."""
        inner = [model.sampler() for model in self.models]
        return ByClassSampler(inner, self.marginals, self.given_class).eval()


class FusedGenerator(nn.Module):
    """Several generators of rows by ``names`` behind one ``sampler()``."""

    models: Sequence[TableGenerator]

    def __init__(self, models: Sequence[TableGenerator], names: Sequence[str]) -> None:
        super().__init__()
        self.models = cast("Sequence[TableGenerator]", nn.ModuleList(models))
        self.config, self.spec = FusedConfig(members=tuple(names)), models[0].spec

    def sampler(self) -> Sampler:
        """An exportable sampler without randomness of its own."""
        return FusedSampler([model.sampler() for model in self.models]).eval()


@dataclass(frozen=True)
class GenerationPlan:
    """How to generate: the model with its options, the training runs, and what is done with classes and samples.

    ``resampling`` is whether the generated rows must take the real columns' types. ``others`` are plans whose models
    generate an equal share of the rows each; of them only models, options and training count.
    """

    model: Entry
    options: Mapping[str, Any]
    training: Training
    validation_fraction: float
    balance: float
    class_prior: bool
    curation: float
    near_copies: float
    resampling: bool = False
    others: tuple[GenerationPlan, ...] = ()

    @property
    def seed(self) -> int:
        """The seed of the fit."""
        return self.training.seed

    @property
    def spread(self) -> bool:
        """Whether a class is sampled from a Gaussian (or a mixture) that is fitted to its latents."""
        return self.class_prior and hasattr(self.model.build, "fit_prior")


def fit_generators(
    encoder: TableEncoder, x: np.ndarray, y: np.ndarray | None, plan: GenerationPlan
) -> tuple[TableGenerator | FusedGenerator, History]:
    """As ``fit_generator``, of the plan and its ``others``; of many classes, only models that learn them together."""
    few = y is None or y.max() < MOST_SEPARATE
    plans = [plan, *(one for one in plan.others if few or is_conditional(one.model))]
    if len(plans) == 1:
        return fit_generator(encoder, x, y, plan)
    plan.training.check_models(2)
    names = [f"{one.model.name}_{place}" for place, one in enumerate(plans, 1)]
    parts = {name: fit_generator(encoder, x, y, one) for name, one in zip(names, plans, strict=True)}
    fused = FusedGenerator([model for model, _ in parts.values()], [one.model.name for one in plans])
    return fused.eval(), History.joined({name: history for name, (_, history) in parts.items()})


def fit_generator(
    encoder: TableEncoder, x: np.ndarray, y: np.ndarray | None, plan: GenerationPlan
) -> tuple[TableGenerator, History]:
    """Train on encoded rows ``x (n, d)`` with class indices ``y (n,)`` or None."""
    labels = np.zeros(len(x), dtype=np.int64) if y is None else y
    classes = int(labels.max()) + 1
    rng = np.random.default_rng(plan.seed)
    given_class = is_conditional(plan.model)
    spec = DataSpec.of(encoder.spec.x, classes if given_class else 0)
    balance = 0.0 if plan.model.counts_rows else plan.balance
    copies = _copies(np.bincount(labels), balance)[labels]
    marginals = Marginals(spec, classes)
    rows = np.arange(len(x))
    draws = np.concatenate([rows, np.repeat(rows, copies - 1)])
    scores = torch.from_numpy(marginals.fit_transform(x, labels, encoder.codes, draws, rng))
    drawn = torch.from_numpy(labels[draws])
    held = _held_out(labels, plan.validation_fraction, rng)
    plan.training.check_models(1 if given_class else classes)
    models, histories = [], []
    for group in [None] if given_class else range(classes):
        member = np.ones(len(draws), dtype=bool) if group is None else (labels == group)[draws]
        data = {"x": scores, "y": drawn} if given_class else {"x": scores}
        train = torch.from_numpy(member & ~held[draws])
        watch = torch.from_numpy((member & held[draws]) & (np.arange(len(draws)) < len(x)))
        model, history = train_plan(spec, plan, _take(data, train), _take(data, watch))
        if plan.class_prior and given_class:
            # Use each row once: copies would overstate the evidence.
            fit_prior(model, scores[: len(x)], drawn[: len(x)])
        models.append(model)
        histories.append(history)
    return TableGenerator(models, marginals, given_class).eval(), merged(histories)


def fit_prior(model: Algorithm, x: Tensor, y: Tensor) -> None:
    """Fit the model's class prior, if it has one; raises DivergenceError if its latents are not finite."""
    if not hasattr(model, "fit_prior"):
        return
    try:
        model.fit_prior(x, y)
    except torch.linalg.LinAlgError as error:
        raise DivergenceError(
            "the latents have no finite spread: training diverged. Try a smaller learning_rate, and look for extreme "
            f"values ({error})"
        ) from error


def is_conditional(model: Entry) -> bool:
    """Whether the model is conditioned on the class."""
    return "classes" in model.takes


def _take(data: Mapping[str, Tensor], chosen: Tensor) -> dict[str, Tensor]:
    return {name: value[chosen] for name, value in data.items()}


def _copies(counts: np.ndarray, balance: float) -> np.ndarray:
    """How often each class's rows are repeated; shares are proportional to count^(1 - balance)."""
    top = counts.max()
    return np.maximum(1, np.round((top / np.maximum(counts, 1)) ** balance)).astype(np.int64)


def _held_out(labels: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Held-out validation rows; none from small classes, and none at all if too few would remain."""
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) >= HOLD_OUT_FROM:
            held[rng.permutation(rows)[: int(fraction * len(rows))]] = True
    return held if held.sum() >= LEAST_VALIDATION else np.zeros_like(held)


def train_plan(
    spec: DataSpec, plan: GenerationPlan, data: dict[str, Tensor], validation: dict[str, Tensor]
) -> tuple[Algorithm, History]:
    """Train the plan's model on ``data``, with early stopping on ``validation`` if that has enough rows."""
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        model = plan.model.create(spec, **plan.options)
    return model, plan.training.run(model, data, validation, LEAST_VALIDATION)


def merged(histories: Sequence[History]) -> History:
    """Merge histories; with several models, curves are indexed by model number."""
    if len(histories) == 1:
        return histories[0]
    one = History(steps=sum(h.steps for h in histories), epochs=max(h.epochs for h in histories))
    for index, history in enumerate(histories):
        one.curves |= {f"{name}[{index}]": values for name, values in history.curves.items()}
        if history.stopped != "budget":
            one.stopped = history.stopped
    return one
