"""Toys of the translators between domains."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ganlib.data.spec import Classes, DataSpec, Image, LabelMap
from ganlib.testing.problems import digits
from ganlib.testing.toy import Toy
from ganlib.testing.toys.crowns import crowns, gaps_kept
from ganlib.testing.toys.figures import copied, figures, posed
from ganlib.testing.toys.scenes import LABELS, SIDE, segmented, two_looks
from ganlib.testing.toys.styles import styled, styles
from ganlib.testing.toys.views import recognised, views

_MODES = 5


def domain(n: int, seed: int, which: str, modes: int = _MODES) -> tuple[Tensor, Tensor]:
    """Gaussians in a row (A) or on a circle (B), and each point's mode."""
    g = torch.Generator().manual_seed(seed)
    mode = torch.randint(modes, (n,), generator=g)
    return _centres(which, modes)[mode] + 0.1 * torch.randn(n, 2, generator=g), mode


def _centres(which: str, modes: int) -> Tensor:
    index = torch.arange(modes, dtype=torch.float32)
    if which == "a":
        return torch.stack([index - (modes - 1) / 2, torch.zeros(modes)], 1)
    angle = 2 * torch.pi * index / modes
    return 0.4 * modes * torch.stack([angle.cos(), angle.sin()], 1)


@torch.no_grad()
def bijection(translate: Callable[[Tensor], Tensor], seed: int, modes: int = _MODES) -> float:
    """Share of A's modes that are mapped, by majority of their points, to a B mode of no other A mode."""
    x, mode = domain(200 * modes, seed + 99, "a", modes)
    distance, target = torch.cdist(translate(x), _centres("b", modes)).min(1)
    target[distance > 0.5] = modes
    majority = [int(torch.bincount(target[mode == m], minlength=modes + 1).argmax()) for m in range(modes)]
    return sum(t < modes and majority.count(t) == 1 for t in majority) / modes


def pairs(seed: int, part: str = "train") -> dict[str, Tensor]:
    """Digits, and the same twice as large, bent to the right, as negative and positive in two channels."""
    x = digits(seed, part)[0]
    large = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    bent = torch.stack([large[:, :, row].roll(row // 4, -1) for row in range(16)], 2)
    return {"x": x, "x_b": torch.cat([bent, -bent], 1)}


@torch.no_grad()
def _explained(algorithm: Any, seed: int) -> float:
    """Share of the held-out counterparts' variance that translations explain."""
    held = pairs(seed, "test")
    error = algorithm.eval().translate(held["x"]) - held["x_b"]
    return 1 - float(error.square().mean() / (held["x_b"] - held["x_b"].mean(0)).square().mean())


def inverted(seed: int) -> dict[str, Tensor]:
    """Digits and, of other digits in another order, the negatives: no example has its mate in the data."""
    x = digits(seed)[0]
    half = len(x) // 2
    return {"x": x[:half], "x_b": -x[half : 2 * half]}


@torch.no_grad()
def nearer(translate: Callable[[Tensor], Tensor], seed: int) -> float:
    """1 less the distance of held-out digits' translations to their negatives, over that of the digits themselves."""
    x = digits(seed, "test")[0]
    return 1 - float((translate(x) + x).abs().mean() / (2 * x).abs().mean())


def moments(seed: int) -> float:
    """The same of matching each pixel's mean and deviation."""
    a, b = inverted(seed).values()
    deviation = b.std(0) / a.std(0).clamp(min=1e-6)
    return nearer(lambda x: ((x - a.mean(0)) * deviation + b.mean(0)).clamp(-1, 1), seed)


INVERTED = Toy(
    data=inverted,
    spec=DataSpec({"x": Image(1, 8, 8), "x_b": Image(1, 8, 8)}),
    level=lambda algorithm, seed: nearer(algorithm.eval().translate, seed),
    at_least=0.77,  # half the distance that is left by matching moments
    measure="8x8 digits to their negatives, without pairs: distance saved of that of the digits themselves",
    baseline=moments,
    trainer={"steps": 400, "batch_size": 16, "ema": 0.98},
)
_PAIR = Toy(
    data=lambda seed: {"x": domain(4096, seed, "a")[0], "x_b": domain(4096, seed + 1, "b")[0]},
    spec=DataSpec.vector(2),
    level=lambda algorithm, seed: bijection(algorithm.translate, seed),
    at_least=0.8,
    measure="modes of A sent one-to-one to modes of B",
    baseline=lambda seed: bijection(nn.Identity(), seed),
    config={"objective": "gan", "cycle": 1.0, "learning_rate": 5e-4},
    trainer={"steps": 3000, "batch_size": 128},
    # The final state depends on seed and rounding: of nine trainings (seeds 0 to 4; 0 and 1 without AVX; 0 and 1
    # nudged) eight reached 1.0, and seed 4 stayed at 0.6; the trivial answer has 0.2.
    two_of_five=True,
)


def moons(n: int, seed: int, degrees: float = 0.0) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles turned about their centre, and which of the two each point is of."""
    from sklearn.datasets import make_moons

    x, y = make_moons(n, noise=0.1, random_state=seed)
    angle = torch.tensor(math.radians(degrees))
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()]), torch.stack([angle.sin(), angle.cos()])])
    return torch.tensor(x - [0.5, 0.25], dtype=torch.float32) @ turn.T, torch.tensor(y)


def turned(seed: int) -> dict[str, Tensor]:
    """Two labelled moons, and two others turned by 35 degrees without labels."""
    x, y = moons(2000, seed)
    return {"x": x, "y": y, "x_b": moons(2000, seed + 50, 35)[0]}


@torch.no_grad()
def adapted(classify: Callable[[Tensor], Tensor], seed: int) -> float:
    """Share of turned moons' points whose moon is named."""
    x, y = moons(2000, seed + 100, 35)
    return float((classify(x) == y).float().mean())


def _neighbours(seed: int) -> float:
    """The same of the labels of the nearest points that are not turned."""
    from sklearn.neighbors import KNeighborsClassifier

    x, y = moons(2000, seed)
    reader = KNeighborsClassifier(15).fit(x.numpy(), y.numpy())
    return adapted(lambda held: torch.as_tensor(reader.predict(held.numpy())), seed)


def large_and_small(seed: int, part: str = "train") -> dict[str, Tensor]:
    """Digits doubled in size by a smooth interpolation and made crisp, and their means over 2 x 2 pixels."""
    crisp = torch.nn.functional.interpolate(digits(seed, part)[0], scale_factor=2, mode="bicubic")
    crisp = torch.tanh(3 * crisp)
    return {"x": torch.nn.functional.avg_pool2d(crisp, 2), "x_b": crisp}


@torch.no_grad()
def _enlarged(translate: Callable[[Tensor], Tensor], seed: int) -> float:
    """Share of the bicubic enlargement's squared error that is saved on held-out digits."""
    held = large_and_small(seed, "test")
    bicubic = torch.nn.functional.interpolate(held["x"], scale_factor=2, mode="bicubic").clamp(-1, 1)
    errors = [(made - held["x_b"]).square().mean() for made in (translate(held["x"]), bicubic)]
    return 1 - float(errors[0] / errors[1])


_CROWNS = """\
from ganlib.testing.toys.crowns import crowns
maps = crowns(seed=0)  # heights in [-1, 1]
a = maps["x"].numpy()  # three channels: the prepared surface, the opposing one, and the gap between them
b = maps["x_b"].numpy()  # one channel: the finished surface"""
_SIZES = """\
from sklearn.datasets import load_digits
b = (load_digits().images * 255 / 16).astype("uint8")
a = b.reshape(-1, 4, 2, 4, 2).mean((2, 4)).astype("uint8")  # half as large: means over 2 x 2 pixels"""
TOYS = {
    "coupled_pair": _PAIR,
    "dann": Toy(
        data=turned,
        spec=DataSpec.vector(2, classes=2),
        level=lambda algorithm, seed: adapted(algorithm.eval().classify, seed),
        at_least=0.8,
        measure="two moons turned by 35 degrees, labels of unturned ones: accuracy",
        baseline=_neighbours,
        trainer={"steps": 1000, "batch_size": 64},
    ),
    "fcn_wild": Toy(
        data=two_looks,
        spec=DataSpec({"x": Image(1, SIDE, SIDE), "x_b": Image(1, SIDE, SIDE), "y": LabelMap(LABELS, SIDE, SIDE)}),
        level=lambda algorithm, seed: segmented(algorithm.eval().segment, seed),
        at_least=0.6,  # the labelled look alone reads .52 to .58
        measure="scenes in another look: mean intersection over union",
        baseline=lambda seed: segmented(lambda x: torch.zeros(len(x), *x.shape[2:], dtype=torch.int64), seed),
        trainer={"steps": 600, "batch_size": 32, "ema": 0.98, "schedule": "cosine"},
    ),
    "srgan": Toy(
        data=large_and_small,
        spec=DataSpec({"x": Image(1, 8, 8), "x_b": Image(1, 16, 16)}),
        level=lambda algorithm, seed: _enlarged(algorithm.eval().translate, seed),
        at_least=0.2,
        measure="8x8 digits enlarged to 16x16: share of the bicubic squared error saved",
        baseline=lambda seed: 0.0,
        config={"width": 8, "blocks": 1, "critic_width": 8, "feature_width": 4, "learning_rate": 2e-3},
        trainer={"steps": 300, "batch_size": 32},
        domains=_SIZES,
    ),
    "pix2pix": Toy(
        data=pairs,
        spec=DataSpec({"x": Image(1, 8, 8), "x_b": Image(2, 16, 16)}),
        level=_explained,
        at_least=0.7,
        measure="8x8 digits to their bent 16x16 counterparts: variance explained",
        baseline=lambda seed: 0.0,  # the mean counterpart
        config={"width": 8, "layers": 1, "learning_rate": 2e-3, "dropout": 0.1},
        trainer={"steps": 300, "batch_size": 32},
    ),
    "cyclegan": replace(
        INVERTED,
        # No identity loss: it would keep dark images dark, and here they turn bright. 8 pixels are not halved.
        config={
            "width": 16,
            "blocks": 2,
            "halvings": 0,
            "layers": 1,
            "learning_rate": 2e-3,
            "identity": 0.0,
            "distance": 1.0,
        },
        trainer={"steps": 300, "batch_size": 16, "ema": 0.98},
        two_of_five=True,  # the objective is as low for another bijection as for the negative
    ),
    "unit": replace(
        INVERTED,
        config={"width": 16, "blocks": 2, "halvings": 0, "layers": 1, "scales": 1, "learning_rate": 1e-3},
        trainer={"steps": 300, "batch_size": 16, "ema": 0.98},
        two_of_five=True,  # the objective is as low for another bijection as for the negative
    ),
    "discogan": replace(_PAIR, config={"learning_rate": 5e-4}),
    "crown_gan": Toy(
        data=crowns,
        spec=DataSpec({"x": Image(3, 16, 16), "x_b": Image(1, 16, 16)}),
        level=lambda algorithm, seed: gaps_kept(algorithm.eval().translate, seed),
        at_least=0.3,
        measure="crowns on height maps: distance of gap histograms saved of the mean crown's",
        baseline=lambda seed: 0.0,  # the mean crown
        config={"width": 8, "layers": 1, "learning_rate": 1e-3, "dropout": 0.0},
        trainer={"steps": 300, "batch_size": 32, "ema": 0.98, "schedule": "cosine"},
        domains=_CROWNS,
    ),
    "tp_gan": Toy(
        data=views,
        spec=DataSpec({"x": Image(1, 16, 16), "x_b": Image(1, 16, 16), "y": Classes(10)}),
        level=lambda algorithm, seed: recognised(algorithm.eval().translate, seed),
        at_least=0.65,
        measure="digits turned and sheared to upright ones: recognised by the nearest training digit",
        baseline=lambda seed: recognised(lambda x: x, seed),
        config={"width": 6, "layers": 1, "learning_rate": 1e-3, "symmetry": 0.0},
        trainer={"steps": 400, "batch_size": 32, "ema": 0.98, "schedule": "cosine"},
    ),
    "pose_warp": Toy(
        data=lambda seed: {name: values for name, values in figures(seed).items() if name != "mask"},
        spec=DataSpec({"x": Image(9, 16, 16), "x_b": Image(3, 16, 16)}),
        level=lambda algorithm, seed: posed(algorithm.eval().translate, seed),
        at_least=-0.09,
        measure="stick figures in another pose: minus the mean absolute difference",
        baseline=copied,
        config={"width": 8, "layers": 1, "learning_rate": 2e-3, "adversarial": 1.0},
        trainer={"steps": 150, "batch_size": 32, "ema": 0.98, "schedule": "cosine"},
    ),
    "linear_style": Toy(
        data=styles,
        spec=DataSpec({"x": Image(3, 16, 16), "x_b": Image(3, 16, 16)}),
        level=styled,
        at_least=0.6,
        measure="digits in the colours of textures: error of colour covariances saved of the content's",
        baseline=lambda seed: 0.0,  # the content
        config={"width": 8, "narrow": 16, "learning_rate": 2e-3},
        trainer={"steps": 300, "batch_size": 32, "ema": 0.98},
    ),
}
