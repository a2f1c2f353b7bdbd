"""The base of all detectors: one-class fitting, calibration, and scikit-learn's interface."""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

import numpy as np
import torch
from annotated_types import Gt, Lt
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.nn.functional import interpolate

from ganlib.abilities import Locates, can
from ganlib.calibrate import Calibration, Table
from ganlib.calibrate.conformal import as_scores
from ganlib.config import Count, Rate, Share, Whole
from ganlib.data.encoder import TableEncoder
from ganlib.data.frames import as_frame
from ganlib.data.readers import Reader, reader_for
from ganlib.data.readers.protocol import Feeds
from ganlib.data.schema import Schema
from ganlib.data.spec import DataSpec
from ganlib.detect.rows import hold_out, normal_rows, runs_of
from ganlib.detect.tiles import TilePlaces, Tiles, TileScore, tiles_of
from ganlib.errors import ConfigError, DivergenceError
from ganlib.estimator import Seed, TrainerOptions, check_parameters, reject_twice, seed_of, unchanged_on_error
from ganlib.explain import Occlusion, in_parts, limited
from ganlib.recipe import DETECTION, Training
from ganlib.registry import Entry, entry
from ganlib.training.config import History

if TYPE_CHECKING:
    from ganlib.data.readers import TableReader
    from ganlib.detect.pyod_adapter import PyODAdapter

Judged = tuple[np.ndarray, np.ndarray | None]
_CHUNK = 512
Part = Annotated[float, Gt(0), Lt(1)]
"""A share that is neither nothing nor all."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Normal examples ``(n, *shape)``: to train on, to stop by, and held out for calibration; the runs of the latter,
    if rows of a run belong together."""

    train: torch.Tensor
    validation: torch.Tensor
    held_out: torch.Tensor
    runs: np.ndarray | None = None

    def cut(self, tiles: Tiles) -> Rows:
        """The tiles of images; no image is held out, since tiles of one are not rows of their own."""
        return Rows(tiles.cut(self.train), tiles.cut(self.validation), self.held_out[:0])


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
    - ``patience``: stop after this many validations without improvement; 0 disables early stopping. Defaults to 12,
      which are 600 steps.
    - ``batch_size`` (``None``: 128, or the model's default); ``learning_rate`` (``None``: the model's default).
    - ``trainer``: a TrainerConfig, or a mapping of its options and ``callbacks``: what it states wins over what is
      derived from the data (``ganlib.recipe``).
    - ``alpha``: alarm budget in (0, 1).
    - ``calibration_fraction``, ``validation_fraction``: shares of held-out normal rows; the latter may be 0.
    - ``schema``: a Schema or a path; ``group``: a column with a separate calibration per value.
    - ``modality``: "image" or "series"; required for arrays that could be either.
    - ``tile``: side in pixels of the tiles that images are divided into, about; an image then scores what its most
      anomalous tile does (``ganlib.detect.tiles``). ``None``: 128 for images with a side above 256, else no tiles.
    - ``random_state``: an int, a numpy RandomState or None; ``device``: auto, cpu or cuda:N; ``verbose``: progress bar.

    Fitted attributes: ``reader_`` (for tables also ``schema_`` and ``encoder_``), ``algorithm_``, ``scorer_``,
    ``calibration_``, ``history_``, ``alpha_`` (the larger of ``alpha`` and ``calibration_.alpha_min``), ``offset_``,
    ``n_features_in_``, ``feature_names_in_``, ``calibration_runs_`` (runs that the calibration rows are of, None if
    ``fit`` had none).

    ``offset_`` is minus the largest float32 score that raises no alarm, one step below the smallest score with
    ``p_value <= alpha_``. ``predict == -1``, ``decision_function < 0`` and ``p_value <= alpha_`` thus agree for each
    row.
    """

    default_model: str = ""
    locator_: torch.nn.Module | None
    model: str | None = None
    reader_: Reader

    def __init__(
        self,
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
        self.options = options
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.trainer = trainer
        self.alpha = alpha
        self.calibration_fraction = calibration_fraction
        self.validation_fraction = validation_fraction
        self.schema = schema
        self.group = group
        self.modality = modality
        self.tile = tile
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _validate_params(self) -> None:
        """Check the parameters against the ranges of ``__init__``; scikit-learn's hook."""
        check_parameters(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags

    # ---------------------------------------------------------------- fitting
    def fit(self, X: Any, y: Any = None, *, runs: Any = None) -> Self:
        """Learn from the normal rows of a frame or an array ``(n, features)``, or from normal images or series.

        Arrays of three or four axes are images or series (``ganlib.data.readers``), for models that support them.

        ``y`` marks known anomalies (1, True or any word except ``normal``, ``0``, ``false``), which are excluded from
        training and calibration. Rows without a label count as normal, as do all rows without ``y``. If the ``schema``
        names a label column, that column is the default ``y``.

        ``runs``, one label for each row, keeps rows of equal labels in one part of the split: windows of a series that
        share rows, or rows of one patient.

        Warns if the calibration rows do not support ``alpha``; ``predict`` then uses the smallest supported value.
        Raises DataError for fewer than 10 normal rows or unusable columns, ConfigError for bad options. Of these,
        parameters out of range are scikit-learn's InvalidParameterError, too.
        """
        self._validate_params()
        model, seed = self._entry(), seed_of(self.random_state)
        with unchanged_on_error(self):
            training = Training.of(self, model, DETECTION, seed)
            reader = reader_for(X, self.modality, model.modalities, schema=self.schema, group=self.group)
            examples = reader.open(X)
            labelled = normal_rows(reader.labels(examples) if y is None else y, len(examples))
            anomalous = np.flatnonzero(~labelled)
            normal = reader.select(reader.take(examples, labelled))
            self._record(reader, reader.features(examples), reset=True)
            together = None if runs is None else runs_of(runs, len(examples))[labelled]
            content, shares = reader.content(normal), (self.validation_fraction, self.calibration_fraction)
            held = hold_out(content, *shares, seed, together)
            of_runs = None if together is None else together[held.calibration]
            self.calibration_runs_ = None if of_runs is None else len(np.unique(of_runs))
            train = reader.take(normal, held.train)
            self.reader_ = reader.fit(train)
            if not model.reads(reader.spec):
                raise ConfigError(
                    f"model {model.name!r} does not read {reader.plural}; `ganlib models --task detector` lists what "
                    "each reads"
                )
            x = reader.read(train)
            validation = reader.read(reader.take(normal, held.validation)) if len(held.validation) else x[:0]
            feeds = reader.feeds(reader.take(normal, held.calibration))
            encoded = reader.encode(feeds)
            rows, spec = Rows(x, validation, torch.from_numpy(encoded), of_runs), reader.spec
            self.tiles_ = tiles_of(spec, self.tile)
            if self.tiles_ is not None:
                rows, spec = rows.cut(self.tiles_), self.tiles_.spec(spec.shape[0])
            scores = self._train(training, spec, rows, reader.take(examples, anomalous))
            if self.tiles_ is not None:
                self._join(self.tiles_)
            self._calibrate(self._score(encoded) if scores is None else scores, reader.groups(feeds))
            if x.ndim > 2:  # images and series
                self._locate(x.mean(0), torch.from_numpy(encoded))
        return self

    def _entry(self) -> Entry:
        return detecting(entry(self.model or self.default_model))

    def _record(self, reader: Reader, examples: Any, reset: bool) -> None:
        """Record the number and names of columns as scikit-learn does, or compare them with those recorded."""
        if reader.tabular:
            validate_data(self, examples, reset=reset, skip_check_array=True)

    def _train(self, training: Training, spec: DataSpec, rows: Rows, anomalies: Any) -> np.ndarray | None:
        """Train the model on normal rows; sets it, its history and its scorers. ``anomalies`` are known ones, raw.

        Returns scores of the rows held out for calibration by models that were not trained on them; None if the model
        itself was not.
        """
        with torch.random.fork_rng():
            torch.manual_seed(training.seed)
            algorithm = training.model.create(spec, **self._options(training.model, spec, rows.train))
        algorithm.scorer()  # raises before training if the objective does not detect
        history = training.run(algorithm, {"x": rows.train}, {"x": rows.validation})
        self._use(algorithm, algorithm.scorer(), history, locator_of(algorithm))
        return None

    def _use(self, algorithm: Any, scorer: torch.nn.Module, history: History, locator: torch.nn.Module | None) -> None:
        """Set what training leaves: the model, its scorers, its history, and what scores places if it has it."""
        self.algorithm_, self.scorer_, self.history_ = algorithm, scorer, history
        self.locator_ = locator
        # Use double precision, so that a score does not depend on the other rows of its batch.
        self._double_scorer_ = copy.deepcopy(scorer).double()

    def _join(self, tiles: Tiles) -> None:
        """Make scorers of tiles scorers of images."""
        self.scorer_ = TileScore(self.scorer_, tiles)
        self._double_scorer_ = TileScore(self._double_scorer_, tiles)
        self.locator_ = None if self.locator_ is None else TilePlaces(self.locator_, tiles)

    def _locate(self, usual: torch.Tensor, held_out: torch.Tensor) -> None:
        """Set what scores places, in units of what held-out examples rarely exceed; ``usual`` is the mean example."""
        self.locator_ = limited(self.locator_ or Occlusion(self.scorer_, usual), held_out, self.alpha_)
        self._double_locator_ = copy.deepcopy(self.locator_).double()

    def _options(self, model: Entry, spec: DataSpec, x: torch.Tensor) -> dict[str, Any]:
        """The model's options; for table rows, widths that are not given are derived from the rows."""
        chosen = {"latent_dim": self.latent_dim, "hidden": self.hidden, "learning_rate": self.learning_rate}
        given = {name: value for name, value in chosen.items() if value is not None}
        reject_twice(given, self.options)
        given |= dict(self.options or {})
        derived = {"latent_dim": _latent_dim, "hidden": _hidden} if spec.kind == "vector" else {}
        known = {field.name for field in dataclasses.fields(model.config)}
        return {name: derive(x) for name, derive in derived.items() if name in known - given.keys()} | given

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

    # ---------------------------------------------------------------- scoring
    def anomaly_score(self, X: Any) -> np.ndarray:
        """Scores, float32 ``(n,)``; higher = more anomalous. Raises DataError if the data does not fit the schema."""
        return self._judge(X)[0]

    def anomaly_map(self, X: Any) -> np.ndarray:
        """How anomalous each pixel of images, or each value of series, is; higher = more anomalous.

        Float32 ``(n, height, width)`` or ``(n, channels, steps)``. 1 is a limit that the highest place of a share
        ``alpha_`` of normal examples exceeds, as far as the calibration examples show. Places are those of a model
        that locates anomalies, for a fusion of the first such member; else blocks, each by how much the score drops
        when it takes its usual values (``ganlib.explain.places``). Between the places of an image, values are
        interpolated. The score need not be that of the highest place. Raises ConfigError for tables.
        """
        check_is_fitted(self, "calibration_")
        if self.locator_ is None:
            raise ConfigError("only images and series have places; of a table, explain divides a score among columns")
        sides, how = self.reader_.spec.shape[-2:], "bilinear" if self.reader_.modality == "image" else "nearest"
        found = torch.from_numpy(self._places(self._feeds(X)))
        return interpolate(found[:, None], sides, mode=how)[:, 0].numpy()

    @torch.no_grad()
    def _places(self, feeds: Feeds) -> np.ndarray:
        """Scores of places, float32 ``(n, rows, columns)``."""
        x = torch.from_numpy(self.reader_.encode(feeds)).double()
        return torch.cat(list(in_parts(self._double_locator_, x))).float().numpy()

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
        depends on how much the score drops when the column takes the best of a few usual values; above 384 columns, on
        its residuals or a block's drop (``ganlib.explain``). Raises ConfigError for images and series.
        """
        return self._contributions(self._by_column(X))

    def top_reasons(self, X: Any) -> list[str | None]:
        """The three largest contributions of each outlier in words, ``None`` for rows that ``predict`` accepts.

        Example: ``src_bytes = 54540 (71 %), service = unseen 'xyz' (20 %), flag missing (9 %)``. Raw values are cut to
        40 characters. Raises ConfigError for images and series.
        """
        from serving.table.reasons import top_reasons

        feeds, flagged = self._by_column(X), np.flatnonzero(self.predict(X) < 0)
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

    def _by_column(self, X: Any) -> Feeds:
        """Raw values of table rows; raises ConfigError for other data."""
        check_is_fitted(self, "calibration_")
        if not self.reader_.tabular:
            raise ConfigError("explanations divide a score among columns; images and series have none")
        return self._feeds(X)

    def _contributions(self, feeds: Feeds) -> np.ndarray:
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
        feeds = self._feeds(X)
        return self._score(self.reader_.encode(feeds)), self.reader_.groups(feeds)

    def _feeds(self, X: Any) -> Feeds:
        """Raw values to score; they must be of the kind, and have the columns, of ``fit``."""
        check_is_fitted(self, "calibration_")
        examples = self.reader_.again(X)
        self._record(self.reader_, examples, reset=False)
        return self.reader_.feeds(examples)

    @torch.no_grad()
    def _score(self, encoded: np.ndarray) -> np.ndarray:
        chunks = torch.from_numpy(encoded).split(_CHUNK)
        return as_scores(torch.cat([self._double_scorer_(chunk.double()) for chunk in chunks]).numpy())

    def _groups(self, feeds: Feeds) -> np.ndarray | None:
        return self.reader_.groups(feeds)

    # ---------------------------------------------------------------- what was fitted
    @property
    def schema_(self) -> Schema:
        """The schema of the table."""
        return cast("TableReader", self.reader_).schema

    @property
    def encoder_(self) -> TableEncoder:
        """The encoder of the table."""
        return cast("TableReader", self.reader_).encoder


def locator_of(algorithm: Any) -> torch.nn.Module | None:
    """What scores the places of images, if the model has it."""
    return algorithm.locator() if can(algorithm, Locates) else None


def detecting(model: Entry) -> Entry:
    """The entry itself; raises ConfigError if its model cannot be a sealed detector."""
    if "detector" not in model.tasks or "scorer" not in model.exports:
        raise ConfigError(f"model {model.name!r} does not detect; `ganlib models --task detector` lists others")
    return model


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
