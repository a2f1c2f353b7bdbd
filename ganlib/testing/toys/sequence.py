"""Toys of the sequence models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.testing.toy import Toy

_TOKENS, _LENGTH = 8, 12


def automaton(n: int, seed: int) -> Tensor:
    """Walks on a ring of eight symbols that move by +1 or +3 at each step: int64 ``(n, 12)``."""
    g = torch.Generator().manual_seed(seed)
    start = torch.randint(_TOKENS, (n, 1), generator=g)
    moves = 1 + 2 * torch.randint(2, (n, _LENGTH - 1), generator=g)
    return torch.cat([start, start + moves.cumsum(1)], 1) % _TOKENS


def valid_share(tokens: Tensor) -> float:
    """Share of sequences in which the automaton allows all moves."""
    moves = (tokens[:, 1:] - tokens[:, :-1]) % _TOKENS
    return float(((moves == 1) | (moves == 3)).all(1).float().mean())


def _sampled_validity(algorithm: Any, seed: int) -> float:
    g = torch.Generator().manual_seed(seed)
    empty = torch.zeros(1000, 0, dtype=torch.long)
    return valid_share(algorithm.generator.complete(empty, _LENGTH, g))


def _unigram_validity(seed: int) -> float:
    return valid_share(torch.randint(_TOKENS, (1000, _LENGTH), generator=torch.Generator().manual_seed(seed)))


TOYS = {
    "seqgan": Toy(
        data=lambda seed: {"x": automaton(2000, seed)},
        spec=DataSpec.tokens(_LENGTH, _TOKENS),
        level=_sampled_validity,
        at_least=0.8,
        measure="valid sequences of a ring automaton",
        baseline=_unigram_validity,
        trainer={"steps": 400, "batch_size": 64},
    )
}
