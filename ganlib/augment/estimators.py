"""One augmenter class per model, and ``Augmenter`` for any registered model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from ganlib.augment.base import BaseAugmenter, Fraction
from ganlib.config import Count, Rate, Share, Whole
from ganlib.data.schema import Schema
from ganlib.estimator import Seed, TrainerOptions


class CVAEGANAugmenter(BaseAugmenter):
    """CVAE-GAN (Bao et al., arXiv 1703.10155) as an over-sampler; parameters as ``BaseAugmenter``.

    Defaults that differ from the paper: the reconstruction is a likelihood with learned variances, l1 is 1 instead of
    3, feature differences are averaged over units, and dropout is 0.1. Summed features would dominate the few columns
    of a table (see ``ganlib.models.cvae_gan.cvae_gan``). l2 to l4 are the paper's. For images and series, features are
    summed as in the paper, without dropout.

    The paper's form is ``options={"kl": 3.0, "reconstruction": "squared", "features": "sum", "dropout": 0.0}`` with
    ``class_prior=False`` and ``curation=0.0``.
    """

    default_model = "cvae_gan"
    _defaults: Mapping[str, Mapping[str, Any]] = {
        "table": {"kl": 1.0, "reconstruction": "likelihood", "features": "mean", "dropout": 0.1},
        "image": {"kl": 1.0, "reconstruction": "likelihood"},
        "series": {"kl": 1.0, "reconstruction": "likelihood"},
    }


class CVAEAugmenter(BaseAugmenter):
    """CVAE (Sohn et al., NIPS 2015) as an over-sampler; parameters as ``BaseAugmenter``.

    Unlike the paper, dropout is 0.1, so that few rows are not memorised.
    """

    default_model = "cvae"
    _defaults: Mapping[str, Mapping[str, Any]] = {"table": {"dropout": 0.1}}


class CGANAugmenter(BaseAugmenter):
    """CGAN (Mirza & Osindero, arXiv 1411.1784) as an over-sampler; parameters as ``BaseAugmenter``.

    Unlike the paper, it makes two critic updates per generator update for tables. Without an encoder it has no class
    prior and needs more rows than the other models: below about a hundred per class, prefer ``CVAEAugmenter``.
    """

    default_model = "cgan"
    _defaults: Mapping[str, Mapping[str, Any]] = {"table": {"critic_steps": 2}}


class VAEAugmenter(BaseAugmenter):
    """One unconditional VAE (arXiv 1312.6114) per class as an over-sampler; parameters as ``BaseAugmenter``.

    Every class is learned from its own rows only, so small classes do not benefit from the others: prefer
    ``CVAEAugmenter`` for these. Without ``y``, one VAE learns the whole table.
    """

    default_model = "vae"
    _defaults: Mapping[str, Mapping[str, Any]] = {"table": {"variance_pace": 10.0}}


class Augmenter(BaseAugmenter):
    """Any registered generator: ``model`` is its registry name, the other parameters are ``BaseAugmenter``'s."""

    # Editors and scikit-learn read signatures, which cannot be inherited and extended: a test compares the two.
    def __init__(
        self,
        model: str = "cvae",
        *,
        sampling_strategy: Any = "auto",
        options: Mapping[str, Any] | None = None,
        latent_dim: Count | None = None,
        hidden: tuple[Count, ...] | None = None,
        epochs: Count | None = None,
        steps: Count | None = None,
        batch_size: Count | None = None,
        learning_rate: Rate | None = None,
        patience: Whole | None = None,
        trainer: TrainerOptions = None,
        validation_fraction: Annotated[float, Ge(0), Le(0.5)] = 0.1,
        balance: Fraction = 0.3,
        class_prior: bool = True,
        curation: Share = 0.5,
        near_copies: Fraction = 0.05,
        schema: Schema | str | Path | None = None,
        modality: str | None = None,
        random_state: Seed = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            sampling_strategy=sampling_strategy,
            options=options,
            latent_dim=latent_dim,
            hidden=hidden,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
            trainer=trainer,
            validation_fraction=validation_fraction,
            balance=balance,
            class_prior=class_prior,
            curation=curation,
            near_copies=near_copies,
            schema=schema,
            modality=modality,
            random_state=random_state,
            device=device,
            verbose=verbose,
        )
        self.model = model
