"""Saves a training run to a checkpoint, and resumes one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ganlib.config import Config
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.training.algorithm import Algorithm, Item, Phase, Routine, Stage
from ganlib.training.checkpoint import flatten_optimiser, read_checkpoint, restore_optimiser, write_checkpoint
from ganlib.training.config import TrainerConfig
from ganlib.training.ema import Average
from ganlib.training.guard import Guard
from ganlib.training.progress import Progress
from ganlib.training.ranks import Ranks
from ganlib.training.updater import Updater


class Run(Protocol):
    """The state of a training run that a checkpoint holds."""

    config: TrainerConfig
    algorithm: Algorithm
    ranks: Ranks
    device: torch.device
    generator: torch.Generator
    default: Any
    stages: Sequence[Stage]
    average: Average | None
    progress: Progress
    guard: Guard
    updater: Updater

    @property
    def identity(self) -> dict[str, Any]:
        """The settings, data and model that a checkpoint must agree with."""

    def part_ways(self) -> None:
        """Seed torch's global generator differently on each rank."""


def save_run(run: Run, path: Path) -> None:
    """Write weights, optimisers, averages, random states and progress; the first rank writes for all."""
    tensors = {f"model/{n}": v for n, v in run.algorithm.state_dict().items()}
    meta: dict[str, Any] = run.progress.to_dict() | {
        "config": run.identity,
        "optimisers": {},
        "average_updates": run.average.updates if run.average else 0,
    }
    for key, optimiser in run.updater.optimisers.items():
        state, plain = flatten_optimiser(optimiser.state_dict())
        tensors |= {f"optimiser/{key}/{n}": v for n, v in state.items()}
        meta["optimisers"][key] = plain
    for label, state_dict in (("best", run.guard.best_state), ("average", run.average and run.average.values)):
        tensors |= {f"{label}/{n}": v for n, v in (state_dict or {}).items()}
    tensors |= _rng_states(run)
    if run.ranks.index == 0:
        write_checkpoint(path, tensors, meta)


def resume_run(run: Run, path: Path) -> bool:
    """Continue from the checkpoint; returns False if there is none.

    Raises ConfigError if its settings differ, if it is not the same for every process, or if this run's budget gives
    finished stages another length. A model of one stage may thus be resumed with another budget. A model of several
    stages may not, once such a stage has ended: it cannot be repeated, and continuing would give a schedule that
    belongs to no budget.
    """
    tensors, meta = read_checkpoint(path) if path.exists() else ({}, {})
    if run.ranks.differing({"checkpoint": json.dumps(meta)}):
        raise ConfigError(f"checkpoint {path} is not the same file for every process; put it where all can read it")
    if not meta:
        return False
    if meta["config"] != run.identity:
        before = {name: meta["config"].get(name) for name in run.identity}
        changed = ", ".join(_changed(before, run.identity))
        raise ConfigError(f"checkpoint {path} has other settings ({changed}); delete it or restore them")
    _restore_progress(run, meta, path)
    run.algorithm.load_state_dict(_under(tensors, "model"))
    run.guard.best_state = _under(tensors, "best") or None
    if run.average is not None:
        saved = _under(tensors, "average")  # a file does not preserve the parameters' order
        run.average.values = {n: saved[n].to(run.device) for n in run.average.values}
        run.average.updates = meta["average_updates"]
    _restore_optimisers(run, tensors, meta["optimisers"])
    _restore_rng(run, tensors)
    return True


def _restore_progress(run: Run, meta: dict[str, Any], path: Path) -> None:
    progress = Progress.from_dict(meta)
    if not progress.fits(run.stages):
        stands = run.stages[min(progress.stage, len(run.stages) - 1)].name
        lengths = ", ".join(f"{stage.name} {stage.steps}" for stage in run.stages)
        raise ConfigError(
            f"checkpoint {path} stopped {progress.stage_step} steps into stage {stands!r}, after "
            f"{progress.history.steps - progress.stage_step} steps of earlier stages; with this budget the stages take "
            f"other numbers of steps ({lengths}): resume with the steps or epochs it was started with, or delete it"
        )
    run.progress.take(progress)


def identity_of(run: Run) -> dict[str, Any]:
    """What must be equal for a checkpoint to be resumed; reads all data."""
    names = ["batch_size", "random_state", "ema", "gradient_clip", "precision", "schedule", "warm_up"]
    if run.config.schedule != "constant":  # rates then depend on the total number of steps
        names += ["decay_from", "steps", "epochs"]
    options, spec = getattr(run.algorithm, "config", None), getattr(run.algorithm, "spec", None)
    model = [type(run.algorithm).__name__, options.to_dict() if isinstance(options, Config) else None]
    found = {name: run.config.to_dict()[name] for name in names} | {"data": run.default.digests(), "model": model}
    # Lists for tuples, as in a checkpoint.
    return found | {"spec": json.loads(json.dumps(spec.to_dict())) if isinstance(spec, DataSpec) else None}


def _changed(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Names of settings that differ; parts of the data and their specification by name, such as ``data seed``."""
    for name in now | before:
        old, new = before.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from (f"{name} {part}" for part in _changed(old, new))
        elif old != new:
            yield name


def _rng_states(run: Run) -> dict[str, Tensor]:
    """States of the common noise, and of each rank's global generators: ``torch`` is rank 0's, ``torch.1`` ..."""
    states = {"torch": torch.get_rng_state()}
    if run.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(run.device)
    found = {"rng/noise": run.generator.get_state()}
    for name, state in states.items():
        for index, value in enumerate(run.ranks.gather(state)):
            found[f"rng/{name}.{index}" if index else f"rng/{name}"] = value
    return found


def _restore_rng(run: Run, tensors: dict[str, Tensor]) -> None:
    run.generator.set_state(tensors["rng/noise"])
    suffix = f".{run.ranks.index}" if run.ranks.index else ""
    if f"rng/torch{suffix}" not in tensors:  # the interrupted run had fewer ranks
        run.part_ways()
        return
    torch.set_rng_state(tensors[f"rng/torch{suffix}"])
    if run.device.type == "cuda":
        torch.cuda.set_rng_state(tensors[f"rng/cuda{suffix}"], run.device)


def _restore_optimisers(run: Run, tensors: dict[str, Tensor], saved: dict[str, Any]) -> None:
    phases = [p for stage in run.stages for item in stage.phases for p in _phases_in(item)]
    overrides = {f"{n}@{p.optimiser}": (n, p.optimiser) for p in phases if p.optimiser for n in p.players}
    for key, plain in saved.items():
        player, override = overrides.get(key, (key, None))
        restore_optimiser(run.updater.optimiser(player, override), _under(tensors, f"optimiser/{key}"), plain)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n[len(prefix) + 1 :]: v for n, v in tensors.items() if n.startswith(prefix + "/")}


def _phases_in(item: Item) -> tuple[Phase, ...]:
    if isinstance(item, Routine):
        return ()
    return item if isinstance(item, tuple) else (item,)
