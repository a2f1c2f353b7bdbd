"""The arms on one split of images or series: a small convolutional network trained on the examples of each arm.

Beside the arms of tables there are two with classical transforms, which move every example of every mini-batch anew:
one of real examples, one of real and generated ones. Images are shifted, turned and scaled; series are jittered, scaled
and warped in time. The network is a measuring instrument, not a model of the library. It reads images of at most 32
pixels a side and series of at most 128 steps; of larger ones, means over blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.augment.arms import (
    BOTH,
    COPIES,
    MODEL,
    NETWORK,
    NONE,
    SMOTE,
    TRANSFORMS,
    Judged,
    Table,
    chance,
    macro,
    share_of,
    smote,
    with_copies,
)
from ganlib.augment.filters import near_copies, near_twins
from ganlib.data.readers import reader_for
from ganlib.data.series_moves import RandomSeries
from ganlib.data.transforms import RandomAffine
from ganlib.errors import DataError

STEPS, BATCH, RATE, DECAY, DROPPED = 300, 64, 6e-3, 1e-3, 0.3
MOST = {1: 128, 2: 32}  # steps, or pixels a side
MOVES: dict[int, Callable[[Tensor, torch.Generator], Tensor]] = {
    1: RandomSeries(), 2: RandomAffine(degrees=(-15, 15), edge="replicate")
}  # fmt: skip
LAYERS: dict[int, tuple[Any, ...]] = {
    1: (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AdaptiveAvgPool1d, 7, 32),
    2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, 3, 16),
}
Examples = tuple[np.ndarray, np.ndarray]


def measure_of_examples(modality: str) -> str:
    """What is measured, in words."""
    moved = "shifted, turned and scaled" if modality == "image" else "jittered, scaled and warped in time"
    return (
        "macro AUPRC of a small convolutional network on held-out real examples. Real and generated examples of a "
        f"class are drawn equally often; with transforms, every example of every mini-batch is {moved} at random"
    )


def judge_examples(real: Examples, made: Examples, judged: Examples, modality: str, seed: int = 0) -> Judged:
    """The figures on the examples ``judged`` of networks trained on ``real`` ones as each arm does.

    Each is (examples as ``ganlib.data.readers`` reads them, classes as text). Every arm that adds examples adds the
    same number per class as ``made`` holds; the arm of transforms adds copies. In mini-batches copies weigh like class
    weights, which are no arm of their own. Real and generated examples of a class are drawn equally often, since many
    generated ones would drown few real ones. Raises DataError if ``made`` is empty.
    """
    if len(made[1]) == 0:
        raise DataError("no examples to generate: the classes are already balanced; give the number with rows")
    reader = reader_for(real[0], modality).fit(real[0])
    base, more, test = ((reduced(reader.read(x)), y) for x, y in (real, made, judged))
    shape, flat = base[0].shape[1:], _flat(base)
    grown = smote(flat, more[1], np.ones(len(base[1]), dtype=bool), seed)
    repeated = with_copies(base[1], more[1], np.ones(len(base[1]), dtype=bool), seed)
    copies = base[0][torch.from_numpy(repeated)], base[1][repeated]
    both = torch.cat([base[0], more[0]]), np.concatenate([base[1], more[1]])
    mixed = torch.as_tensor(grown[0], dtype=torch.float32).unflatten(1, shape), grown[1]
    often, mixing = (_evenly(classes, len(base[1])) for classes in (both[1], mixed[1]))
    found = {
        NONE: figure(base, test, seed), COPIES: figure(copies, test, seed), SMOTE: figure(mixed, test, seed, mixing),
        TRANSFORMS: figure(copies, test, seed, moved=True), MODEL: figure(both, test, seed, often),
        BOTH: figure(both, test, seed, often, moved=True),
    }  # fmt: skip
    other, names = _flat(more), np.unique(more[1])
    return Judged(
        {NETWORK: found}, chance(test[1], seed), share_of(near_copies, flat, other, names),
        share_of(near_copies, flat, _flat(test), names), share_of(near_twins, flat, other, names),
    )  # fmt: skip


def reduced(x: Tensor) -> Tensor:
    """Examples ``(n, channels, *sides)`` as means over blocks, so that no side is above ``MOST``."""
    sides = x.shape[2:]
    blocks = tuple(-(-side // MOST[len(sides)]) for side in sides)
    if max(blocks) == 1:
        return x.float()
    pool: Any = F.avg_pool1d if len(sides) == 1 else F.avg_pool2d
    return pool(x.float(), blocks)


def network(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Three convolutions and a linear layer, for examples of this shape ``(channels, *sides)``."""
    channels, *sides = shape
    convolution, normalise, pool, mean, kernel, width = LAYERS[len(sides)]
    layers: list[nn.Module] = []
    for made in (width, 2 * width, 2 * width):
        layers.append(convolution(channels, made, kernel, padding=kernel // 2))
        if min(sides) > 8:
            layers.append(pool(2))
            sides = [side // 2 for side in sides]
        layers += [normalise(made), nn.ReLU()]
        channels = made
    return nn.Sequential(
        *layers, mean(4), nn.Flatten(), nn.Dropout(DROPPED), nn.Linear(4 ** len(sides) * channels, classes)
    )


def _evenly(classes: np.ndarray, real: int) -> np.ndarray:
    """How often each example is drawn: within a class, as many real ones (the first) as others."""
    often = np.ones(len(classes))
    for name in np.unique(classes):
        mine = np.flatnonzero(classes == name)
        for part in (mine[mine < real], mine[mine >= real]):
            if 0 < len(part) < len(mine):
                often[part] = len(mine) / (2 * len(part))
    return often


def figure(
    learned: tuple[Tensor, np.ndarray], test: tuple[Tensor, np.ndarray], seed: int, often: np.ndarray | None = None,
    *, moved: bool = False,
) -> float:  # fmt: skip
    """Macro AUPRC on ``test`` of a network trained on ``learned``; the global random state is unchanged.

    ``often`` says how often each example is drawn, all alike if None; ``moved`` transforms each mini-batch. AdamW with
    one rise and fall of the rate, and batch normalisation: transforms gain more from it than from a constant rate.
    """
    x, (names, codes) = learned[0], np.unique(learned[1], return_inverse=True)
    truth, generator = torch.as_tensor(codes), torch.Generator().manual_seed(seed)
    moves, order = MOVES[x.ndim - 2], torch.channels_last if x.ndim == 4 else torch.contiguous_format  # is quicker
    weights = torch.ones(len(truth)) if often is None else torch.as_tensor(often, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model: Any = network(tuple(x.shape[1:]), len(names))
        model.to(memory_format=order)
        adam = torch.optim.AdamW(model.parameters(), weight_decay=DECAY)
        pace = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=STEPS)
        for _ in range(STEPS):
            rows = torch.multinomial(weights, BATCH, replacement=True, generator=generator)
            batch = moves(x[rows], generator) if moved else x[rows]
            loss = F.cross_entropy(model(batch.contiguous(memory_format=order)), truth[rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            pace.step()
    model.eval()
    with torch.no_grad():
        votes = torch.cat([model(part) for part in test[0].split(250)]).softmax(1).numpy()
    return macro(votes, names, test[1])


def _flat(examples: tuple[Tensor, np.ndarray]) -> Table:
    return examples[0].flatten(1).numpy(), examples[1]
