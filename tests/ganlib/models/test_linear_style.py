"""Linear style transfer: statistics, the map, styles given and remembered, and what it rejects."""

import pytest
import torch

from ganlib.data.spec import DataSpec, Image, Vector
from ganlib.errors import ConfigError, DataError
from ganlib.nn.style import LinearTransfer, moments
from ganlib.registry import create
from ganlib.testing.toys.styles import content_cosine, normalised, style_error, styles
from ganlib.training import Batch, Trainer, TrainerConfig

torch.set_num_threads(1)
SMALL = {"width": 4, "narrow": 5}
SPEC = DataSpec({"x": Image(3, 16, 16), "x_b": Image(3, 16, 16)})


def test_moments_are_those_of_positions():
    features = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    mean, covariance = moments(features)
    assert torch.allclose(mean[1, :, 0], features[1].flatten(1).mean(1), atol=1e-6)
    assert torch.allclose(covariance[1], torch.cov(features[1].flatten(1), correction=0), atol=1e-5)


@torch.no_grad()
def test_the_map_is_linear_in_centred_features_and_sets_the_mean():
    torch.manual_seed(0)
    net, content, style = LinearTransfer(3, 3), torch.randn(1, 3, 6, 6), 2 + torch.randn(1, 3, 6, 6)
    matrix, mean = net.of_style(style)
    made = net(content, matrix, mean)
    assert torch.allclose(made.mean((2, 3)) - net.uncompress.bias, style.mean((2, 3)), atol=1e-5)
    centred = content - content.mean((2, 3), keepdim=True)
    t = net.uncompress.weight @ matrix[0] @ net.content(centred)[0] @ net.compress.weight
    assert torch.allclose(made, (t @ centred.flatten(2)).view_as(made) + mean.unsqueeze(3), atol=1e-5)
    assert torch.allclose(net(content + 5, matrix, mean), made, atol=1e-4)


def test_errors_are_0_for_the_style_and_adain_matches_deviations():
    data = {name: values[:20] for name, values in styles(0, "test").items()}
    assert style_error(data["x_b"], data["x_b"]) == 0 and abs(content_cosine(data["x"], data["x"]) - 1) < 1e-5
    made = normalised(data["x"], data["x_b"])
    assert torch.allclose(made.std((2, 3)), data["x_b"].std((2, 3)), atol=1e-3)
    assert style_error(made, data["x_b"]) > 0.1  # what colours have in common is left


def test_a_style_may_be_one_image_and_the_average_is_remembered():
    torch.manual_seed(0)
    model, data = create("linear_style", SPEC, **SMALL), {name: values[:32] for name, values in styles(0).items()}
    Trainer(TrainerConfig(steps=6, batch_size=16, ema=0.0)).fit(model, data)
    model.eval()
    x, style = data["x"][:4], data["x_b"][:1]
    with torch.no_grad():
        assert torch.allclose(model.translate(x, style), model.translate(x, style.expand(4, -1, -1, -1)), atol=1e-6)
        plain = model.translate(x)
        model.seen.zero_()
        model._remember(Batch({"x": x, "x_b": style}))
        assert torch.allclose(model.translate(x), model.translate(x, style), atol=1e-5)
        assert not torch.allclose(model.translate(x), plain, atol=1e-3)
    for wrong in (data["x_b"][:3], style[:, :1], style[0]):
        with pytest.raises(DataError, match="style must be one image or 4"):
            model.translate(x, wrong)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (Image(3, 16, 16), Image(1, 16, 16), "images of as many channels: x has 3"),
        (Image(3, 16, 16), Vector(4), "images of as many channels"),
        (Image(3, 16, 16), Image(3, 8, 8), "resize the styles"),
        (Image(3, 2, 2), Image(3, 2, 2), "sides from 4"),
        (Image(3, 9, 9), Image(3, 9, 9), "give even sides"),
    ],
)
def test_what_cannot_be_used_is_rejected(source, target, message):
    with pytest.raises(ConfigError, match=message):
        create("linear_style", DataSpec({"x": source, "x_b": target}), **SMALL)
