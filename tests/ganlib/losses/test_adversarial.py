"""Objectives by hand, their divergences in closed form, and the table's manners."""

import math

import pytest
import torch

from ganlib.errors import ConfigError
from ganlib.losses.adversarial import DIVERGENCES, OBJECTIVES, divergence_bound, objective
from ganlib.losses.kernels import energy_distance, rbf_mmd
from ganlib.losses.objective import Play, scored

REAL, FAKE = torch.tensor([[2.0], [-1.0]]), torch.tensor([[0.5], [2.0]])


def softplus(v):
    return math.log1p(math.exp(v))


def mean(*values):
    return sum(values) / len(values)


CROSS = mean(softplus(-2), softplus(1)) + mean(softplus(0.5), softplus(2))
WEIGHTS = [math.exp(0.5) / (math.exp(0.5) + math.exp(2)), math.exp(2) / (math.exp(0.5) + math.exp(2))]
BY_HAND = {
    "gan": (CROSS, mean(softplus(-0.5), softplus(-2))),
    "gan_saturating": (CROSS, -mean(softplus(0.5), softplus(2))),
    "least_squares": (0.5 * (mean(1, 4) + mean(0.25, 4)), 0.5 * mean(0.25, 1)),
    "least_squares_pearson": (0.5 * (mean(1, 4) + mean(2.25, 9)), 0.5 * mean(0.25, 4)),
    "wgan": (0.75, -1.25),
    "wgan_gp": (0.75, -1.25),
    "wgan_gp_one_sided": (0.75, -1.25),
    "wgan_difference_quotient": (0.75, -1.25),
    "dragan": (CROSS, mean(softplus(-0.5), softplus(-2))),
    "hinge": (mean(0, 2) + mean(1.5, 3), -1.25),
    "importance_weighted": (CROSS, WEIGHTS[0] * softplus(-0.5) + WEIGHTS[1] * softplus(-2)),
    # Scores stand in for data here, so the gap between neighbours is 1.5 and 3.
    "loss_sensitive": (mean(1.5 - 2 + 0.5, 3 + 1 + 2), -1.25),
    "loss_sensitive_conditional": (mean(1.5 - 2 + 0.5, 3 + 1 + 2) - 0.5, -1.25),
    "loss_sensitive_generalised": (mean(1.5 - 2 + 0.5, 3 + 1 + 2), -1.25),
    "f_kl": (mean(math.exp(-0.5), math.exp(1)) - 0.5, -1.25),
    "f_reverse_kl": (mean(math.exp(-2), math.exp(1)) + 0.25, -0.25),
    "f_pearson": (mean(0.0625 + 0.5, 1 + 2) - 0.5, -1.25),
    "f_squared_hellinger": (
        -mean(1 - math.exp(-2), 1 - math.exp(1)) + mean(math.exp(0.5) - 1, math.exp(2) - 1),
        -mean(1 - math.exp(-0.5), 1 - math.exp(-2)),
    ),
    "f_jensen_shannon": (
        CROSS - 2 * math.log(2),
        -mean(math.log(2) - softplus(-0.5), math.log(2) - softplus(-2)),
    ),
    "f_gan": (CROSS, mean(softplus(-0.5), softplus(-2))),
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_values_by_hand(name):
    critic, generator = BY_HAND[name]
    row = objective(name)
    assert row.critic_of(REAL, FAKE).item() == pytest.approx(critic, abs=1e-5)
    assert row.generator_of(FAKE).item() == pytest.approx(generator, abs=1e-5)


def test_every_row_is_pinned_somewhere():
    elsewhere = {"began", "ebgan", "fisher", "mmd", "energy_distance"}
    assert set(OBJECTIVES) == set(BY_HAND) | elsewhere


def test_generalised_loss_sensitive_joins_its_two_ends():
    """Where the ramp's argument is negative, leak 1 passes it whole (WGAN's slope), leak 0 stops it (LS-GAN)."""
    play = {leak: scored(REAL + 9, FAKE, {"margin": 1.0, "real_weight": 0.0, "leak": leak}) for leak in (0.0, 0.5, 1.0)}
    values = {leak: objective("loss_sensitive_generalised").critic(p).item() for leak, p in play.items()}
    gap = (REAL + 9 - FAKE).abs() - (REAL + 9) + FAKE
    assert values[0.0] == pytest.approx(gap.clamp(min=0).mean().item(), abs=1e-6)
    assert values[1.0] == pytest.approx(gap.mean().item(), abs=1e-6)
    assert values[0.5] == pytest.approx(torch.nn.functional.leaky_relu(gap, 0.5).mean().item(), abs=1e-6)


def test_least_squares_still_pull_where_the_logistic_loss_has_stopped():
    """A generated example far on the real side of the critic's boundary, at a score of 10."""
    slopes = {}
    for name in ("least_squares", "gan"):
        far = torch.full((1, 1), 10.0, requires_grad=True)
        objective(name).generator_of(far).backward()
        slopes[name] = abs(far.grad.item())
    assert slopes["gan"] < 1e-3 and slopes["least_squares"] > 1


def test_energies_are_scores_with_their_sign_turned():
    state = {"k": torch.tensor(0.3)}
    row = objective("began")
    energy = Play(lambda v: -v, torch.tensor([[2.0]]), torch.tensor([[0.5]]), row.options, state)
    assert row.critic(energy).item() == pytest.approx(2.0 - 0.3 * 0.5, abs=1e-6)
    assert row.generator(energy).item() == pytest.approx(0.5, abs=1e-6)
    watched = row.watch(energy)
    assert watched["measure"].item() == pytest.approx(2.0 + abs(0.5 * 2.0 - 0.5), abs=1e-6)
    row.update(energy, state)
    assert state["k"].item() == pytest.approx(0.3 + 1e-3 * (0.5 * 2.0 - 0.5), abs=1e-6)


def test_ebgan_repels_codes_that_point_one_way():
    row = objective("ebgan")
    codes = {"same": torch.tensor([[1.0, 0.0], [2.0, 0.0]]), "apart": torch.tensor([[1.0, 0.0], [0.0, 1.0]])}
    values = {}
    for name, code in codes.items():
        play = Play(lambda v: -v, REAL, FAKE, row.options, features=lambda _, code=code: code)
        values[name] = row.generator(play).item()
    assert values["same"] == pytest.approx(1.25 + 0.1, abs=1e-5) and values["apart"] == pytest.approx(1.25, abs=1e-5)
    play = Play(lambda v: -v, torch.tensor([[0.2]]), torch.tensor([[0.7]]), row.options)
    assert row.critic(play).item() == pytest.approx(0.2 + 0.3, abs=1e-6)


def test_fisher_lagrangian():
    row, state = objective("fisher"), {"multiplier": torch.tensor(0.5)}
    assert row.options == {"rho": 1e-5}
    play = Play(lambda v: v, REAL, FAKE, {"rho": 1e-2}, state)
    excess = 0.5 * (2.5 + mean(0.25, 4)) - 1
    assert row.critic(play).item() == pytest.approx(0.75 + 0.5 * excess + 0.005 * excess**2, abs=1e-6)
    row.update(play, state)
    assert state["multiplier"].item() == pytest.approx(0.5 + 0.01 * excess, abs=1e-6)


def test_kernel_distances_are_zero_in_the_mean_and_grow_with_a_shift():
    generator = torch.Generator().manual_seed(0)
    draws = [torch.randn(2, 200, 3, generator=generator) for _ in range(20)]
    for distance in (rbf_mmd, energy_distance):
        same = torch.tensor([distance(a, b) for a, b in draws])
        near, far = (torch.tensor([distance(a, b + shift) for a, b in draws]).mean() for shift in (0.5, 2.0))
        assert abs(same.mean()) < 3 * same.std() / len(draws) ** 0.5 and 0 < near < far
    x = torch.tensor([[0.0], [2.0]])
    y = torch.tensor([[1.0], [1.0]])
    assert energy_distance(x, y).item() == pytest.approx(2 * 1 - 2 - 0, abs=1e-4)


@pytest.mark.parametrize("rows", [2, 5, 40])
def test_the_bandwidth_is_the_median_of_all_pairs_within_x(rows):
    """One kernel of scale 1, and y is x moved by 1: the pairs within y are those within x."""
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    squared = torch.cdist(x, x).square()
    pairs = squared[~torch.eye(rows, dtype=torch.bool)]
    within = torch.exp(-pairs / pairs.median()).mean()
    across = torch.exp(-(x[:, None] - x - 1).square().sum(2) / pairs.median()).mean()
    assert rbf_mmd(x, x + 1, (1.0,)).item() == pytest.approx((2 * within - 2 * across).item(), abs=1e-5)


@pytest.mark.parametrize("distance", [rbf_mmd, energy_distance])
def test_kernel_distances_are_not_halved_in_precision(distance):
    """Under autocast as without: differences of large numbers, of which bfloat16 would leave nothing."""
    generator = torch.Generator().manual_seed(0)
    x = 30 + torch.randn(200, 8, generator=generator)
    y = 30.3 + torch.randn(200, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        found = distance(x, y)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(distance(x, y).item(), rel=1e-3)


GAUSSIANS = {
    # P = N(0, 1), Q = N(m, s²): closed forms.
    "kl": lambda m, s: math.log(s) + (1 + m * m) / (2 * s * s) - 0.5,
    "reverse_kl": lambda m, s: -math.log(s) + (s * s + m * m) / 2 - 0.5,
    "squared_hellinger": lambda m, s: 2 - 2 * math.sqrt(2 * s / (1 + s * s)) * math.exp(-m * m / (4 * (1 + s * s))),
    "pearson": lambda m, s: s * s / math.sqrt(2 * s * s - 1) * math.exp(m * m / (2 * s * s - 1)) - 1,
}


def optimal_logit(name, ratio):
    """V with g_f(V) = f'(p/q), where the bound is tight."""
    return {
        "kl": 1 + ratio.log(),
        "reverse_kl": ratio.log(),
        "pearson": 2 * (ratio - 1),
        "squared_hellinger": 0.5 * ratio.log(),
        "jensen_shannon": ratio.log(),
        "gan": ratio.log(),
    }[name]


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
def test_bounds_are_tight_at_their_optimum_and_lower_elsewhere(name):
    m, s = 0.5, 1.2
    generator = torch.Generator().manual_seed(0)
    p = torch.randn(400_000, generator=generator, dtype=torch.float64)
    q = m + s * torch.randn(400_000, generator=generator, dtype=torch.float64)

    def log_ratio(x):
        return -0.5 * x.square() + 0.5 * ((x - m) / s).square() + math.log(s)

    logits = [optimal_logit(name, log_ratio(x).exp()) for x in (p, q)]
    best = divergence_bound(name, *logits).item()
    if name in GAUSSIANS:
        assert best == pytest.approx(GAUSSIANS[name](m, s), rel=0.03)
    else:

        def half(x):
            return torch.log(2 * torch.sigmoid(log_ratio(x))).mean(), torch.log(2 * torch.sigmoid(-log_ratio(x))).mean()

        js = 0.5 * (half(p)[0] + half(q)[1]).item()
        assert best == pytest.approx(js if name == "jensen_shannon" else 2 * js - math.log(4), rel=0.02)
    for change in (0.3, -0.3):
        assert divergence_bound(name, *(v + change for v in logits)).item() < best


def test_unknown_and_ambiguous_names():
    with pytest.raises(ConfigError, match="least_squares.*loss_sensitive"):
        objective("lsgan")
    with pytest.raises(ConfigError, match="no adversarial objective is called 'gann'"):
        objective("gann")
    with pytest.raises(ConfigError, match="no f-divergence"):
        divergence_bound("tv", REAL, FAKE)
