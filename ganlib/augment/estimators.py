"""Augmenters by the name of their model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganlib.augment.base import BaseAugmenter
from ganlib.data.schema import Schema
from ganlib.errors import ConfigError
from ganlib.estimator import estimator_parameters
from ganlib.registry import Entry, resolve
from ganlib.training.algorithm import Algorithm


class CVAEGANAugmenter(BaseAugmenter):
    """CVAE-GAN (Bao et al., arXiv 1703.10155) as an over-sampler; parameters as ``BaseAugmenter``.

    Defaults of ours that leave the paper: the reconstruction is a likelihood with learned variances, l1 is 1, not 3,
    and feature differences are averaged over units, because rows are not images and summed features drown the few
    columns of a table (see ``ganlib.models.cvae_gan.cvae_gan``); l2 to l4 are the paper's. Dropout 0.1 is ours. The
    paper's form is ``options={"kl": 3.0, "reconstruction": "squared", "features": "sum", "dropout": 0.0}`` with
    ``class_prior=False`` and ``curation=0.0``. For images and series features are summed as in the paper, and there
    is no dropout.
    """

    default_model = "cvae_gan"
    _defaults: Mapping[str, Any] = {"kl": 1.0, "reconstruction": "likelihood", "features": "mean", "dropout": 0.1}
    _array_defaults: Mapping[str, Any] = {"kl": 1.0, "reconstruction": "likelihood"}


class CVAEAugmenter(BaseAugmenter):
    """CVAE (Sohn et al., NIPS 2015) as an over-sampler; parameters as ``BaseAugmenter``.

    Dropout 0.1, against learning few rows by heart, is ours.
    """

    default_model = "cvae"
    _defaults: Mapping[str, Any] = {"dropout": 0.1}


class CGANAugmenter(BaseAugmenter):
    """CGAN (Mirza & Osindero, arXiv 1411.1784) as an over-sampler; parameters as ``BaseAugmenter``.

    Two critic updates per generator update for tables, where the paper has one, are ours. It has no encoder, hence no
    class prior, and needs more rows than its siblings: below some hundred a class prefer ``CVAEAugmenter``.
    """

    default_model = "cgan"
    _defaults: Mapping[str, Any] = {"critic_steps": 2}


class VAEAugmenter(BaseAugmenter):
    """One unconditional VAE (arXiv 1312.6114) per class as an over-sampler; parameters as ``BaseAugmenter``.

    Every class is learned from its own rows alone, so a class of few rows borrows nothing from the others: prefer
    ``CVAEAugmenter`` there. Without ``y`` one VAE learns the whole table.
    """

    default_model = "vae"
    _defaults: Mapping[str, Any] = {"variance_pace": 10.0}


class Augmenter(BaseAugmenter):
    """Any registered generator: ``model`` is its registry name, the other parameters are ``BaseAugmenter``'s."""

    _parameter_constraints = {**BaseAugmenter._parameter_constraints, "model": [str]}

    def __init__(
        self, model: str = "cvae", *, sampling_strategy: Any = "auto", options: dict[str, Any] | None = None,
        latent_dim: int | None = None, hidden: tuple[int, ...] | None = None, epochs: int | None = None,
        steps: int | None = None, batch_size: int = 128, learning_rate: float | None = None, patience: int = 10,
        validation_fraction: float = 0.1, balance: float = 0.3, class_prior: bool = True, curation: float = 0.5,
        near_copies: float = 0.05, schema: Schema | str | None = None, modality: str | None = None,
        random_state: Any = 0, device: str = "auto", verbose: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            sampling_strategy=sampling_strategy, options=options, latent_dim=latent_dim, hidden=hidden,
            epochs=epochs, steps=steps, batch_size=batch_size, learning_rate=learning_rate, patience=patience,
            validation_fraction=validation_fraction, balance=balance, class_prior=class_prior, curation=curation,
            near_copies=near_copies, schema=schema, modality=modality, random_state=random_state, device=device,
            verbose=verbose,
        )  # fmt: skip
        self.model = model


AUGMENTERS: Mapping[str, type[BaseAugmenter]] = {
    "cvae_gan": CVAEGANAugmenter,
    "cvae": CVAEAugmenter,
    "cgan": CGANAugmenter,
    "vae": VAEAugmenter,
}


def as_augmenter(model: str | Entry | Algorithm | type, **parameters: Any) -> BaseAugmenter:
    """Any registered augmenter by name, entry, class or untrained model, with ``BaseAugmenter``'s parameters.

    Other keywords are the model's own options; an untrained model lends its options, and networks are built anew for
    the data. Raises ConfigError on an unknown model or option, or on a model that
    does not generate.
    """
    known = resolve(model)
    if "augmenter" not in known.tasks:
        raise ConfigError(f"model {known.name!r} does not generate; `ganlib models --task augmenter` lists others")
    parameters = estimator_parameters(model, known, BaseAugmenter._get_param_names(), parameters, "augmenter")
    return AUGMENTERS[known.name](**parameters) if known.name in AUGMENTERS else Augmenter(known.name, **parameters)
