"""Models as if trained, for the tests of sealing."""

import torch

from ganlib.export.reference import needs_condition
from ganlib.registry import entry
from ganlib.training.algorithm import Batch


def build(name, spec, **config):
    """A model as if trained: every weight and statistic away from where it begins. Equal calls give equal models."""
    torch.manual_seed(0)
    algorithm = entry(name).create(spec, **config)
    data = {"x": torch.randn(64, *spec.shape), "y": torch.arange(64) % max(1, spec.classes)}
    algorithm.prepare(Batch({**data, "c": torch.randn(64, spec.attributes)}))
    with torch.no_grad():
        for value in algorithm.parameters():
            value += 0.05 * torch.randn(value.shape)
        for label, value in algorithm.named_buffers():
            if "running_mean" in label:
                value += 0.1 * torch.randn(value.shape)
            elif "running_var" in label:
                value *= 1.3
    return algorithm


def names(spec):
    return [f"class {i}" for i in range(spec.classes)]


def conditions(algorithm, spec):
    """The class names that its sampler takes; None if it takes no class."""
    sampler = algorithm.sampler().eval()
    return names(spec) if spec.classes and needs_condition(sampler, torch.zeros(2, sampler.latent_dim)) else None
