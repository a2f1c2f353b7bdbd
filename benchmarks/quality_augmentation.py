"""The gain of our augmenters, compared with their peers.

    python -m benchmarks.quality_augmentation --bench PATH/augmentation_bench.py      scarce classes, six tables
    python -m benchmarks.quality_augmentation --digits                                train on synthetic, test on real

``--bench`` (or the environment variable GANLIB_AUGMENTATION_BENCH) names a benchmark script with ``METHODS``,
``run_A`` and data of its own; its rows go to ``--output`` and finished ones are skipped. Change is in AUPRC points
(x 100) against no augmentation, mean of four learners over cells of table x count x seed, on real held-out rows.
Published there for peers: SMOTE -0.5, TVAE -0.5, CTGAN -2.5.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

VARIANTS = {
    "CVAEGANAugmenter": ("cvae_gan", {}),
    "CVAEAugmenter": ("cvae", {}),
    "CGANAugmenter": ("cgan", {}),
    "VAEAugmenter": ("vae", {}),
    "cvae_gan, no curation": ("cvae_gan", {"curation": 0.0}),
    "cvae_gan, prior N(0, I)": ("cvae_gan", {"class_prior": False}),
    "cvae_gan, paper's weights": (
        "cvae_gan",
        {"options": {"kl": 3.0, "reconstruction": "squared", "features": "sum"}, "class_prior": False, "curation": 0.0},
    ),
}
DEFAULT = ("CVAEGANAugmenter", "CVAEAugmenter", "CGANAugmenter", "VAEAugmenter")


def method(name):
    """A factory in the benchmark's manner: ``factory(seed)`` with ``fit(frame, target)`` and ``sample(n, class)``."""
    model, parameters = VARIANTS[name]

    class Method:
        scope = "all"

        def __init__(self, seed=0):
            from ganlib.augment import as_augmenter

            self.augmenter = as_augmenter(model, random_state=seed % 2**31, **parameters)

        def fit(self, frame, target):
            self.target = target
            self.augmenter.fit(frame.drop(columns=[target]), frame[target])
            return self

        def sample(self, n, cls=None):
            return self.augmenter.sample(n, cls).drop(columns=[self.target])

    return Method


def load_bench(path):
    spec = importlib.util.spec_from_file_location("augmentation_bench", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_bench(args):
    import pandas as pd

    bench = load_bench(args.bench)
    names = args.methods.split(";")
    ours = [n for n in names if n in VARIANTS]
    bench.METHODS.update({name: method(name) for name in ours})
    output = args.output or str(Path(tempfile.mkdtemp()) / "augmentation.csv")
    options = argparse.Namespace(
        out=output,
        minutes=args.minutes,
        seeds=[int(s) for s in args.seeds.split(",")],
        n_min=[int(n) for n in args.rows.split(",")],
        datasets=args.datasets.split(",") if args.datasets else bench.DS_A,
        methods=["none", *names],
        amount="balance",
    )
    bench.run_A(options)
    report(pd.read_csv(output))


def report(results):
    """Mean change by method, with its standard error over tables, and where it comes from."""
    import numpy as np

    keys = ["dataset", "seed", "n_min", "learner"]
    base = results[results.method == "none"].set_index(keys)["auprc"]
    learners = ["LR", "RF", "HGB", "MLP"]
    print(f"\n{'method':28s} {'cells':>5s} {'AUPRC':>7s} {'SE':>5s} {'win':>5s} {'n=10':>6s} {'n=50':>6s} "
          + " ".join(f"{name:>6s}" for name in learners) + f" {'fit s':>6s} errors")  # fmt: skip
    for name, rows in results[results.method != "none"].groupby("method", sort=False):
        change = 100 * (rows.set_index(keys)["auprc"] - base).dropna()
        cells = change.groupby(level=["dataset", "seed", "n_min"]).mean()
        tables = cells.groupby(level="dataset").mean()
        error = tables.std() / max(1, len(tables)) ** 0.5
        few, more = (cells[cells.index.get_level_values("n_min") == n].mean() for n in (10, 50))
        each = [change[change.index.get_level_values("learner") == one].mean() for one in learners]
        failed = int(rows["error"].notna().sum()) if "error" in rows else 0
        print(f"{name:28s} {len(cells):5d} {cells.mean():+7.2f} {error:5.2f} {np.mean(cells > 0):5.0%} {few:+6.2f} "
              f"{more:+6.2f} " + " ".join(f"{v:+6.2f}" for v in each)
              + f" {rows['fit_cpu_s'].mean():6.1f} {failed}")  # fmt: skip


def run_digits(seeds):
    """Logistic regression trained on as many generated digits as there are real ones, tested on the real 40 %."""
    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    from ganlib.augment import as_augmenter

    data, target = load_digits(return_X_y=True)

    def accuracy(x, y, test, test_y):
        return LogisticRegression(max_iter=2000).fit(x / 16, y).score(test / 16, test_y)

    table = {}
    for seed in seeds:
        x, test, y, test_y = train_test_split(data, target, test_size=0.4, stratify=target, random_state=seed)
        rng = np.random.default_rng(seed)
        table.setdefault("real rows", []).append(accuracy(x, y, test, test_y))
        counts = np.bincount(y)
        drawn = [rng.multivariate_normal(x[y == c].mean(0), np.cov(x[y == c].T), counts[c]) for c in range(10)]
        labels = np.repeat(np.arange(10), counts)
        table.setdefault("class Gaussians", []).append(accuracy(np.vstack(drawn), labels, test, test_y))
        means = np.stack([x[y == c].mean(0) for c in range(10)])
        table.setdefault("class means", []).append(accuracy(means, np.arange(10), test, test_y))
        for model in ("cvae", "cgan", "vae", "cvae_gan"):
            made, labels = as_augmenter(model, random_state=seed).fit(x, y).sample(len(x))
            value = accuracy(made.astype(float), labels, test, test_y)
            table.setdefault(model, []).append(value)
    for name, values in table.items():
        print(f"{name:16s} " + " ".join(f"{v:.3f}" for v in values) + f"   mean {np.mean(values):.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=os.environ.get("GANLIB_AUGMENTATION_BENCH"))
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--methods", default=";".join([*DEFAULT, "SMOTE"]), help="names separated by ';'")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--rows", default="10,50", help="rows of the scarce class")
    parser.add_argument("--datasets", default="")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--output")
    args = parser.parse_args()
    if not args.digits and not args.bench:
        parser.error("give --digits, or --bench PATH (or GANLIB_AUGMENTATION_BENCH)")
    import torch

    torch.set_num_threads(1)
    if args.digits:
        run_digits([int(s) for s in args.seeds.split(",")])
    else:
        run_bench(args)


if __name__ == "__main__":
    sys.exit(main())
