"""Train on synthetic, test on real: the conditional families on MNIST, with a small convolutional classifier.

    python -m benchmarks.models.transfer mnist.npz [--models cvae cgan cvae_gan] [--seeds 0 1 2 3 4] [--write]

Every model gets the same training images,
steps, batch size, schedule and width of network; three classifiers are trained on 1,000 generated images a class and
judged on the real test images, and their mean is the figure (one alone moves by 0.005). Beside them: the same
classifiers on as many real images, and on draws from one Gaussian a class (covariance shrunk as the metric's baseline).
Sharpness is the mean Laplacian variance over that of real images.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.models.mnist import keep, options, read, write
from ganlib.data.spec import DataSpec
from ganlib.metrics.classes import class_diversity, class_gaussians
from ganlib.metrics.features import train_classifier
from ganlib.metrics.images import sharpness_ratio
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

MODELS: dict[str, dict[str, Any]] = {
    "cvae": {"latent_dim": 16},
    "cgan": {"latent_dim": 64},
    "acgan": {"latent_dim": 64, "learning_rate": 1e-3, "critic_learning_rate": 2e-4},
    "cvae_gan": {"latent_dim": 16, "kl": 1.0, "reconstruction": "likelihood"},
}
PER_CLASS = 1000


def generate(name: str, data: dict[str, Tensor], seed: int, steps: int, **nets: Any) -> tuple[Tensor, Any]:
    """Train a model and draw 1,000 images a class."""
    torch.manual_seed(seed)
    model = create(name, DataSpec.image(1, 28, 28, classes=10), **MODELS[name], **nets)
    config = TrainerConfig(steps=steps, batch_size=64, random_state=seed, ema=0.995, schedule="linear", decay_from=0.5)
    Trainer(config).fit(model, {"x": data["X_train"], "y": data["y_train"]})
    if hasattr(model, "fit_prior"):
        model.fit_prior(data["X_train"], data["y_train"])
    sampler, labels = model.sampler(), torch.arange(10).repeat(PER_CLASS)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        parts = [sampler(torch.randn(len(y), sampler.latent_dim, generator=generator), y) for y in labels.split(500)]
    return torch.cat(parts), model


def judge(made: Tensor, labels: Tensor, data: dict[str, Tensor], seed: int) -> dict[str, float]:
    """Transfer accuracy, sharpness and diversity of images."""
    classifiers = [train_classifier(made, labels, random_state=10 * seed + i, epochs=8) for i in range(3)]
    spread = class_diversity(data["X_train"][:5000], data["y_train"][:5000], made[::3], labels[::3])
    return {
        "tstr": statistics.mean(c.accuracy(data["X_test"], data["y_test"]) for c in classifiers),
        "sharpness": sharpness_ratio(data["X_train"][:2000], made[::7]),
        "diversity": statistics.mean(spread.values()),
    }


def main() -> None:
    """Print a row as each model and seed ends."""
    parser = options(__doc__, steps=4000, seeds=5)
    parser.add_argument("--models", nargs="*", default=["real", "gaussians", *MODELS])
    parser.add_argument("--width", type=int, default=16, help="first convolution's channels")
    parser.add_argument("--networks", default="mlp", help="dcgan or mlp (512-256)")
    given = parser.parse_args()
    if given.write and (lacking := {"gaussians", "cvae", "cgan", "cvae_gan"} - set(given.models)):
        parser.error(f"--write records checks that need {', '.join(sorted(lacking))} too: add them to --models")
    torch.set_num_threads(1)
    data, results = read(given.data, given.validate), []
    nets = {"networks": given.networks, "width": given.width, "hidden": (512, 256)}
    labels = torch.arange(10).repeat(PER_CLASS)
    print(f"{'model':12s}{'seed':>5s}{'TSTR':>8s}{'sharpness':>11s}{'diversity':>11s}{'CPU s':>8s}")
    for seed in given.seeds:
        for name in given.models:
            began = time.process_time()
            if name == "real":
                rows = torch.cat([torch.where(data["y_train"] == c)[0][:PER_CLASS] for c in range(10)])
                made, classes = data["X_train"][rows], data["y_train"][rows]
            elif name == "gaussians":
                counts = dict.fromkeys(range(10), PER_CLASS)
                x, y = class_gaussians(data["X_train"][:20_000], data["y_train"][:20_000], counts, random_state=seed)
                made, classes = torch.as_tensor(x).float().view(-1, 1, 28, 28).clamp(-1, 1), torch.as_tensor(y).long()
            else:
                made, classes = generate(name, data, seed, given.steps, **nets)[0], labels
            row = judge(made, classes, data, seed) | {"model": name, "seed": seed}
            results.append(row)
            print(f"{name:12s}{seed:>5d}{row['tstr']:>8.4f}{row['sharpness']:>11.3f}{row['diversity']:>11.3f}"
                  f"{time.process_time() - began:>8.0f}", flush=True)  # fmt: skip
            keep(results, given.json)
    write("transfer", {s: {row["model"]: row for row in results if row["seed"] == s} for s in given.seeds}, given)
    for name in given.models:
        own = [r["tstr"] for r in results if r["model"] == name]
        error = statistics.stdev(own) / len(own) ** 0.5 if len(own) > 1 else float("nan")
        print(f"{name:12s} mean TSTR {statistics.mean(own):.4f} ± {error:.4f} (standard error)")


if __name__ == "__main__":
    main()
