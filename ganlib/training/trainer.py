"""The only training loop of the library; under torchrun, each process runs it (docs/distributed.md)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganlib.errors import ConfigError
from ganlib.training.agreement import Agreement
from ganlib.training.algorithm import Algorithm, Batch, Stage
from ganlib.training.batches import Stream, TensorBatches
from ganlib.training.callbacks import Callback, Watching
from ganlib.training.config import History, TrainerConfig, choose_device
from ganlib.training.data_checks import check_model, check_training_data, is_lazy, training_source, training_tensors
from ganlib.training.ema import Average
from ganlib.training.guard import Guard
from ganlib.training.optim import rate_factor
from ganlib.training.progress import Progress
from ganlib.training.ranks import ALONE, Ranks, joined
from ganlib.training.resume import identity_of, resume_run, save_run
from ganlib.training.runtime import Runtime, torch_settings
from ganlib.training.threads import Threads
from ganlib.training.updater import Updater, check_stages

if TYPE_CHECKING:
    from ganlib.data.images import LazyImages

logger = logging.getLogger(__name__)


class Trainer:
    """Runs an Algorithm's stages over batches.

    ``fit`` moves the algorithm to the device, trains it, leaves the best (or averaged) weights in it on the CPU and
    in evaluation mode, and returns a History. On a CPU equal seeds and equal first weights (``torch.manual_seed``
    before the algorithm is built) give equal weights.

    With ``checkpoint`` set, an interrupted run resumes from its last checkpoint (every ``checkpoint_every`` epochs and
    at the end) and ends bit-equal to an uninterrupted one. A checkpoint is rejected if the data changed (the files, or
    the seed, batch size or transform by which batches are sampled), or the model's options or DataSpec.

    If each of torchrun's processes calls it with the same arguments, it trains data-parallel: the weights and the
    History of every rank are those of one process with the same ``batch_size``. Callbacks run on the first rank only.

    Raises ConfigError if ``config`` is not a TrainerConfig.
    """

    def __init__(self, config: TrainerConfig | None = None, callbacks: Sequence[Callback] = ()) -> None:
        if not isinstance(config, TrainerConfig | None):
            raise ConfigError(f"config must be a TrainerConfig, such as TrainerConfig(steps=1000), not {config!r}")
        self.config, self.callbacks = config or TrainerConfig(), tuple(callbacks)

    def fit(
        self,
        algorithm: Algorithm,
        data: Mapping[str, Tensor] | LazyImages,
        validation: Mapping[str, Tensor] | None = None,
    ) -> History:
        """Train on tensors or arrays by name (``x``, ``y``, ...), or on ``LazyImages``, which load batches on demand.

        Numbers are converted to float32, labels to int64; images may be bytes (uint8). ``validation`` holds the rows
        for ``algorithm.validation_loss``. Warns if ``patience`` is set but there is no validation loss.

        Raises DataError for examples of the wrong shape, labels out of range, and data without variance. Raises
        DivergenceError, naming loss and step, if a loss is not finite or exceeds 1e12; the last good weights are
        restored. Losses are read at the end of an epoch and every 50 steps, so up to 50 more steps may run before.
        Raises ConfigError if ``algorithm`` is not a model, if simultaneous phases cannot be one update, and if the
        checkpoint has another schedule.

        With several processes it also raises ConfigError if the model or the batch size cannot be split over them or
        their arguments differ, and GanlibError if their weights diverge from each other.
        """
        check_model(algorithm)
        device = choose_device(self.config.device)
        with (
            joined(self.config.distributed, device) as ranks,
            torch.random.fork_rng(enabled=True),
            torch_settings(self.config, ranks.device),
        ):
            callbacks = self.callbacks if ranks.index == 0 else ()
            run = Run(self.config, algorithm, data, validation, callbacks, ranks)
            try:
                with run.runtime.compilation():
                    return run.train()
            finally:
                for callback in callbacks:
                    callback.on_end()
                run.runtime.release()


class Run:
    """One call of ``fit``: the loop over stages, epochs, steps and items."""

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
        self.generator = torch.Generator(self.device).manual_seed(config.random_state)
        self.runtime = Runtime(algorithm, config, self.device)
        self.runtime.place()
        self.agreement = Agreement(algorithm, ranks)
        self._read(data, validation)
        self.stages: Sequence[Stage] = algorithm.stages(config.steps or config.epochs * len(self.default))
        check_stages(self.stages)
        self.agreement.on_stages(self.stages)
        self.total = sum(stage.steps for stage in self.stages)
        self.average = Average(algorithm, config.ema) if config.ema else None
        self.progress = Progress()
        self._stepped = self._logged = False
        self.guard = Guard(algorithm, config, self.progress, ranks)
        self.updater = Updater(algorithm, config, ranks, self.guard, self.runtime.autocast)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Settings, data and model that must equal a checkpoint's; reads the data once per run."""
        return identity_of(self)

    def part_ways(self) -> None:
        """Seed torch's global generator, which layers such as dropout use, differently on each rank."""
        if self.ranks.index:
            torch.manual_seed(self.config.random_state + self.ranks.index * 1_000_003 + self.progress.epoch * 7_919)

    # ---------------------------------------------------------------- before the first step
    def _read(self, data: Any, validation: Mapping[str, Tensor] | None) -> None:
        """Check the data and turn them into batches: ``default`` to train on, ``held_out`` to validate on."""
        if is_lazy(validation):
            raise ConfigError("validation rows must be tensors, not loaded lazily: use ImageFolder.load()")
        spec = getattr(self.algorithm, "spec", None)
        held_out = training_tensors(validation or {}, spec)
        if not is_lazy(data):
            data = training_tensors(data, spec)
            for given in (data, held_out):
                check_training_data(spec, given)
            self.agreement.on_start(self.config, data, held_out)
        self.default = training_source(self.algorithm, data, self.config, self.ranks)
        self.held_out: TensorBatches | None = None
        if any(map(len, held_out.values())):
            self.held_out = TensorBatches(held_out, 2048, shuffle=False).to(self.device)
        if not (self.held_out and self.algorithm.validates):
            self._no_validation("no validation rows were given" if self.algorithm.validates else "")

    def _no_validation(self, reason: str = "") -> None:
        """Warn if early stopping was requested but is not possible."""
        self.held_out = None
        if self.config.patience:
            reason = reason or f"{type(self.algorithm).__name__} has no validation loss"
            warnings.warn(
                f"patience={self.config.patience} has no effect: {reason}; training runs to the end of its budget",
                stacklevel=4,
            )

    def _prepare(self) -> None:
        """Initialise from the first global batch, the whole of it on every rank."""
        whole = self.default.to(self.device, ALONE) if isinstance(self.default, TensorBatches) else self.default
        first = next(whole.epoch(0))
        if is_lazy(self.default):  # tensors have been checked already
            check_training_data(getattr(self.algorithm, "spec", None), first)
        with torch.no_grad():
            self.algorithm.prepare(Batch(self.runtime.laid_out(first), self.generator))
        self.ranks.share(self.algorithm)

    # ---------------------------------------------------------------- the loop
    def train(self) -> History:
        """Run all stages, starting from the checkpoint if there is one."""
        if not (self.config.checkpoint and resume_run(self, Path(self.config.checkpoint))):
            self._prepare()
            self.part_ways()
        self.guard.start()
        for callback in self.callbacks:
            if isinstance(callback, Watching):
                callback.on_start(self.algorithm)
        self._choose_threads()
        for stage in self._stages_left():
            batches = self._batches_of(stage)
            while self.progress.going and self.progress.stage_step < stage.steps:
                self._epoch(stage, batches)
                self._end_epoch(last=self.progress.stage_step >= stage.steps and stage is self.stages[-1])
        if not self._logged:
            self._log()
        self.guard.finish(self.average)
        self.agreement.at_step(self.progress.history.steps)
        return self.progress.history

    def _stages_left(self) -> Iterator[Stage]:
        while self.progress.going and self.progress.stage < len(self.stages):
            yield self.stages[self.progress.stage]
            self.progress.next_stage()

    def _batches_of(self, stage: Stage) -> Any:
        if stage.batches is None:
            return self.default
        batches = stage.batches
        if not isinstance(batches, TensorBatches):
            batches = TensorBatches(batches, self.config.batch_size, self.config.random_state)
        return batches.to(self.device, self.ranks)

    def _epoch(self, stage: Stage, batches: Any) -> None:
        """Run steps until the epoch's batches or the stage's steps are used up."""
        stream = Stream(batches, self.progress.epoch, self._batch)
        for batch in stream:
            self._step(stage, batch, stream)
            if self.progress.stage_step >= stage.steps:
                return

    def _batch(self, tensors: Mapping[str, Tensor]) -> Batch:
        return Batch(self.runtime.laid_out(tensors), self.generator, self.ranks)

    def _step(self, stage: Stage, batch: Batch, stream: Stream) -> None:
        config, step = self.config, self.progress.stage_step
        self.updater.set_rate(rate_factor(config.schedule, step, stage.steps, config.warm_up, config.decay_from))
        with self.threads.step(), self.guard.step(), self._first_step():
            for item in stage.phases:
                self.updater.run(item, batch, step, stream.more)
            if self.average is not None:
                self.average.update(self.algorithm)
        self.progress.step()
        if self.progress.stage_step == 1:
            self.agreement.after_first_step()
        self._report(None)
        if not self._logged and self.threads.chosen is not None:
            self._log()

    def _first_step(self) -> AbstractContextManager[None]:
        first, self._stepped = not self._stepped, True
        return self.runtime.first_step() if first else nullcontext()

    def _choose_threads(self) -> None:
        measure = self.device.type == "cpu" and self.ranks.alone and not self.config.deterministic
        size = sum(parameter.numel() for parameter in self.algorithm.parameters())
        kind = (type(self.algorithm).__name__, size, self.config.batch_size)
        self.threads = Threads(self.config.threads, measure, self.progress.history.threads, kind)

    def _log(self) -> None:
        """Log the settings that the run chose in one line, once all are known."""
        self._logged, self.progress.history.threads = True, self.threads.chosen
        name = type(self.algorithm).__name__
        logger.info("training %s on %s: %s, %s", name, self.device, self.runtime, self.threads)

    def _end_epoch(self, last: bool) -> None:
        """Report the epoch's means and keep its weights; validate and save if these are due."""
        config, progress = self.config, self.progress
        self.guard.read()
        progress.end_epoch()
        means = self.updater.meter.means()
        whole = self.ranks.averaged(torch.tensor(list(means.values()), dtype=torch.float64)).tolist()
        means = dict(zip(means, whole, strict=True))
        progress.history.record(means)
        self._report(means)
        self.guard.keep()
        if self.held_out is not None and (last or progress.epoch % config.validate_every == 0):
            self._validate(self.held_out)
        if config.checkpoint and (last or progress.epoch % config.checkpoint_every == 0):
            self.agreement.at_step(progress.history.steps)
            save_run(self, Path(config.checkpoint))

    def _report(self, means: dict[str, float] | None) -> None:
        for callback in self.callbacks:
            callback.on_step(self.progress.history.steps, self.total, means)

    @torch.no_grad()
    def _validate(self, held_out: TensorBatches) -> None:
        """Judge the mean validation loss, of the averaged weights if there are any."""
        state = self.guard.snapshot() if self.average else None
        if self.average:
            self.average.copy_to(self.algorithm)
        self.algorithm.eval()
        value = self._validation_loss(held_out)
        if value is None:
            self._no_validation()
        else:
            # All ranks compute it; the average lets them decide alike even if their kernels round differently.
            self.guard.judge(self.ranks.averaged(torch.tensor(value, dtype=torch.float64)).item())
        self.algorithm.train()
        if state is not None:
            self.algorithm.load_state_dict(state)

    def _validation_loss(self, held_out: TensorBatches) -> float | None:
        generator = torch.Generator(self.device).manual_seed(self.config.random_state + 1)
        total = 0.0
        for tensors in held_out.epoch(0):
            batch = Batch(self.runtime.laid_out(tensors), generator)
            loss = self.algorithm.validation_loss(batch)
            if loss is None:
                return None
            total += float(loss) * len(batch)
        return total / held_out.rows
