"""The pictures of one training run: what was made, how latents and classes move it, and how training went."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ganlib.abilities import Samples, can
from ganlib.errors import ConfigError, DataError
from ganlib.report.pictures import class_swap, latent_walk, loss_curves, sample_grid, scatter_points
from ganlib.training import Algorithm, History
from ganlib.training.data_checks import check_model

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
    Latents come from ``seed``. ``told`` is what a model of attributes or of neighbours is asked with: attributes
    ``(k, attributes)``, with the classes in turn where it has both, or examples ``(k, *shape)``, by default ``real``; a
    model by class needs none. Raises ConfigError where it is lacking, on what is no model or no History and where the
    folder cannot be made, DataError on ``told`` of another shape.
    """
    check_model(algorithm)
    if not isinstance(history, History):
        raise ConfigError(f"history is what Trainer.fit returned, a History, not {history!r}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"there can be no folder {folder} ({error.strerror}); name another") from error
    made = {"curves": loss_curves(history.curves, folder / "curves.png")}
    spec = algorithm.spec
    if not can(algorithm, Samples):
        return made
    if spec.kind == "image":
        made |= _images(algorithm, folder, seed, _asked(algorithm, real, told))
    elif spec.shape == (2,) and not spec.condition:
        points = _decode(algorithm, _noise(algorithm, 2000, seed), _asked(algorithm, real, told))
        made["points"] = scatter_points(real, points, folder / "points.png")
    return made


def _asked(algorithm: Algorithm, real: Tensor | None, told: Tensor | None) -> Tensor | None:
    """What the sampler is asked with, one row a column of a grid; None where it is told nothing."""
    spec, by_example = algorithm.spec, algorithm.sampler().by_example
    if not (spec.attributes or by_example):
        return torch.arange(spec.classes) if algorithm.by_class else None
    told = real if told is None and by_example else told
    if told is None:
        raise ConfigError(f"{type(algorithm).__name__} is asked with attributes or examples: give some as told")
    _check_told(told, [spec.shape] if by_example else [(spec.attributes,), (spec.condition,)])
    if not by_example and told.shape[1] < spec.condition:
        told = torch.cat([one_hot(torch.arange(len(told)) % spec.classes, spec.classes).to(told), told], 1)
    return told if spec.kind == "vector" else told[:COLUMNS]


def _check_told(told: Tensor, shapes: list[tuple[int, ...]]) -> None:
    fits = isinstance(told, Tensor) and told.is_floating_point() and tuple(told.shape[1:]) in shapes and len(told) > 0
    if not fits:
        wanted = ", ".join(["k", *map(str, shapes[0])])
        found = f"{told.dtype} of {tuple(told.shape)}" if isinstance(told, Tensor) else f"a {type(told).__name__}"
        raise DataError(f"told is a tensor of floats of shape ({wanted}), a row for each that is asked; got {found}")


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
