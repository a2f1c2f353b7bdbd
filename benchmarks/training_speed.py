"""Training speed of the detectors on 10,000 × 30 rows, compared with PyOD (if installed) and a hand-written loop.

    OMP_NUM_THREADS=1 python benchmarks/training_speed.py [--rows 10000] [--repeats 5]

Prints CPU seconds of one thread: an epoch at the same layers and batch size as PyOD's AutoEncoder and VAE; a whole fit
at defaults to our early stop beside PyOD's defaults, with the AUROC each reaches on rows of broken dependence; and the
Trainer's overhead over a hand-written torch loop at batch 256.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings

import numpy as np
import torch

from ganlib.data.spec import DataSpec
from ganlib.detect import GANomalyDetector, ReconstructionVAEDetector, VAEDetector
from ganlib.losses.divergence import gaussian_kl
from ganlib.metrics.detection import auroc
from ganlib.registry import create
from ganlib.testing.problems import factor_table
from ganlib.training import Trainer, TrainerConfig

COLUMNS, FACTORS = 30, 6


def cpu(run) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def per_epoch(fit, repeats: int, extra: int = 4) -> float:
    """CPU seconds an epoch: a fit of 1 + extra epochs less a fit of one, the best of the repeats of each."""
    one = min(cpu(lambda: fit(1)) for _ in range(repeats))
    more = min(cpu(lambda: fit(1 + extra)) for _ in range(repeats))
    return (more - one) / extra


def ours(x: torch.Tensor, batch_size: int, **config):
    """A fit of our VAE, without estimator around it."""

    def fit(epochs: int) -> None:
        torch.manual_seed(0)
        algorithm = create("vae", DataSpec.vector(COLUMNS), **config)
        settings = TrainerConfig(epochs=epochs, batch_size=batch_size, device="cpu", ema=0.99, gradient_clip=5.0)
        Trainer(settings).fit(algorithm, {"x": x})

    return fit


def hand_written(x: torch.Tensor, epochs: int, batch_size: int = 256) -> None:
    """The same VAE, loss and optimiser in a plain loop."""
    torch.manual_seed(0)
    model = create("vae", DataSpec.vector(COLUMNS))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    for _ in range(epochs):
        shuffled = x[torch.randperm(len(x))]
        for start in range(0, len(x) - batch_size + 1, batch_size):
            rows = shuffled[start : start + batch_size]
            mean, log_variance = model.posterior(rows)
            z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            nll = model.reconstruction_nll(z, rows).sum(1).mean()
            loss = nll + gaussian_kl(mean, log_variance).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()


def overhead(x: torch.Tensor, repeats: int, epochs: int = 5) -> None:
    """Trainer against the hand-written loop, alternating so that both see the same machine."""

    def trained() -> None:
        torch.manual_seed(0)
        model = create("vae", DataSpec.vector(COLUMNS))
        Trainer(TrainerConfig(epochs=epochs, batch_size=256, device="cpu")).fit(model, {"x": x})

    pairs = [(cpu(lambda: hand_written(x, epochs)), cpu(trained)) for _ in range(repeats + 1)][1:]
    plain, trainer = (min(column) for column in zip(*pairs, strict=True))
    print(f"Trainer at batch 256: {trainer:.3f} s for {epochs} epochs, hand-written {plain:.3f} s: "
          f"overhead {100 * (trainer / plain - 1):+.1f} % (bound 10 %)")  # fmt: skip


def epochs_beside_pyod(x: np.ndarray, repeats: int) -> None:
    """The same layers and batch size: 30-64-32-64-30, and 30-128-64-32-2 and back."""
    from pyod.models.auto_encoder import AutoEncoder
    from pyod.models.vae import VAE

    rows = torch.tensor(x, dtype=torch.float32)
    for batch_size in (32, 256):
        common = {"batch_size": batch_size, "verbose": 0, "device": torch.device("cpu"), "random_state": 0}
        pairs = {
            "PyOD AutoEncoder 64-32": (
                lambda n, c=common: AutoEncoder(epoch_num=n, **c).fit(x),
                ours(rows, batch_size, hidden=(64,), latent_dim=32),
            ),
            "PyOD VAE 128-64-32-2": (
                lambda n, c=common: VAE(epoch_num=n, **c).fit(x),
                ours(rows, batch_size, hidden=(128, 64, 32), latent_dim=2),
            ),
        }
        for name, (peer, own) in pairs.items():
            theirs, mine = per_epoch(peer, repeats), per_epoch(own, repeats)
            print(f"{name:24} batch {batch_size:4d}: {theirs:.3f} s/epoch, ganlib VAE of the same layers {mine:.3f}")


def whole_fits(x: np.ndarray, test: np.ndarray, truth: np.ndarray, pyod: bool) -> None:
    """Defaults on both sides."""
    makers = {cls.__name__: cls for cls in (VAEDetector, ReconstructionVAEDetector, GANomalyDetector)}
    for name, cls in makers.items():
        detector = cls()
        seconds = cpu(lambda d=detector: d.fit(x))
        history = detector.history_
        print(f"{name:26} defaults: {seconds:6.1f} s to {history.steps} steps ({history.stopped}), "
              f"AUROC {auroc(detector.anomaly_score(test), truth):.4f}")  # fmt: skip
    if pyod:
        from pyod.models.auto_encoder import AutoEncoder
        from pyod.models.vae import VAE

        for name, cls in (("PyOD AutoEncoder", AutoEncoder), ("PyOD VAE", VAE)):
            peer = cls(verbose=0, device=torch.device("cpu"), random_state=0)
            seconds = cpu(lambda p=peer: p.fit(x))
            print(f"{name:26} defaults: {seconds:6.1f} s, AUROC {auroc(peer.decision_function(test), truth):.4f}")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    table = factor_table(arguments.rows, 0, COLUMNS, FACTORS)
    sides = [factor_table(2000, seed, COLUMNS, FACTORS, shift) for seed, shift in ((1, 0.0), (2, 0.15))]
    test, truth = torch.cat(sides).numpy().astype(np.float64), np.repeat([0, 1], 2000)
    x = table.numpy().astype(np.float64)
    pyod = importlib.util.find_spec("pyod") is not None
    if not pyod:
        print("PyOD is not installed: its figures are left out (pip install pyod)")
    overhead(table, arguments.repeats)
    if pyod:
        epochs_beside_pyod(x, arguments.repeats)
    whole_fits(x, test, truth, pyod)


if __name__ == "__main__":
    main()
