"""How long and on what to train, and what then happened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from ganlib.config import Config, Count, Number, Share, Weight, Whole
from ganlib.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Config):
    """How long and on what to train.

    ``steps`` wins over ``epochs``. ``patience``: stop after so many validations without an improvement of
    ``min_delta`` (relative) and keep the best weights; 0 trains to the end. ``validate_every`` counts epochs.
    ``ema`` is a decay in [0, 1), 0 for none. ``precision`` bf16 autocasts on CUDA, with TF32 for products left in
    float32; auto does so there; fp32 leaves both at torch's defaults. ``compile`` compiles the players (CUDA only),
    except those that a loss differentiates twice. ``gradient_clip`` is a global norm per update, 0 for none;
    ``gradient_norms`` logs it for each phase. ``schedule``: learning rates stay constant, or fall to 0 over each
    stage, linear or by cosine, from the share ``decay_from`` of its steps on; before that they rise over ``warm_up``
    steps.
    ``checkpoint_every`` counts epochs. ``distributed``: auto trains with the other processes where torchrun started
    several, off never does; ``batch_size`` is that of all processes together.

    ``threads``: torch's number of threads on a CPU while training. auto times up to ten steps of the run, alternately
    with one thread and with torch's default, and keeps the default only if it is clearly faster; History has the number
    as ``threads``. Other numbers of threads round sums differently. A second run of the same model and batch size in a
    process repeats the first one's choices, so that equal seeds give equal weights; another process may choose
    otherwise and end with slightly different weights: ``threads=1`` (or any number) pins it. Nothing is timed on CUDA,
    with ``deterministic``, in several processes, or if torch's default is 1 (``OMP_NUM_THREADS=1``). The former number
    is set back at the end.
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
    """What happened: mean losses per epoch by ``term`` (``validation`` where watched), and why training ended.

    ``threads`` is the number of threads trained with, None if too few steps were taken to choose it.
    """

    curves: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0
    epochs: int = 0
    best_epoch: int | None = None
    stopped: str = "budget"
    threads: int | None = None

    def record(self, values: Mapping[str, float]) -> None:
        """Append one epoch's means."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(value)


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one; raises ConfigError where a named device is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r} is not auto, cpu or cuda:N") from error
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"device {name!r} is not on this machine; use auto or cpu")
    return device
