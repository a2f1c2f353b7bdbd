"""Features of deep belief networks and stacked denoising auto-encoders on MNIST, for a classifier of few labels.

    python -m benchmarks.models.layered mnist.npz [--seeds 0 1 2] [--steps 3000] [--json FILE] [--write]

Both learn the training images without labels. Logistic regression learns 50 or 100 labelled images, as many of each
digit, from their features or from their pixels; its penalty is chosen by cross-validation among the labelled images.
Figures are accuracies on the test images, means of five samples of labelled images a seed.

The auto-encoder's features do not reach the pixels. Tried with --validate, seed 0, for 50 and 100 labels (pixels .706
and .771): as recorded .659 and .745; corruption 0.5 .673 and .753; one layer of 1,000 with 0.5 .682 and .758; two of
1,000 with 0.75 .668 and .751.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.models.mnist import keep, options, read, write
from ganlib.data.spec import DataSpec
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

IMAGES = DataSpec.image(1, 28, 28)
SAMPLES, LABELS = 5, (50, 100)
MODELS = {"dbn": {"learning_rate": 1e-3}, "stacked_autoencoder": {"learning_rate": 1e-3}}


def learned(name: str, x: Tensor, seed: int, steps: int, hidden: tuple[int, ...]) -> Any:
    """A model of the images."""
    torch.manual_seed(seed)
    model: Any = create(name, IMAGES, hidden=hidden, **MODELS[name])
    Trainer(TrainerConfig(steps=steps, batch_size=100, random_state=seed, ema=0.99)).fit(model, {"x": x})
    return model.eval()


@torch.no_grad()
def features(model: Any, x: Tensor) -> np.ndarray:
    """Codes of the top layer, float64 ``(n, units)``."""
    return torch.cat([model.encode(part).flatten(1) for part in x.split(2000)]).double().numpy()


def accuracy(rows: np.ndarray, y: np.ndarray, test: np.ndarray, test_y: np.ndarray) -> float:
    """Accuracy on ``test`` of logistic regression; columns are divided by one number, the root mean square of all."""
    from sklearn.linear_model import LogisticRegressionCV

    scale = np.sqrt(np.square(rows).mean())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = LogisticRegressionCV(Cs=np.logspace(-2, 1, 4), cv=5, max_iter=200).fit(rows / scale, y)
    return float(fitted.score(test / scale, test_y))


def main() -> None:
    """Print a row as each seed ends."""
    parser = options(__doc__, steps=3000, seeds=3)
    parser.add_argument("--hidden", nargs="+", type=int, default=[500, 500], help="units of each layer")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data, results = read(given.data, given.validate), []
    x, y, test, test_y = data["X_train"], data["y_train"], data["X_test"], data["y_test"].numpy()
    for seed in given.seeds:
        row: dict[str, Any] = {"seed": seed}
        codes = {"pixels": (((x + 1) / 2).flatten(1).double().numpy(), ((test + 1) / 2).flatten(1).double().numpy())}
        for name in MODELS:
            began = time.process_time()
            model = learned(name, x, seed, given.steps, tuple(given.hidden))
            row[f"cpu_s_{name}"] = round(time.process_time() - began)
            codes[name] = features(model, x), features(model, test)
        for count in LABELS:
            rows = [labelled(y, count // 10, SAMPLES * seed + i).numpy() for i in range(SAMPLES)]
            for name, (train, held) in codes.items():
                found = [accuracy(train[chosen], y.numpy()[chosen], held, test_y) for chosen in rows]
                row[f"{name}_{count}"] = float(np.mean(found))
        results.append(row)
        print(" ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)
        keep(results, given.json)
    write("layered", {row["seed"]: row for row in results}, given)


def labelled(y: Tensor, each: int, seed: int) -> Tensor:
    """Row numbers of so many examples per class, sampled by the seed."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    return torch.cat([order[y[order] == c][:each] for c in range(10)])


if __name__ == "__main__":
    main()
