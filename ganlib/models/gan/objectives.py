"""The plain game as a model, and every objective that is a model in its own right."""

from __future__ import annotations

from ganlib.losses.adversarial import OBJECTIVES
from ganlib.models.gan.config import GANConfig
from ganlib.models.gan.gan import GAN
from ganlib.registry import register

_MODALITIES = ("points", "table", "image", "series")
register(
    "gan",
    config=GANConfig,
    modalities=_MODALITIES,
    paper="Goodfellow et al., Generative Adversarial Networks, arXiv 1406.2661, 2014",
)(GAN)


def _register_objectives() -> None:
    """Every objective that is a model in its own right."""
    for row in OBJECTIVES.values():
        if row.model:
            register(
                row.model,
                config=GANConfig,
                defaults={"objective": row.name},
                modalities=_MODALITIES,
                paper=row.source,
            )(GAN)


_register_objectives()
