"""Samplers: modules from latent noise to examples that can be exported to ONNX."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganlib.data.spec import DataSpec
from ganlib.nn.gaussian import normal_cdf
from ganlib.nn.layers import bake


class Sampler(nn.Module):
    """The base of samplers: ``forward(z (n, latent_dim), ...)`` returns ``(n, *shape)``.

    The optional second argument is the condition: class indices int64 ``(n,)``, attributes ``(n, k)`` or, with
    ``by_example``, examples ``(n, *shape)``.
    """

    latent_dim: int
    by_example: bool = False
    most_rows: int = 512  # at once, for its memory


class TableSampler(Sampler):
    """Wraps a decoder so that all randomness comes from a standard normal ``z``.

    ``z`` is ``(n, latent_dim)``: first the ``latent`` values of the decoder, then one value per position of the row.
    Numbers get Gaussian noise of ``scale`` (0 for none). Flags are sampled from a Bernoulli and categories from a
    softmax by the Gumbel-max trick, with u = Phi(z). Returns ``(n, d)`` encoded rows, with scores for argmax in
    category blocks and flags of 0 or 1.
    """

    scale: Tensor

    def __init__(self, decoder: nn.Module, latent: int, spec: DataSpec, scale: Tensor | None = None) -> None:
        super().__init__()
        self.decoder, self.latent = decoder, latent
        self.blocks = spec.blocks or DataSpec.vector(spec.dim).blocks
        self.latent_dim = latent + spec.dim
        self.register_buffer("scale", torch.zeros(spec.dim) if scale is None else scale.detach().clone())

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Decode ``z``, conditioned on class indices ``condition``, int64 ``(n,)``, if the decoder takes them."""
        inner, noise = z[:, : self.latent], z[:, self.latent :]
        output = self.decoder(inner) if condition is None else self.decoder(inner, condition)
        u = normal_cdf(noise).clamp(1e-6, 1.0 - 1e-6)
        parts = []
        for block in self.blocks:
            value, draw = output[:, block.slice], u[:, block.slice]
            if block.kind == "number":
                parts.append(value + self.scale[block.slice] * noise[:, block.slice])
            elif block.kind == "binary":
                parts.append((torch.sigmoid(value) > draw).to(value.dtype))
            else:
                parts.append(torch.log_softmax(value, 1) - torch.log(-torch.log(draw)))
        return torch.cat(parts, 1)


class GeneratorSampler(Sampler):
    """A generator as a sampler: ``z (n, latent_dim)``, and an optional condition, to examples in the data's range."""

    def __init__(self, generator: nn.Module, latent_dim: int, spec: DataSpec | None = None) -> None:
        super().__init__()
        self.generator, self.latent_dim, self.spec = generator, latent_dim, spec

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate."""
        from ganlib.nn.architecture import activate_output

        output = self.generator(z) if condition is None else self.generator(z, condition)
        return output if self.spec is None else activate_output(self.spec, output)


class OnlyClass(Sampler):
    """A class-conditional sampler that is always called with class 0."""

    def __init__(self, sampler: Sampler) -> None:
        super().__init__()
        self.sampler, self.latent_dim = sampler, sampler.latent_dim

    def forward(self, z: Tensor) -> Tensor:
        """Generate."""
        return self.sampler(z, torch.zeros_like(z[:, 0], dtype=torch.int64))


class InUnits(Sampler):
    """A sampler in the units of the data: standardises attributes and rescales examples.

    ``attributes`` and ``made`` (of examples) are pairs of mean and standard deviation that broadcast to
    ``(n, k)`` and ``(n, *shape)``, or None.
    """

    attribute_mean: Tensor
    attribute_deviation: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        sampler: Sampler,
        attributes: tuple[Tensor, Tensor] | None = None,
        made: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.sampler, self.latent_dim = sampler, sampler.latent_dim
        self.by_example, self.most_rows = sampler.by_example, sampler.most_rows
        same = torch.zeros(1), torch.ones(1)
        for name, (mean, deviation) in (("attribute_", attributes or same), ("", made or same)):
            self.register_buffer(f"{name}mean", mean.float())
            self.register_buffer(f"{name}deviation", deviation.float())

    def forward(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Generate."""
        if condition is None:
            made = self.sampler(z)
        elif condition.is_floating_point() and not self.by_example:
            made = self.sampler(z, (condition - self.attribute_mean) / self.attribute_deviation)
        else:
            made = self.sampler(z, condition)
        return made * self.deviation + self.mean


def sampler_for(generator: nn.Module, latent_dim: int, spec: DataSpec, scale: Tensor | None = None) -> Sampler:
    """The sampler for a copy, in evaluation mode, of a generator with linear outputs.

    For table rows, flags and categories are sampled and, with ``scale``, numbers get noise; other data is returned
    directly.
    """
    generator = bake(generator)
    plain = all(block.kind == "number" for block in spec.blocks)
    if len(spec.shape) > 1 or (plain and scale is None):
        return GeneratorSampler(generator, latent_dim, spec).eval()
    return TableSampler(generator, latent_dim, spec, scale).eval()
