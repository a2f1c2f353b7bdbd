"""Golden rows: read from the metadata, run again, and compared with the sealed results (docs/artifact.md)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import ValidationError

from serving.errors import IntegrityError, ServingError
from serving.opening.entries import CELLS, TABLE_ROWS
from serving.opening.ports import Port, Ports
from serving.opening.session import run

NO_DATE = np.iinfo(np.int64).min
POSITIONS = 64
Feeds = dict[str, np.ndarray]


def read_columns(columns: dict[str, list[Any]], ports: Ports) -> Feeds:
    """The golden rows of a table by input or output name; raises IntegrityError if they do not match the ports."""
    if columns.keys() != ports.keys():
        raise IntegrityError(f"golden rows have the columns {sorted(columns)}, but the graph has {sorted(ports)}")
    return {name: _column(name, columns[name], port) for name, port in ports.items()}


def _column(name: str, values: list[Any], port: Port) -> np.ndarray:
    try:
        cells = CELLS[port[0]].validate_python(values)
    except ValidationError as error:
        raise IntegrityError(f"golden rows of column {name!r} hold a value that is not {port[0]}") from error
    if port[0] == "string":
        made = np.array(cells, dtype=object)
    elif port[0] == "int64":
        made = np.array([NO_DATE if v is None else v for v in cells], dtype=np.int64)
    else:
        made = numbers([math.nan if v is None else v for v in cells], port[0])
    if made.shape != (TABLE_ROWS, *(port[1] or ())):
        raise IntegrityError(f"golden rows of column {name!r} have the shape {made.shape}")
    return made


def numbers(values: list[Any], kind: str = "double") -> np.ndarray:
    """An array of numbers, parsing infinities by name; raises IntegrityError for rows of different lengths."""
    try:
        return np.array(values, dtype=np.float32 if kind == "float" else np.float64)
    except ValueError as error:
        raise IntegrityError("golden rows have different lengths") from error


def run_again(session: Any, names: list[str], feeds: Feeds) -> list[np.ndarray]:
    """The named outputs for golden rows; raises IntegrityError if the graph fails."""
    try:
        return run(session, names, feeds)
    except ServingError as error:
        raise IntegrityError(f"the golden rows cannot be run ({error})") from error


def latent_feeds(golden: Any, inputs: Ports) -> Feeds:
    """Noise, conditions and attributes, restricted to the graph's inputs."""
    feeds: Feeds = {}
    for name in inputs.keys() & {"z", "condition", "attributes"}:
        if (values := getattr(golden, name)) is None:
            raise IntegrityError(f"golden rows lack {name!r}")
        feeds[name] = np.array(values, dtype=object) if name == "condition" else numbers(values, "float")
    return feeds


def agree(made: np.ndarray, expected: np.ndarray) -> bool:
    """Whether a column agrees: numbers and dates within 1e-4 · max(1, |value|), others exactly."""
    if made.shape != expected.shape:
        return False
    if made.dtype.kind not in "fi":
        return bool(np.array_equal(made, expected))
    made, expected = made.astype(np.float64), expected.astype(np.float64)
    return bool(np.all(np.isclose(made, expected, rtol=1e-4, atol=1e-4, equal_nan=True)))


def few_agree(made: np.ndarray, golden: Any, near: tuple[tuple[float, float], ...]) -> None:
    """Compare the means and a few values of arrays with the golden ones, within ``(relative, absolute)`` bounds."""
    flat = made.reshape(len(made), -1).astype(np.float64)
    count = min(POSITIONS, flat.shape[1])
    values = flat[:, np.arange(count) * flat.shape[1] // count]
    pairs = ((values, numbers(golden.values)), (flat.mean(1), numbers(golden.mean)))
    for (got, expected), (rtol, atol) in zip(pairs, near, strict=True):
        if got.shape != expected.shape or not np.allclose(got, expected, rtol=rtol, atol=atol):
            raise IntegrityError("golden rows disagree with what was sealed")
