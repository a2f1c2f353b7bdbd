"""StackGAN on MNIST: what the second stage adds to the first, enlarged.

    python -m benchmarks.models.stacked mnist.npz [--seeds 0 1 2] [--steps 4000] [--json FILE] [--write]

Stage I draws 14 x 14, stage II 28 x 28, by class. For stage II, and for the same stage-I images enlarged bilinearly:
share that a classifier of real images puts in the class asked for (``accuracy``), and the Fréchet distance to real test
images on their 32 principal components. Beside them: the distance of as many real training images.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from benchmarks.models.mnist import keep, options, read, write
from ganlib.data.spec import DataSpec
from ganlib.metrics.classes import class_consistency
from ganlib.metrics.features import pca_frechet, train_classifier
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig


def train(x: Tensor, y: Tensor, seed: int, steps: int, width: int) -> Any:
    """Both stages, half of the steps each."""
    torch.manual_seed(seed)
    model = create("stackgan", DataSpec.image(1, 28, 28, classes=10), width=width, augmented=32)
    Trainer(TrainerConfig(steps=steps, batch_size=64, random_state=seed, ema=0.995)).fit(model, {"x": x, "y": y})
    return model


@torch.no_grad()
def both(model: Any, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Stage I enlarged, and stage II from the same."""
    sampler, generator = model.sampler(), torch.Generator().manual_seed(seed)
    first, second = [], []
    for part in y.split(500):
        z, one, two = torch.randn(len(part), sampler.latent_dim, generator=generator).split(sampler.sizes, 1)
        condition = one_hot(part, 10).float()
        small = sampler.first(z, condition, one)
        first.append(interpolate(small, scale_factor=2, mode="bilinear", align_corners=False))
        second.append(sampler.second(small, condition, two))
    return torch.cat(first), torch.cat(second)


def main() -> None:
    """Print a row as each seed ends."""
    parser = options(__doc__, steps=4000, seeds=3)
    parser.add_argument("--width", type=int, default=16)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data, results = read(given.data, given.validate), []
    x, y, test = data["X_train"], data["y_train"], data["X_test"][:5000]
    judge = train_classifier(x[:20_000], y[:20_000], random_state=0, epochs=4)
    real = pca_frechet(test, x[:5000])
    asked = torch.arange(10).repeat(500)
    for seed in given.seeds:
        began = time.process_time()
        enlarged, second = both(train(x, y, seed, given.steps, given.width), asked, seed)
        row: dict[str, Any] = {"seed": seed, "distance_real": real, "cpu_s": round(time.process_time() - began)}
        for name, images in (("enlarged", enlarged), ("second", second)):
            row[f"accuracy_{name}"] = class_consistency(judge, images, asked)
            row[f"distance_{name}"] = pca_frechet(test, images)
        results.append(row)
        print(" ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
        keep(results, given.json)
    write("stacked", {row["seed"]: row for row in results}, given)


if __name__ == "__main__":
    main()
