"""CPU seconds of a training step, DCGAN and WGAN-GP, compared with a hand-written torch loop over the same networks.

    OMP_NUM_THREADS=1 python -m benchmarks.models.steps [--steps 40] [--repeats 5]

Both run in turn in one process on one thread; the best of the repeats counts. The hand-written loop does what a careful
person writes: one forward of the generator for both updates in DCGAN, fused Adam, no logging.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ganlib.data.spec import DataSpec
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

IMAGES, BATCH = DataSpec.image(1, 28, 28), 64


def model(name: str) -> Any:
    """A fresh model of the comparison."""
    torch.manual_seed(0)
    if name == "dcgan":
        return create("dcgan", IMAGES, width=16, latent_dim=32)
    return create("wgan_gp", DataSpec.vector(2), hidden=(128, 128, 128), latent_dim=2)


def by_hand(name: str, algorithm: Any, x: Tensor, steps: int) -> None:
    """The same updates, written out."""
    generator, critic = algorithm.generator, algorithm.critic
    rates = algorithm.optimisers()
    optimisers = {
        player: torch.optim.Adam(module.parameters(), rates[player].learning_rate, rates[player].betas, fused=True)
        for player, module in (("critic", critic), ("generator", generator))
    }
    step = _dcgan_step if name == "dcgan" else _wgan_step
    order = torch.randperm(len(x))
    for index in range(steps):
        rows = order[(index * BATCH) % (len(x) - BATCH) :][:BATCH]
        step(generator, critic, optimisers, x[rows], algorithm.config.latent_dim, x)


def _dcgan_step(generator: Any, critic: Any, optimisers: Any, x: Tensor, latent: int, _: Tensor) -> None:
    made = torch.tanh(generator(torch.randn(len(x), latent)))
    loss = softplus(-critic(x)).mean() + softplus(critic(made.detach())).mean()
    optimisers["critic"].zero_grad()
    loss.backward()
    optimisers["critic"].step()
    loss = softplus(-critic(made)).mean()
    optimisers["generator"].zero_grad()
    loss.backward(inputs=list(generator.parameters()))
    optimisers["generator"].step()


def _wgan_step(generator: Any, critic: Any, optimisers: Any, x: Tensor, latent: int, data: Tensor) -> None:
    for _ in range(5):
        x = data[torch.randint(len(data), (len(x),))]
        with torch.no_grad():
            made = generator(torch.randn(len(x), latent))
        mix = torch.rand(len(x), 1)
        between = (mix * x + (1 - mix) * made).requires_grad_(True)
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty = (slope.norm(dim=1) - 1).square().mean()
        loss = critic(made).mean() - critic(x).mean() + 0.1 * penalty
        optimisers["critic"].zero_grad()
        loss.backward()
        optimisers["critic"].step()
    loss = -critic(generator(torch.randn(len(x), latent))).mean()
    optimisers["generator"].zero_grad()
    loss.backward(inputs=list(generator.parameters()))
    optimisers["generator"].step()


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name, data in (("dcgan", torch.rand(2048, 1, 28, 28) * 2 - 1), ("wgan_gp", torch.randn(2048, 2))):
        times: dict[str, list[float]] = {"trainer": [], "hand": []}
        config = TrainerConfig(steps=given.steps, batch_size=BATCH)
        for _ in range(given.repeats):
            for kind in times:
                algorithm = model(name).train()
                began = time.process_time()
                if kind == "trainer":
                    Trainer(config).fit(algorithm, {"x": data})
                else:
                    by_hand(name, algorithm, data, given.steps)
                times[kind].append((time.process_time() - began) / given.steps * 1000)
        ours, hand = min(times["trainer"]), min(times["hand"])
        print(f"{name:10s} trainer {ours:6.2f} ms/step   by hand {hand:6.2f}   {ours / hand - 1:+.1%}", flush=True)


if __name__ == "__main__":
    main()
