"""Run by torchrun in each process (test_distributed.py): fits every case, and writes what this rank saw.

``distributed_worker.py FOLDER``: ``rank-R.json`` holds curves, digests of weights, and messages of refusals by case;
``rank-R.safetensors`` the weights. Rank 0 then trains the cases that must be equal alone, as ``alone.json``.
"""

import hashlib
import json
import os
import sys
import time
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn

from ganlib.data.spec import DataSpec
from ganlib.errors import GanlibError
from ganlib.registry import create, entry
from ganlib.testing.problems import ring
from ganlib.training import Algorithm, Losses, Optimiser, Phase, Routine, Trainer, TrainerConfig

torch.set_num_threads(1)
RANK = int(os.environ.get("RANK", "0"))
MLP = {"latent_dim": 4, "hidden": (32, 32), "learning_rate": 1e-3}
POINTS = DataSpec.vector(2)
X, Y = ring(256, seed=0, deviation=0.1)
HELD_OUT = {"x": ring(64, seed=1, deviation=0.1)[0]}
# Rows as many as the batch make an epoch one step, and the curve one value a step.
ONE = {"steps": 50, "batch_size": 64}


def model(name, spec=POINTS, **config):
    """The model with the same weights wherever it is made."""
    torch.manual_seed(3)
    return create(name, spec, **{**MLP, **config})


def toy(name):
    """A model and the first 64 rows of its toy problem."""
    torch.manual_seed(3)
    found = entry(name)
    return create(name, found.toy.spec, **found.toy.config), {n: v[:64] for n, v in found.toy.data(0).items()}


class Plain(Algorithm):
    """One linear layer ``n -> 1``; what its subclasses do to it is what is tested."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(RANK)  # each process its own: rank 0's are what is trained
        self.net = nn.Linear(2, 1)
        self.unused = nn.Linear(2, 1)

    def players(self):
        return {"net": [self.net, self.unused]}

    def optimisers(self):
        return {"net": Optimiser("adam", 1e-2)}

    def phases(self):
        return (Phase("net", self.loss),)

    def loss(self, batch):
        return Losses(square=(self.net(batch.x) - batch.rand()[:, None]).square().mean())

    def validation_loss(self, batch):
        return self.loss(batch)["square"]


class Spread(Plain):
    """Losses of own rows against the global mean: each rank's is another function of it."""

    def loss(self, batch):
        x = batch.x.clone().requires_grad_()
        out = self.net(x).squeeze(1)
        centre = batch.mean(out)
        (slopes,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
        steep = (batch.mean(slopes.square()) - 1).square().sum()
        return Losses(spread=(out - centre).pow(4).mean(), centre=(centre - 1).square(), steep=steep)


class Inner(Plain):
    """A gradient through the global mean, taken by the loss itself."""

    def loss(self, batch):
        centre = batch.mean(self.net(batch.x)).square().sum()
        (slope,) = torch.autograd.grad(centre, self.net.weight, create_graph=True)
        return Losses(slope=slope.square().sum())


class Poisoned(Plain):
    """NaN in one rank's rows, at the fifth step."""

    def loss(self, batch):
        self.calls = getattr(self, "calls", 0) + 1
        bad = float("nan") if self.calls == 5 and RANK == 1 else 0.0
        return super().loss(batch) | Losses(bad=bad * self.net.weight.sum())


class Remembering(Plain):
    """Keeps something of its rows without saying so."""

    def __init__(self):
        super().__init__()
        self.register_buffer("last", torch.zeros(2))

    def loss(self, batch):
        self.last.copy_(batch.x.mean(0))
        return super().loss(batch)


class Inwards(Plain):
    """Moves its player by itself."""

    def phases(self):
        return (Routine("inwards", lambda context: {}, trains=("net",)),)


class Drifting(Plain):
    """Rank 1's weights leave the others' after the first step."""

    def phases(self):
        return (Phase("net", self.loss, after=(self.drift,)),)

    @torch.no_grad()
    def drift(self, batch):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 1 and RANK == 1:
            self.net.weight += 1e-6


class Dropped(Plain):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 1))


class Shuffling(Plain):
    def loss(self, batch):
        return Losses(square=(self.net(batch.x) - self.net(batch.x[batch.permutation()])).square().mean())


class CutShort:
    """Stops rank 0 in the third epoch."""

    def on_step(self, step, budget, losses):
        if step == 10:
            raise KeyboardInterrupt

    def on_end(self):
        pass


def rows(n=64, **more):
    return {"x": X[:n], **more}


def cases(folder):
    """Name -> (algorithm, data, trainer's options)."""
    saved = {"steps": None, "epochs": 4, "batch_size": 64, "checkpoint_every": 1, "ema": 0.9}
    noise = X.clone()
    noise[:, 0] += RANK
    images = {"x": torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))}
    file = str(folder / "run.safetensors")
    stopping = {"epochs": 40, "batch_size": 64, "patience": 2, "min_delta": 0.2, "ema": 0.5}
    dropped = {"steps": None, "batch_size": 64, "checkpoint_every": 1}
    return {
        # ---- equal to one process
        "gan": lambda: (model("gan"), rows(), ONE),
        "gan_clipped": lambda: (model("gan"), rows(200), {**ONE, "gradient_clip": 0.05, "ema": 0.9}),
        "wgan_gp": lambda: (model("wgan_gp"), rows(256), ONE),
        "matching": lambda: (model("gan", feature_matching=1.0), rows(), ONE),
        "cgan": lambda: (model("cgan", DataSpec.vector(2, classes=8)), rows(y=Y[:64]), ONE),
        "spread": lambda: (Spread(), rows(), ONE),
        "gail": lambda: (*toy("gail"), {"steps": 10, "batch_size": 64}),
        "stopping": lambda: (Plain(), rows(256), stopping),
        # ---- checkpoints
        "whole": lambda: (model("gan"), rows(256), saved),
        "cut": lambda: (model("gan"), rows(256), {**saved, "checkpoint": file, "callback": CutShort()}),
        "resumed": lambda: (model("gan"), rows(256), {**saved, "checkpoint": file}),
        "dropped": lambda: (Dropped(), rows(256), {**dropped, "epochs": 4}),
        "dropped_half": lambda: (Dropped(), rows(256), {**dropped, "epochs": 2, "checkpoint": f"{file}.dropped"}),
        "dropped_resumed": lambda: (Dropped(), rows(256), {**dropped, "epochs": 4, "checkpoint": f"{file}.dropped"}),
        # ---- refused or stopped
        "discrimination": lambda: (model("gan", minibatch_discrimination=4), rows(), ONE),
        "importance": lambda: (model("importance_weighted_gan"), rows(), ONE),
        "batch_norm": lambda: (model("dcgan", DataSpec.image(1, 8, 8), width=4), images, ONE),
        "permuting": lambda: (Shuffling(), rows(), ONE),
        "remembering": lambda: (Remembering(), rows(), ONE),
        "inner": lambda: (Inner(), rows(), ONE),
        "routine": lambda: (Inwards(), rows(), ONE),
        "sampling": lambda: (toy("seqgan")[0], entry("seqgan").toy.data(0), ONE),
        "odd": lambda: (model("gan"), rows(), {**ONE, "batch_size": 33}),
        "few": lambda: (model("gan"), rows(33), ONE),
        "other_rows": lambda: (model("gan"), {"x": noise}, ONE),
        "other_options": lambda: (model("gan"), rows(), {"steps": 5 + RANK, "batch_size": 64}),
        "poisoned": lambda: (Poisoned(), rows(), ONE),
        "drifting": lambda: (Drifting(), rows(), ONE),
    }


EQUAL = ("gan", "gan_clipped", "wgan_gp", "matching", "cgan", "spread", "gail", "stopping", "whole")


def fit(case, **options):
    """What one fit gave: curves and the digest of the weights, or the error; and the weights."""
    algorithm, data, config = case()
    callbacks = [config["callback"]] if "callback" in config else []
    config = {**{n: v for n, v in config.items() if n != "callback"}, **options}
    held_out = HELD_OUT if "patience" in config else None
    try:
        history = Trainer(TrainerConfig(device="cpu", **config), callbacks).fit(algorithm, data, held_out)
    except GanlibError as error:
        finite = all(bool(p.isfinite().all()) for p in algorithm.parameters())
        return {"error": type(error).__name__, "message": str(error), "finite": finite}, {}
    except (KeyboardInterrupt, RuntimeError) as error:
        return {"error": type(error).__name__, "message": str(error)}, {}
    weights = {n: v.contiguous() for n, v in algorithm.state_dict().items()}
    digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in weights.values())).hexdigest()
    return {**history.__dict__, "digest": digest}, weights


def main(folder):
    results, weights, start = {}, {}, time.monotonic()
    for name, case in cases(folder).items():
        results[name], tensors = fit(case)
        weights |= {f"{name}/{key}": value for key, value in tensors.items()}
        print(f"rank {RANK} {name}: {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)
    # A group of the caller's own is used, and left.
    dist.init_process_group("gloo")
    results["own_group"], _ = fit(cases(folder)["gan"])
    results["own_group"]["left"] = dist.is_initialized()
    dist.destroy_process_group()
    if RANK == 0:
        alone, single = {}, {}
        for name in EQUAL:
            alone[name], tensors = fit(cases(folder)[name], distributed="off")
            single |= {f"{name}/{key}": value for key, value in tensors.items()}
        # What two processes began goes on in one.
        alone["resumed"], _ = fit(cases(folder)["resumed"], distributed="off", epochs=5)
        (folder / "alone.json").write_text(json.dumps(alone))
        save_file(single, folder / "alone.safetensors")
    (folder / f"rank-{RANK}.json").write_text(json.dumps(results))
    save_file(weights, folder / f"rank-{RANK}.safetensors")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except Exception:
        traceback.print_exc()
        raise
