"""The plain game as a model, and every objective that is a model in its own right."""

from __future__ import annotations

import dataclasses

from ganlib.losses.adversarial import OBJECTIVES
from ganlib.models.gan.config import GANConfig, preset
from ganlib.models.gan.gan import GAN
from ganlib.models.gan.toys import ENERGY_TOY, RING_TOY
from ganlib.registry import Toy, register

_GAN_TOY = Toy(
    at_least=0.4,
    config={"learning_rate": 1e-3},
    trainer={"steps": 3000, "batch_size": 128, "ema": 0.995},
    **RING_TOY,
)
_MODALITIES = ("points", "table", "image", "series")
register(
    "gan",
    config=GANConfig,
    tasks=("augmenter",),
    modalities=_MODALITIES,
    paper="Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, 2014",
    exports=("sampler",),
    toy=_GAN_TOY,
)(GAN)


def _register_objectives() -> None:
    """Every objective that is a model in its own right."""
    for row in OBJECTIVES.values():
        if row.model:
            toy = {"config": {"learning_rate": 1e-3}, **row.toy}
            if toy.pop("images", False):
                toy = {**ENERGY_TOY, "at_least": 0.8, **toy}
            register(
                row.model,
                config=preset(GANConfig, f"{row.name.title().replace('_', '')}Config", objective=row.name),
                tasks=("augmenter", "detector") if row.detects else ("augmenter",),
                modalities=_MODALITIES,
                paper=row.source,
                exports=("sampler", "scorer") if row.detects else ("sampler",),
                toy=dataclasses.replace(_GAN_TOY, **toy),
            )(GAN)


_register_objectives()
