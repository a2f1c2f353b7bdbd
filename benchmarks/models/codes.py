"""InfoGAN on MNIST: how well the ten-way code matches the digits, compared with k-means.

    python -m benchmarks.models.codes mnist.npz [--seeds 0 1 2] [--steps 5000] [--json FILE] [--write]

Information: E log Q(c|G(z, c)) + H(c) of 5,000 generated images by the trained Q, at most log 10 = 2.303 nats; the same
of the model before training, and with lambda 0 where ``--without`` is given. Cluster accuracy: Q names the 10,000 test
images, clusters are matched to digits one to one (Hungarian). k-means clusters the pixels of 10,000 training images,
best of ten starts.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.models.mnist import keep, options, read, write
from ganlib.data.spec import DataSpec
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig


def cluster_accuracy(clusters: np.ndarray, y: np.ndarray) -> float:
    """Share of examples whose cluster's digit is theirs, clusters and digits matched one to one."""
    from scipy.optimize import linear_sum_assignment

    table = np.zeros((10, 10))
    np.add.at(table, (clusters, y), 1)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(y))


@torch.no_grad()
def judge(model: Any, x: Tensor, y: Tensor, seed: int) -> dict[str, float]:
    """Information in nats and cluster accuracy."""
    code = torch.arange(10).repeat(500)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(code), model.config.latent_dim, generator=generator)
    rest = 2 * torch.rand(len(code), model.config.continuous, generator=generator) - 1
    z = torch.cat([noise, F.one_hot(code, 10).float(), rest], 1)
    logits = torch.cat([model.critic(model.generate(part, None), None)[:, 1:11] for part in z.split(500)])
    nats = np.log(10) - float(F.cross_entropy(logits, code))
    clusters = torch.cat([model.category(part) for part in x.split(500)])
    return {"nats": nats, "accuracy": cluster_accuracy(clusters.numpy(), y.numpy())}


def run(x: Tensor, seed: int, steps: int, width: int, weight: float) -> Any:
    """A model after so many steps (0: as it begins)."""
    torch.manual_seed(seed)
    model = create("infogan", DataSpec.image(1, 28, 28), width=width, weight=weight)
    if steps:
        Trainer(TrainerConfig(steps=steps, batch_size=128, random_state=seed, ema=0.995)).fit(model, {"x": x})
    return model.eval()


def main() -> None:
    """Print a row as each seed ends."""
    parser = options(__doc__, steps=5000, seeds=3)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--without", action="store_true", help="also train with lambda 0")
    given = parser.parse_args()
    torch.set_num_threads(1)
    from sklearn.cluster import KMeans

    data, results = read(given.data, given.validate), []
    x, test, test_y = data["X_train"], data["X_test"], data["y_test"]
    for seed in given.seeds:
        kmeans = KMeans(10, n_init=10, random_state=seed).fit(x[:10_000].flatten(1).numpy())
        row: dict[str, Any] = {"seed": seed}
        row["kmeans"] = cluster_accuracy(kmeans.predict(test.flatten(1).numpy()), test_y.numpy())
        began = time.process_time()
        row["nats_before"] = judge(run(x, seed, 0, given.width, 1.0), test, test_y, seed)["nats"]
        row |= judge(run(x, seed, given.steps, given.width, 1.0), test, test_y, seed)
        row["cpu_s"] = round(time.process_time() - began)
        if given.without:
            row["nats_without"] = judge(run(x, seed, given.steps, given.width, 0.0), test, test_y, seed)["nats"]
        results.append(row)
        print(" ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
        keep(results, given.json)
    write("codes", {row["seed"]: row for row in results}, given)


if __name__ == "__main__":
    main()
