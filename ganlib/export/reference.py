"""The torch reference that a graph of images, series or codes must reproduce."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, ParityError
from ganlib.export.golden import to_json
from ganlib.export.parity import Parity
from serving.table.artificial import spread as spread

GOLDEN, POSITIONS = 8, 64
TOLERANCE = 1e-4
NEAR = 1e-3
_CHUNK = 128
_LARGE = 4096
_NUDGE = 1e-6
_MOST_JUMPS = 0.1
_Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Reference:
    """A module in evaluation mode, with a sampler for its inputs.

    ``draw(rows, seed)`` returns feeds by input name, in the module's order. ``condition`` is a string of
    ``conditions`` in a feed and a class index in torch. ``output`` names the graph's output: ``image`` holds bytes
    ``(n, h, w, c)`` of the module's ``(n, c, h, w)`` in [-1, 1]; others hold the module's values.
    """

    module: nn.Module
    draw: Callable[[int, int], _Feeds]
    conditions: Sequence[str]
    output: str

    @torch.no_grad()
    def run(self, feeds: Mapping[str, np.ndarray], stretch: float = 1.0, chunk: int = _CHUNK) -> np.ndarray:
        """The module's values ``(n, ...)``; ``stretch`` scales its inputs, to test the sensitivity to rounding."""
        parts = [self.module(*self._inputs(part, stretch)) for part in _chunks(feeds, chunk)]
        return torch.cat(parts).numpy()

    def _inputs(self, feeds: Mapping[str, np.ndarray], stretch: float) -> list[Tensor]:
        index = {name: i for i, name in enumerate(self.conditions)}
        return [
            torch.tensor([index[c] for c in value])
            if name == "condition"
            else torch.from_numpy(value * np.float32(stretch))
            for name, value in feeds.items()
        ]

    def shares(self, got: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Each row's largest difference between graph and torch, relative to the tolerance, ``(n,)``.

        The tolerance of floats is 1e-4 · max(1, |value|). Bytes may differ by one level if torch's value is within 1e-3
        of the boundary.
        """
        if self.output != "image":
            wide = expected.astype(np.float64)
            share = np.abs(got - wide) / (TOLERANCE * np.maximum(1.0, np.abs(wide)))
        else:
            scaled, levels = to_levels(expected)
            gap = np.abs(got.astype(np.int64) - levels)
            boundary = np.abs(scaled - np.floor(scaled) - 0.5) / NEAR
            share = np.where(gap == 0, 0.0, np.where(gap == 1, boundary, np.inf))
        return np.nan_to_num(share.reshape(len(share), -1).max(1), nan=np.inf)

    def jumps(self, feeds: _Feeds, expected: np.ndarray) -> np.ndarray:
        """Rows that change by more than 1e-4 in torch when inputs change by 1e-6 (e.g. by an argmax), ``(n,)``."""
        return np.logical_or(*(_apart(self.run(feeds, 1 + sign * _NUDGE), expected) for sign in (-1, 1)))


def _apart(values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Rows with a number that differs by more than the tolerance, ``(n,)``."""
    near = np.abs(values - expected) <= TOLERANCE * np.maximum(1.0, np.abs(expected))
    return ~near.reshape(len(near), -1).all(1)


def to_levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(n, c, h, w)`` in [-1, 1] as ``(n, h, w, c)`` on the scale of bytes, and rounded and clipped to it."""
    scaled = ((values + np.float32(1)) * np.float32(127.5)).transpose(0, 2, 3, 1)
    return scaled, np.clip(np.rint(scaled), 0, 255).astype(np.int64)


def _chunks(feeds: Mapping[str, np.ndarray], size: int) -> Iterator[_Feeds]:
    rows = len(next(iter(feeds.values())))
    for start in range(0, rows, size):
        yield {name: value[start : start + size] for name, value in feeds.items()}


def prepared(module: nn.Module) -> nn.Module:
    """A copy for export: on the CPU, in evaluation mode."""
    return copy.deepcopy(module).cpu().eval()


def needs_condition(module: nn.Module, example: Tensor) -> bool:
    """Whether the network needs more than its first input."""
    try:
        with torch.no_grad():
            module(example)
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return True
    return False


def check_classes(names: Sequence[str], classes: int) -> list[str]:
    """Check that there is one unique name per class; raises ConfigError."""
    said = [str(name) for name in names]
    if len(said) != classes or len(set(said)) != len(said):
        raise ConfigError(f"the model has {classes} classes; name each once, in the order of their numbers: {said}")
    return said


def conditions_in_turn(conditions: Sequence[str], rows: int) -> _Feeds:
    """The feed of ``condition``, or none."""
    return {"condition": np.resize(np.array(conditions, dtype=object), rows)} if conditions else {}


def examples_of(spec: DataSpec, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Random examples, float32 ``(rows, *shape)``: images uniform in [-1, 1], others standard normal."""
    x = rng.standard_normal((rows, *spec.shape), dtype=np.float32)
    return rng.uniform(-1, 1, x.shape).astype(np.float32) if spec.kind == "image" else x


def check_network(reference: Reference) -> None:
    """Check that a network can be sealed; raises ParityError for non-finite values.

    Raises ConfigError if the values of a row depend on the other rows of its batch.
    """
    feeds = reference.draw(GOLDEN, 1)
    together = reference.run(feeds)
    if not np.isfinite(together).all():
        raise ParityError("the network returns values that are not finite; train it again; nothing was written")
    if (_apart(reference.run(feeds, chunk=1), together) & ~reference.jumps(feeds, together)).any():
        raise ConfigError(
            "the network's output for one example depends on the others in its batch (minibatch discrimination?): "
            "such a network cannot be sealed"
        )


def check_arrays(session: Any, reference: Reference) -> Parity:
    """Check that all rows agree, except those where torch itself jumps; raises ParityError.

    The reported figure is the largest difference relative to its tolerance, times the tolerance. For bytes it is the
    largest distance from a boundary at which a byte differs, in levels.
    """
    rows = _rows(reference)
    feeds = reference.draw(rows, 1)
    expected = reference.run(feeds)
    shares = np.zeros(rows)
    for part in (slice(0, 1), slice(1, 8), *(slice(s, s + _CHUNK) for s in range(0, rows, _CHUNK))):
        (got,) = session.run([reference.output], {name: value[part] for name, value in feeds.items()})
        shares[part] = np.maximum(shares[part], reference.shares(got, expected[part]))
    wrong = shares > 1
    excused = wrong.copy()
    if wrong.any():
        excused[wrong] = reference.jumps({n: v[wrong] for n, v in feeds.items()}, expected[wrong])
    if (wrong & ~excused).any() or excused.mean() > _MOST_JUMPS:
        raise ParityError(
            f"{int(wrong.sum())} of {rows} results differ between the ONNX graph and torch; nothing was written"
        )
    bound = NEAR if reference.output == "image" else TOLERANCE
    return Parity(float(shares[~excused].max()) * bound, bound, int((~excused).sum()))


def _rows(reference: Reference) -> int:
    """The number of rows to compare; fewer for large arrays."""
    probe = reference.draw(1, 0)
    values = max(reference.run(probe).size, *(v.size for v in probe.values()), 1)
    return GOLDEN + (_CHUNK if values > _LARGE else 4 * _CHUNK)


def golden_arrays(session: Any, reference: Reference, candidates: _Feeds) -> tuple[np.ndarray, dict[str, Any]]:
    """Choose golden rows among the candidates; returns them with a few of torch's values and the mean of each row.

    The rows leave a margin for rounding on other machines. Raises ParityError if no row qualifies.
    """
    expected = reference.run(candidates)
    (got,) = session.run([reference.output], dict(candidates))
    firm = (reference.shares(got, expected) <= 0.5) & ~reference.jumps(candidates, expected)
    if not firm.any():
        raise ParityError("no row is the same in the ONNX graph and in torch; nothing was written")
    rows = np.resize(np.flatnonzero(firm), GOLDEN)
    chosen = to_levels(expected[rows])[1] if reference.output == "image" else expected[rows]
    values = chosen.reshape(GOLDEN, -1).astype(np.float64)
    return rows, {"values": to_json(values[:, positions(values.shape[1])]), "mean": to_json(values.mean(1))}


def positions(width: int) -> np.ndarray:
    """At most 64 positions, evenly spread over ``width``."""
    count = min(POSITIONS, width)
    return np.arange(count) * width // count
