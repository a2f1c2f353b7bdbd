"""Checks of what objectives estimate, and of layers, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from benchmarks.models.checks.check import Check, Figures
from ganlib.data.spec import DataSpec
from ganlib.losses.adversarial import divergence_bound, objective
from ganlib.metrics.two_sample import mmd_test
from ganlib.nn.layers import parametrise
from ganlib.registry import create
from ganlib.training import Batch


def _critic(
    loss: Callable[[Tensor, Tensor], Tensor], p: Tensor, q: Tensor, seed: int, steps: int, clip: float = 0.0
) -> nn.Module:
    """A small critic trained to optimality between two samples."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    optimiser = torch.optim.RMSprop(net.parameters(), 1e-3) if clip else torch.optim.Adam(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(p), (512,), generator=generator)
        value = loss(net(p[rows]), net(q[rows]))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        if clip:
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.clamp_(-clip, clip)
    return net


def _point_masses(seed: int) -> Figures:
    """Rank correlation of an estimate with the distance of two point masses: Wasserstein's, beside Jensen-Shannon's.

    JS estimates that differ by less than 1 % are ties.
    """
    wasserstein, shannon = [], []
    for distance in (0.1, 1.0, 5.0):
        p, q = torch.zeros(512, 1), torch.full((512, 1), distance)
        net = _critic(objective("wgan").critic_of, p, q, seed, 300, clip=0.1)
        wasserstein.append(float((net(p) - net(q)).mean().detach()))
        net = _critic(lambda real, fake: -divergence_bound("jensen_shannon", real, fake), p, q, seed, 1500)
        shannon.append(round(float(divergence_bound("jensen_shannon", net(p), net(q)).detach()), 2))
    return float(wasserstein == sorted(wasserstein) and len(set(wasserstein)) == 3), float(len(set(shannon)) > 1)


CLOSED = {
    "kl": lambda m, s: math.log(s) + (1 + m * m) / (2 * s * s) - 0.5,
    "reverse_kl": lambda m, s: -math.log(s) + (s * s + m * m) / 2 - 0.5,
    "squared_hellinger": lambda m, s: 2 - 2 * math.sqrt(2 * s / (1 + s * s)) * math.exp(-m * m / (4 * (1 + s * s))),
    "pearson": lambda m, s: s * s / math.sqrt(2 * s * s - 1) * math.exp(m * m / (2 * s * s - 1)) - 1,
    "jensen_shannon": lambda m, s: _shannon(m, s),
}


def _shannon(m: float, s: float) -> float:
    x = torch.linspace(-12, 14, 200_001, dtype=torch.float64)
    p = torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)
    q = torch.exp(-0.5 * ((x - m) / s).square()) / (s * math.sqrt(2 * math.pi))
    mean = (p + q) / 2
    part = 0.5 * (p * (p / mean).clamp(min=1e-300).log() + q * (q / mean).clamp(min=1e-300).log())
    return float(part.sum() * (x[1] - x[0]))


def _bounds(seed: int) -> Figures:
    """The smallest share of a closed form that a trained bound reaches, of five; baseline: the largest share."""
    m, s = 1.0, 1.3
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(40_000, 1, generator=generator), m + s * torch.randn(40_000, 1, generator=generator)
    fresh = torch.randn(400_000, 1, generator=generator), m + s * torch.randn(400_000, 1, generator=generator)
    shares = []
    for name, closed in CLOSED.items():
        net = _critic(lambda real, fake, name=name: -divergence_bound(name, real, fake), p, q, seed, 3000)
        with torch.no_grad():
            shares.append(float(divergence_bound(name, net(fresh[0]), net(fresh[1]))) / closed(m, s))
    return min(shares), max(shares)


def _optimum(seed: int) -> Figures:
    """1 less the largest distance of a trained D from p/(p + q) where data are (density above 0.02), for N(0, 1) and
    N(1, 0.7²); baseline: of D = 1/2."""
    generator = torch.Generator().manual_seed(seed)
    p, q = torch.randn(100_000, 1, generator=generator), 1 + 0.7 * torch.randn(100_000, 1, generator=generator)
    net = _critic(lambda real, fake: objective("gan").critic_of(real, fake), p, q, seed, 3000)
    at = torch.linspace(-3, 4, 200).unsqueeze(1)
    real, fake = torch.exp(-0.5 * at.square()), torch.exp(-0.5 * ((at - 1) / 0.7).square()) / 0.7
    dense = (real + fake) / (2 * math.pi) ** 0.5 > 0.02
    best = real / (real + fake)
    with torch.no_grad():
        found = torch.sigmoid(net(at))
    return 1 - float((found - best)[dense].abs().max()), 1 - float((0.5 - best)[dense].abs().max())


def _wider(seed: int) -> Figures:
    """Deviation of a Gaussian fitted to two far modes (-2 and 2, deviation 0.5) by KL, from a start near
    one of them; baseline: by reverse KL."""
    generator = torch.Generator().manual_seed(seed)
    sign = 2.0 * (torch.rand(20_000, 1, generator=generator) < 0.5) - 1
    data = 2 * sign + 0.5 * torch.randn(20_000, 1, generator=generator)
    found = []
    for name in ("kl", "reverse_kl"):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        mean, log_deviation = nn.Parameter(torch.tensor(1.5)), nn.Parameter(torch.tensor(0.7).log())
        critic = torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.9))
        player = torch.optim.Adam([mean, log_deviation], 2e-3, (0.5, 0.9))
        for step in range(6000):
            rows = torch.randint(len(data), (512,), generator=generator)
            made = mean + log_deviation.exp() * torch.randn(512, 1, generator=generator)
            bound = divergence_bound(name, net(data[rows]), net(made))
            moved = player if step % 5 == 4 else critic
            moved.zero_grad()
            (bound if moved is player else -bound).backward()
            moved.step()
        found.append(float(log_deviation.exp().detach()))
    return found[0], found[1]


def _margin(seed: int) -> Figures:
    """Correlation of L(G(z)) - L(x) with the distance, the margin, over five distances, for critics trained to separate
    two clouds; baseline: the logits of the plain objective."""
    distances, found = (0.25, 0.5, 1.0, 2.0, 4.0), []
    for name in ("loss_sensitive", "gan"):
        gaps = []
        for distance in distances:
            model, batch, x, made = _clouds(name, distance, seed)
            with torch.no_grad():
                gaps.append(float((model.score(batch, x) - model.score(batch, made)).mean()))
        found.append(float(torch.corrcoef(torch.tensor([gaps, distances]))[0, 1]))
    return found[0], found[1]


def _clouds(name: str, distance: float, seed: int) -> tuple[Any, Batch, Tensor, Tensor]:
    """A critic trained to separate two narrow clouds in the plane at a distance."""
    torch.manual_seed(seed)
    model = create("gan", DataSpec.vector(2), objective=name, hidden=(64, 64))
    x = 0.1 * torch.randn(256, 2, generator=torch.Generator().manual_seed(seed))
    made, batch = x + torch.tensor([distance, distance]), Batch({"x": x})
    _tell_apart(model, batch, made, 1500, 1e-3)
    return model, batch, x, made


def _tell_apart(model: Any, batch: Batch, made: Tensor, steps: int, rate: float) -> None:
    """Train a model's critic against fakes that stay."""
    optimiser = torch.optim.Adam(model.critic.parameters(), rate)
    for _ in range(steps):
        loss = model.objective.critic(model.game.play(batch, model.sides(batch, made)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        batch.forget(["critic"])


# ---------------------------------------------------------------- gradients, tests, layers
def _lines(seed: int) -> Figures:
    """Gradient of the saturating loss per generated point, for two parallel lines, instance noise of 0.3 and a critic
    trained to separate them; baseline: without noise."""
    generator = torch.Generator().manual_seed(seed)
    along = torch.rand(512, 1, generator=generator)
    x, made = torch.cat([along, torch.zeros(512, 1)], 1), torch.cat([along.flip(0), torch.ones(512, 1)], 1)
    slopes = []
    for deviation in (0.3, 0.0):
        torch.manual_seed(seed)
        model = create("gan", DataSpec.vector(2), instance_noise=deviation, hidden=(64, 64))
        batch = Batch({"x": x}, torch.Generator().manual_seed(seed))
        _tell_apart(model, batch, made, 3000, 1e-2)
        moving = made.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(softplus(model.score(batch, moving)).sum(), moving)
        slopes.append(float(slope.norm(dim=1).mean()))
    return slopes[0], slopes[1]


def _power(seed: int) -> Figures:
    """Power: share of 60 pairs of samples (n = 500, half a deviation apart) that the MMD test rejects at 5 %; baseline:
    its size, the share of 500 pairs from one distribution (n = 100)."""
    generator = torch.Generator().manual_seed(seed)

    def rejected(pairs: int, n: int, shift: float) -> float:
        values = [
            mmd_test(torch.randn(n, 1, generator=generator), torch.randn(n, 1, generator=generator) + shift, 100, index)
            for index in range(pairs)
        ]
        return sum(test.p_value <= 0.05 for test in values) / pairs

    return rejected(60, 500, 0.5), rejected(500, 100, 0.0)


def _spectra(seed: int) -> Figures:
    """Least largest singular value of a critic's layers after 20 forwards, or one over it where that is less;
    baseline: of the plain layers."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(32, 128), nn.LeakyReLU(0.2), nn.Linear(128, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))

    def least() -> float:
        tops = [float(torch.linalg.svdvals(layer.weight.detach())[0]) for layer in net if isinstance(layer, nn.Linear)]
        return min(min(top, 1 / top) for top in tops)

    plain = least()
    parametrise(net, "spectral")
    net.train()
    for _ in range(20):
        net(torch.randn(4, 32))
    net.eval()
    return least(), plain


ROWS = (
    Check("C6 margin", "loss_sensitive_gan", "correlation of losses' gap and margin", "GAN's logits", 0.5, _margin),
    Check(
        "B1 optimum",
        "gan",
        "1 less the greatest distance of D from p/(p + q)",
        "of D = 1/2",
        0.95,
        _optimum,
        worst=True,
    ),
    Check("C7 wider", "f_gan_kl", "deviation of N fitted to two modes", "by reverse KL", 0.1, _wider, gain=True),
    Check(
        "C1",
        "wgan",
        "point masses at .1, 1, 5: the estimate grows with distance (1 yes)",
        "Jensen-Shannon's does (0: flat)",
        1.0,
        _point_masses,
        worst=True,
    ),
    Check(
        "C7",
        "f_gan_kl",
        "smallest share reached of five closed divergences",
        "largest share (1 but for noise at most)",
        0.9,
        _bounds,
        worst=True,
    ),
    Check("C10", "gan", "parallel lines: gradient under instance noise", "without noise", 1e-2, _lines, worst=True),
    Check("C13", "mmd_gan", "MMD test: power at half a deviation, n = 500", "size at 5 %", 0.9, _power, worst=True),
    Check("C15", "sagan", "spectral norm: layers' largest singular value", "plain layers", 0.99, _spectra, worst=True),
)
