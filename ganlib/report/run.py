"""The pictures of one training run: what was made, how latents and classes move it, and how training went."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ganlib.errors import ConfigError
from ganlib.report.pictures import class_swap, latent_walk, loss_curves, sample_grid, scatter_points
from ganlib.training import Algorithm, History

ROWS, WALKS, STEPS, COLUMNS = 8, 4, 9, 8


def picture_run(
    algorithm: Algorithm,
    history: History,
    folder: str | Path,
    real: Tensor | None = None,
    seed: int = 0,
    told: Tensor | None = None,
) -> dict[str, Path]:
    """PNG files in ``folder`` by name: ``curves`` always; of generators of images ``samples``, ``walk``, ``swap``.

    ``swap`` where the model is told something. For points in the plane ``points``, beside ``real`` ``(n, 2)`` where
    given. The folder is made. Train with ``gradient_norms=True`` to see each player's gradient norm beside its losses.
    Latents come from ``seed``. ``told`` is what a model of attributes or of neighbours is asked with, ``(k, ...)``, by
    default for neighbours ``real``; a model by class needs none. Raises ConfigError where it is lacking.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = {"curves": loss_curves(history.curves, folder / "curves.png")}
    spec = algorithm.spec
    if not algorithm.generates:
        return made
    if spec.kind == "image":
        made |= _images(algorithm, folder, seed, _asked(algorithm, real, told))
    elif spec.shape == (2,) and not spec.condition:
        points = _decode(algorithm, _noise(algorithm, 2000, seed), _asked(algorithm, real, told))
        made["points"] = scatter_points(real, points, folder / "points.png")
    return made


def _asked(algorithm: Algorithm, real: Tensor | None, told: Tensor | None) -> Tensor | None:
    """What the sampler is asked with, one row a column of a grid; None where it is told nothing."""
    by_example = algorithm.sampler().by_example
    if not (algorithm.spec.attributes or by_example):
        return torch.arange(algorithm.spec.classes) if algorithm.by_class else None
    told = real if told is None and by_example else told
    if told is None:
        raise ConfigError(f"{type(algorithm).__name__} is asked with attributes or examples: give some as told")
    return told if algorithm.spec.kind == "vector" else told[:COLUMNS]


def _images(algorithm: Algorithm, folder: Path, seed: int, asked: Tensor | None) -> dict[str, Path]:
    columns = COLUMNS if asked is None else len(asked)
    z = _noise(algorithm, max(ROWS * columns, 2 * WALKS), seed)
    made = {
        "samples": sample_grid(_decode(algorithm, z[: ROWS * columns], asked), folder / "samples.png", columns=columns)
    }

    def walk(latents: Tensor) -> Tensor:
        return _decode(algorithm, latents, None if asked is None else asked[:1])

    made["walk"] = latent_walk(walk, z[:WALKS], z[WALKS : 2 * WALKS], STEPS, folder / "walk.png")
    if asked is not None:
        made["swap"] = class_swap(
            lambda latents, y: _decode(algorithm, latents, asked[torch.as_tensor(y)]),
            z[:6],
            len(asked),
            folder / "swap.png",
            asked="asked" if asked.is_floating_point() else "class",
        )
    return made


def _noise(algorithm: Algorithm, n: int, seed: int) -> Tensor:
    return torch.randn(n, algorithm.sampler().latent_dim, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _decode(algorithm: Algorithm, z: Tensor, asked: Tensor | None = None) -> Tensor:
    """Examples of these latents, asked with the rows of ``asked`` in turn."""
    sampler = algorithm.sampler()
    return sampler(z) if asked is None else sampler(z, asked[torch.arange(len(z)) % len(asked)])
