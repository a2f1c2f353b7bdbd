"""Lower and upper bounds of a critic's Lipschitz constant."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ganlib.errors import ConfigError
from ganlib.nn.architecture import Noise
from ganlib.nn.layers import WEIGHTED, bake

# Layers that never increase a distance, in evaluation mode.
_SHORT = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Identity, nn.Flatten, nn.Dropout, Noise)


def steepest_slope(score: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Largest gradient norm of a score ``(n, 1)`` at the points ``x (n, *shape)``: a lower bound of its constant."""
    at = x.detach().clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(score(at).sum(), at)
    return float(slope.flatten(1).norm(dim=1).max())


@torch.no_grad()
def lipschitz_bound(net: nn.Module, x: Tensor, iterations: int = 100) -> float:
    """Upper bound of a feed-forward network's Lipschitz constant: the product of its layers' operator norms.

    Each linear or convolutional layer's norm, bias aside, is found by power iteration on the input sizes for
    ``x (1, *shape)``. Source: Szegedy et al., arXiv 1312.6199, section 4.3. Raises ConfigError for layers without a
    bound: normalisation, attention, residual blocks.
    """
    net = bake(net).eval()
    leaves = [layer for layer in net.modules() if not list(layer.children())]
    if unknown := [layer for layer in leaves if not isinstance(layer, (*WEIGHTED, *_SHORT))]:
        name = type(unknown[0]).__name__
        raise ConfigError(f"{name} has no known bound; this works for plain feed-forward networks")
    norms: list[float] = []
    calls: dict[nn.Module, int] = {layer: 0 for layer in leaves if isinstance(layer, WEIGHTED)}

    def measure(layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        calls[layer] += 1
        norms.append(_operator_norm(layer, inputs[0][:1], iterations))

    handles = [layer.register_forward_hook(measure) for layer in calls]
    net(x[:1])
    for handle in handles:
        handle.remove()
    if any(count != 1 for count in calls.values()):
        raise ConfigError("the bound needs a network that uses each layer once, in sequence")
    return float(torch.tensor(norms, dtype=torch.float64).prod())


def _operator_norm(layer: nn.Module, like: Tensor, iterations: int) -> float:
    """Largest singular value of an affine layer on inputs of one size."""
    offset = layer.forward(torch.zeros_like(like))
    vector = torch.randn(like.shape, generator=torch.Generator().manual_seed(0))
    norm = torch.zeros(())
    for _ in range(iterations):
        vector = vector / vector.norm()
        with torch.enable_grad():
            at = vector.clone().requires_grad_(True)
            image = layer.forward(at) - offset
            (vector,) = torch.autograd.grad(image, at, image.detach())
        norm = image.detach().norm()
    return float(norm)
