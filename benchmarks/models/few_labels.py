"""Few labels: the critic that classifies (k + 1 classes) on MNIST with 10 labels a class.

    python -m benchmarks.models.few_labels mnist.npz [--seeds 0 1 2 3 4] [--steps 36000] [--json FILE] [--write]

The critic is half as wide in its first two layers as the authors' (500, 250), for half the time a step; on held-out
training images it errs no more after as many steps. Every seed draws its own labelled images. Beside the model: the
same network on the labelled images alone, and self-training (that network labels what it is surest of, and learns again
from it; confidence 0.95, five rounds). Errors are of the 10,000 test images.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.models.mnist import keep, options, read, write
from ganlib.data.spec import DataSpec
from ganlib.models.gan.semi_supervised import with_labels
from ganlib.registry import create
from ganlib.training import Batch, Trainer, TrainerConfig

PER_CLASS = 10
IMAGES = DataSpec.image(1, 28, 28, classes=10)
HIDDEN = (500, 250, 250, 250, 250)


def labelled(y: Tensor, seed: int) -> Tensor:
    """Row numbers of ten examples per class, sampled by the seed."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[y[order] == c][:PER_CLASS] for c in range(10)])


@torch.no_grad()
def error(classify: Any, x: Tensor, y: Tensor) -> float:
    """Share of misnamed examples."""
    return float((torch.cat([classify(part) for part in x.split(1000)]) != y).float().mean())


def k_plus_one(x: Tensor, rows: Tensor, y: Tensor, seed: int, steps: int) -> nn.Module:
    """The model, trained on all images and the labels of ``rows``."""
    torch.manual_seed(seed)
    model = create("semi_supervised_gan", IMAGES, hidden=HIDDEN)
    config = TrainerConfig(steps=steps, batch_size=100, random_state=seed, ema=0.999, schedule="linear", decay_from=0.5)
    Trainer(config).fit(model, with_labels(x, x[rows], y[rows], seed))
    return model.eval()


def supervised(x: Tensor, y: Tensor, seed: int, steps: int) -> nn.Module:
    """The critic's network, with its noise, on labelled images alone."""
    torch.manual_seed(seed)
    model, generator = create("semi_supervised_gan", IMAGES, hidden=HIDDEN), torch.Generator().manual_seed(seed)
    model.prepare(Batch({"x": x[torch.randint(len(x), (100,), generator=generator)]}, generator))
    net = model.critic.train()
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(steps):
        rows = torch.randint(len(x), (100,), generator=generator)
        loss = F.cross_entropy(net(x[rows], None), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def self_training(x: Tensor, rows: Tensor, y: Tensor, seed: int, steps: int) -> nn.Module:
    """Self-training: five rounds on the network's own confident predictions."""
    known, labels = x[rows], y[rows]
    net = supervised(known, labels, seed, steps)
    for _ in range(5):
        with torch.no_grad():
            sure, guess = torch.cat([net(part, None).softmax(1) for part in x.split(1000)]).max(1)
        keep = sure > 0.95
        # The true labels stay a tenth of what is learned from.
        repeat = max(1, int(keep.sum()) // (10 * len(known)))
        net = supervised(
            torch.cat([x[keep], known.repeat(repeat, 1, 1, 1)]),
            torch.cat([guess[keep], labels.repeat(repeat)]),
            seed,
            steps,
        )
    return net


def main() -> None:
    """Print a row as each seed ends."""
    parser = options(__doc__, steps=36_000, seeds=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = read(given.data, given.validate)
    x, test = data["X_train"], data["X_test"]
    y, test_y = data["y_train"], data["y_test"]
    results: list[dict[str, Any]] = []
    print(f"{'seed':>4s}{'k + 1':>9s}{'supervised':>12s}{'self-training':>15s}{'CPU s of k + 1':>16s}")
    for seed in given.seeds:
        rows = labelled(y, seed)
        began = time.process_time()
        model = k_plus_one(x, rows, y, seed, given.steps)
        seconds = time.process_time() - began
        plain = supervised(x[rows], y[rows], seed, 500)
        taught = self_training(x, rows, y, seed, 500)
        row = {
            "seed": seed, "k_plus_one": error(model.classify, test, test_y),
            "supervised": error(lambda v, net=plain: net(v, None).argmax(1), test, test_y),
            "self_training": error(lambda v, net=taught: net(v, None).argmax(1), test, test_y),
            "cpu_s": round(seconds),
        }  # fmt: skip
        results.append(row)
        print(f"{seed:>4d}{row['k_plus_one']:>9.2%}{row['supervised']:>12.2%}{row['self_training']:>15.2%}"
              f"{row['cpu_s']:>16d}", flush=True)  # fmt: skip
        keep(results, given.json)
    write("few_labels", {row["seed"]: row for row in results}, given)
    for name in ("k_plus_one", "supervised", "self_training"):
        print(f"{name:14s} mean error {statistics.mean(r[name] for r in results):.2%}")


if __name__ == "__main__":
    main()
