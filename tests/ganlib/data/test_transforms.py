"""Known answers of each augmentation, and the laws that all keep."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from ganlib.data.transforms import (
    TRANSFORMS,
    Compose,
    Cutout,
    GaussianBlur,
    GaussianNoise,
    MixUp,
    RandomAffine,
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomHorizontalFlip,
    RandomResizedCrop,
    RandomRotation,
    RandomSaturation,
    RandomTranslation,
    RandomVerticalFlip,
    diff_augment,
    diff_augment_pair,
    make_transform,
)
from ganlib.errors import ConfigError, DataError

PLAIN = [name for name in TRANSFORMS if name != "mixup"]


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=4, c=3, height=16, width=12, seed=0):
    return torch.rand(n, c, height, width, generator=gen(seed)) * 1.6 - 0.8


# -------------------------------------------------------------------- laws
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("channels", [1, 3])
def test_laws(name, channels):
    x = images(6, channels)
    kept, transform = x.clone(), make_transform(name)
    first, again, other = transform(x, gen(1)), transform(x, gen(1)), transform(x, gen(2))
    assert torch.equal(first, again) and first.shape == x.shape and first.dtype == x.dtype
    assert torch.equal(x, kept)
    if (name, channels) != ("saturation", 1):
        assert not torch.equal(first, other)
        same = transform(x[:1].expand(6, -1, -1, -1), gen(1))
        assert len(same.unique(dim=0)) > 1  # each image by its own draw
    if name != "diff_augment":
        assert first.min() >= -1 - 1e-6 and first.max() <= 1 + 1e-6
    assert type(transform).from_dict(transform.to_dict()) == transform


@pytest.mark.parametrize("name", PLAIN)
def test_gradients_reach_the_images(name):
    x = images(2).requires_grad_()
    make_transform(name)(x, gen()).sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_only_float_batches(name):
    transform = make_transform(name, **({"classes": 2} if name == "mixup" else {}))
    more = (torch.zeros(2, dtype=torch.long),) if name == "mixup" else ()
    for bad in (torch.zeros(3, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(DataError, match="float images of shape"):
            transform(bad, gen(), *more)


@pytest.mark.parametrize(
    "name, options",
    [
        ("horizontal_flip", {"p": 1.1}),
        ("vertical_flip", {"p": -0.1}),
        ("crop", {"padding": -1}),
        ("crop", {"size": 0}),
        ("crop", {"edge": "wrap"}),
        ("resized_crop", {"scale": (0.0, 1.0)}),
        ("resized_crop", {"ratio": (2.0, 1.0)}),
        ("rotation", {"degrees": (0.0, 361.0)}),
        ("rotation", {"degrees": (1.0, 2.0, 3.0)}),
        ("affine", {"translate": 1.5}),
        ("affine", {"scale": (0.0, 1.0)}),
        ("affine", {"shear": (0.0, 90.0)}),
        ("translation", {"fraction": -0.5}),
        ("brightness", {"amount": 2.0}),
        ("contrast", {"amount": math.nan}),
        ("saturation", {"amount": -1.0}),
        ("noise", {"std": -1.0}),
        ("blur", {"sigma": (0.0, 1.0)}),
        ("cutout", {"fraction": 1.5}),
        ("mixup", {"classes": 0}),
        ("mixup", {"classes": 2, "alpha": 0.0}),
        ("diff_augment", {"policy": ("colour", "colour")}),
        ("diff_augment", {"policy": ("color",)}),
    ],
)
def test_ranges(name, options):
    with pytest.raises(ConfigError, match=list(options)[-1]):
        make_transform(name, **options)


def test_options_state_their_ranges_as_other_configurations_do():
    with pytest.raises(ConfigError, match="option 'p' must be at least 0 and at most 1, not 2"):
        make_transform("horizontal_flip", p=2.0)
    with pytest.raises(ConfigError, match=r"option 'degrees' must be two rising values, not \(5.0, -5.0\)"):
        make_transform("rotation", degrees=(5, -5))
    options = TRANSFORMS["blur"].json_schema()["properties"]["sigma"]["prefixItems"]
    assert [(one["minimum"], one["maximum"]) for one in options] == 2 * [(0.05, 20)]


def test_unknown_names():
    with pytest.raises(ConfigError, match=r"called 'rotate'; did you mean 'rotation'.*\(transforms: horizontal_flip"):
        make_transform("rotate")
    with pytest.raises(ConfigError, match="no option 'angle'"):
        make_transform("rotation", angle=3)
    with pytest.raises(ConfigError, match="MixUp needs classes"):
        make_transform("mixup")


# -------------------------------------------------------------------- place
def test_flips():
    x = images(64)
    assert torch.equal(RandomHorizontalFlip(p=1)(x, gen()), x.flip(3))
    assert torch.equal(RandomVerticalFlip(p=1)(x, gen()), x.flip(2))
    assert torch.equal(RandomVerticalFlip(p=0)(x, gen()), x)
    some = RandomHorizontalFlip()(x, gen())
    flipped = [torch.equal(a, b.flip(2)) for a, b in zip(some, x, strict=True)]
    assert 20 <= sum(flipped) <= 44
    assert all(f or torch.equal(a, b) for f, a, b in zip(flipped, some, x, strict=True))


@pytest.mark.parametrize("edge, mode", [("constant", "constant"), ("reflect", "reflect"), ("replicate", "replicate")])
def test_crops_are_windows_of_the_padded_image(edge, mode):
    x = images(40, 2, 8, 9)
    options = {"value": -0.5} if edge == "constant" else {}
    padded = torch.nn.functional.pad(x, (3, 3, 3, 3), mode=mode, **options)
    out = RandomCrop(padding=3, edge=edge, fill=-0.5)(x, gen())
    assert out.shape == x.shape
    places = set()
    for one, whole in zip(out, padded, strict=True):
        windows = {(i, j): whole[:, i : i + 8, j : j + 9] for i in range(7) for j in range(7)}
        found = [place for place, window in windows.items() if torch.equal(window, one)]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 15 and {i for i, _ in places} == set(range(7)) == {j for _, j in places}


def test_crops_of_a_size():
    x = images(2, 1, 10, 12)
    assert RandomCrop(padding=0, size=8)(x, gen()).shape == (2, 1, 8, 8)
    with pytest.raises(DataError, match="window of 13 x 13 does not fit into padded images of 14 x 12"):
        RandomCrop(padding=1, size=13)(x, gen())


def test_translation_stays_within_its_fraction():
    x = torch.full((200, 1, 16, 16), -1.0)
    x[:, :, 8, 8] = 1
    out = RandomTranslation(fraction=0.25)(x, gen())
    rows, columns = (out[:, 0] == 1).nonzero()[:, 1], (out[:, 0] == 1).nonzero()[:, 2]
    assert set(rows.tolist()) == set(range(4, 13)) == set(columns.tolist())


@pytest.mark.parametrize("degrees, turns", [(90, 1), (180, 2), (-90, 3), (0, 0), (360, 0)])
def test_quarter_turns(degrees, turns):
    x = images(2, 3, 13, 13)
    out = RandomRotation(degrees=(degrees, degrees))(x, gen())
    assert (out - torch.rot90(x, turns, (2, 3))).abs().max() < 1e-4


@pytest.mark.parametrize("degrees", [30, -17])
def test_rotation_beside_scipy(degrees):
    x = images(1, 1, 20, 31)
    out = RandomRotation(degrees=(degrees, degrees), fill=0.3)(x, gen())[0, 0]
    peer = ndimage.rotate(x[0, 0].numpy(), degrees, reshape=False, order=1, mode="grid-constant", cval=0.3)
    assert np.abs(out.numpy() - peer).max() < 1e-3


def test_affine_beside_scipy():
    x, height, width = images(1, 1, 18, 25), 18, 25
    given = {"degrees": (25, 25), "scale": (1.3, 1.3), "shear": (15, 15)}
    out = RandomAffine(**given, translate=0.0, fill=-0.2)(x, gen())[0, 0]
    angle, slope = math.radians(25), math.tan(math.radians(15))
    # In (x right, y down): a positive angle is anticlockwise to the eye.
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    forward = turn @ (1.3 * np.eye(2)) @ np.array([[1, slope], [0, 1]])
    back = np.linalg.inv(forward)[::-1, ::-1]
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    peer = ndimage.affine_transform(
        x[0, 0].numpy(), back, centre - back @ centre, order=1, mode="grid-constant", cval=-0.2
    )
    assert np.abs(out.numpy() - peer).max() < 1e-3


def test_affine_shifts_both_ways_up_to_its_share():
    x = torch.full((300, 1, 20, 40), -1.0)
    x[:, :, 10, 20] = 1
    out = RandomAffine(degrees=(0, 0), scale=(1, 1), translate=0.2)(x, gen())[:, 0] + 1
    mass = out.sum((1, 2))
    assert (mass - 2).abs().max() < 1e-3
    down = (out.sum(2) * torch.arange(20.0)).sum(1) / mass - 10
    across = (out.sum(1) * torch.arange(40.0)).sum(1) / mass - 20
    assert -4.001 < down.min() < -3.5 and 3.5 < down.max() < 4.001
    assert -8.001 < across.min() < -7.2 and 7.2 < across.max() < 8.001


def test_resized_crops():
    x = images(3, 3, 14, 10)
    assert (RandomResizedCrop(scale=(1, 1), ratio=(1, 1))(x, gen()) - x).abs().max() < 1e-5
    ramp = torch.linspace(-1, 1, 40).view(1, 1, 1, 40).expand(200, 1, 40, 40)
    out = RandomResizedCrop(scale=(0.25, 0.25), ratio=(1, 1))(ramp, gen())
    spread = out[:, 0, 0, -1] - out[:, 0, 0, 0]
    # Half the side: 20 pixels, whose first and last samples lie 19.5 pixels apart.
    assert (spread - 19.5 * 2 / 39).abs().max() < 0.03
    middle = out.mean((1, 2, 3))
    assert -0.52 < middle.min() < -0.45 and 0.45 < middle.max() < 0.52


# -------------------------------------------------------------------- colour
def drawn_factors(amount, n, seed):
    return 1 - amount + 2 * amount * torch.rand(n, generator=gen(seed)).view(n, 1, 1, 1)


def test_brightness_by_hand():
    x = torch.tensor([-1.0, -0.5, 0.9]).view(1, 1, 1, 3).repeat(50, 1, 1, 1)
    out, factor = RandomBrightness(amount=0.5)(x, gen(3)), drawn_factors(0.5, 50, 3)
    assert (out[..., 0] == -1).all()
    assert (out[..., 1] - (0.5 * factor[..., 0] - 1)).abs().max() < 1e-6
    assert (out[..., 2] - (1.9 * factor[..., 0] - 1).clamp(max=1)).abs().max() < 1e-6
    assert (out[..., 2] == 1).any() and 0.5 <= factor.min() < 0.6 and 1.4 < factor.max() <= 1.5


def test_contrast_by_hand():
    x = torch.tensor([-0.2, 0.4]).view(1, 1, 1, 2).repeat(8, 1, 1, 1)
    out, factor = RandomContrast(amount=0.4)(x, gen(3)), drawn_factors(0.4, 8, 3)
    assert (out - torch.cat([0.1 - 0.3 * factor, 0.1 + 0.3 * factor], 3)).abs().max() < 1e-6


def test_saturation_by_hand():
    x = torch.tensor([0.5, 0.0, -0.5]).view(1, 3, 1, 1).repeat(8, 1, 1, 1)
    out, factor = RandomSaturation(amount=0.5)(x, gen(3)), drawn_factors(0.5, 8, 3)
    grey = 0.5 * 0.299 - 0.5 * 0.114
    assert (out - (grey + (x - grey) * factor)).abs().max() < 1e-6
    flat = images(3, 1)
    assert (RandomSaturation(amount=0.5)(flat, gen()) - flat).abs().max() < 1e-6


def test_noise_has_its_deviation():
    noise = GaussianNoise(std=0.1)(torch.zeros(8, 3, 32, 32), gen())
    assert abs(noise.std().item() - 0.1) < 0.003 and abs(noise.mean().item()) < 0.003
    assert GaussianNoise(std=2.0)(torch.zeros(2, 1, 32, 32), gen()).abs().max() == 1


@pytest.mark.parametrize("sigma", [0.7, 2.5])
def test_blur_beside_scipy(sigma):
    x = images(2, 3, 15, 11)
    out = GaussianBlur(sigma=(sigma, sigma))(x, gen())
    peer = ndimage.gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="nearest", radius=math.ceil(4 * sigma))
    assert np.abs(out.numpy() - peer).max() < 1e-5


@pytest.mark.parametrize("side", [16, 15])
def test_cutout_covers_its_rectangle(side):
    out = Cutout(fraction=0.5, fill=0.5)(torch.full((400, 2, side, side), -1.0), gen())
    hole = out[:, 0] == 0.5
    assert torch.equal(hole, out[:, 1] == 0.5) and set(out.unique().tolist()) == {-1.0, 0.5}
    tall, wide = hole.any(2).sum(1), hole.any(1).sum(1)
    assert torch.equal(hole.sum((1, 2)), tall * wide)
    assert tall.max() == wide.max() == 8 and tall.min() == wide.min() == 4
    # Cut off alike at all four edges.
    for edge, lengths in ((hole[:, 0], tall), (hole[:, -1], tall), (hole[:, :, 0], wide), (hole[:, :, -1], wide)):
        assert lengths[edge.any(1)].min() == 4


# -------------------------------------------------------------------- labels and chains
def test_mixup_blends_labels_as_images():
    labels = torch.arange(50) % 5
    x = labels.view(50, 1, 1, 1).expand(50, 1, 8, 8) / 4 * 2 - 1
    out, soft = MixUp(classes=5, alpha=1.0)(x, gen(), labels)
    assert soft.shape == (50, 5) and (soft.sum(1) - 1).abs().max() < 1e-6 and soft.min() >= 0
    shown = (soft * (torch.arange(5.0) / 4 * 2 - 1)).sum(1)
    assert (out - shown.view(50, 1, 1, 1)).abs().max() < 1e-6
    assert 20 < ((soft > 0).sum(1) == 2).sum() < 50
    again = MixUp(classes=5, alpha=1.0)(x, gen(), labels)
    assert torch.equal(out, again[0]) and torch.equal(soft, again[1])


def test_mixup_weights_are_beta():
    x = torch.cat([torch.ones(2000, 1, 1, 1), -torch.ones(2000, 1, 1, 1)])
    labels = (x.ravel() < 0).long()
    _, soft = MixUp(classes=2, alpha=0.5)(x, gen(), labels)
    own = soft.gather(1, labels[:, None]).ravel()
    # Half the partners are of the own class; of the others the weight has mean 1/2 and variance 1/8.
    mixed = own[own < 1 - 1e-7]
    assert abs(mixed.mean().item() - 0.5) < 0.03 and abs(mixed.var().item() - 0.125) < 0.01


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.zeros(2, dtype=torch.long), torch.tensor([0, 1, 2])])
def test_mixup_needs_class_indices(labels):
    with pytest.raises(DataError, match=r"one class index in 0..1 for each of 3 images"):
        MixUp(classes=2)(images(3), gen(), labels)


def test_chains_draw_in_turn():
    flip, crop, x = RandomHorizontalFlip(), RandomCrop(padding=2), images()
    generator = gen(5)
    by_hand = crop(flip(x, generator), generator)
    assert torch.equal(Compose([flip, crop])(x, gen(5)), by_hand)
    assert torch.equal(Compose([])(x, gen()), x)
    for bad in (MixUp(classes=2), "flip", RandomCrop, lambda images: images):
        with pytest.raises(ConfigError, match="Compose chains"):
            Compose([flip, bad])
    for bad in (crop, "crop"):
        with pytest.raises(ConfigError, match="Compose takes a list"):
            Compose(bad)


# -------------------------------------------------------------------- for discriminators
def test_real_and_generated_are_treated_alike():
    real, generator = images(6), gen(4)
    first, second = diff_augment_pair(real, real.clone(), generator)
    assert torch.equal(first, second) and torch.equal(first, diff_augment(real, gen(4)))
    alone = gen(4)
    diff_augment(real, alone)
    assert torch.equal(generator.get_state(), alone.get_state())
    with pytest.raises(DataError, match="differ in shape"):
        diff_augment_pair(real, real[:3], generator)


def test_diff_augment_colour_by_hand():
    x, generator = images(5), gen(2)
    light, saturation, contrast = (torch.rand(5, generator=generator).view(5, 1, 1, 1) for _ in range(3))
    y = x + light - 0.5
    y = y.mean(1, keepdim=True) + (y - y.mean(1, keepdim=True)) * saturation * 2
    y = y.mean((1, 2, 3), keepdim=True) + (y - y.mean((1, 2, 3), keepdim=True)) * (contrast + 0.5)
    assert (diff_augment(x, gen(2), ["colour"]) - y).abs().max() < 1e-5


def test_diff_augment_covers_with_nought():
    x = torch.ones(200, 1, 16, 16)
    shifted = diff_augment(x, gen(), ["translation"])
    lost = 16 - (shifted[:, 0] != 0).any(2).sum(1)
    assert lost.max() == 2 and lost.min() == 0 and set(shifted.unique().tolist()) == {0.0, 1.0}
    kept = diff_augment(x, gen(), ["cutout"]).sum((1, 2, 3))
    assert kept.min() == 256 - 64 and kept.max() == 256 - 16
    assert torch.equal(diff_augment(x, gen(), []), x)


def test_diff_augment_passes_exact_gradients():
    x = images(2, 3, 6, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: diff_augment(v, gen(1)), (x,), atol=1e-6)
