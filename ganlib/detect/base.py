"""The base of all detectors: one-class fitting, calibration, and scikit-learn's interface."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from ganlib.calibrate import Calibration, Table
from ganlib.calibrate.conformal import as_scores
from ganlib.data.arrays import ArrayReader, examples_of
from ganlib.data.encoder import TableEncoder
from ganlib.data.feeds import as_frame
from ganlib.data.inference import check_frame, infer_schema, with_public
from ganlib.data.schema import Schema
from ganlib.data.spec import DataSpec
from ganlib.detect.rows import hold_out, normal_rows
from ganlib.errors import ConfigError, DivergenceError
from ganlib.estimator import SHARED_CONSTRAINTS, kept_when_refused, modality_of, refuse_twice
from ganlib.registry import Entry, entry
from ganlib.training import Trainer, TrainerConfig
from ganlib.training.callbacks import ProgressBar

if TYPE_CHECKING:
    from ganlib.detect.pyod_adapter import PyODAdapter

Judged = tuple[np.ndarray, np.ndarray | None]
_CHUNK = 512
_USED = ("feature", "group")


class BaseDetector(OutlierMixin, BaseEstimator):
    """One-class detector: learns from mostly normal rows and returns calibrated p-values.

    ``fit`` infers a schema (or uses the given one), holds out rows for early stopping and calibration, fits the encoder
    on the rest, trains and calibrates. The result does not depend on the row order, except for clocks and counters,
    which are dropped or read by their cycles (``ganlib.data.roles``).

    Parameters:
    - ``options``: further options of the model.
    - ``latent_dim``, ``hidden``: ``None``: inferred from the table's columns, or the model's defaults for images.
    - ``epochs``, ``steps``: training budget; ``steps`` takes precedence. Defaults to 30 epochs, within 3,000 to 20,000
      steps.
    - ``patience``: stop after this many validations without improvement; 0 disables early stopping.
    - ``batch_size``; ``learning_rate`` (``None``: the model's default).
    - ``alpha``: alarm budget in (0, 1).
    - ``calibration_fraction``, ``validation_fraction``: shares of held-out normal rows; the latter may be 0.
    - ``schema``: a Schema or a path; ``group``: a column with a separate calibration per value.
    - ``modality``: "image" or "series"; required for arrays that could be either.
    - ``random_state``: an int, a numpy RandomState or None; ``device``: auto, cpu or cuda:N; ``verbose``: progress bar.

    Fitted attributes: ``schema_``, ``encoder_``, ``algorithm_``, ``scorer_``, ``calibration_``, ``history_``,
    ``alpha_`` (the larger of ``alpha`` and ``calibration_.alpha_min``), ``offset_``, ``n_features_in_``,
    ``feature_names_in_``.

    ``offset_`` is minus the largest float32 score that raises no alarm, one step below the smallest score with
    ``p_value <= alpha_``. ``predict == -1``, ``decision_function < 0`` and ``p_value <= alpha_`` thus agree for each
    row.
    """

    default_model: str = ""
    model: str | None = None
    _parameter_constraints: Mapping[str, Any] = {
        **SHARED_CONSTRAINTS,
        "alpha": [Real],
        "calibration_fraction": [Real],
        "validation_fraction": [Real],
        "group": [str, None],
    }

    def __init__(
        self,
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
        modality: str | None = None,
        random_state: int | None = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
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
        self.modality = modality
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    # ---------------------------------------------------------------- fitting
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn from the normal rows of a frame or an array ``(n, features)``, or from normal images or series.

        Arrays of three or four axes are images or series (``data.arrays.ArrayReader``), for models that support them.

        ``y`` marks known anomalies (1, True or any word except ``normal``, ``0``, ``false``), which are excluded from
        training and calibration. Rows without a label count as normal, as do all rows without ``y``. If the ``schema``
        names a label column, that column is the default ``y``.

        Warns if the calibration rows do not support ``alpha``; ``predict`` then uses the smallest supported value.
        Raises DataError for fewer than 10 normal rows or unusable columns, ConfigError for bad options, and
        scikit-learn's InvalidParameterError (a ValueError) for a parameter out of range.
        """
        self._validate_params()
        if not 0 < self.alpha < 1:
            raise ConfigError(f"alpha must lie between 0 and 1, not {self.alpha}")
        model, seed = self._entry(), self._seed()
        with kept_when_refused(self):
            if (examples := examples_of(X)) is not None:
                self._calibrate(*self._fit_arrays(model, examples, y, seed))
            else:
                self._calibrate(*self._fit_table(model, X, y, seed))
        return self

    def _fit_table(self, model: Entry, X: Any, y: Any, seed: int) -> Judged:
        """Fit to a table; returns the scores and groups of the calibration rows."""
        self.arrays_: ArrayReader | None = None
        frame = self._open(X)
        normal = frame.loc[normal_rows(self._labels(frame, y), len(frame))]
        self.schema_ = self._schema_for(normal)
        used = [c.name for c in self.schema_.columns if c.role in _USED and c.name in frame.columns]
        named = isinstance(X, pd.DataFrame) or hasattr(X, "to_pandas")
        validate_data(self, frame[used] if named else np.asarray(X), reset=True, skip_check_array=True)
        normal = normal[used]
        held = hold_out(normal, self.validation_fraction, self.calibration_fraction, seed)
        self.encoder_ = TableEncoder(self.schema_).fit(normal.iloc[held.train])
        x = torch.from_numpy(self.encoder_.transform(normal.iloc[held.train]))
        rows = normal.iloc[held.validation]
        watched = torch.from_numpy(self.encoder_.transform(rows)) if len(rows) else x[:0]
        self._train(model, self.encoder_.spec, self._sizes(model, x), x, watched, seed)
        feeds = self.encoder_.feeds(normal.iloc[held.calibration])
        return self._score(self.encoder_.encode(feeds)), self._groups(feeds)

    def _fit_arrays(self, model: Entry, X: np.ndarray, y: Any, seed: int) -> Judged:
        """Fit to images or series, without schema and groups; returns the scores of the calibration examples."""
        if self.schema is not None or self.group is not None:
            raise ConfigError("a schema and groups are for tables; leave them out for images and series")
        X = X[normal_rows(y, len(X))]
        # Split by content, like the rows of a table.
        content = pd.DataFrame({"content": [np.ascontiguousarray(example).tobytes() for example in X]})
        held = hold_out(content, self.validation_fraction, self.calibration_fraction, seed)
        self.arrays_ = ArrayReader(X[held.train], modality_of(self.modality, model))
        if self.arrays_.modality not in model.modalities:
            raise ConfigError(
                f"model {model.name!r} does not read {self.arrays_.modality} data; `ganlib models --task detector` "
                "lists what each reads"
            )
        x = self.arrays_.read(X[held.train])
        watched = self.arrays_.read(X[held.validation]) if len(held.validation) else x[:0]
        chosen = {"latent_dim": self.latent_dim, "hidden": self.hidden}
        options = {name: value for name, value in chosen.items() if value is not None}
        self._train(model, DataSpec.of(self.arrays_.field), options, x, watched, seed)
        return self._score(self.arrays_.read(X[held.calibration]).numpy()), None

    def _entry(self) -> Entry:
        model = entry(self.model or self.default_model)
        if "detector" not in model.tasks or "scorer" not in model.exports:
            raise ConfigError(f"model {model.name!r} does not detect; `ganlib models --task detector` lists others")
        return model

    def _labels(self, frame: pd.DataFrame, y: Any) -> Any:
        if y is None and self.schema is not None:
            label = self._schema_for(frame).label
            return frame[label] if label in frame.columns else None
        return y

    def _schema_for(self, frame: pd.DataFrame) -> Schema:
        if self.schema is None:
            return infer_schema(frame, group=self.group)
        return with_public(self.schema if isinstance(self.schema, Schema) else Schema.load(Path(self.schema)), frame)

    def _sizes(self, model: Entry, x: torch.Tensor) -> dict[str, Any]:
        """Latent and hidden widths, derived from the rows if the model has them and they are not given."""
        chosen = {"latent_dim": self.latent_dim or _latent_dim(x), "hidden": self.hidden or _hidden(x)}
        known = set(model.config.__dataclass_fields__)
        return {k: v for k, v in chosen.items() if k in known}

    def _train(
        self,
        model: Entry,
        spec: DataSpec,
        options: dict[str, Any],
        x: torch.Tensor,
        watched: torch.Tensor,
        seed: int,
    ) -> None:
        """Train the model; sets it, its history and its scorers."""
        options = options | dict(self.options or {})
        if self.learning_rate is not None:
            refuse_twice({"learning_rate": self.learning_rate}, self.options)
            options["learning_rate"] = self.learning_rate
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            algorithm = model.create(spec, **options)
        algorithm.scorer()  # raises before training if the objective does not detect
        callbacks = (ProgressBar(f"training {model.name}"),) if self.verbose else ()
        config = self._trainer_config(len(x), seed)
        trainer = Trainer(config if len(watched) and algorithm.validates else config.replace(patience=0), callbacks)
        self.history_ = trainer.fit(algorithm, {"x": x}, {"x": watched} if len(watched) else None)
        self.algorithm_, self.scorer_ = algorithm, algorithm.scorer()
        # Use double precision, so that a score does not depend on the other rows of its batch.
        self._double_scorer_ = copy.deepcopy(self.scorer_).double()

    def _trainer_config(self, rows: int, seed: int) -> TrainerConfig:
        """Enough steps for small tables and enough epochs for large ones; validates about every 50 steps."""
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

    def _calibrate(self, scores: np.ndarray, groups: np.ndarray | None) -> None:
        """Calibrate with the scores of held-out rows."""
        if not np.isfinite(scores).all():
            raise DivergenceError(
                f"{int((~np.isfinite(scores)).sum())} of {len(scores)} held-out rows have no finite score: training "
                "diverged. Try a smaller learning_rate, and look for extreme values"
            )
        self.calibration_ = Calibration.fit(scores, groups)
        if not self.calibration_.supports(self.alpha):
            warnings.warn(
                f"alpha={self.alpha:g} is not supported: {self.calibration_.n} calibration rows support "
                f"alpha_min={self.calibration_.alpha_min:.4g}, which predict uses instead; alpha={self.alpha:g} needs "
                f"{self.calibration_.rows_needed(self.alpha)} calibration rows (more data or a larger "
                "calibration_fraction)",
                UserWarning,
                stacklevel=3,
            )
        self.alpha_ = max(float(self.alpha), self.calibration_.alpha_min)
        self.offset_ = _offset(self.calibration_.pooled, self.alpha_)
        self._offsets_ = {value: _offset(table, self.alpha_) for value, table in self.calibration_.groups.items()}

    def _seed(self) -> int:
        if isinstance(self.random_state, int | np.integer):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    # ---------------------------------------------------------------- scoring
    def anomaly_score(self, X: Any) -> np.ndarray:
        """Scores, float32 ``(n,)``; higher = more anomalous. Raises DataError if the data does not fit the schema."""
        return self._judge(X)[0]

    def p_value(self, X: Any) -> np.ndarray:
        """Calibrated p-values, float32 ``(n,)`` in (0, 1]: the share of normal rows with at least this score."""
        check_is_fitted(self, "calibration_")
        return self.calibration_.p_value(*self._judge(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """``-anomaly_score(X)`` as float64 ``(n,)``: higher = more normal."""
        return -self.anomaly_score(X).astype(np.float64)

    def decision_function(self, X: Any) -> np.ndarray:
        """``score_samples - offset_``, float64 ``(n,)``: negative for outliers at ``alpha_``.

        If the schema names a group column, each row uses the offset of its group.
        """
        scores, groups = self._judge(X)
        offsets = np.full(len(scores), self.offset_)
        for value, offset in self._offsets_.items():
            offsets[groups == value] = offset
        return -scores.astype(np.float64) - offsets

    def predict(self, X: Any) -> np.ndarray:
        """-1 for outliers at ``alpha_``, +1 for the others: int64 ``(n,)``."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def explain(self, X: Any) -> np.ndarray:
        """Contributions of the columns to the score, float32 ``(n, features)`` in schema order.

        They are never negative, and each row sums to ``anomaly_score`` (capped at 1e38). If a model's scores can be
        negative, the row sums to its score above the lowest calibration score, and is 0 below that. A column's share
        depends on how much the score drops when the column takes the best of a few usual values; above 128 columns, on
        its residuals. Raises ConfigError for images and series.
        """
        return self._contributions(self._table_feeds(X))

    def top_reasons(self, X: Any) -> list[str | None]:
        """The three largest contributions of each outlier in words, ``None`` for rows that ``predict`` accepts.

        Example: ``src_bytes = 54540 (71 %), service = unseen 'xyz' (20 %), flag missing (9 %)``. Raw values are cut to
        40 characters. Raises ConfigError for images and series.
        """
        from serving.table.reasons import top_reasons

        feeds, flagged = self._table_feeds(X), np.flatnonzero(self.predict(X) < 0)
        parts = self._contributions({name: feed[flagged] for name, feed in feeds.items()})
        columns = self._raw_columns(X)
        words = top_reasons(parts, self.schema_.to_dict(), {n: [v[i] for i in flagged] for n, v in columns.items()})
        out: list[str | None] = [None] * len(next(iter(feeds.values())))
        for row, reasons in zip(flagged, words, strict=True):
            out[row] = reasons
        return out

    def _raw_columns(self, X: Any) -> dict[str, list[Any]]:
        """The raw feature columns by name."""
        frame = as_frame(X)
        return {c.name: frame[c.name].tolist() for c in self.schema_.features}

    def _table_feeds(self, X: Any) -> dict[str, np.ndarray]:
        if getattr(self, "arrays_", None) is not None:
            raise ConfigError("explanations divide a score among columns; images and series have none")
        return self._feeds(X)

    def _contributions(self, feeds: dict[str, np.ndarray]) -> np.ndarray:
        from ganlib.explain import contributions, score_base, unexpected_missing

        if not len(next(iter(feeds.values()))):
            return np.zeros((0, len(self.encoder_.codes)), dtype=np.float32)
        lacks = torch.from_numpy(unexpected_missing(self.encoder_, feeds))
        x = torch.from_numpy(self.encoder_.encode(feeds)).double()
        base, median = score_base(self.calibration_), self.calibration_.median_score
        return contributions(self._double_scorer_, self.encoder_, x, lacks, base, median).float().numpy()

    def to_pyod(self) -> PyODAdapter:
        """This detector with PyOD's conventions: higher = outlier, labels 0 and 1."""
        from ganlib.detect.pyod_adapter import PyODAdapter

        return PyODAdapter(self)

    def _judge(self, X: Any) -> Judged:
        """Scores, and each row's group if there are groups."""
        check_is_fitted(self, "calibration_")
        if self.arrays_ is not None:
            return self._score(self.arrays_.read(X).numpy()), None
        feeds = self._feeds(X)
        return self._score(self.encoder_.encode(feeds)), self._groups(feeds)

    @torch.no_grad()
    def _score(self, encoded: np.ndarray) -> np.ndarray:
        chunks = torch.from_numpy(encoded).split(_CHUNK)
        return as_scores(torch.cat([self._double_scorer_(chunk.double()) for chunk in chunks]).numpy())

    def _groups(self, feeds: dict[str, np.ndarray]) -> np.ndarray | None:
        group = self.schema_.group
        return None if group is None else feeds[self.schema_.column(group).input]

    # ---------------------------------------------------------------- input
    def _open(self, X: Any) -> pd.DataFrame:
        """Convert the input to a frame with rows numbered from 0; checks arrays like scikit-learn."""
        if hasattr(X, "to_pandas"):
            X = X.to_pandas()
        if not isinstance(X, pd.DataFrame):
            X = check_array(X, dtype=None, ensure_all_finite=False, estimator=self)
        frame = as_frame(X).reset_index(drop=True)
        check_frame(frame)
        return frame

    def _feeds(self, X: Any) -> dict[str, np.ndarray]:
        """Raw feeds of rows to score; they must have the columns of ``fit``."""
        check_is_fitted(self, "calibration_")
        if hasattr(X, "to_pandas"):
            X = X.to_pandas()
        if isinstance(X, pd.DataFrame):
            X = as_frame(X)
            idle = {c.name for c in self.schema_.columns if c.role not in _USED}
            X = X.loc[:, [name not in idle for name in X.columns]]
        else:
            X = check_array(X, dtype=None, ensure_all_finite=False, estimator=self)
        validate_data(self, X, reset=False, skip_check_array=True)
        if isinstance(X, np.ndarray) and X.dtype.kind in "fiu" and self._all_numbers():
            # Fast path for the common case, arrays of numbers: the same feeds without a frame.
            columns = np.asfortranarray(X, dtype=np.float64)
            return {c.input: columns[:, int(c.name[1:])] for c in self.schema_.features}
        return self.encoder_.feeds(as_frame(X))

    def _all_numbers(self) -> bool:
        """Whether every column that is used is a number of an array (named x0, x1, ...)."""
        return not hasattr(self, "feature_names_in_") and all(
            c.kind in ("number", "integer") and c.role != "group" and c.name[1:].isdigit() and c.name[0] == "x"
            for c in self.schema_.columns
            if c.role in _USED
        )


def _offset(table: Table, alpha: float) -> float:
    """Minus the largest float32 score of this calibration that raises no alarm."""
    threshold = Calibration(table).threshold(alpha)
    return -float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def _latent_dim(x: torch.Tensor) -> int:
    """The number of principal components for 90% of the variance, at most 32 and below the full width."""
    singular = torch.linalg.svdvals((x[:5000] - x[:5000].mean(0)).double())
    energy = singular.square().cumsum(0) / singular.square().sum().clamp_min(1e-12)
    return int(max(1, min(max(2, int((energy < 0.9).sum()) + 1), 32, x.shape[1] - 1)))


def _hidden(x: torch.Tensor) -> tuple[int, ...]:
    return (256, 128) if x.shape[1] > 64 else (128, 64)
