"""What the benches on MNIST share: the images, the options of the command line, and where results go.

The file holds X_train, y_train, X_test, y_test (uint8 images n x 28 x 28).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.models.checks.on_mnist import record


def read(path: Path, validate: bool = False) -> dict[str, Tensor]:
    """Images in [-1, 1] as ``(n, 1, 28, 28)`` and labels; to choose options by, the last 10,000 training images are
    the test."""
    with np.load(path) as data:
        arrays = {name: torch.as_tensor(data[name]) for name in ("X_train", "y_train", "X_test", "y_test")}
    for name in ("X_train", "X_test"):
        arrays[name] = arrays[name].float().view(-1, 1, 28, 28) / 127.5 - 1
    if validate:
        for name in ("X", "y"):
            train = arrays[f"{name}_train"]
            arrays[f"{name}_train"], arrays[f"{name}_test"] = train[:-10_000], train[-10_000:]
    return {name: value.long() if name.startswith("y") else value for name, value in arrays.items()}


def options(description: str | None, steps: int, seeds: int) -> argparse.ArgumentParser:
    """The parser of a bench: its data, seeds, steps, and where results go."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", nargs="*", type=int, default=list(range(seeds)))
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--validate", action="store_true", help="judge on held-out training images")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true", help="keep the checks' figures in docs/checks.json")
    return parser


def keep(results: list[dict[str, Any]], file: Path | None) -> None:
    """Write what there is so far, where a file was named."""
    if file:
        file.write_text(json.dumps(results, indent=1), encoding="utf-8")


def write(bench: str, rows: dict[int, Any], given: argparse.Namespace) -> None:
    """Record the bench's checks where that was asked; figures of held-out training images are not recorded."""
    if given.write and not given.validate:
        record(bench, rows)
