"""VAE/GAN: the equilibrium rule, and its critic's game."""

import pytest
import torch

from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

torch.set_num_threads(1)
POINTS = DataSpec.vector(2)


@pytest.mark.parametrize(
    ("real", "fake", "critic", "generator"),
    [
        (0.7, 0.7, True, True),
        (0.2, 0.7, False, True),  # the critic wins
        (0.7, 1.2, True, False),  # the critic is lost
        (0.2, 1.2, True, True),  # both would rest: the authors move both
        (1.2, 0.2, True, True),
    ],
)
def test_who_moves_follows_the_authors_rule(real, fake, critic, generator):
    """Equilibrium 0.68 and margin 0.35, as in the authors' code."""
    model = create("vae_gan", POINTS, hidden=(8,))
    model.real_loss.fill_(real)
    model.fake_loss.fill_(fake)
    encoder, decoder, judge = model.phases()[0]
    assert (judge.due(0), decoder.due(0), encoder.due(0)) == (critic, generator, True)


def test_its_critic_takes_a_penalty_and_a_bound():
    data = {"x": torch.randn(64, 2, generator=torch.Generator().manual_seed(0))}
    model = create("vae_gan", POINTS, hidden=(8,), penalty="two_sided", penalty_weight=0.5)
    history = Trainer(TrainerConfig(steps=3, batch_size=16, device="cpu")).fit(model, data)
    assert history.curves["penalty"][-1] > 0
    with pytest.warns(UserWarning, match="rmsprop"):
        clipped = create("vae_gan", POINTS, hidden=(8,), clip=0.01)
    Trainer(TrainerConfig(steps=3, batch_size=16, device="cpu")).fit(clipped, data)
    assert max(float(p.detach().abs().max()) for p in clipped.critic.parameters()) <= 0.01 + 1e-7
    with pytest.raises(ConfigError, match="no penalty is called 'steep'"):
        create("vae_gan", POINTS, penalty="steep")
