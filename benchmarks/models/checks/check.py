"""What a check is, how checks train and draw, and where their figures are kept."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.registry import create
from ganlib.testing.problems import digits
from ganlib.training import Trainer, TrainerConfig

FILE = Path(__file__).resolve().parents[3] / "docs" / "checks.json"
Figures = tuple[float, float]


@dataclass(frozen=True)
class Check:
    """``run(seed)`` gives the figure and its baseline (of a check on MNIST, ``run(row)``: what its bench measured for a
    seed); ``need`` is a lower bound on the figure, or on the figure less its baseline where ``gain``; ``worst`` judges
    the worst seed instead of the mean; ``level`` bounds the one-sided p of the paired t-test over seeds. A ``finding``
    is to be reported whatever it is: a gain, or none."""

    name: str
    model: str
    measure: str
    baseline: str
    need: float
    run: Callable[[Any], Figures]
    gain: bool = False
    worst: bool = False
    finding: bool = False
    seeds: int = 3
    level: float = 1.0

    def value(self, figures: list[Figures]) -> float:
        """The value that is compared with ``need``."""
        values = [f - b if self.gain else f for f, b in figures]
        # Rounded, so that a tie is a tie.
        return round(min(values) if self.worst else statistics.mean(values), 6)

    def passed(self, figures: list[Figures]) -> bool:
        """Whether these figures, one pair per seed, reproduce the claim."""
        from scipy.stats import ttest_rel

        if self.level < 1 and not ttest_rel(*zip(*figures, strict=True), alternative="greater").pvalue < self.level:
            return False
        return bool(self.value(figures) >= self.need)

    def record(self, figures: list[Figures], seeds: Sequence[int]) -> dict[str, Any]:
        """What docs/checks.json keeps of a run."""
        return {
            "model": self.model, "measure": self.measure, "baseline": self.baseline, "need": self.need,
            "gain": self.gain, "worst": self.worst, "finding": self.finding, "level": self.level,
            "seeds": list(seeds),
            "figures": [round(float(f), 4) for f, _ in figures],
            "baselines": [round(float(b), 4) for _, b in figures],
            "passed": self.passed(figures),
        }  # fmt: skip


def store(rows: dict[str, dict[str, Any]]) -> None:
    """Keep records, by name, in place of older ones."""
    kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    FILE.write_text(json.dumps({**kept, **rows}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def fit(
    name: str,
    spec: DataSpec,
    data: dict[str, Tensor],
    seed: int,
    steps: int,
    batch: int = 128,
    ema: float = 0.995,
    **options: Any,
) -> Any:
    """A trained model, and its history."""
    torch.manual_seed(seed)
    model = create(name, spec, **options)
    config = TrainerConfig(steps=steps, batch_size=batch, random_state=seed, ema=ema)
    return model, Trainer(config).fit(model, data)


@torch.no_grad()
def draw(model: Any, n: int, seed: int) -> Tensor:
    """Generated examples."""
    sampler = model.sampler()
    return sampler(torch.randn(n, sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1)))


def digits_held_out(seed: int, held: Sequence[int]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each held-out digit: four fifths of the others to train on, the test images, and which of these are odd."""
    parts = [digits(seed, part) for part in ("train", "test")]
    x, y = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
    for digit in held:
        usual = x[y != digit]
        cut = len(usual) * 4 // 5
        test = torch.cat([usual[cut:], x[y == digit]])
        yield usual[:cut], test, torch.arange(len(test)) >= len(usual) - cut
