"""Image checks: sharpness, to detect blur, and nearest real neighbours, to detect memorisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ganlib.errors import DataError
from ganlib.metrics.rows import nearest_distances
from ganlib.metrics.two_sample import as_images, as_pair


def sharpness(images: np.ndarray | Tensor) -> float:
    """Variance of the Laplacian's response, a mean over images ``(n, c, h, w)`` and channels, in [0, ∞).

    The 3x3 Laplacian (-4 in the middle, 1 at its four sides) without padding; the variance is over an image's pixels.
    Blur lowers it and noise raises it, so compare it with real images instead of maximising it.

    Source: Pech-Pacheco et al., ICPR 2000 (LAPV). Raises DataError for other shapes, channels last, sides under 3
    pixels, images with one response only or non-finite values.
    """
    return _sharpness("images", images)


def _sharpness(name: str, images: np.ndarray | Tensor) -> float:
    x = as_images(name, images)
    if min(x.shape[2:]) < 3 or max(x.shape[2:]) < 4:
        raise DataError(f"{name} has shape {x.shape}: give (n, c, h, w), both sides 3 pixels or more, one above 3")
    sides = x[:, :, :-2, 1:-1] + x[:, :, 2:, 1:-1] + x[:, :, 1:-1, :-2] + x[:, :, 1:-1, 2:]
    return float((sides - 4 * x[:, :, 1:-1, 1:-1]).var((2, 3)).mean())


def sharpness_ratio(real: np.ndarray | Tensor, fake: np.ndarray | Tensor) -> float:
    """``sharpness`` of fakes over that of reals, in [0, ∞): 1 as sharp, below 1 blurred, above 1 noisy.

    Raises DataError as ``sharpness``, on integers beside floats, and on real images that are flat.
    """
    reference, value = _sharpness("real", real), _sharpness("fake", fake)
    _one_unit(("real", "fake"), real, fake)
    if not reference > 0:
        raise DataError("real images are flat, sharpness 0: give images with some structure")
    return value / reference


def _one_unit(names: tuple[str, str], *samples: np.ndarray | Tensor) -> None:
    """Raise DataError if one sample holds integers and the other floats, because their ranges differ."""
    kinds = [np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x).dtype.kind for x in samples]
    for whole, other in ((0, 1), (1, 0)):
        if kinds[whole] in "iu" and kinds[other] == "f":
            fix = "convert both with ganlib.data.images.to_tensor"
            raise DataError(f"{names[whole]} holds integers, {names[other]} floats: {fix}")


@dataclass(frozen=True)
class NearestReal:
    """Distances from each fake to its nearest real, with those among the reals as reference.

    ``distances`` ``(n,)``; ``reference`` ``(m,)``, each real to its nearest other; ``ratio`` of their medians: 1 for
    fresh samples, 0 for copies; ``closer``, the share of fakes at most as far as the lowest 5% of the reference: about
    .05 for fresh samples, 1 for copies.
    """

    distances: np.ndarray
    reference: np.ndarray
    ratio: float
    closer: float


def nearest_real(fake: np.ndarray | Tensor, real: np.ndarray | Tensor) -> NearestReal:
    """Memorisation check: Euclidean distances of ``fake`` ``(n, ...)`` to the training rows ``real`` ``(m, ...)``.

    Flattened values; an exact copy has distance 0. ``real`` must be the rows that the generator was trained on.

    Source: nearest neighbours in training data, as in Goodfellow et al., 1406.2661, figure 2; the reference among
    reals is this project's. Raises DataError for fewer than 2 samples a side, mismatched or non-finite values,
    images of integers beside floats, or reals of which most are copies of each other.
    """
    a, b = as_pair(("fake", "real"), fake, real, least=2)
    if np.ndim(real) == 4:
        _one_unit(("fake", "real"), fake, real)
    distances, reference = nearest_distances(a, b)[:, 0], nearest_distances(b, b, same=True)[:, 0]
    middle = float(np.median(reference))
    if not middle > 0:
        raise DataError("most real samples have an exact copy among the others: drop repeated rows first")
    closer = float((distances <= np.quantile(reference, 0.05)).mean())
    return NearestReal(distances, reference, float(np.median(distances)) / middle, closer)
