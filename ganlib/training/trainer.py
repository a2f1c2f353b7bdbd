"""The only training loop of the library; under torchrun, the loop of each of its processes (docs/distributed.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganlib.errors import ConfigError, DivergenceError, GanlibError
from ganlib.nn.layers import has_batch_norm
from ganlib.training.algorithm import Algorithm, Batch, Item, Losses, Optimiser, Phase, Routine, RoutineContext, Stage
from ganlib.training.batches import TensorBatches
from ganlib.training.callbacks import Callback
from ganlib.training.config import History, TrainerConfig, choose_device
from ganlib.training.data_checks import check_known_labels, check_model, check_training_data, is_lazy, training_tensors
from ganlib.training.ema import Average
from ganlib.training.optim import build_optimiser, rate_factor, set_rates
from ganlib.training.ranks import ALONE, Ranks, coupling_layer, digests, joined
from ganlib.training.resume import identity_of, resume_run, save_run

if TYPE_CHECKING:
    from ganlib.data.images import LazyImages


EXPLODED = 1e12  # no loss of examples of sane size comes near; float32 then resolves steps of 65,536


class Trainer:
    """Runs an Algorithm's stages over batches.

    ``fit`` moves the algorithm to the device, trains it, leaves the best (or averaged) weights in it on the CPU and
    in evaluation mode, and returns a History. On a CPU equal seeds and equal first weights (``torch.manual_seed``
    before the algorithm is built) give equal weights. With ``checkpoint`` set, a run that was cut short resumes from
    its last checkpoint (every ``checkpoint_every`` epochs and at the end) and ends bit-equal to an uninterrupted one; a
    checkpoint of other data (their files, or the seed, batch size or transform that they are drawn with), or of a model
    with other options or another DataSpec, is refused. Raises ConfigError on a ``config`` that is no TrainerConfig.

    Called by each of torchrun's processes with the same arguments, it trains data-parallel: the weights and the
    History are those of one process with the same ``batch_size``, on every rank; callbacks run on the first only.
    """

    def __init__(self, config: TrainerConfig | None = None, callbacks: Sequence[Callback] = ()) -> None:
        if not isinstance(config, TrainerConfig | None):
            raise ConfigError(f"config is a TrainerConfig, such as TrainerConfig(steps=1000), not {config!r}")
        self.config, self.callbacks = config or TrainerConfig(), tuple(callbacks)

    def fit(
        self,
        algorithm: Algorithm,
        data: Mapping[str, Tensor] | LazyImages,
        validation: Mapping[str, Tensor] | None = None,
    ) -> History:
        """Train on tensors or arrays by name (``x``, ``y``, ...), or on ``LazyImages``, which draw their own batches.

        Numbers of any precision are taken as float32, labels as int64.

        ``validation`` feeds ``algorithm.validation_loss``. Raises DataError on examples of another shape than the
        model's, labels out of range or data without variance; DivergenceError on a loss that is no number or beyond
        1e12, naming it, with the last good weights restored; ConfigError on what is no model; under several processes
        also ConfigError where the model or the batch size cannot be split over them or their arguments differ, and
        GanlibError where their weights have come apart.
        """
        check_model(algorithm)
        device, strict = choose_device(self.config.device), torch.are_deterministic_algorithms_enabled()
        with joined(self.config.distributed, device) as ranks, torch.random.fork_rng(enabled=True):
            callbacks = self.callbacks if ranks.index == 0 else ()
            run = _Run(self.config, algorithm, data, validation, callbacks, ranks)
            try:
                return run.train()
            finally:
                for callback in callbacks:
                    callback.on_end()
                algorithm.to("cpu").eval()
                torch.use_deterministic_algorithms(strict)


class _Run:
    """One call of ``fit``: all that changes while training."""

    def __init__(
        self,
        config: TrainerConfig,
        algorithm: Algorithm,
        data: Any,
        validation: Mapping[str, Tensor] | None,
        callbacks: Sequence[Callback],
        ranks: Ranks,
    ) -> None:
        self.config, self.algorithm, self.callbacks = config, algorithm, callbacks
        self.ranks, self.device = ranks, ranks.device
        torch.manual_seed(config.random_state)
        if config.deterministic:
            torch.use_deterministic_algorithms(True)
        self.generator = torch.Generator(self.device).manual_seed(config.random_state)
        algorithm.to(self.device).train()
        if is_lazy(validation):
            raise ConfigError("validation rows are given as tensors, not drawn lazily: ImageFolder.load() makes them")
        held_out = training_tensors(validation or {})
        self.default = self._source_of(data if is_lazy(data) else training_tensors(data), held_out)
        self.held_out = self._held_out(held_out)
        self.budget = config.steps or config.epochs * len(self.default)
        self.stages: Sequence[Stage] = algorithm.stages(self.budget)
        self._check_stages()
        self.total = sum(stage.steps for stage in self.stages)
        self.optimisers: dict[str, torch.optim.Optimizer] = {}
        self.rate = 1.0
        self.own = dict(algorithm.optimisers())
        self.average = Average(algorithm, config.ema) if config.ema else None
        self.history = History()
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}
        self.best = math.inf
        self.waited = 0
        self.best_state: dict[str, Tensor] | None = None
        # The newest state whose losses were all finite, and a newer one of which that is not known yet.
        self.good_state: dict[str, Tensor] = {}
        self.newest: dict[str, Tensor] | None = None
        self.stage_index, self.stage_step, self.epoch = 0, 0, 0
        self._source: Iterator[Batch] | None = None
        if config.compile and self.device.type == "cuda":
            for modules in algorithm.players().values():
                for module in [modules] if isinstance(modules, torch.nn.Module) else modules:
                    module.compile()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a checkpoint must agree with; the data are read for it once a run."""
        return identity_of(self)

    def _held_out(self, validation: Mapping[str, Tensor]) -> TensorBatches | None:
        if not validation or len(next(iter(validation.values()))) == 0:
            return None
        return TensorBatches(validation, 2048, shuffle=False).to(self.device)

    # ---------------------------------------------------------------- several processes
    def _source_of(self, data: Any, validation: Mapping[str, Tensor]) -> Any:
        """Batches of tensors, checked; or what draws batches by itself, as it is."""
        spec = getattr(self.algorithm, "spec", None)
        if is_lazy(data):
            if not self.ranks.alone:
                raise ConfigError("batches drawn lazily cannot be split over processes: load the data as tensors")
            check_known_labels(spec, data)
            return data.to(self.device)
        for given in (data, validation):
            check_training_data(spec, given)
        self._check_ranks(data, validation)
        batches = TensorBatches(data, self.config.batch_size, self.config.random_state, ranks=self.ranks)
        if batches.batch_size == 1 and has_batch_norm(self.algorithm):
            raise ConfigError(
                f"batch norm needs two examples in a batch, and batches of these {batches.rows} have one: give more "
                "examples or a larger batch_size, or set generator_norm and critic_norm to 'layer'"
            )
        return batches.to(self.device)

    def _check_ranks(self, data: Mapping[str, Tensor], validation: Mapping[str, Tensor] | None) -> None:
        """Refuse what cannot be split over ranks, and ranks that were given different things; share the weights."""
        ranks = self.ranks
        if ranks.alone:
            return
        if reason := self.algorithm.couples_batch() or coupling_layer(self.algorithm.named_modules()):
            raise ConfigError(_refusal(self.algorithm, reason))
        told = {f"option {name}": json.dumps(value) for name, value in self.config.to_dict().items()}
        del told["option device"]
        told |= {f"training rows {name!r}": value for name, value in digests(data).items()}
        told |= {f"held-out rows {name!r}": value for name, value in digests(validation or {}).items()}
        state = self.algorithm.state_dict()
        told |= {f"the model's {name}": f"{value.dtype} {tuple(value.shape)}" for name, value in state.items()}
        if differing := ranks.differing(told):
            raise ConfigError(
                f"the processes were given different things ({', '.join(differing[:5])}): each must build the same "
                "model and read the same rows in the same order (seed what shuffles or samples them)"
            )
        ranks.share(self.algorithm)

    def _check_stages(self) -> None:
        routines = [item.name for stage in self.stages for item in stage.phases if isinstance(item, Routine)]
        if routines and not self.ranks.alone:
            raise ConfigError(_refusal(self.algorithm, f"its routine {routines[0]!r} runs its own optimisation"))

    def _check_first_step(self) -> None:
        """Weights are alike after a step by construction; a buffer that is not follows the rank's own rows."""
        if differing := self._differing():
            reason = f"what it keeps follows each process's own rows ({', '.join(differing[:5])})"
            raise ConfigError(_refusal(self.algorithm, reason))

    def _differing(self) -> list[str]:
        return [] if self.ranks.alone else self.ranks.differing(digests(self.algorithm.state_dict()))

    def _check_alike(self) -> None:
        if differing := self._differing():
            raise GanlibError(
                f"the processes' weights came apart by step {self.history.steps} ({', '.join(differing[:5])}), so this "
                "is no longer one model. Does anything depend on the rank? Else train with deterministic=True"
            )

    def part_ways(self) -> None:
        """From here on what layers draw for themselves (dropout) differs from rank to rank, as rows do."""
        if self.ranks.index:
            torch.manual_seed(self.config.random_state + self.ranks.index * 1_000_003 + self.epoch * 7_919)

    # ---------------------------------------------------------------- the loop
    def train(self) -> History:
        """Run all stages from where a checkpoint, if any, left off."""
        if not (self.config.checkpoint and resume_run(self, Path(self.config.checkpoint))):
            self._prepare()
            self.part_ways()
        self.good_state = self._snapshot()
        while self.stage_index < len(self.stages) and self.history.stopped == "budget":
            self._run_stage(self.stages[self.stage_index])
            self.stage_index, self.stage_step = self.stage_index + 1, 0
        self._finish()
        self._check_alike()
        return self.history

    def _run_stage(self, stage: Stage) -> None:
        batches = self._batches_of(stage)
        while self.stage_step < stage.steps:
            source = (Batch(t, self.generator, self.ranks) for t in batches.epoch(self.epoch))
            self._one_epoch(stage, batches, source)
            self.epoch += 1
            self._end_epoch(last=self.stage_step >= stage.steps and stage is self.stages[-1])
            if self.history.stopped != "budget":
                return

    def _batches_of(self, stage: Stage) -> TensorBatches:
        if stage.batches is None:
            return self.default
        batches = stage.batches
        if not isinstance(batches, TensorBatches):
            batches = TensorBatches(batches, self.config.batch_size, self.config.random_state)
        return batches.to(self.device, self.ranks)

    def _one_epoch(self, stage: Stage, batches: TensorBatches, source: Iterator[Batch]) -> None:
        """Until the epoch's batches or the stage's steps are used up; extra critic batches come from the same epoch."""
        self._source, self._refill, self._refills = source, batches, 0
        for _ in range(len(batches)):
            batch = next(self._source, None)
            if batch is None or self.stage_step >= stage.steps:
                return
            self.rate = self._rate(stage)
            set_rates(self.optimisers.values(), self.rate)
            for item in stage.phases:
                self._run_item(item, batch)
            if self.newest is not None:
                self.good_state, self.newest = self.newest, None
            if self.average is not None:
                self.average.update(self.algorithm)
            self.stage_step += 1
            self.history.steps += 1
            if self.stage_step == 1:
                self._check_first_step()
            for callback in self.callbacks:
                callback.on_step(self.history.steps, self.total, None)

    def _rate(self, stage: Stage) -> float:
        config = self.config
        return rate_factor(config.schedule, self.stage_step, stage.steps, config.warm_up, config.decay_from)

    def _next_batch(self) -> Batch:
        """A further batch inside a step; at the epoch's end the data go round again, in an order of their own."""
        assert self._source is not None
        batch = next(self._source, None)
        if batch is None:
            self._refills += 1
            refill = self._refill.epoch(self.epoch + 1_000_000 * self._refills)
            self._source = (Batch(t, self.generator, self.ranks) for t in refill)
            batch = next(self._source)
        return batch

    # ---------------------------------------------------------------- updates
    def _run_item(self, item: Item, batch: Batch) -> None:
        step = self.stage_step
        if isinstance(item, Routine):
            if item.due(step):
                self._run_routine(item, batch)
        elif isinstance(item, tuple):
            due = [phase for phase in item if phase.due(step)]
            self._update(due, batch)
        elif item.due(step):
            times = item.repeat(step) if callable(item.repeat) else item.repeat
            for index in range(times):
                self._update([item], self._next_batch() if index and item.fresh else batch)

    def _run_routine(self, routine: Routine, batch: Batch) -> None:
        context = RoutineContext(batch, self._next_batch, lambda name: self.optimiser(name, None), self.stage_step)
        values = routine.run(context)
        for name, value in values.items():
            number = value.item() if isinstance(value, Tensor) else value
            if not _sane(number):
                self._diverged(f"{routine.name}.{name}")
            self._log(name, number)
        batch.forget(routine.trains or tuple(self.algorithm.players()))

    def _update(self, phases: list[Phase], batch: Batch) -> None:
        """Gradients of all phases first, then all steps: with one phase an ordinary update."""
        for index, phase in enumerate(phases):
            parameters = self._parameters(phase)
            for name in phase.players:
                self.optimiser(name, phase.optimiser).zero_grad(set_to_none=True)
            with self._autocast():
                losses = phase.loss(batch)
                total = losses.total
            self._differentiate(losses, total, parameters, retain=index < len(phases) - 1)
            for name, value in losses.terms.items():
                self._log(name, value.detach())
            self._clip(phase, parameters)
        for phase in phases:
            for name in phase.players:
                self.optimiser(name, phase.optimiser).step()
        for phase in phases:
            batch.forget(phase.players)
            with self._autocast():
                for hook in phase.after:
                    hook(batch)

    def _clip(self, phase: Phase, parameters: list[torch.nn.Parameter]) -> None:
        """Clip, and log the norm as it was before."""
        if not (self.config.gradient_clip or self.config.gradient_norms):
            return
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.config.gradient_clip or math.inf)
        if self.config.gradient_norms:
            self._log("+".join(phase.players) + "_gradient_norm", norm)

    def _differentiate(self, losses: Losses, total: Tensor, parameters: list[torch.nn.Parameter], retain: bool) -> None:
        """Gradients of the global batch's loss, or the same DivergenceError on all ranks.

        With several ranks the guard comes after the backward: whether all losses were sane travels with the
        gradients, which saves a message, and no rank leaves while others wait.
        """
        sane = _sane(total.item())
        if not sane and self.ranks.alone:
            self._diverged(self._culprit(losses))
        total.backward(inputs=parameters, retain_graph=retain)
        if not self.ranks.alone and not self.ranks.average_gradients(parameters, good=sane):
            named = self.ranks.texts("" if sane else self._culprit(losses))
            self._diverged(", ".join(sorted({name for text in named if text for name in text.split(", ")})))

    def _parameters(self, phase: Phase) -> list[torch.nn.Parameter]:
        key = "+".join(phase.players)
        cache = self.__dict__.setdefault("_parameter_cache", {})
        if key not in cache:
            cache[key] = self.algorithm.parameters_of(*phase.players)
        return cache[key]

    def optimiser(self, player: str, override: Optimiser | None) -> torch.optim.Optimizer:
        key = player if override is None else f"{player}@{override}"
        if key not in self.optimisers:
            spec = override or self.own.get(player, Optimiser())
            self.optimisers[key] = build_optimiser(spec, self.algorithm.parameters_of(player))
            set_rates([self.optimisers[key]], self.rate)
        return self.optimisers[key]

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.device.type == "cuda" and self.config.precision in ("auto", "bf16"):
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return nullcontext()

    # ---------------------------------------------------------------- bookkeeping
    def _prepare(self) -> None:
        """The first global batch is seen whole by every rank."""
        whole = self.default.to(self.device, ALONE) if isinstance(self.default, TensorBatches) else self.default
        first = next(whole.epoch(0))
        if is_lazy(self.default):  # tensors were checked whole
            check_training_data(getattr(self.algorithm, "spec", None), first)
        with torch.no_grad():
            self.algorithm.prepare(Batch(first, self.generator))
        self.ranks.share(self.algorithm)

    def _log(self, name: str, value: Tensor | float) -> None:
        self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts[name] = self.counts.get(name, 0) + 1

    def _end_epoch(self, last: bool) -> None:
        own = [float(total) / self.counts[name] for name, total in self.sums.items()]
        whole = self.ranks.averaged(torch.tensor(own, dtype=torch.float64)).tolist()
        means = dict(zip(self.sums, whole, strict=True))
        self.sums, self.counts = {}, {}
        self.history.record(means)
        self.history.epochs = self.epoch
        for callback in self.callbacks:
            callback.on_step(self.history.steps, self.total, means)
        self.newest = self._snapshot()
        if self.held_out is not None and (last or self.epoch % self.config.validate_every == 0):
            self._validate()
        if self.config.checkpoint and (last or self.epoch % self.config.checkpoint_every == 0):
            self._check_alike()
            save_run(self, Path(self.config.checkpoint))

    @torch.no_grad()
    def _validate(self) -> None:
        """Mean validation loss with the averaged weights where there are any; early stopping on it."""
        assert self.held_out is not None
        state = self._snapshot() if self.average else None
        if self.average:
            self.average.copy_to(self.algorithm)
        self.algorithm.eval()
        generator = torch.Generator(self.device).manual_seed(self.config.random_state + 1)
        total, rows = 0.0, 0
        for tensors in self.held_out.epoch(0):
            batch = Batch(tensors, generator)
            loss = self.algorithm.validation_loss(batch)
            if loss is None:
                self.held_out = None
                break
            total, rows = total + float(loss) * len(batch), rows + len(batch)
        if rows:
            # Computed by all ranks; averaged so that they decide alike even where kernels round differently.
            self._judge(self.ranks.averaged(torch.tensor(total / rows, dtype=torch.float64)).item())
        self.algorithm.train()
        if state is not None:
            self.algorithm.load_state_dict(state)

    def _judge(self, value: float) -> None:
        self.history.record({"validation": value})
        margin = self.config.min_delta * abs(self.best) if math.isfinite(self.best) else 0.0
        if value < self.best - margin:
            self.best, self.waited, self.history.best_epoch = value, 0, self.epoch
            if self.config.patience:
                self.best_state = self._snapshot()
            return
        self.waited += 1
        if self.config.patience and self.waited >= self.config.patience:
            self.history.stopped = "patience"

    def _finish(self) -> None:
        """The best or the averaged weights, where there are such; no loss has judged the last update."""
        for player in self.algorithm.players():
            if not all(bool(value.isfinite().all()) for value in self.algorithm.parameters_of(player)):
                self._diverged(player, "weights of")
        if self.best_state is not None:
            self.algorithm.load_state_dict(self.best_state)
        elif self.average is not None:
            self.average.copy_to(self.algorithm)

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.algorithm.state_dict().items()}

    def _culprit(self, losses: Losses) -> str:
        bad = [name for name, value in losses.terms.items() if not _sane(value.item())]
        return ", ".join(bad) or "the weighted sum"

    def _diverged(self, name: str, what: str = "loss") -> None:
        self.algorithm.load_state_dict(self.good_state)
        self.history.stopped = "diverged"
        ahead = int(what == "loss")  # a loss belongs to the step under way
        raise DivergenceError(
            f"{what} {name!r} exploded or became non-finite at step {self.history.steps + ahead} (epoch "
            f"{self.epoch + ahead}); the weights of the last good epoch were restored. Try a smaller learning_rate or "
            "gradient_clip=1.0, and look for extreme values"
        )


def _refusal(algorithm: Algorithm, reason: str) -> str:
    return f"{type(algorithm).__name__} cannot be trained data-parallel: {reason}; train it in one process"


def _sane(loss: float) -> bool:
    return abs(loss) <= EXPLODED  # which is false of NaN
