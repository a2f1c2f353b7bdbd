"""The pose warp: what its untrained parts do already, and what it rejects."""

import pytest
import torch

from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError
from ganlib.models.translation.pose_warp import along
from ganlib.nn.warp import AffineWarp
from ganlib.registry import create
from ganlib.testing.toys.figures import figures, overlap

torch.set_num_threads(1)
SMALL = {"width": 4, "layers": 1}
SPEC = DataSpec({"x": Image(9, 16, 16), "x_b": Image(3, 16, 16)})


def model(**options):
    torch.manual_seed(0)
    return create("pose_warp", SPEC, **SMALL, **options).eval()


@torch.no_grad()
def test_parts_move_with_their_joints_before_training():
    data, net = figures(0, rows=30), model().generator
    for value in net.segmenter.parameters():
        value.zero_()  # the prior alone
    masks = net.masks(data["x"])
    assert torch.allclose(masks.sum(1), torch.ones(30, 16, 16), atol=1e-5)
    weight = net.moved(data["x"], masks).unflatten(1, (2, 4))[:, :, 3].sum(1, keepdim=True)
    unmoved = masks[:, 1:].sum(1, keepdim=True)
    here, there = (overlap((one > 0.5).float(), data["mask"]) for one in (unmoved, weight))
    assert there > 0.3 and there > here + 0.08, (here, there)  # wider than the bars


@torch.no_grad()
def test_an_unchanged_pose_leaves_the_parts_in_place():
    data, net = figures(0, rows=10)["x"], model().generator
    data[:, 6:] = data[:, 3:6]
    masks = net.masks(data)
    moved = net.moved(data, masks).unflatten(1, (2, 4))
    assert torch.allclose(moved[:, 0, 3], masks[:, 1], atol=1e-3)
    assert torch.allclose(moved[:, 1, :3], data[:, :3] * masks[:, 2:], atol=2e-3)


def test_a_bump_is_as_far_from_its_line_as_it_says():
    places = AffineWarp((16, 16)).grid[:2]
    bump = along(torch.tensor([[-0.5, 0.0]]), torch.tensor([[0.5, 0.0]]), places).view(16, 16)
    assert torch.allclose(bump[8, 6:10], torch.full((4,), float(torch.tensor(-(0.0625**2) / 0.08).exp())), atol=1e-5)
    beyond = (0.9375 - 0.5) ** 2 + 0.0625**2
    assert torch.allclose(bump[8, 15], torch.tensor(-beyond / 0.08).exp(), atol=1e-5)


@pytest.mark.parametrize(
    ("source", "target", "options", "message"),
    [
        (Image(3, 16, 16), Image(3, 16, 16), {}, r"two poses of 3 joints, \(9, 16, 16\), not \(3, 16, 16\)"),
        (Image(9, 16, 16), Image(3, 8, 8), {}, "stack image, source pose and target pose"),
        (Image(9, 16, 16), Image(3, 16, 16), {"parts": ((0,),)}, "two different joints or more"),
        (Image(9, 16, 16), Image(3, 16, 16), {"parts": ((0, 3),)}, "from 0 to 2"),
        (Image(5, 16, 16), Image(3, 16, 16), {"joints": 1}, "two different joints or more"),
        (Image(9, 4, 4), Image(3, 4, 4), {}, "too small for a patch critic"),
    ],
)
def test_what_cannot_be_used_is_rejected(source, target, options, message):
    with pytest.raises(ConfigError, match=message):
        create("pose_warp", DataSpec({"x": source, "x_b": target}), **SMALL, **options)
