"""Checkpoints without pickle: tensors in safetensors, everything else as JSON inside the same file's header.

A crash while one is written leaves the old one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ganlib.errors import ConfigError, DataError
from ganlib.files import write_whole


def write_checkpoint(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and JSON metadata atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    write_whole(path, save(whole, metadata={"meta": json.dumps(meta)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a checkpoint; raises DataError for a corrupted file, ConfigError for a folder."""
    if path.is_dir():
        raise ConfigError(f"checkpoint {path} is a folder; name a file in it")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["meta"])  # noqa: SIM118
    except Exception as error:  # safetensors has an exception type for each kind of damage
        raise DataError(f"checkpoint {path} cannot be read ({error}); delete it to start again") from error


def flatten_optimiser(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state_dict as tensors by name plus a JSON part."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                plain.setdefault(str(index), {})[key] = value
    return tensors, {"plain": plain, "groups": state["param_groups"]}


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Inverse of ``flatten_optimiser``, for an optimiser of the same parameters."""
    state: dict[int, dict[str, Any]] = {int(i): dict(values) for i, values in meta["plain"].items()}
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        if value.shape == like.shape:  # fused optimisers need a state to have its parameter's strides
            value = torch.empty_like(like).copy_(value)
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": meta["groups"]})
