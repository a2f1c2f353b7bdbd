"""Statistics of features, and linear maps between features that change them.

Source: Li et al., Learning Linear Transformations for Fast Image and Video Style Transfer, arXiv 1808.04537.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(n, c, 1)`` and covariance ``(n, c, c)`` of the channels of ``(n, c, h, w)`` over positions."""
    flat = features.flatten(2)
    mean = flat.mean(2, keepdim=True)
    centred = flat - mean
    return mean, centred @ centred.transpose(1, 2) / flat.shape[2]


class MatrixNet(nn.Module):
    """Features ``(n, c, h, w)`` to a matrix ``(n, k, k)``: convolutions, the Gram matrix, a linear layer.

    It starts near the identity.
    """

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        wide = 2 * max(channels, narrow)
        self.convolutions = nn.Sequential(nn.Conv2d(channels, wide, 1), nn.ReLU(), nn.Conv2d(wide, narrow, 1))
        self.narrow, self.matrix = narrow, nn.Linear(narrow * narrow, narrow * narrow)
        with torch.no_grad():
            self.matrix.weight.mul_(0.1)
            self.matrix.bias.copy_(torch.eye(narrow).flatten())

    def forward(self, features: Tensor) -> Tensor:
        """The matrix."""
        flat = self.convolutions(features).flatten(2)
        gram = flat @ flat.transpose(1, 2) / flat.shape[2]
        return self.matrix(gram.flatten(1)).unflatten(1, (self.narrow, self.narrow))


class LinearTransfer(nn.Module):
    """Content features with the statistics of a style: ``uncompress(T · compress(content - mean)) + style mean``.

    T = M_s · M_c; each factor is a function of one image. ``narrow`` is the number of channels in between.
    """

    def __init__(self, channels: int, narrow: int) -> None:
        super().__init__()
        self.compress, self.uncompress = nn.Linear(channels, narrow), nn.Linear(narrow, channels)
        self.content, self.style = MatrixNet(channels, narrow), MatrixNet(channels, narrow)
        with torch.no_grad():
            for layer in (self.compress, self.uncompress):
                nn.init.orthogonal_(layer.weight)
                layer.bias.zero_()
            self.uncompress.weight.copy_(self.compress.weight.T)

    def of_style(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """What the map reads of style features ``(n, c, h, w)``: M_s ``(n, k, k)`` and the mean ``(n, c, 1)``."""
        mean = style.flatten(2).mean(2, keepdim=True)
        return self.style(style - mean.unsqueeze(3)), mean

    def forward(self, content: Tensor, matrix: Tensor, mean: Tensor) -> Tensor:
        """Content features ``(n, c, h, w)`` under a style, given by M_s and mean."""
        flat = content.flatten(2)
        centred = flat - flat.mean(2, keepdim=True)
        t = matrix @ self.content(centred.unflatten(2, content.shape[2:]))
        narrow = self.compress(centred.transpose(1, 2)) @ t.transpose(1, 2)
        return (self.uncompress(narrow).transpose(1, 2) + mean).unflatten(2, content.shape[2:])
