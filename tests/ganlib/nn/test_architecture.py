"""Every architecture serves every shape it says it serves, with and without a condition."""

import pytest
import torch

from ganlib.data.spec import DataSpec, Vector
from ganlib.errors import ConfigError
from ganlib.nn.architecture import ARCHITECTURES, Energy, Headed, NetOptions, architecture

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 33, 47), (2, 50), (6, 4)]
OPTIONS = NetOptions(hidden=(16,), width=4, norm="batch")


@pytest.mark.parametrize("condition", [0, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_shapes_and_gradients(name, shape, condition):
    torch.manual_seed(0)
    nets = ARCHITECTURES[name]
    trunk = Headed(nets.trunk(shape, condition, OPTIONS), 2)
    generator = nets.generator(5, shape, condition, OPTIONS)
    given = torch.randn(4, condition) if condition else None
    made = generator(torch.randn(4, 5), given)
    assert made.shape == (4, *shape)
    scores = trunk(made, given)
    assert scores.shape == (4, 2) and scores.isfinite().all()
    scores.square().sum().backward()
    idle = [n for m in (trunk, generator) for n, p in m.named_parameters() if p.grad is None]
    assert not idle
    if condition:
        trunk.eval(), generator.eval()
        assert not torch.allclose(trunk(made, given), trunk(made, given + 1))
        assert not torch.allclose(generator(torch.ones(4, 5), given), generator(torch.ones(4, 5), given + 1))


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
@pytest.mark.parametrize("trick", [{"noise": (0.3, 0.5)}, {"dropout": 0.4}], ids=str)
def test_noise_and_dropout_act_in_training_alone(name, trick):
    if "dropout" in trick and name.startswith("resnet"):
        pytest.skip("residual blocks have none, as NetOptions says")
    torch.manual_seed(0)
    trunk, x = (
        ARCHITECTURES[name].trunk((1, 8, 8), 0, NetOptions(hidden=(16,), width=4, **trick)),
        torch.ones(4, 1, 8, 8),
    )
    assert not torch.equal(trunk(x), trunk(x))
    trunk.eval()
    assert torch.equal(trunk(x), trunk(x))


def test_the_last_noise_is_for_all_layers_that_follow():
    assert NetOptions(noise=(0.3, 0.5)).noises(4) == (0.3, 0.5, 0.5, 0.5)
    assert NetOptions(noise=(0.3, 0.5)).noises(1) == (0.3,) and NetOptions().noises(2) == (0.0, 0.0)


def test_attention_sits_where_there_are_levels_for_it():
    def layers(name, shape):
        nets = ARCHITECTURES[name]
        modules = [nets.trunk(shape, 0, OPTIONS), nets.generator(5, shape, 0, OPTIONS)]
        return [sum(type(m).__name__ == "SelfAttention" for m in net.modules()) for net in modules]

    assert layers("attention", (1, 64, 64)) == [2, 2] and layers("dcgan", (1, 64, 64)) == [0, 0]


@pytest.mark.parametrize(
    ("shape", "wanted"), [((3, 32, 32), [256, 64]), ((3, 64, 64), [1024, 256]), ((3, 128, 128), [1024, 256])]
)
def test_attention_looks_at_1024_positions_at_most(shape, wanted):
    nets, seen = ARCHITECTURES["attention"], []
    trunk, generator = nets.trunk(shape, 0, OPTIONS), nets.generator(5, shape, 0, OPTIONS)
    for module in (*trunk.modules(), *generator.modules()):
        if type(module).__name__ == "SelfAttention":
            module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].flatten(2).shape[2]))
    with torch.no_grad():
        trunk(generator(torch.randn(1, 5)))
    assert sorted(seen[:2]) == sorted(seen[2:]) == sorted(wanted)


def test_dcgan_of_64_pixels_has_four_levels_and_no_hidden_dense_layer():
    trunk = ARCHITECTURES["dcgan"].trunk((3, 64, 64), 0, NetOptions(width=64, norm="batch"))
    convolutions = [m for m in trunk.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512] and trunk.width == 512 * 4 * 4
    assert not any(isinstance(m, torch.nn.Linear) for m in trunk.modules())


def test_energy_is_the_reconstruction_error():
    spec, nets = DataSpec.vector(3), ARCHITECTURES["mlp"]
    torch.manual_seed(0)
    for power in (1.0, 2.0):
        critic = Energy(
            Headed(nets.trunk((3,), 0, OPTIONS), 2), nets.generator(2, (3,), 0, OPTIONS), spec, power
        ).eval()
        x = torch.randn(4, 3)
        expected = -(x - critic.rebuild(x)).abs().pow(power).mean(1, keepdim=True)
        assert torch.allclose(critic(x), expected, atol=1e-6)


def test_choices_and_refusals():
    assert architecture("auto", DataSpec.image(1, 28, 28)).name == "dcgan"
    assert (
        architecture("auto", DataSpec.of(Vector(9))).name == "mlp"
        and architecture("auto", DataSpec.series(2, 3)).name == "mlp"
    )
    with pytest.raises(ConfigError, match="no networks are called 'unet'"):
        architecture("unet", DataSpec.image(1, 28, 28))
    with pytest.raises(ConfigError, match="networks='mlp'"):
        ARCHITECTURES["dcgan"].trunk((9,), 0, OPTIONS)
