"""Grey digits, and textures whose colours vary together: contents and styles."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ganlib.nn.style import moments
from ganlib.testing.problems import digits


def styles(seed: int, part: str = "train") -> dict[str, Tensor]:
    """``x (n, 3, 16, 16)``: grey digits; ``x_b``: as many textures, each with its mean colour and colour covariance."""
    small = digits(seed, part)[0]
    x = 0.8 * interpolate(small, (16, 16), mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    g = torch.Generator().manual_seed(seed + (0 if part == "train" else 10_000))
    grain = interpolate(torch.randn(len(x), 3, 8, 8, generator=g), (16, 16), mode="bilinear")
    mixed = 0.35 * torch.randn(len(x), 3, 3, generator=g) @ grain.flatten(2)
    colour = 0.6 * torch.rand(len(x), 3, 1, generator=g) - 0.3
    return {"x": x, "x_b": (mixed + colour).clamp(-1, 1).view_as(x)}


def style_error(found: Tensor, style: Tensor) -> float:
    """The distance of features' covariances over the size of the style's, mean of all images."""
    (_, first), (_, second) = moments(found), moments(style)
    sizes = second.flatten(1).norm(dim=1)
    return float(((first - second).flatten(1).norm(dim=1) / sizes.clamp(min=1e-6)).mean())


def content_cosine(found: Tensor, content: Tensor) -> float:
    """The cosine of features and the content's, each less its channel's mean, mean of all images."""
    first, second = ((one - one.mean((2, 3), keepdim=True)).flatten(1) for one in (found, content))
    return float(torch.cosine_similarity(first, second).mean())


def normalised(content: Tensor, style: Tensor) -> Tensor:
    """Adaptive instance normalisation: the content's features with the style's mean and deviation by channel.

    Source: Huang & Belongie, arXiv 1703.06868, equation 8.
    """

    def parts(features: Tensor) -> tuple[Tensor, Tensor]:
        return features.mean((2, 3), keepdim=True), features.std((2, 3), keepdim=True)

    (mean, deviation), (wanted, spread) = parts(content), parts(style)
    return (content - mean) / (deviation + 1e-5) * spread + wanted


@torch.no_grad()
def styled(algorithm: Any, seed: int) -> float:
    """1 less the error of colour covariances of held-out contents in held-out styles, over that of the contents."""
    held, model = styles(seed, "test"), algorithm.eval()
    made = model.translate(held["x"], held["x_b"])
    return 1 - style_error(made, held["x_b"]) / style_error(held["x"], held["x_b"])
