"""The detectors by name, and any registered detector."""

from __future__ import annotations

from typing import Any

from ganlib.detect.base import BaseDetector


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

    def __init__(
        self,
        model: str = "vae",
        *,
        options: dict[str, Any] | None = None,
        latent_dim: int | None = None,
        hidden: tuple[int, ...] | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 128,
        learning_rate: float | None = None,
        patience: int = 12,
        alpha: float = 0.01,
        calibration_fraction: float = 0.2,
        validation_fraction: float = 0.1,
        schema: Any = None,
        group: str | None = None,
        modality: str | None = None,
        random_state: int | None = 0,
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
            alpha=alpha,
            calibration_fraction=calibration_fraction,
            validation_fraction=validation_fraction,
            schema=schema,
            group=group,
            modality=modality,
            random_state=random_state,
            device=device,
            verbose=verbose,
        )
        self.model = model
