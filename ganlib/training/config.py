"""Options of a training run, and its history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from ganlib.config import Config, Count, Number, Share, Weight, Whole
from ganlib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Config):
    """Options of a training run.

    - ``steps``: number of steps; takes precedence over ``epochs``.
    - ``patience``: stop after this many validations without a relative improvement of ``min_delta``, and keep the best
      weights; 0 trains to the end. ``validate_every`` and ``checkpoint_every`` count epochs.
    - ``ema``: decay of the averaged weights, in [0, 1); 0 for none.
    - ``precision``: bf16 autocasts on CUDA and uses TF32 for products left in float32; auto does the same; fp32 leaves
      both at torch's defaults. ``compile`` compiles the players (CUDA only), except those that a loss differentiates
      twice.
    - ``gradient_clip``: largest global norm of an update's gradient, 0 for none; ``gradient_norms`` logs the norms.
    - ``schedule``: learning rates stay constant, or fall to 0 over each stage, linearly or by cosine, starting at the
      share ``decay_from`` of its steps. They first rise over ``warm_up`` steps.
    - ``distributed``: auto trains together with the other processes that torchrun started, off never does.
      ``batch_size`` is that of all processes together.
    - ``threads``: torch's number of threads on a CPU while training; the previous number is restored at the end.

    ``threads="auto"`` times up to ten steps of the run, alternating between one thread and torch's default, and uses
    the default only if it is clearly faster. ``History.threads`` holds the choice. Sums round differently with another
    number of threads. A second run of the same model and batch size in a process repeats the first run's choices, so
    that equal seeds give equal weights; another process may choose differently and end with slightly different
    weights. ``threads=1`` (or any number) avoids this. Nothing is timed on CUDA, with ``deterministic``, in several
    processes, or if torch's default is 1 (``OMP_NUM_THREADS=1``).
    """

    steps: Count | None = None
    epochs: Count = 100
    batch_size: Count = 256
    random_state: int = 0
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    deterministic: bool = False
    gradient_clip: Weight = 0.0
    gradient_norms: bool = False
    ema: Share = 0.0
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    decay_from: Share = 0.0
    warm_up: Whole = 0
    patience: Whole = 0
    min_delta: Number = 1e-3
    validate_every: Count = 1
    checkpoint: str | None = None
    checkpoint_every: Count = 10
    distributed: Literal["auto", "off"] = "auto"
    threads: Count | Literal["auto"] = "auto"


@dataclass
class History:
    """The history of a run: mean losses per epoch by name (``validation`` if computed), and why training ended.

    ``threads`` is the number of threads used, None if the run was too short to choose it.
    """

    curves: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0
    epochs: int = 0
    best_epoch: int | None = None
    stopped: str = "budget"
    threads: int | None = None

    @classmethod
    def joined(cls, histories: Mapping[str, History]) -> History:
        """The curves of several models by ``name/loss``, and their steps in all."""
        curves = {f"{name}/{loss}": values for name, h in histories.items() for loss, values in h.curves.items()}
        stopped = ", ".join(dict.fromkeys(h.stopped for h in histories.values()))
        return cls(curves, sum(h.steps for h in histories.values()), stopped=stopped)

    def record(self, values: Mapping[str, float]) -> None:
        """Append one epoch's means."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)


def choose_device(name: str) -> torch.device:
    """The device of this name; ``auto`` is CUDA if available. Raises ConfigError if the device does not exist."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is not auto, cpu or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"device {name!r} is not on this machine; use auto or cpu")
    return device
