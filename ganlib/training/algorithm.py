"""The declarations of a model that the Trainer reads: losses, phases, stages, players.

A model is networks + named losses + a schedule of phases. It has no optimiser, loop, device, logging or file access.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.nn.sampler import Sampler
from ganlib.training.ranks import ALONE, Ranks


class Losses(Mapping[str, Tensor]):
    """Named scalar losses that add up.

    ``Losses(reconstruction=a, kl=b, weights={"kl": 0.1})``: every term is logged unweighted under its name,
    and ``total`` is the weighted sum that is differentiated. A term of weight 0 is only logged. ``a | b`` merges two
    with different names.
    """

    def __init__(self, weights: Mapping[str, float] | None = None, **terms: Tensor) -> None:
        self.terms, self.weights = terms, dict(weights or {})
        if unknown := self.weights.keys() - terms.keys():
            raise ConfigError(f"weights name losses that do not exist: {sorted(unknown)}; losses: {sorted(terms)}")

    @property
    def total(self) -> Tensor:
        """Weighted sum of the terms, a scalar."""
        weighed = [(self.weights.get(n, 1.0), t) for n, t in self.terms.items()]
        parts = [t if w == 1.0 else w * t for w, t in weighed if w]
        if not parts:
            named = f" ({', '.join(sorted(self.terms))})" if self.terms else ""
            raise ConfigError(f"a player has no loss{named} with a weight above 0; raise the option that is its weight")
        result = parts[0]
        for part in parts[1:]:
            result = result + part
        return result

    def __getitem__(self, name: str) -> Tensor:
        return self.terms[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)

    def __or__(self, other: Losses) -> Losses:
        if both := self.terms.keys() & other.terms.keys():
            raise ConfigError(f"two losses share a name: {sorted(both)}")
        return Losses(weights={**self.weights, **other.weights}, **self.terms, **other.terms)


class Batch:
    """Tensors of one mini-batch by name, with a memo for forward passes that losses share, and the source of noise.

    ``x`` is the data, ``y`` the labels if there are any. All tensors have the same first dimension ``n``.

    In data-parallel training these are one rank's rows of a global batch. Every rank then samples the noise of the
    whole global batch, so that each row gets the noise that it would get in one process. Code that samples from
    ``generator`` directly must not do so row by row.
    """

    # Whether a repeated phase loaded it in addition to the step's batch, so that no other phase reads it.
    further = False

    def __init__(
        self, tensors: Mapping[str, Tensor], generator: torch.Generator | None = None, ranks: Ranks = ALONE
    ) -> None:
        self.tensors, self.generator, self.ranks = dict(tensors), generator, ranks
        self.averages = False  # whether a mean over ranks is part of the batch's graphs
        self._memo: dict[str, tuple[Any, tuple[str, ...]]] = {}

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.tensors[name]
        except KeyError:
            raise ConfigError(
                f"this model needs {name!r} in its batches; the data holds {sorted(self.tensors)}"
            ) from None

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def x(self) -> Tensor:
        """The data, shape ``(n, *spec.shape)``."""
        return self["x"]

    @property
    def y(self) -> Tensor:
        """Class indices, int64 ``(n,)``."""
        return self["y"]

    def once(self, name: str, compute: Callable[[], Any], of: Sequence[str] = ()) -> Any:
        """The result of ``compute()``, stored under ``name`` for later calls.

        It is dropped when a player in ``of`` is updated; if ``of`` is empty, when any player is.
        """
        if name not in self._memo:
            self._memo[name] = (compute(), tuple(of))
        return self._memo[name][0]

    def forget(self, players: Sequence[str]) -> None:
        """Drop the memos that depend on these players (called by the Trainer after an update)."""
        updated = set(players)
        self._memo = {n: (v, of) for n, (v, of) in self._memo.items() if of and not updated & set(of)}

    def randn(self, *shape: int) -> Tensor:
        """Standard normal noise of shape ``(n, *shape)`` on the batch's device, from the run's generator."""
        return self.ranks.own(torch.randn((self._rows, *shape), generator=self.generator, device=self._device))

    def rand(self, *shape: int) -> Tensor:
        """Uniform [0, 1) noise of shape ``(n, *shape)``."""
        return self.ranks.own(torch.rand((self._rows, *shape), generator=self.generator, device=self._device))

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the batch, ``(...)`` from ``(n, ...)``; over the rows of all ranks, and differentiable.

        Required for a mean that enters the loss by anything but a sum. A mean that is a whole term of the loss may be
        taken over the rank's rows.
        """
        self.averages = True
        return self.ranks.mean(values.mean(0))

    def permutation(self) -> Tensor:
        """A random permutation of the batch's rows; raises ConfigError if they are spread over several ranks."""
        if not self.ranks.alone:
            raise ConfigError(
                "cannot be trained data-parallel: this model mixes the batch's examples (it permutes them); train it "
                "in one process"
            )
        return torch.randperm(self._rows, generator=self.generator, device=self._device)

    @property
    def _rows(self) -> int:
        """Rows of the global batch."""
        return len(self) * self.ranks.size

    @property
    def _device(self) -> torch.device:
        return next(iter(self.tensors.values())).device


@dataclass(frozen=True)
class Optimiser:
    """How one player is updated. ``name``: adam, adamw, adamax, rmsprop or sgd; ``betas`` is (momentum, ·) for sgd."""

    name: str = "adam"
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    epsilon: float = 1e-8


def always(_: int) -> bool:
    """The default of ``Phase.when``: run at every step."""
    return True


@dataclass(frozen=True)
class Phase:
    """The update of one or several players within a step.

    - ``trains``: names of the players; ``loss`` maps a batch to Losses.
    - ``repeat``: number of updates per step, each on another batch if ``fresh``.
    - ``every``: run at every n-th step only; ``when(step)``: run only if it returns True.
    - ``optimiser``: overrides the players' optimisers.
    - ``after``: functions of the batch that run after each update (clipping, equilibrium rules, replay pools).

    A tuple of phases is a simultaneous update: all gradients are computed before any player changes, and a player that
    several of them train changes once, by the sum of their gradients. Such phases cannot repeat, because one update
    uses one batch, and cannot give a player different optimisers. Both raise ConfigError before the first step.

    A policy gradient is also a phase. Its loss is the surrogate ``-(log pi(a) * advantage).mean()``, with actions and
    advantages computed under ``torch.no_grad()``; the Trainer clips, averages and logs it like any other.
    """

    trains: str | tuple[str, ...]
    loss: Callable[[Batch], Losses]
    repeat: int | Callable[[int], int] = 1
    fresh: bool = True
    every: int = 1
    when: Callable[[int], bool] = always
    optimiser: Optimiser | None = None
    after: tuple[Callable[[Batch], None], ...] = ()

    @property
    def players(self) -> tuple[str, ...]:
        """The names in ``trains`` as a tuple."""
        return (self.trains,) if isinstance(self.trains, str) else self.trains

    def due(self, step: int) -> bool:
        """Whether the phase runs at this step."""
        return step % self.every == 0 and self.when(step)

    def times(self, step: int) -> int:
        """Updates at this step."""
        return self.repeat(step) if callable(self.repeat) else self.repeat


@dataclass(frozen=True)
class RoutineContext:
    """Arguments of a Routine: the step's batch, a source of more batches, optimisers by player, the step number."""

    batch: Batch
    next_batch: Callable[[], Batch]
    optimiser: Callable[[str], torch.optim.Optimizer]
    step: int


@dataclass(frozen=True)
class Routine:
    """An update with an optimisation of its own (several inner steps, a line search); returns values to log.

    ``trains`` names the players it may change, so that memos are dropped and laws can be checked. The Trainer does not
    clip its gradients, autocast it, or average it over processes; data-parallel training rejects it. Prefer a Phase
    for everything that can be written as a loss, including policy gradients.
    """

    name: str
    run: Callable[[RoutineContext], Mapping[str, Tensor | float]]
    trains: tuple[str, ...] = ()
    every: int = 1

    def due(self, step: int) -> bool:
        """Whether the routine runs at this step."""
        return step % self.every == 0


Item = Phase | tuple[Phase, ...] | Routine


@dataclass(frozen=True)
class Stage:
    """A part of training with separate phases, such as pre-training before adversarial training.

    ``batches`` replaces the training batches during this stage.
    """

    name: str
    phases: Sequence[Item]
    steps: int
    batches: Any = None


class Algorithm(nn.Module):
    """Networks, their losses and the order in which they are trained.

    All state is in parameters and buffers, so that ``state_dict`` is complete.
    """

    config: Any
    spec: DataSpec
    registered: str = ""  # name of the registry entry that it was created from
    # Conditions of its sampler: "classes" (``spec.classes``), "attributes" (``spec.attributes``; also captions).
    takes: tuple[str, ...] = ()
    # Of translators: whether each example ``x`` needs its counterpart ``x_b`` beside it.
    paired: ClassVar[bool] = False
    # Whether rows are counted as evidence, so that copies of the rows of small classes would be learned as such.
    counts_rows: ClassVar[bool] = False
    # Whether its sampler varies given examples (``Sampler.by_example``).
    by_example: ClassVar[bool] = False
    # For type checkers: defined by models that detect, that generate, and that have a prior per class.
    scorer: Callable[[], nn.Module]
    sampler: Callable[[], Sampler]
    fit_prior: Callable[[Tensor, Tensor], None]

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Rebuild a model with parametrised weights (spectral norm) from its state, because they cannot be pickled."""
        if any(map(parametrize.is_parametrized, self.modules())):
            return _rebuild, (type(self), self.spec, self.config, self.state_dict(), self.training, self.registered)
        return super().__reduce_ex__(protocol)

    def players(self) -> Mapping[str, nn.Module | Sequence[nn.Module]]:
        """Disjoint groups of parameters by name: ``{"generator": self.generator, ...}``."""
        raise TypeError(f"{type(self).__name__} must define players()")

    def phases(self) -> Sequence[Item]:
        """The updates of one step, in order."""
        raise TypeError(f"{type(self).__name__} must define phases()")

    def optimisers(self) -> Mapping[str, Optimiser]:
        """Optimiser of each player; a player not named gets ``Optimiser()``."""
        return {}

    def stages(self, budget: int) -> Sequence[Stage]:
        """Stages for a budget of steps; by default one stage of ``phases()``."""
        return (Stage("train", self.phases(), budget),)

    def prepare(self, batch: Batch) -> None:
        """Data-dependent initialisation on the first batch (ActNorm, codebooks)."""

    def validation_loss(self, batch: Batch) -> Tensor | None:
        """Scalar for early stopping on held-out batches, lower is better; None if the model has none."""
        return None

    @property
    def validates(self) -> bool:
        """Whether the model defines a validation loss."""
        return type(self).validation_loss is not Algorithm.validation_loss

    @property
    def by_class(self) -> bool:
        """Whether the sampler is conditioned on class indices."""
        return self.spec.classes > 0

    @classmethod
    def lacks(cls, config: Any) -> tuple[type, ...]:
        """Abilities (``ganlib.abilities``) whose method the class defines, but that these options disable."""
        return ()

    def couples_batch(self) -> str:
        """The reason why examples of a batch depend on each other, for which data-parallel training rejects the model.

        Empty if they do not. Buffers that depend on the batch (moving means, replay pools, equilibrium rules) are a
        reason; means by ``Batch.mean`` are not.
        """
        return ""

    def parameters_of(self, *players: str) -> list[nn.Parameter]:
        """Parameters of the named players, each once."""
        seen: dict[int, nn.Parameter] = {}
        own = self.players()
        for name in players:
            if name not in own:
                raise ConfigError(f"{type(self).__name__} has no player {name!r}; players: {sorted(own)}")
            modules = own[name]
            for module in [modules] if isinstance(modules, nn.Module) else modules:
                seen |= {id(p): p for p in module.parameters() if p.requires_grad}
        return list(seen.values())


def _rebuild(
    build: Any, spec: DataSpec, config: Any, state: dict[str, Tensor], training: bool, registered: str = ""
) -> Algorithm:
    """A pickled algorithm."""
    algorithm: Algorithm = build(spec, config)
    algorithm.load_state_dict(state)
    algorithm.registered = registered
    return algorithm.train(training)
