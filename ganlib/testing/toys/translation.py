"""Toys of the translators between domains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganlib.data.spec import DataSpec
from ganlib.testing.toy import Toy

_MODES = 5


def _domain(n: int, seed: int, which: str) -> tuple[Tensor, Tensor]:
    """Five Gaussians in a row (A) or on a circle (B), and each point's mode."""
    g = torch.Generator().manual_seed(seed)
    mode = torch.randint(_MODES, (n,), generator=g)
    return _centres(which)[mode] + 0.1 * torch.randn(n, 2, generator=g), mode


def _centres(which: str) -> Tensor:
    index = torch.arange(_MODES, dtype=torch.float32)
    if which == "a":
        return torch.stack([index - 2, torch.zeros(_MODES)], 1)
    angle = 2 * torch.pi * index / _MODES
    return 2 * torch.stack([angle.cos(), angle.sin()], 1)


def _bijection(translate: nn.Module, seed: int) -> float:
    """Share of A's modes that are mapped, by majority of their points, to a B mode of no other A mode."""
    x, mode = _domain(1000, seed + 99, "a")
    with torch.no_grad():
        distance, target = torch.cdist(translate(x), _centres("b")).min(1)
    target[distance > 0.5] = _MODES
    majority = [int(torch.bincount(target[mode == m], minlength=_MODES + 1).argmax()) for m in range(_MODES)]
    return sum(t < _MODES and majority.count(t) == 1 for t in majority) / _MODES


TOYS = {
    "coupled_pair": Toy(
        data=lambda seed: {"x": _domain(4096, seed, "a")[0], "x_b": _domain(4096, seed + 1, "b")[0]},
        spec=DataSpec.vector(2),
        level=lambda algorithm, seed: _bijection(algorithm.forward_generator, seed),
        at_least=0.8,
        measure="modes of A sent one-to-one to modes of B",
        baseline=lambda seed: _bijection(nn.Identity(), seed),
        config={"objective": "gan", "cycle": 1.0, "learning_rate": 5e-4},
        trainer={"steps": 3000, "batch_size": 128},
        # The final state depends on seed and rounding: of nine trainings (seeds 0 to 4; 0 and 1 without AVX; 0 and 1
        # nudged) eight reached 1.0, and seed 4 stayed at 0.6; the trivial answer has 0.2.
        two_of_five=True,
    )
}
