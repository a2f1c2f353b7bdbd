"""Detects divergence, and holds the weights to restore: the last good ones after it, the best ones at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from ganlib.errors import DivergenceError
from ganlib.training.algorithm import Algorithm
from ganlib.training.config import TrainerConfig
from ganlib.training.ema import Average
from ganlib.training.progress import Progress
from ganlib.training.ranks import ALONE, Ranks

EXPLODED = 1e12  # far above the losses of sensible data; here float32 has steps of 65,536
READ_EVERY = 50  # steps after which losses are read within an epoch

State = dict[str, Tensor]


def sane(loss: float) -> bool:
    """Whether a loss is finite and at most 1e12 in size."""
    return abs(loss) <= EXPLODED  # False for NaN


def exploded(loss: Tensor) -> Tensor:
    """A flag on the loss's device: whether it is not sane."""
    return ~(loss.detach().abs() <= EXPLODED)


def culprit(terms: Mapping[str, Tensor], total: Tensor) -> str:
    """Names of the terms that are not sane, or "the weighted sum" if only that is not; empty if the sum is sane."""
    *numbers, judged = _numbers([*terms.values(), total])
    if sane(judged):
        return ""
    return ", ".join(name for name, value in zip(terms, numbers, strict=True) if not sane(value)) or "the weighted sum"


def _numbers(scalars: Sequence[Tensor]) -> list[float]:
    """The values of scalar tensors, with one read per device."""
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    for index, value in enumerate(scalars):
        kinds.setdefault((value.device, value.dtype), []).append(index)
    numbers: dict[int, float] = {}
    for places in kinds.values():
        read = torch.stack([scalars[index].detach().reshape(()) for index in places]).tolist()
        numbers |= dict(zip(places, read, strict=True))
    return [numbers[index] for index in range(len(scalars))]


class _Update(NamedTuple):
    """The losses of one update."""

    step: int
    epoch: int
    terms: dict[str, Tensor]
    total: Tensor
    verdict: Tensor


class Guard:
    """Holds copies of the weights, and ends a run that diverges or stops improving."""

    def __init__(self, algorithm: Algorithm, config: TrainerConfig, progress: Progress, ranks: Ranks = ALONE) -> None:
        self.algorithm, self.config, self.progress, self.ranks = algorithm, config, progress, ranks
        self.best_state: State | None = None
        self._unread: list[_Update] = []

    def start(self) -> None:
        """Take the weights before the first step as good."""
        # The newest state known to precede a sane step, and a later one for which this is not known yet.
        self._good = self._newest = (self.progress.history.steps, self.snapshot())

    def snapshot(self) -> State:
        """A copy of the algorithm's parameters and buffers."""
        return {name: value.detach().clone() for name, value in self.algorithm.state_dict().items()}

    def keep(self) -> None:
        """Copy the current weights; called at the end of an epoch whose losses were all sane."""
        self._good, self._newest = self._newest, (self.progress.history.steps, self.snapshot())

    # ---------------------------------------------------------------- divergence
    def record(self, terms: Mapping[str, Tensor], total: Tensor, verdict: Tensor | None = None) -> None:
        """Store an update's losses and read them later, because reading each makes the CPU wait for the device.

        ``verdict`` is not sane if the update was not sane on any rank; defaults to ``total``.
        """
        plain = {name: value.detach() for name, value in terms.items()}
        total = total.detach()
        judged = total if verdict is None else verdict.detach()
        steps, epoch = self.progress.history.steps + 1, self.progress.epoch + 1
        self._unread.append(_Update(steps, epoch, plain, total, judged))

    @contextmanager
    def step(self) -> Iterator[None]:
        """Run a step in this context; an error caused by an exploded loss is raised as DivergenceError."""
        try:
            yield
        except Exception:
            self.read(together=False)
            raise
        if self._unread and self._unread[-1].step - self._unread[0].step >= READ_EVERY:
            self.read()

    def read(self, together: bool = True) -> None:
        """Raise DivergenceError for the first update since the last reading that was not sane.

        The ranks name the losses of all if they read ``together``, as at the end of an epoch.
        """
        unread, self._unread = self._unread, []
        verdicts = _numbers([update.verdict for update in unread])
        for update, verdict in zip(unread, verdicts, strict=True):
            if not sane(verdict):
                named = [culprit(update.terms, update.total)]
                if together:
                    named = self.ranks.texts(named[0])
                names = {name for text in named if text for name in text.split(", ")}
                self._fail("loss", ", ".join(sorted(names)) or "of another process", update.step, update.epoch)

    def check_weights(self) -> None:
        """Raise DivergenceError if a player's weights are not finite; no loss shows this after the last update."""
        for player in self.algorithm.players():
            if not all(bool(value.isfinite().all()) for value in self.algorithm.parameters_of(player)):
                self._fail("weights of", player, self.progress.history.steps, self.progress.epoch)

    def _fail(self, what: str, name: str, step: int, epoch: int) -> NoReturn:
        taken, state = self._newest
        self.algorithm.load_state_dict(state if taken + 1 < step else self._good[1])
        self.progress.history.stopped = "diverged"
        raise DivergenceError(
            f"{what} {name!r} exploded or became non-finite at step {step} (epoch {epoch}); the weights of the last "
            "good epoch were restored. Try a smaller learning_rate or gradient_clip=1.0, and look for extreme values"
        )

    # ---------------------------------------------------------------- early stopping
    def judge(self, value: float) -> None:
        """Record a validation loss; copy the weights if it is the best, stop after ``patience`` without improvement."""
        progress, patience = self.progress, self.config.patience
        progress.history.record({"validation": value})
        margin = self.config.min_delta * abs(progress.best) if math.isfinite(progress.best) else 0.0
        if value < progress.best - margin:
            progress.best, progress.waited, progress.history.best_epoch = value, 0, progress.epoch
            if patience:
                self.best_state = self.snapshot()
            return
        progress.waited += 1
        if patience and progress.waited >= patience:
            progress.history.stopped = "patience"

    def finish(self, average: Average | None) -> None:
        """Load the best weights into the algorithm, or else the averaged ones, if there are any."""
        self.check_weights()
        if self.best_state is not None:
            self.algorithm.load_state_dict(self.best_state)
        elif average is not None:
            average.copy_to(self.algorithm)
