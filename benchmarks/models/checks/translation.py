"""Checks of translators, on scikit-learn's digits and on points.

Without pairs CycleGAN may end in another bijection than the negative, with other labels. Its objective alone did so in
seed 0 of 0, 1, 2 (labels .06, .98, .76). Tried: one halving of the sides, 400 steps (.92, .70, .73) and 800 steps
(seeds 1, 2: .70, .73); a single residual block at half the rate, 600 steps (seeds 0, 2: .96, .60); the identity loss
of 0.5 (seed 1: .54). The recorded setting adds the term that keeps distances (Benaim & Wolf, arXiv 1706.00826) at
weight 1: .98, .98, .05. UNIT, on the same data, finds the negative in all three seeds.

SRGAN's digits are read better than bicubic ones, and less well than those of the smallest squared error. On MNIST, with
the weight of features raised to 1, they are read as well (benchmarks/models/enlarged.py).

DANN gained little from MNIST to digits on photographs of 16 x 16 pixels in 800 steps (one seed, held-out training
images): .785 against .731 at half contrast; nothing at full contrast, with three norms and with exchanged domains.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from benchmarks.models.checks.check import Check, Figures, fit
from ganlib.data.spec import DataSpec, Image
from ganlib.metrics.detection import auroc
from ganlib.metrics.features import frechet_distance
from ganlib.testing.problems import digits
from ganlib.testing.toys.translation import TOYS, adapted, bijection, domain, inverted, moments, nearer, turned

_GREY = DataSpec({"x": Image(1, 8, 8), "x_b": Image(1, 8, 8)})


def _reader(x: Tensor, y: Tensor) -> Any:
    """A classifier of digits; fitted on what outputs should look like."""
    from sklearn.svm import SVC

    return SVC().fit(x.flatten(1).numpy(), y.numpy())


# ---------------------------------------------------------------- pix2pix: coarse outlines to digits
def _outlines(x: Tensor, seed: int) -> Tensor:
    """Binary edges of digits by Sobel's filters, a third of the pixels lost: several digits fit each."""
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    filters = torch.stack([sobel, sobel.T]).unsqueeze(1)
    steep = torch.nn.functional.conv2d(x, filters, padding=1).square().sum(1, keepdim=True) > 12
    seen = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) > 1 / 3
    return 2.0 * (steep & seen) - 1


_FITTED: dict[int, tuple[Tensor, Tensor]] = {}


def _drawn(seed: int) -> tuple[Tensor, Tensor]:
    """Digits from held-out outlines, by pix2pix and by the same U-Net trained on the distance alone."""
    if seed not in _FITTED:
        x, held = digits(seed)[0], digits(seed, "test")[0]
        options = {"width": 16, "layers": 1, "learning_rate": 1e-3}
        made = []
        for weights in ({"l1": 100.0}, {"l1": 100.0, "adversarial": 0.0}):
            data = {"x": _outlines(x, seed), "x_b": x}
            model, _ = fit("pix2pix", _GREY, data, seed, 800, 32, 0.99, **options, **weights)
            with torch.no_grad():
                made.append(model.eval().translate(_outlines(held, seed + 1)))
        _FITTED[seed] = made[0], made[1]
    return _FITTED[seed]


def _read_back(seed: int) -> Figures:
    """Share of held-out outlines whose drawn digit is read as the true one; baseline: the distance alone."""
    reader, y = _reader(*digits(seed)), digits(seed, "test")[1].numpy()
    return tuple(float(reader.score(made.flatten(1).numpy(), y)) for made in _drawn(seed))  # type: ignore[return-value]


def _likeness(seed: int) -> Figures:
    """Minus the Fréchet distance of drawn digits' pixels from held-out ones'; baseline: the distance alone."""
    real = digits(seed, "test")[0].flatten(1)
    return tuple(-float(frechet_distance(real, made.flatten(1))) for made in _drawn(seed))  # type: ignore[return-value]


# ---------------------------------------------------------------- CycleGAN: digits to negatives of other digits
_CYCLES: dict[int, Any] = {}


def _cyclegan(seed: int) -> Any:
    if seed not in _CYCLES:
        toy = TOYS["cyclegan"]
        options = {"batch": 16, "ema": 0.98, **toy.config}
        _CYCLES[seed] = fit("cyclegan", _GREY, inverted(seed), seed, 300, **options)[0].eval()
    return _CYCLES[seed]


@functools.cache
def _unit(seed: int) -> Any:
    options = {"batch": 16, "ema": 0.98, **TOYS["unit"].config}
    return fit("unit", _GREY, inverted(seed), seed, 300, **options)[0].eval()


def _mates(made_by: Callable[[int], Any], seed: int) -> Figures:
    """Distance to the true negatives that translation saves of that of the digits themselves; baseline: matching the
    moments of each pixel."""
    return nearer(made_by(seed).translate, seed), moments(seed)


def _labels_kept(made_by: Callable[[int], Any], seed: int) -> Figures:
    """Share of translated digits that a reader of negatives names rightly; baseline: of digits as they are."""
    x, y = digits(seed)
    held, held_y = digits(seed, "test")
    reader = _reader(-x, y)
    with torch.no_grad():
        shown = (made_by(seed).translate(held), held)
    return tuple(float(reader.score(v.flatten(1).numpy(), held_y.numpy())) for v in shown)  # type: ignore[return-value]


# ---------------------------------------------------------------- UNIT: the same problem, and its codes
def _classifier_carried(seed: int) -> Figures:
    """Accuracy of a classifier of digits on negatives translated back to digits; baseline: on negatives."""
    held, y = digits(seed, "test")
    reader = _reader(*digits(seed))
    with torch.no_grad():
        shown = (_unit(seed).translate_back(-held), -held)
    return tuple(float(reader.score(v.flatten(1).numpy(), y.numpy())) for v in shown)  # type: ignore[return-value]


def _mates_close(seed: int) -> Figures:
    """AUROC of a digit's distance to its negative against that to another's, of codes; baseline: of pixels."""
    x = digits(seed, "test")[0]
    with torch.no_grad():
        codes = (_unit(seed).encode(x), _unit(seed).encode_b(-x)), (x.flatten(1), -x.flatten(1))
    odd = torch.cat([torch.zeros(len(x)), torch.ones(len(x))])
    values = [auroc(torch.cat([(a - b).norm(dim=1), (a - b.roll(1, 0)).norm(dim=1)]), odd) for a, b in codes]
    return float(values[0]), float(values[1])


# ---------------------------------------------------------------- DiscoGAN: ten modes to ten modes
@functools.cache
def _bijective(seed: int) -> Figures:
    """Modes of ten in a row sent one-to-one to ten on a circle; baseline: without reconstruction."""
    data = {"x": domain(8192, seed, "a", 10)[0], "x_b": domain(8192, seed + 1, "b", 10)[0]}
    values = []
    for cycle in (1.0, 0.0):
        model, _ = fit("discogan", DataSpec.vector(2), data, seed, 4000, 128, 0.99, cycle=cycle, learning_rate=5e-4)
        values.append(bijection(model.translate, seed, 10))
    return values[0], values[1]


# ---------------------------------------------------------------- SRGAN: 4 x 4 to 8 x 8 digits
Made = dict[str, Tensor]


@functools.cache
def _enlarged(seed: int) -> Made:
    """Held-out digits, their means over 2 x 2 pixels, and these enlarged by SRGAN, by the same generator trained on the
    squared error alone, and bicubically."""
    x, held = digits(seed)[0], digits(seed, "test")[0]
    spec, small = DataSpec({"x": Image(1, 4, 4), "x_b": Image(1, 8, 8)}), avg_pool2d(held, 2)
    sizes = {"width": 16, "blocks": 2, "critic_width": 16, "feature_width": 8, "learning_rate": 1e-3}
    bicubic = interpolate(small, scale_factor=2, mode="bicubic").clamp(-1, 1)
    made = {"real": held, "bicubic": bicubic}
    for name, weights in (("srgan", {}), ("squared", {"adversarial": 0.0, "content": 0.0})):
        data = {"x": avg_pool2d(x, 2), "x_b": x}
        model, _ = fit("srgan", spec, data, seed, 600, 16, 0.0, **sizes, **weights)
        with torch.no_grad():
            made[name] = model.eval().translate(small)
    return made


def _detail(images: Tensor) -> float:
    """Mean square of what averaging over 2 x 2 pixels removes."""
    return float((images - interpolate(avg_pool2d(images, 2), scale_factor=2)).square().mean())


def _read_large(seed: int, other: str) -> Figures:
    """Share of enlarged digits that a classifier of real ones reads rightly; baseline: of those of another method."""
    reader, y, made = _reader(*digits(seed)), digits(seed, "test")[1].numpy(), _enlarged(seed)
    return tuple(float(reader.score(made[name].flatten(1).numpy(), y)) for name in ("srgan", other))  # type: ignore[return-value]


def _detail_kept(seed: int) -> Figures:
    """Minus the distance from 1 of the detail's energy over that of real digits; baseline: the squared error alone."""
    made = _enlarged(seed)
    return tuple(-abs(_detail(made[name]) / _detail(made["real"]) - 1) for name in ("srgan", "squared"))  # type: ignore[return-value]


def _noise_ratio(seed: int) -> Figures:
    """Peak signal-to-noise ratio in decibels; baseline: the squared error alone."""
    made = _enlarged(seed)
    errors = [float((made[name] - made["real"]).square().mean()) for name in ("srgan", "squared")]
    return 10 * math.log10(4 / errors[0]), 10 * math.log10(4 / errors[1])


# ---------------------------------------------------------------- DANN: moons to turned moons
def _turned_moons(seed: int) -> Figures:
    """Accuracy on two moons turned by 35 degrees, labels of unturned ones; baseline: without the domain critic."""
    values = []
    for weight in (1.0, 0.0):
        model, _ = fit("dann", TOYS["dann"].spec, turned(seed), seed, 800, 64, 0.99, adversarial=weight)
        values.append(adapted(model.eval().classify, seed))
    return values[0], values[1]


ROWS = (
    Check("D1", "pix2pix", "8x8 digits from broken outlines: read as the true ones", "the L1 distance alone", 0.0,
          _read_back, gain=True),
    Check("D1 likeness", "pix2pix", "8x8 digits from broken outlines: minus the Fréchet distance",
          "the L1 distance alone", 0.0, _likeness, gain=True),
    Check("D2", "cyclegan", "8x8 digits to their negatives without pairs: distance saved",
          "moment matching; half of what it leaves is .77", 0.77, partial(_mates, _cyclegan)),
    Check("D2 labels", "cyclegan", "translated digits that keep their label", "untranslated digits", 0.85,
          partial(_labels_kept, _cyclegan)),
    Check("D3", "discogan", "modes of 10 in a row sent one-to-one to 10 on a circle", "without reconstruction", 0.9,
          _bijective),
    # Not the paper's finding: on Gaussians this far apart the plain game finds a bijection as well. Also tried, at
    # seeds 11 and 12, shares one-to-one with the reconstruction and without: deviation 0.02 at the paper's rate 2e-4,
    # .8 .7 and 1.0 1.0; ten modes at random places in both domains, .5 .7 and 1.0 .7.
    Check("D3 coupling", "discogan", "modes of 10 sent one-to-one, gain by reconstruction", "without reconstruction",
          0.1, _bijective, gain=True),
    Check("D4", "unit", "8x8 digits to their negatives without pairs: distance saved",
          "moment matching; half of what it leaves is .77", 0.77, partial(_mates, _unit)),
    Check("D4 labels", "unit", "translated digits that keep their label", "untranslated digits", 0.85,
          partial(_labels_kept, _unit)),
    Check("D4 classifier", "unit", "negatives translated to digits: accuracy of a classifier of digits, gain",
          "untranslated negatives", 0.15, _classifier_carried, gain=True),
    Check("D4 codes", "unit", "codes of a digit and its negative closer than of two digits: AUROC", "pixels", 0.8,
          _mates_close),
    Check("D7", "srgan", "digits enlarged from 4x4 to 8x8 and read as the true ones, gain", "bicubic", 0.0,
          partial(_read_large, other="bicubic"), gain=True),
    Check("D7 squared error", "srgan", "digits enlarged from 4x4 to 8x8 and read as the true ones, gain",
          "the squared error alone", 0.0, partial(_read_large, other="squared"), gain=True),
    Check("D7 detail", "srgan", "energy of detail over that of real digits: minus its distance from 1",
          "the squared error alone", -0.3, _detail_kept, worst=True),
    Check("D7 noise", "srgan", "digits enlarged from 4x4 to 8x8: peak signal-to-noise ratio in decibels",
          "the squared error alone", 0.0, _noise_ratio, gain=True, finding=True),
    # Averaged weights, chosen at seeds 11 to 13 (gains .22 to .23 against .17 to .21): the last ones end lower by
    # rounding alone, seed 0 at .94 on one processor and .77 on another, where the mean gain was .144 of three seeds.
    Check("D11", "dann", "two moons turned by 35 degrees: accuracy, gain by the domain critic", "without the critic",
          0.15, _turned_moons, gain=True),
)  # fmt: skip
