"""TP-GAN: its losses on closed forms, its recogniser, and what it rejects."""

import pytest
import torch

from ganlib.data.spec import Classes, DataSpec, Image
from ganlib.errors import ConfigError
from ganlib.models.translation.tp_gan import variation
from ganlib.registry import create
from ganlib.testing.toys.views import recognised, views
from ganlib.training import Batch

torch.set_num_threads(1)
SMALL = {"width": 4, "layers": 1}
PAIR = {"x": Image(1, 16, 16), "x_b": Image(1, 16, 16)}


def test_the_distance_adds_up_scales_and_variation_counts_edges():
    model = create("tp_gan", DataSpec(PAIR), **SMALL)
    zeros = torch.zeros(2, 1, 16, 16)
    assert abs(float(model.distance(zeros + 0.2, zeros)) - 0.2 * 3.5) < 1e-6
    stripes = (torch.arange(16) % 2).float().expand(2, 1, 16, 16)  # differences that vanish at half the size
    assert abs(float(model.distance(stripes - 0.5, zeros)) - 0.5) < 1e-6
    assert variation(zeros) == 0 and abs(float(variation(stripes)) - 1) < 1e-6


def test_the_identity_loss_comes_with_classes_and_teaches_the_recogniser_apart():
    spec, data = DataSpec({**PAIR, "y": Classes(10)}), {name: values[:16] for name, values in views(0, each=1).items()}
    torch.manual_seed(0)
    model, plain = create("tp_gan", spec, **SMALL), create("tp_gan", DataSpec(PAIR), **SMALL)
    assert [phase.trains for phase in model.phases()] == ["recogniser", "critic", "generator"]
    assert [phase.trains for phase in plain.phases()] == ["critic", "generator"]
    losses = model.generator_loss(Batch(data, torch.Generator().manual_seed(0)))
    assert losses.weights["identity"] == 10 and losses.weights["parts"] == 300
    same = dict(data, x_b=model.translate(data["x"]).detach())
    perfect = model.generator_loss(Batch(same, torch.Generator().manual_seed(0)))
    assert float(perfect["identity"].detach()) < 0.02 * float(losses["identity"].detach())


def test_upright_digits_are_recognised_and_turned_ones_less():
    upright = views(0, "test", 1)["x_b"]
    assert recognised(lambda x: x, 0) < 0.65 < 0.95 < recognised(lambda x: upright, 0)


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        (PAIR, {"identity": 1.0}, "needs the class of each example: give the field y"),
        ({"x": Image(1, 8, 8), "x_b": Image(1, 9, 9)}, {}, "bring the images to even sides of 8"),
        ({"x": Image(1, 8, 8), "x_b": Image(1, 8, 8)}, {"scales": (1.0,) * 5}, "cannot be halved 4 times"),
        ({"x": Image(1, 8, 8)}, {}, "needs a field 'x_b' of kind Image"),
    ],
)
def test_what_cannot_be_used_is_rejected(fields, options, message):
    with pytest.raises(ConfigError, match=message):
        create("tp_gan", DataSpec(fields), **SMALL, **options)
