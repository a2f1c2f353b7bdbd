"""The crown GAN: its term, and what it rejects."""

import pytest
import torch

from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError
from ganlib.registry import create
from ganlib.testing.toys.crowns import REQUIRED, crowns, gap_error
from ganlib.training import Batch

torch.set_num_threads(1)
SMALL = {"width": 4, "layers": 1}
SPEC = DataSpec({"x": Image(3, 16, 16), "x_b": Image(1, 16, 16)})


def test_the_term_is_the_distance_of_gap_histograms():
    torch.manual_seed(0)
    model = create("crown_gan", SPEC, **SMALL)
    batch = Batch(crowns(0, rows=8), torch.Generator().manual_seed(0))
    found = model.generator_loss(batch)
    made = model.game.made(batch, lambda: model.translate(batch.x)).detach()
    exact = gap_error(batch.x, made, batch["x_b"]).mean()
    assert found.weights["histogram"] == 300
    assert abs(float(found["histogram"].detach() - exact)) < 0.01 * float(exact)
    assert float(found["histogram"].detach()) <= float(found["l1"].detach()) + 1e-6  # L1 is one plan of transport


def test_crowns_keep_the_required_gap_and_touch_it():
    data = crowns(3, rows=50)
    gap = data["x"][:, 1:2] - data["x_b"]
    assert abs(float(gap.min()) - REQUIRED) < 1e-6 and 0.01 < float((gap < REQUIRED + 1e-4).float().mean()) < 0.3


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        (Image(1, 16, 16), Image(1, 16, 16), {}, "channel 1 of x must hold the opposing surface, and x has 1"),
        (Image(3, 16, 16), Image(2, 16, 16), {}, r"must have the shape \(1, 16, 16\), not \(2, 16, 16\)"),
        (Image(3, 16, 16), Image(1, 8, 8), {}, "pixel by pixel"),
        (Image(3, 16, 16), Image(1, 16, 16), {"least_gap": 1.0, "most_gap": 0.5}, "least_gap < most_gap"),
        (Image(3, 16, 16), Image(1, 16, 16), {"bins": 1}, "two bins or more"),
        (Image(3, 4, 4), Image(1, 4, 4), {}, "too small for a patch critic"),
    ],
)
def test_what_cannot_be_used_is_rejected(source, target, options, message):
    with pytest.raises(ConfigError, match=message):
        create("crown_gan", DataSpec({"x": source, "x_b": target}), **SMALL, **options)


def test_the_second_field_is_needed():
    with pytest.raises(ConfigError, match="needs a field 'x_b' of kind Image"):
        create("crown_gan", DataSpec.image(3, 16, 16), **SMALL)
