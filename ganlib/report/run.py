"""The pictures of one training run: samples, latent walks, class swaps and loss curves."""

from __future__ import annotations

from collections.abc import Sequence
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
    conditions: Tensor | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Path]:
    """Write the pictures of a run to ``folder``, which is created; returns the PNG files by name.

    - ``curves``: always; train with ``gradient_norms=True`` to include gradient norms.
    - ``samples``, ``walk``: for generators of images; ``swap``: for conditional ones.
    - ``points``: for points in the plane, over ``real`` ``(n, 2)`` if given.

    ``seed`` determines the latents. ``conditions`` are attributes ``(k, attributes)``, combined with the classes in
    turn if the model has both, or examples ``(k, *shape)``, by default ``real``. A class-conditional model needs none.
    ``names`` of the conditions replace their numbers.
    Raises ConfigError if conditions are missing, for a wrong model or history, and if the folder cannot be created;
    DataError for ``conditions`` of another shape.
    """
    check_model(algorithm)
    if not isinstance(history, History):
        raise ConfigError(f"history must be the History returned by Trainer.fit, not {history!r}")
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot create folder {folder} ({error.strerror}); name another") from error
    files = {"curves": loss_curves(history.curves, folder / "curves.png")}
    spec = algorithm.spec
    if not can(algorithm, Samples):
        return files
    if spec.kind == "image":
        files |= _images(algorithm, folder, seed, _conditions_of(algorithm, real, conditions), names)
    elif spec.shape == (2,) and not spec.condition:
        points = _decode(algorithm, _noise(algorithm, 2000, seed), _conditions_of(algorithm, real, conditions))
        files["points"] = scatter_points(real, points, folder / "points.png")
    return files


def _conditions_of(algorithm: Algorithm, real: Tensor | None, conditions: Tensor | None) -> Tensor | None:
    """The sampler's conditions, one per column of a grid; None for an unconditional sampler."""
    spec, by_example = algorithm.spec, algorithm.sampler().by_example
    if not (spec.attributes or by_example):
        return torch.arange(spec.classes) if algorithm.by_class else None
    conditions = real if conditions is None and by_example else conditions
    if conditions is None:
        raise ConfigError(f"{type(algorithm).__name__} needs attributes or examples; give some as conditions")
    _check_conditions(conditions, [spec.shape] if by_example else [(spec.attributes,), (spec.condition,)])
    if not by_example and conditions.shape[1] < spec.condition:
        conditions = torch.cat(
            [one_hot(torch.arange(len(conditions)) % spec.classes, spec.classes).to(conditions), conditions], 1
        )
    return conditions if spec.kind == "vector" else conditions[:COLUMNS]


def _check_conditions(conditions: Tensor, shapes: list[tuple[int, ...]]) -> None:
    found = f"a {type(conditions).__name__}"
    if isinstance(conditions, Tensor):
        found = f"{conditions.dtype} of {tuple(conditions.shape)}"
        if conditions.is_floating_point() and tuple(conditions.shape[1:]) in shapes and len(conditions):
            return
    wanted = ", ".join(["k", *map(str, shapes[0])])
    raise DataError(f"conditions must be a tensor of floats of shape ({wanted}), a row per condition; got {found}")


def _images(
    algorithm: Algorithm, folder: Path, seed: int, conditions: Tensor | None, names: Sequence[str] | None
) -> dict[str, Path]:
    columns = COLUMNS if conditions is None else len(conditions)
    if names is not None and conditions is not None and len(names) != columns:
        raise ConfigError(f"{len(names)} names were given for {columns} conditions; give one each")
    z = _noise(algorithm, max(ROWS * columns, 2 * WALKS), seed)
    files = {
        "samples": sample_grid(
            _decode(algorithm, z[: ROWS * columns], conditions), folder / "samples.png", columns=columns
        )
    }

    def walk(latents: Tensor) -> Tensor:
        return _decode(algorithm, latents, None if conditions is None else conditions[:1])

    files["walk"] = latent_walk(walk, z[:WALKS], z[WALKS : 2 * WALKS], STEPS, folder / "walk.png")
    if conditions is not None:
        files["swap"] = class_swap(
            lambda latents, y: _decode(algorithm, latents, conditions[torch.as_tensor(y)]),
            z[:6],
            names or len(conditions),
            folder / "swap.png",
            title="condition" if conditions.is_floating_point() else "class",
        )
    return files


def _noise(algorithm: Algorithm, n: int, seed: int) -> Tensor:
    return torch.randn(n, algorithm.sampler().latent_dim, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def _decode(algorithm: Algorithm, z: Tensor, conditions: Tensor | None = None) -> Tensor:
    """Decode these latents, conditioned on the rows of ``conditions`` in turn."""
    sampler = algorithm.sampler()
    return sampler(z) if conditions is None else sampler(z, conditions[torch.arange(len(z)) % len(conditions)])
