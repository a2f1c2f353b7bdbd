"""Models with latents on MNIST, compared with pythae: quality on held-out images and CPU seconds a training step.

    OMP_NUM_THREADS=1 python -m benchmarks.latents run mnist.npz ours.json
    OMP_NUM_THREADS=1 PYTHAE_ENVIRONMENT/bin/python benchmarks/latents.py run mnist.npz theirs.json --library pythae
    python -m benchmarks.latents table ours.json theirs.json
    OMP_NUM_THREADS=1 python -m benchmarks.latents weights mnist.npz
    OMP_NUM_THREADS=1 python -m benchmarks.latents codes mnist.npz

``run`` trains with one library, which the environment must have, so that pythae needs no place in ours. Both sides get
the same networks, images, batches of 64, epochs and Adam 1e-3: 784-200-16-200-784 with ReLU; for VQ-VAE two strided
4x4 convolutions of 16 channels with two residual blocks, and 64 codes of 16 numbers by running means. VAE and IWAE (5
samples) learn black and white images; their figure is the bound of 500 samples on held-out images, nats. The
adversarial auto-encoder and VQ-VAE learn grey ones; their figure is the squared error of held-out pixels in [0, 1].
``table`` prints means over seeds with standard errors, and the best CPU time of a step. ``weights`` compares training
by 50 samples with the VAE, trained for as many epochs and for ``--longer`` times as many, in batches of 20, five seeds.
``codes`` compares VQ-VAE's 49 codes of 8 bits, learned by running means and by gradient, with k-means of the 49 patches
of 4x4 pixels, and its prior with the entropy of single codes, three seeds. Both print a row a seed, then means with
standard errors.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

HIDDEN, LATENT, WIDTH, CODES, CODE = 200, 16, 16, 64, 16
BATCH, RATE, HELD = 64, 1e-3, 500
BITS_8 = 256


def images(path: Path, rows: int) -> tuple[Tensor, Tensor]:
    """The first training images and the first test images, ``(n, 1, 28, 28)`` in [0, 1]."""
    with np.load(path) as data:
        parts = data["X_train"][:rows], data["X_test"][:HELD]
    return tuple(torch.tensor(part).view(-1, 1, 28, 28).float() / 255 for part in parts)  # type: ignore[return-value]


@torch.no_grad()
def bound(encode: Callable[[Tensor], Any], logits: Callable[[Tensor], Tensor], x: Tensor, seed: int) -> float:
    """The bound of 500 samples on log p(x) of black and white rows, nats, mean over rows."""
    noise, found = torch.Generator().manual_seed(seed), []
    for rows in x.split(20):
        mean, log_variance = encode(rows)
        draw = torch.randn(len(rows), 500, mean.shape[1], generator=noise)
        z = mean[:, None] + (0.5 * log_variance[:, None]).exp() * draw
        nll = binary_cross_entropy_with_logits(
            logits(z.flatten(0, 1)).view(len(rows), 500, -1), rows[:, None].expand(-1, 500, -1), reduction="none"
        ).sum(2)
        weight = 0.5 * (draw.square() + log_variance[:, None] - z.square()).sum(2) - nll
        found.append(weight.logsumexp(1) - math.log(500))
    return float(torch.cat(found).mean())


# ---------------------------------------------------------------- ganlib
def ours(name: str, train: Tensor, test: Tensor, seed: int, epochs: int) -> dict[str, float]:
    """One model of ours."""
    from ganlib.data.spec import Block, DataSpec
    from ganlib.registry import create
    from ganlib.training import Trainer, TrainerConfig

    torch.manual_seed(seed)
    images_spec, rows, held = DataSpec.image(1, 28, 28), 2 * train - 1, 2 * test - 1
    if name in ("vae", "iwae"):
        spec = DataSpec.table(tuple(Block(f"p{i}", "binary", i) for i in range(784)))
        rows, held = ((part > 0.5).float().flatten(1) for part in (train, test))
        model: Any = create(name, spec, hidden=(HIDDEN,), latent_dim=LATENT, learning_rate=RATE)
    elif name == "aae":  # pythae's weights: half the sum of squares in [0, 1] against half the game
        options: dict[str, Any] = {
            "networks": "mlp",
            "hidden": (HIDDEN,),
            "latent_dim": LATENT,
            "critic_hidden": (256,),
        }
        options["betas"] = (0.9, 0.999)
        weights = {"adversarial": 0.5 / 98, "learning_rate": RATE, "critic_learning_rate": RATE}
        model = create("adversarial_autoencoder", images_spec, **options, **weights)
    else:  # the prior as small as it can be: pythae has none in training
        small = {"prior_width": 1, "prior_blocks": 1}
        model = create("vq_vae", images_spec, width=WIDTH, codes=CODES, code_dim=CODE, learning_rate=RATE, **small)
    steps = epochs * (len(rows) // BATCH)
    began = time.process_time()
    Trainer(TrainerConfig(steps=steps, batch_size=BATCH, random_state=seed, ema=0.0)).fit(model, {"x": rows})
    seconds, model = (time.process_time() - began) / steps, model.eval()
    with torch.no_grad():
        if name in ("vae", "iwae"):
            value = bound(model.posterior, lambda z: model.decode(z)[0], held, seed)
        else:
            code = model.codes(held).flatten() if name == "vq_vae" else model.encode(held)
            rebuilt = model.rebuild(model.book[code]) if name == "vq_vae" else model.coder.decode(code)
            value = float((rebuilt.view_as(held) - held).square().mean()) / 4
    return {"value": value, "seconds": seconds}


# ---------------------------------------------------------------- pythae
def _networks(name: str) -> tuple[Any, Any]:
    """pythae's encoder and decoder: the same layers as ours."""
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 1)
            self.body = nn.Sequential(*layers)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body: nn.Module = nn.Sequential(nn.Flatten(), nn.Linear(784, HIDDEN), nn.ReLU())
            self.head: nn.Module = nn.Linear(HIDDEN, 2 * LATENT)
            if name == "vq_vae":
                down = nn.Conv2d(1, WIDTH, 4, 2, 1), nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 4, 2, 1)
                self.body = nn.Sequential(*down, Residual(), Residual(), nn.ReLU())
                self.head = nn.Conv2d(WIDTH, CODE, 1)

        def forward(self, x: Tensor) -> Any:
            out = self.head(self.body(x))
            if name == "vq_vae":
                return ModelOutput(embedding=out)
            mean, log_variance = out.chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body: nn.Module = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 784))
            if name == "vq_vae":
                up = nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(WIDTH, 1, 4, 2, 1)
                enter = nn.Conv2d(CODE, WIDTH, 3, padding=1), Residual(), Residual(), nn.ReLU()
                self.body = nn.Sequential(*enter, *up)

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.body(z)).view(-1, 1, 28, 28))

    return Encoder(), Decoder()


def theirs(name: str, train: Tensor, test: Tensor, seed: int, epochs: int) -> dict[str, float]:
    """One model of pythae."""
    from pythae.models import (
        IWAE,
        VAE,
        VQVAE,
        Adversarial_AE,
        Adversarial_AE_Config,
        IWAEConfig,
        VAEConfig,
        VQVAEConfig,
    )
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import AdversarialTrainerConfig, BaseTrainerConfig

    torch.manual_seed(seed)
    encoder, decoder = _networks(name)
    common: dict[str, Any] = {"input_dim": (1, 28, 28), "latent_dim": LATENT}
    networks = {"encoder": encoder, "decoder": decoder}
    if name in ("vae", "iwae"):
        train, test = ((part > 0.5).float() for part in (train, test))
    if name == "vae":
        model: Any = VAE(VAEConfig(**common, reconstruction_loss="bce"), **networks)
    elif name == "iwae":
        model = IWAE(IWAEConfig(**common, reconstruction_loss="bce", number_samples=5), **networks)
    elif name == "aae":
        model = Adversarial_AE(Adversarial_AE_Config(**common, deterministic_posterior=True), **networks)
    else:
        model = VQVAE(VQVAEConfig(**common, num_embeddings=CODES, use_ema=True), **networks)
    with tempfile.TemporaryDirectory() as folder:
        options = {"output_dir": folder, "per_device_train_batch_size": BATCH, "num_epochs": epochs, "seed": seed}
        if name == "aae":
            rates = {"autoencoder_learning_rate": RATE, "discriminator_learning_rate": RATE}
            config: Any = AdversarialTrainerConfig(**options, **rates, no_cuda=True)
        else:
            config = BaseTrainerConfig(**options, learning_rate=RATE, no_cuda=True)
        began = time.process_time()
        TrainingPipeline(model=model, training_config=config)(train_data=train)
        seconds = (time.process_time() - began) / (epochs * (len(train) // BATCH))
    model = model.eval()
    if name in ("vae", "iwae"):
        encode = lambda x: (model.encoder(x).embedding, model.encoder(x).log_covariance)  # noqa: E731
        return {"value": bound(encode, decoder.body, test.flatten(1), seed), "seconds": seconds}
    with torch.no_grad():
        rebuilt = model({"data": test}).recon_x
    return {"value": float((rebuilt - test).square().mean()), "seconds": seconds}


# ---------------------------------------------------------------- IWAE beside VAE
def _logits(model: Any, z: Tensor) -> Tensor:
    return model.decode(z)[0]


def weights(train: Tensor, test: Tensor, seed: int, epochs: int, longer: int) -> dict[str, float]:
    """Held-out bound of 500 samples on black and white images, nats, and CPU seconds of training: by 50 samples, and
    the VAE at as many epochs and at ``longer`` times as many."""
    from ganlib.data.spec import Block, DataSpec
    from ganlib.registry import create
    from ganlib.training import Trainer, TrainerConfig

    spec = DataSpec.table(tuple(Block(f"p{i}", "binary", i) for i in range(784)))
    rows, held = ((part > 0.5).float().flatten(1) for part in (train, test))
    found = {}
    runs = [("iwae", "iwae", 1, {"samples": 50}), ("vae", "vae", 1, {}), ("vae_longer", "vae", longer, {})]
    for called, name, times, options in runs[: 3 if longer > 1 else 2]:
        torch.manual_seed(seed)
        model: Any = create(name, spec, hidden=(HIDDEN,), latent_dim=LATENT, learning_rate=RATE, **options)
        config = TrainerConfig(epochs=times * epochs, batch_size=20, random_state=seed, ema=0.99)
        began = time.process_time()
        Trainer(config).fit(model, {"x": rows})
        found[f"{called}_s"] = time.process_time() - began
        model.eval()
        found[called] = bound(model.posterior, partial(_logits, model), held, seed)
    return found | {f"gain_on_{name}": found["iwae"] - found[name] for name in ("vae", "vae_longer") if name in found}


# ---------------------------------------------------------------- codes beside patches
def _cut(x: Tensor) -> Tensor:
    """Patches of 4x4 pixels, ``(n · 49, 16)``."""
    return torch.nn.functional.unfold(x, 4, stride=4).transpose(1, 2).flatten(0, 1)


def codes(train: Tensor, test: Tensor, seed: int, epochs: int) -> dict[str, float]:
    """Share of held-out variance explained by k-means of patches and by VQ-VAE, its codebook learned by running means
    (``ema``) or by gradient; of both, the perplexity of codes, their entropy and the prior's cross-entropy in bits, and
    CPU seconds of training and of generating 100 images."""
    from sklearn.cluster import KMeans

    from ganlib.data.spec import DataSpec
    from ganlib.registry import create
    from ganlib.training import Trainer, TrainerConfig

    rows, held = 2 * train - 1, 2 * test - 1
    usual = (held - rows.mean(0)).square().mean()
    few = torch.randperm(49 * len(rows), generator=torch.Generator().manual_seed(seed))[:50_000]
    means = KMeans(BITS_8, n_init=2, random_state=seed).fit(_cut(rows)[few].numpy())
    patched = torch.tensor(means.cluster_centers_[means.predict(_cut(held).numpy())]).float()
    found = {"patches": 1 - float((patched - _cut(held)).square().mean() / usual)}
    for book in ("ema", "gradient"):
        torch.manual_seed(seed)
        model: Any = create("vq_vae", DataSpec.image(1, 28, 28), codes=BITS_8, codebook=book)
        config = TrainerConfig(epochs=epochs, batch_size=BATCH, random_state=seed, ema=0.99)
        began = time.process_time()
        Trainer(config).fit(model, {"x": rows})
        found[f"{book}_s"] = time.process_time() - began
        model.eval()
        with torch.no_grad():
            index = model.codes(held).flatten()
            error = (model.rebuild(model.book[index]) - held).square().mean()
            found[f"{book}_bits"] = -float(model.prior.log_prob(model.chosen(index)).mean()) / math.log(2)
            sampler, began = model.sampler(), time.process_time()
            sampler(torch.randn(100, sampler.latent_dim))
        found[f"{book}_sampling_s"] = time.process_time() - began
        found[book], found[f"{book}_perplexity"] = 1 - float(error / usual), model.perplexity(held)
        found[f"{book}_entropy"] = math.log2(found[f"{book}_perplexity"])
    return found


# ---------------------------------------------------------------- command line
def _mean(values: list[float]) -> str:
    """Mean and standard error."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.4g} ± {error:.2g}"


def _table(files: list[Path]) -> None:
    """Both sides, mean and standard error over seeds."""
    sides = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    print("| model | " + " | ".join(f"{file.stem} | ms a step" for file in files) + " |")
    print("|---|" + "---|---|" * len(files))
    for name in sides[0]:
        cells = []
        for side in sides:
            values, times = ([row[key] for row in side[name]] for key in ("value", "seconds"))
            cells.append(f"{_mean(values)} | {1000 * min(times):.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def main() -> None:
    """Train, or print a table of what was trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "weights", "codes"))
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--library", choices=("ganlib", "pythae"), default="ganlib")
    parser.add_argument("--models", nargs="*", default=["vae", "iwae", "aae", "vq_vae"])
    parser.add_argument("--seeds", type=int, nargs="*")
    parser.add_argument("--rows", type=int, default=3072, help="training images, a multiple of 64")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--longer", type=int, default=8, help="weights: epochs of the second VAE, in units of --epochs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "table":
        return _table(given.files)
    train, test = images(given.files[0], given.rows)
    if given.what in ("weights", "codes"):
        measure: Callable[..., dict[str, float]] = codes
        seeds = range(3)
        if given.what == "weights":
            measure, seeds = partial(weights, longer=given.longer), range(5)
        found = []
        for seed in given.seeds or seeds:
            found.append(measure(train, test, seed, given.epochs))
            print(seed, " ".join(f"{name} {value:.4g}" for name, value in found[-1].items()), flush=True)
        for name in found[0]:
            print(f"{name:20s} {_mean([row[name] for row in found])}")
        return None
    fit, rows = ours if given.library == "ganlib" else theirs, {}
    for name in given.models:
        rows[name] = [fit(name, train, test, seed, given.epochs) for seed in given.seeds or range(3)]
        print(name, rows[name], flush=True)
        given.files[1].write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
