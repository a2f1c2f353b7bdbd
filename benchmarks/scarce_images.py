"""What generated images add to few real ones of each class, alone and on top of random turns, shifts and scales.

A small convolutional network is trained on a few images of each class and evaluated by macro AUPRC on the others. Half
of each mini-batch are generated images, drawn from as many per class for every method; ``transforms`` moves every image
of every mini-batch anew.

    python benchmarks/scarce_images.py FILE.npz --arrays X_train y_train --each 10 --seeds 0 1 2

Without FILE the images are scikit-learn's 8x8 digits. Images of more than 32 pixels a side are reduced by block means.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganlib.augment import as_augmenter
from ganlib.data.transforms import RandomAffine
from ganlib.metrics.detection import auprc

HELD, MADE, STEPS, BATCH, SIDE = 1000, 50, 300, 64, 32
MOVES = RandomAffine(degrees=(-15, 15), edge="replicate")
Table = tuple[Tensor, Tensor]
Maker = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def load(path: str | None, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Grey images of bytes ``(n, h, w)`` and classes from 0."""
    if path is None:
        from sklearn.datasets import load_digits

        found = load_digits()
        return (found.images * (255 / 16)).round().astype(np.uint8), found.target
    with np.load(path, allow_pickle=True) as arrays:
        x, y = arrays[names[0]], arrays[names[1]]
    x = x.reshape(len(x), *x.shape[1:3])
    block = -(-x.shape[1] // SIDE)
    if block > 1:
        sides = [side // block for side in x.shape[1:]]
        x = x[:, : sides[0] * block, : sides[1] * block].reshape(len(x), sides[0], block, sides[1], block).mean((2, 4))
    return x.round().astype(np.uint8), np.unique(y, return_inverse=True)[1]


def network(side: int, classes: int, width: int = 16) -> nn.Module:
    """Three convolutions and a linear layer.

    With batch normalisation and a schedule of the rate it learns more from transforms alone than the classifier of
    ``ganlib.metrics.features`` (.97 and .94 on ten MNIST digits a class), which would make the gain beside them larger.
    """
    layers: list[nn.Module] = []
    for channels, made in ((1, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [nn.Conv2d(channels, made, 3, padding=1), nn.BatchNorm2d(made), nn.ReLU()]
        if side > 8:
            layers.append(nn.MaxPool2d(2))
            side //= 2
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(32 * width, classes)
    )


def figure(real: Table, made: Table | None, held: Table, seed: int, transforms: bool) -> float:
    """Macro AUPRC on held-out images."""
    torch.manual_seed(seed)
    generator, classes = torch.Generator().manual_seed(seed), int(real[1].max()) + 1
    model = network(real[0].shape[-1], classes)
    adam = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
    pace = torch.optim.lr_scheduler.OneCycleLR(adam, 6e-3, total_steps=STEPS)
    sources = [real] if made is None else [real, made]
    for _ in range(STEPS):
        rows = [torch.randint(len(y), (BATCH // len(sources),), generator=generator) for _, y in sources]
        x, y = (torch.cat([s[i][r] for s, r in zip(sources, rows, strict=True)]) for i in range(2))
        loss = F.cross_entropy(model(MOVES(x, generator) if transforms else x), y)
        adam.zero_grad()
        loss.backward()
        adam.step()
        pace.step()
    model.eval()
    with torch.no_grad():
        votes = torch.cat([model(part) for part in held[0].split(250)]).softmax(1).numpy()
    return float(np.mean([auprc(votes[:, c], held[1].numpy() == c) for c in range(classes)]))


def smote(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures of an image with one of its five nearest of the class."""
    rng, made = np.random.default_rng(seed), []
    for label in np.unique(y):
        own = x[y == label].astype(float)
        near = np.square(own[:, None] - own[None]).sum((2, 3)).argsort(1)[:, 1:6]
        first = rng.integers(len(own), size=MADE)
        second = near[first, rng.integers(near.shape[1], size=MADE)]
        share = rng.random((MADE, 1, 1))
        made.append(own[first] * (1 - share) + own[second] * share)
    return np.concatenate(made).round().astype(np.uint8), np.repeat(np.unique(y), MADE)


def of(name: str) -> Maker:
    """A registered generator, or SMOTE on pixels."""
    if name == "smote":
        return smote

    def make(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        fitted = as_augmenter(name, modality="image", random_state=seed).fit(x, y)
        return fitted.sample(conditions={label: MADE for label in np.unique(y)})

    return make


def as_table(x: np.ndarray, y: np.ndarray) -> Table:
    """Images in [-1, 1] ``(n, 1, h, w)`` and classes."""
    return torch.tensor(x / 127.5 - 1, dtype=torch.float32).unsqueeze(1), torch.as_tensor(np.asarray(y, dtype=np.int64))


def main(argv: Sequence[str]) -> None:
    """Print the figure of each method by seed, its mean, and the mean gain over transforms alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--arrays", nargs=2, default=["X", "y"])
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["smote", "gaussian", "learned_warps"])
    chosen = parser.parse_args(argv)
    images, labels = load(chosen.file, chosen.arrays)
    found: dict[str, list[float]] = {}
    for seed in chosen.seeds:
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.choice(np.flatnonzero(labels == c), chosen.each, False) for c in np.unique(labels)])
        others = rng.permutation(np.setdiff1d(np.arange(len(labels)), rows))[:HELD]
        real, held = (as_table(images[part], labels[part]) for part in (rows, others))

        def note(
            name: str, made: Table | None, transforms: bool, seed: int = seed, real: Table = real, held: Table = held
        ) -> None:
            value = figure(real, made, held, seed, transforms)
            found.setdefault(name, []).append(value)
            print(f"seed {seed} {name}: {value:.4f}", flush=True)

        note("real images alone", None, False)
        note("transforms", None, True)
        for name in chosen.methods:
            start = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made = as_table(*of(name)(images[rows], labels[rows], seed))
            print(f"seed {seed} {name}: {time.process_time() - start:.1f} CPU s", flush=True)
            note(name, made, False)
            note(f"{name} and transforms", made, True)
    base = np.array(found["transforms"])
    for name, values in found.items():
        gaps = np.array(values) - base
        error = gaps.std(ddof=1) / len(gaps) ** 0.5 if len(gaps) > 1 else float("nan")
        print(f"{name}: {np.mean(values):.4f}, over transforms {100 * gaps.mean():+.2f} ± {100 * error:.2f} points")


if __name__ == "__main__":
    main(sys.argv[1:])
