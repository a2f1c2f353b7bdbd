"""Any registered detector as a scikit-learn outlier detector."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_array, check_is_fitted

from ganlib.calibrate import Calibration
from ganlib.data.encoder import TableEncoder
from ganlib.data.feeds import as_frame
from ganlib.data.inference import infer_schema
from ganlib.data.schema import Schema
from ganlib.data.split import split_rows
from ganlib.errors import ConfigError, DataError
from ganlib.registry import entry
from ganlib.training import Trainer, TrainerConfig
from ganlib.training.callbacks import ProgressBar

LEAST_ROWS = 10


class Detector(OutlierMixin, BaseEstimator):
    """One-class detector: learns from rows assumed mostly normal, gives calibrated p-values.

    ``fit`` infers a schema (or takes ``schema``), sets rows aside for early stopping and calibration by their content,
    fits the encoder on the rest, trains, calibrates. Higher ``anomaly_score`` = more anomalous; scikit-learn's
    ``score_samples`` is its negative, ``decision_function`` is negative for outliers, ``predict`` gives -1 for them;
    all agree with ``p_value <= alpha`` row by row.

    Parameters: ``model`` a registry name; ``options`` its own configuration; ``latent_dim`` and ``hidden`` are
    chosen from the data where None; ``steps`` and ``epochs`` bound training (None: from the data's size), which stops
    after ``patience`` validations without gain; ``alpha`` the alarm budget; ``schema`` a Schema or a path.
    """

    def __init__(
        self,
        model: str = "ganomaly",
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
        schema: Schema | str | None = None,
        group: str | None = None,
        random_state: int | None = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.options = options
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.alpha = alpha
        self.calibration_fraction = calibration_fraction
        self.validation_fraction = validation_fraction
        self.schema = schema
        self.group = group
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = False
        return tags

    # ---------------------------------------------------------------- fitting
    def fit(self, X: Any, y: Any = None) -> Self:
        """Train and calibrate on rows assumed mostly normal; ``y`` is ignored.

        Raises DataError on fewer than 10 rows or unusable columns, ConfigError on bad parameters.
        """
        frame = self._accept(X, reset=True)
        if not 0 < self.alpha < 1:
            raise ConfigError(f"alpha must lie between 0 and 1, not {self.alpha}")
        if len(frame) < LEAST_ROWS:
            raise DataError(f"a detector needs at least {LEAST_ROWS} rows (samples); got {len(frame)}")
        seed = self._seed()
        held = {"validation": self.validation_fraction, "calibration": self.calibration_fraction}
        parts = split_rows(frame, {"train": 1 - sum(held.values()), **held}, seed=seed)
        self.schema_ = self._schema_for(frame)
        train = frame.iloc[parts["train"]]
        self.encoder_ = TableEncoder(self.schema_).fit(train)
        x = torch.from_numpy(self.encoder_.transform(train))
        validation = torch.from_numpy(self.encoder_.transform(frame.iloc[parts["validation"]]))
        self.algorithm_, self.history_ = self._train(x, validation, seed)
        self.scorer_ = self.algorithm_.scorer()
        self._calibrate(frame.iloc[parts["calibration"]])
        return self

    def _calibrate(self, held_out: Any) -> None:
        feeds = self.encoder_.feeds(held_out)
        scores = self._score(self.encoder_.encode(feeds))
        self.calibration_ = Calibration.fit(scores, self._groups(feeds))
        if not self.calibration_.supports(self.alpha):
            warnings.warn(
                f"alpha={self.alpha} is below alpha_min={self.calibration_.alpha_min:.4g}, which {self.calibration_.n} "
                f"calibration rows support; predict uses alpha_min. {self.calibration_.rows_needed(self.alpha)} "
                "calibration rows are needed",
                UserWarning,
                stacklevel=3,
            )
        self.alpha_ = max(self.alpha, self.calibration_.alpha_min)
        self.offset_ = -self.calibration_.threshold(self.alpha_)

    def _schema_for(self, frame: Any) -> Schema:
        if self.schema is None:
            return infer_schema(frame, group=self.group)
        return self.schema if isinstance(self.schema, Schema) else Schema.load(Path(self.schema))

    def _train(self, x: torch.Tensor, validation: torch.Tensor, seed: int) -> tuple[Any, Any]:
        model = entry(self.model)
        if "detector" not in model.tasks:
            raise ConfigError(
                f"model {self.model!r} does not detect; `ganlib models --task detector` lists those that do"
            )
        known = set(model.config.__dataclass_fields__)
        chosen = {"latent_dim": self.latent_dim or _latent_dim(x), "hidden": self.hidden or _hidden(x)}
        options = {k: v for k, v in chosen.items() if k in known} | dict(self.options or {})
        if self.learning_rate is not None:
            options["learning_rate"] = self.learning_rate
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            algorithm = model.create(self.encoder_.spec, **options)
        callbacks = (ProgressBar(f"training {self.model}"),) if self.verbose else ()
        history = Trainer(self._trainer_config(len(x), seed), callbacks).fit(algorithm, {"x": x}, {"x": validation})
        return algorithm, history

    def _trainer_config(self, rows: int, seed: int) -> TrainerConfig:
        """Enough steps for small tables, enough epochs for large ones; validated about every 50 steps."""
        batches = max(1, rows // min(self.batch_size, rows))
        epochs = self.epochs or math.ceil(max(3000, min(30 * batches, 20_000)) / batches)
        return TrainerConfig(
            steps=self.steps,
            epochs=epochs,
            batch_size=self.batch_size,
            random_state=seed,
            device=self.device,
            patience=self.patience,
            validate_every=max(1, 50 // batches),
            ema=0.99,
            gradient_clip=5.0,
        )

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    # ---------------------------------------------------------------- scoring
    def anomaly_score(self, X: Any) -> np.ndarray:
        """Scores, float32 ``(n,)``; higher = more anomalous."""
        return self._score(self.encoder_.transform(self._accept(X)))

    def p_value(self, X: Any) -> np.ndarray:
        """Calibrated p-values, float32 ``(n,)`` in (0, 1]: small = anomalous."""
        feeds = self.encoder_.feeds(self._accept(X))
        return self.calibration_.p_value(self._score(self.encoder_.encode(feeds)), self._groups(feeds))

    def score_samples(self, X: Any) -> np.ndarray:
        """``-anomaly_score(X)``: higher = more normal."""
        return -self.anomaly_score(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """Negative for outliers at ``alpha``: float64 ``(n,)``."""
        # Strictly below zero at the threshold itself, where p_value == alpha still alarms.
        step = np.spacing(np.float64(abs(self.offset_))) if np.isfinite(self.offset_) else 0.0
        return self.score_samples(X).astype(np.float64) - (self.offset_ + step)

    def predict(self, X: Any) -> np.ndarray:
        """-1 for outliers at ``alpha``, +1 for the others."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def explain(self, X: Any) -> np.ndarray:
        """Contributions, float32 ``(n, features)``: the drop in score when a column takes its reference value."""
        from ganlib.explain import contributions

        x = torch.from_numpy(self.encoder_.transform(self._accept(X)))
        return contributions(self.scorer_, self.encoder_, x).numpy()

    @torch.no_grad()
    def _score(self, encoded: np.ndarray) -> np.ndarray:
        chunks = torch.from_numpy(encoded).split(4096)
        return torch.cat([self.scorer_(chunk) for chunk in chunks]).numpy()

    def _groups(self, feeds: dict[str, np.ndarray]) -> np.ndarray | None:
        group = self.schema_.group
        return None if group is None else feeds[self.schema_.column(group).input]

    def _accept(self, X: Any, reset: bool = False) -> Any:
        """A frame; arrays are checked as scikit-learn does."""
        if not reset:
            check_is_fitted(self, "encoder_")
        if not hasattr(X, "columns"):
            X = check_array(X, dtype=None, ensure_all_finite=False, estimator=self)
        _check_feature_names(self, X, reset=reset)
        frame = as_frame(X)
        if reset or not hasattr(self, "feature_names_in_"):
            _check_n_features(self, X, reset=reset)
        return frame


def _latent_dim(x: torch.Tensor) -> int:
    """Principal components that hold 90 % of the variance, between 2 and 32 and below the width."""
    singular = torch.linalg.svdvals((x[:5000] - x[:5000].mean(0)).double())
    energy = singular.square().cumsum(0) / singular.square().sum().clamp_min(1e-12)
    return int(max(1, min(max(2, int((energy < 0.9).sum()) + 1), 32, x.shape[1] - 1)))


def _hidden(x: torch.Tensor) -> tuple[int, ...]:
    return (256, 128) if x.shape[1] > 64 else (128, 64)


class GANomalyDetector(Detector):
    """GANomaly (arXiv 1805.06725) as a detector; parameters as ``Detector``."""

    def __init__(
        self, *, options: dict[str, Any] | None = None, latent_dim: int | None = None,
        hidden: tuple[int, ...] | None = None, epochs: int | None = None, steps: int | None = None,
        batch_size: int = 128, learning_rate: float | None = None, patience: int = 12, alpha: float = 0.01,
        calibration_fraction: float = 0.2, validation_fraction: float = 0.1, schema: Schema | str | None = None,
        group: str | None = None, random_state: int | None = 0, device: str = "auto", verbose: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            "ganomaly", options=options, latent_dim=latent_dim, hidden=hidden, epochs=epochs, steps=steps,
            batch_size=batch_size, learning_rate=learning_rate, patience=patience, alpha=alpha,
            calibration_fraction=calibration_fraction, validation_fraction=validation_fraction, schema=schema,
            group=group, random_state=random_state, device=device, verbose=verbose,
        )  # fmt: skip


class VAEDetector(Detector):
    """VAE (arXiv 1312.6114) scored by its bound; parameters as ``Detector``."""

    def __init__(
        self, *, options: dict[str, Any] | None = None, latent_dim: int | None = None,
        hidden: tuple[int, ...] | None = None, epochs: int | None = None, steps: int | None = None,
        batch_size: int = 128, learning_rate: float | None = None, patience: int = 12, alpha: float = 0.01,
        calibration_fraction: float = 0.2, validation_fraction: float = 0.1, schema: Schema | str | None = None,
        group: str | None = None, random_state: int | None = 0, device: str = "auto", verbose: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            "vae", options=options, latent_dim=latent_dim, hidden=hidden, epochs=epochs, steps=steps,
            batch_size=batch_size, learning_rate=learning_rate, patience=patience, alpha=alpha,
            calibration_fraction=calibration_fraction, validation_fraction=validation_fraction, schema=schema,
            group=group, random_state=random_state, device=device, verbose=verbose,
        )  # fmt: skip


class ReconstructionVAEDetector(Detector):
    """The cyber-attack VAE (arXiv 1805.12511), scored by reconstruction probability; parameters as ``Detector``."""

    def __init__(
        self, *, options: dict[str, Any] | None = None, latent_dim: int | None = None,
        hidden: tuple[int, ...] | None = None, epochs: int | None = None, steps: int | None = None,
        batch_size: int = 128, learning_rate: float | None = None, patience: int = 12, alpha: float = 0.01,
        calibration_fraction: float = 0.2, validation_fraction: float = 0.1, schema: Schema | str | None = None,
        group: str | None = None, random_state: int | None = 0, device: str = "auto", verbose: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            "reconstruction_vae", options=options, latent_dim=latent_dim, hidden=hidden, epochs=epochs, steps=steps,
            batch_size=batch_size, learning_rate=learning_rate, patience=patience, alpha=alpha,
            calibration_fraction=calibration_fraction, validation_fraction=validation_fraction, schema=schema,
            group=group, random_state=random_state, device=device, verbose=verbose,
        )  # fmt: skip


def as_detector(model: str, **parameters: Any) -> Detector:
    """Any registered detector by name with ``Detector``'s parameters; other keywords are the model's own options."""
    own = Detector._get_param_names()
    options = {k: parameters.pop(k) for k in list(parameters) if k not in own}
    entry(model).config.from_dict(options)
    if options:
        parameters["options"] = {**(parameters.get("options") or {}), **options}
    return Detector(model, **parameters)
