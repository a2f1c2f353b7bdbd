"""The pictures of one training run: what was made, how latents and classes move it, and how training went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganlib.report.pictures import class_swap, latent_walk, loss_curves, sample_grid, scatter_points
from ganlib.training import Algorithm, History

GRID, WALKS, STEPS = 64, 4, 9


def picture_run(
    algorithm: Algorithm, history: History, folder: str | Path, real: Tensor | None = None, seed: int = 0
) -> dict[str, Path]:
    """PNG files in ``folder`` by name: ``curves`` always; for images ``samples``, ``walk`` and, by class, ``swap``.

    For points in the plane ``points``, beside ``real`` ``(n, 2)`` where given. The folder is made. Train with
    ``gradient_norms=True`` to see each player's gradient norm beside its losses. Latents come from ``seed``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = {"curves": loss_curves(history.curves, folder / "curves.png")}
    spec = algorithm.spec
    if spec.kind == "image":
        made |= _images(algorithm, folder, seed)
    elif spec.shape == (2,) and not spec.condition:
        points = _decode(algorithm, _noise(algorithm, 2000, seed))
        made["points"] = scatter_points(points[:0] if real is None else real, points, folder / "points.png")
    return made


def _images(algorithm: Algorithm, folder: Path, seed: int) -> dict[str, Path]:
    classes = algorithm.spec.classes if algorithm.by_class else 0
    each = torch.arange(GRID) % classes if classes else None
    z = _noise(algorithm, GRID, seed)
    made = {"samples": sample_grid(_decode(algorithm, z, each), folder / "samples.png", columns=classes or 8)}

    def walk(latents: Tensor) -> Tensor:
        return _decode(algorithm, latents, torch.zeros(len(latents), dtype=torch.int64) if classes else None)

    made["walk"] = latent_walk(walk, z[:WALKS], z[WALKS : 2 * WALKS], STEPS, folder / "walk.png")
    if classes:
        made["swap"] = class_swap(
            lambda latents, y: _decode(algorithm, latents, y), z[:6], classes, folder / "swap.png"
        )
    return made


def _noise(algorithm: Algorithm, n: int, seed: int) -> Tensor:
    return torch.randn(n, algorithm.sampler().latent_dim, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _decode(algorithm: Algorithm, z: Tensor, y: Any = None) -> Tensor:
    sampler = algorithm.sampler()
    return sampler(z) if y is None else sampler(z, torch.as_tensor(y))
