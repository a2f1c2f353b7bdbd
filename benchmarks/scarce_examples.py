"""What generated images or series add to few real ones of each class, alone and on top of classical transforms.

Networks learn from a few examples of each class, as ``ganlib.augment.example_arms`` trains them for the gate, and are
evaluated by macro AUPRC on up to 1,000 others. Every method generates as many of each class; with ``--common 60`` only
half of the classes, drawn at random, have few examples, and only these get generated ones.

    python benchmarks/scarce_examples.py FILE.npz --arrays X_train y_train --each 10 --seeds 0 1 2
    python benchmarks/scarce_examples.py FILE.npz --modality series

Without FILE the images are scikit-learn's 8x8 digits. Arrays named ``X_test`` and ``y_test`` are added where there are
fewer than 2,000 examples.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence

import numpy as np

from ganlib.augment import as_augmenter
from ganlib.augment.arms import BOTH, EXAMPLES, MODEL, NONE, TRANSFORMS
from ganlib.augment.example_arms import judge_examples

HELD, FEW = 1000, 2000


def load(path: str | None, names: Sequence[str], modality: str, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Images ``(n, h, w)`` or series ``(n, channels, length)``, and those classes of which some can be held out."""
    if path is None:
        from sklearn.datasets import load_digits

        found = load_digits()
        x, y = (found.images * (255 / 16)).round().astype(np.uint8), found.target
    else:
        with np.load(path, allow_pickle=True) as arrays:
            x, y = arrays[names[0]], arrays[names[1]]
            if len(x) < FEW and {"X_test", "y_test"} <= set(arrays) - set(names):
                x, y = np.concatenate([x, arrays["X_test"]]), np.concatenate([y, arrays["y_test"]])
    if modality == "series":
        x = (x[:, None] if x.ndim == 2 else x).astype(np.float32)
    elif x.ndim == 4 and x.shape[3] == 1:
        x = x[..., 0]
    y = y.astype(str)
    labels, counts = np.unique(y, return_counts=True)
    kept = np.isin(y, labels[counts >= each + 5])
    return x[kept], y[kept]


def drawn(y: np.ndarray, each: int, common: int | None, seed: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Rows to learn from and rows to be evaluated on, and the classes that get generated examples."""
    rng, labels = np.random.default_rng(seed), np.unique(y)
    scarce = labels if common is None else rng.permutation(labels)[: len(labels) // 2]
    counts = {label: each if label in scarce or common is None else common for label in labels}
    rows = np.concatenate([rng.choice(np.flatnonzero(y == label), n, False) for label, n in counts.items()])
    return rows, rng.permutation(np.setdiff1d(np.arange(len(y)), rows))[:HELD], sorted(map(str, scarce))


def main(argv: Sequence[str]) -> None:
    """Print the figure of each arm by seed, and the gains over the same without generated examples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?")
    parser.add_argument("--arrays", nargs=2, default=["X", "y"])
    parser.add_argument("--modality", choices=["image", "series"], default="image")
    parser.add_argument("--each", type=int, default=10, help="real examples of a class")
    parser.add_argument("--common", type=int, help="examples of half of the classes, which get none; all few if empty")
    parser.add_argument("--made", type=int, default=50, help="generated examples of a class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--networks", type=int, default=2, help="of each seed and arm; the figure is their mean")
    parser.add_argument("--methods", nargs="+", default=["learned_warps"])
    chosen = parser.parse_args(argv)
    x, y = load(chosen.file, chosen.arrays, chosen.modality, max(chosen.each, chosen.common or 0))
    print(f"{len(x)} examples of shape {x.shape[1:]}, {len(np.unique(y))} classes", flush=True)
    for method in chosen.methods:
        found = []
        for seed in chosen.seeds:
            start = time.process_time()
            rows, held, grown = drawn(y, chosen.each, chosen.common, seed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = as_augmenter(method, modality=chosen.modality, random_state=seed).fit(x[rows], y[rows])
                made = fitted.sample(conditions=dict.fromkeys(grown, chosen.made))
            took = time.process_time() - start
            real, others = (x[rows], y[rows]), (x[held], y[held])
            each = [
                judge_examples(real, made, others, chosen.modality, seed + 1000 * k).arms
                for k in range(chosen.networks)
            ]
            found.append({arm: float(np.mean([one[arm] for one in each])) for arm in each[0]})
            words = " ".join(f"{arm} {figure:.4f}" for arm, figure in found[-1].items())
            print(f"{method} seed {seed}: {words} (fitted in {took:.1f} CPU s)", flush=True)
        for arm, title in EXAMPLES.titles.items():
            print(f"{method}: {title} {np.mean([one[arm] for one in found]):.4f}")
        for base, grown in ((NONE, MODEL), (TRANSFORMS, BOTH)):
            gaps = np.array([100 * (one[grown] - one[base]) for one in found])
            print(f"{method}: over {EXAMPLES.titles[base]} {_interval(gaps)}", flush=True)


def _interval(gaps: np.ndarray) -> str:
    from scipy.stats import t

    if len(gaps) < 2:
        return f"{gaps.mean():+.2f} points"
    reach = t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / len(gaps) ** 0.5
    return f"{gaps.mean():+.2f} points ({gaps.mean() - reach:+.2f} to {gaps.mean() + reach:+.2f}, {len(gaps)} seeds)"


if __name__ == "__main__":
    main(sys.argv[1:])
