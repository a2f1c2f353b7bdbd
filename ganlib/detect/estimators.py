"""The detectors by name, and any registered detector."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ganlib.config import Count, Rate, Share, Whole
from ganlib.data.schema import Schema
from ganlib.detect.base import BaseDetector, Part
from ganlib.estimator import Seed, TrainerOptions


class GANomalyDetector(BaseDetector):
    """GANomaly (arXiv 1805.06725) as a detector.

    Parameters as ``BaseDetector``; ``options={"score": "latent"}`` gives the paper's score.
    """

    default_model = "ganomaly"


class VAEDetector(BaseDetector):
    """A variational autoencoder (arXiv 1312.6114) scored by its bound, in nats; parameters as ``BaseDetector``."""

    default_model = "vae"


class ReconstructionVAEDetector(BaseDetector):
    """The cyber-attack VAE (arXiv 1805.12511), scored by reconstruction probability; parameters as ``BaseDetector``."""

    default_model = "reconstruction_vae"


class Detector(BaseDetector):
    """Any registered detector: ``model`` is its registry name, the other parameters are ``BaseDetector``'s."""

    default_model = "vae"

    # Editors and scikit-learn read signatures, which cannot be inherited and extended: a test compares the two.
    def __init__(
        self,
        model: str = "vae",
        *,
        options: Mapping[str, Any] | None = None,
        latent_dim: Count | None = None,
        hidden: tuple[Count, ...] | None = None,
        epochs: Count | None = None,
        steps: Count | None = None,
        batch_size: Count | None = None,
        learning_rate: Rate | None = None,
        patience: Whole | None = None,
        trainer: TrainerOptions = None,
        alpha: Part = 0.01,
        calibration_fraction: Part = 0.2,
        validation_fraction: Share = 0.1,
        schema: Schema | str | Path | None = None,
        group: str | None = None,
        modality: str | None = None,
        tile: Count | None = None,
        random_state: Seed = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        super().__init__(
            options=options,
            latent_dim=latent_dim,
            hidden=hidden,
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
            trainer=trainer,
            alpha=alpha,
            calibration_fraction=calibration_fraction,
            validation_fraction=validation_fraction,
            schema=schema,
            group=group,
            modality=modality,
            tile=tile,
            random_state=random_state,
            device=device,
            verbose=verbose,
        )
        self.model = model
