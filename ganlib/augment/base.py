"""Any registered generator as an imbalanced-learn over-sampler for tables of any column types."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, cast

import numpy as np
import pandas as pd
from annotated_types import Ge, Le
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.utils import check_target_type
from sklearn.base import clone
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_array, check_is_fitted

from ganlib.augment.arrays import is_described
from ganlib.augment.cells import Cells, sampled
from ganlib.augment.checks import check_labels, reject_sparse, warn_of_collapse
from ganlib.augment.constraints import joined_reports
from ganlib.augment.counts import check_rows, counts_for, index_of, share_out, to_balance
from ganlib.augment.described import DescribedRows, Properties, only_sampled
from ganlib.augment.generator import GenerationPlan
from ganlib.augment.labels import Labels, free_name
from ganlib.augment.ranges import few_fractions, is_numeric_target
from ganlib.augment.rows import RowGenerator
from ganlib.augment.stacking import MARK, like_array, mark, stack
from ganlib.augment.strategies import ExampleGenerator, generator_for
from ganlib.augment.usual import UNKNOWN, Usual
from ganlib.config import Count, Rate, Share, Whole
from ganlib.data.conditions import Condition
from ganlib.data.encoder import TableEncoder
from ganlib.data.frames import Back, check_names, close_names, open_table
from ganlib.data.readers import Reader, TableReader, reader_for
from ganlib.data.schema import Schema
from ganlib.data.values import category_text
from ganlib.errors import ConfigError, DataError
from ganlib.estimator import Seed, TrainerOptions, check_parameters, reject_twice, seed_of, unchanged_on_error
from ganlib.recipe import GENERATION, Training
from ganlib.registry import Entry, entry
from serving.table.relations import Keeper

Fraction = Annotated[float, Ge(0), Le(1)]
"""A share from 0 to 1."""


class BaseAugmenter(BaseOverSampler):
    """Over-sampler around a registered generator, and a generator of whole tables, image sets and series.

    ``fit(X, y)`` learns every class. ``fit_resample(X, y)`` returns the given rows, first and unchanged, then generated
    rows to the counts of ``sampling_strategy``, as in imbalanced-learn. ``sample`` and ``augment`` generate rows with
    exact counts per class. DataFrames are returned as DataFrames with their dtypes. ``fit`` and ``sample`` also accept
    images and series, arrays with three or more axes (``augment.arrays``); all else is for tables.

    Parameters:
    - ``options``: the model's configuration; ``latent_dim``, ``hidden`` and ``learning_rate`` are shortcuts for it.
    - ``steps``, ``epochs``: training budget; ``None`` derives it from the size of the data.
    - ``patience``: stop after this many validations without improvement, if classes are large enough for held-out rows.
      ``None``: 10, which are 1,000 steps. ``batch_size``: ``None`` is 128, or the model's default.
    - ``trainer``: a TrainerConfig, or a mapping of its options and ``callbacks``: what it states wins over what is
      derived from the data (``ganlib.recipe``).
    - ``balance`` (0 to 1): oversample small classes in training; shares are proportional to count^(1 - balance).
    - ``class_prior``: sample latents from a Gaussian fitted per class (a mixture for images and series) instead of
      N(0, I), for models that support it.
    - ``curation``: for a scarce class (fewer than half the rows of the largest), generate four times as many rows and
      keep the most typical, as ranked by a random forest on the real rows. 0 keeps any; 0.5 samples from the better
      half. Other classes are not curated, because curation narrows a class.
    - ``near_copies``: drop generated rows closer to a real row than this share of the usual gap, if others remain.
    - ``schema``: a Schema or a path; ``None``: inferred from the table.
    - ``modality``: "image" or "series"; required for arrays that could be either.
    - ``random_state`` also fixes ``sample``: equal calls return equal rows. Pass ``sample`` another one for new rows.

    A class with a single row is spread around that row with the covariance of the other classes, with a warning; models
    without a class prior repeat it with their own noise. Text columns and identifiers are not generated; they are
    missing in generated rows. For images and series, ``y`` may also hold attributes ``(n, k)`` or captions
    (gan_int_cls); for tables and ``property_aae``, numeric properties. The sealed artifact contains the generator and
    the constraints, but not the filters.

    Fitted attributes: ``reader_``, ``generator_``, ``algorithm_`` (the first one, if arrays have per-class models),
    ``history_``, ``classes_`` (empty without labels), ``class_counts_``; for tables also ``schema_``, ``encoder_`` and
    ``constraint_report_``, which counts the rows of the last call that were broken, redrawn and repaired, by constraint
    (``generate`` does not enforce constraints).
    """

    _parameter_constraints = {"sampling_strategy": BaseOverSampler._parameter_constraints["sampling_strategy"]}
    default_model: str = ""
    model: str | None = None
    _labels: Any  # Labels or Properties
    _label: Any  # a column's name, or those of properties
    _defaults: Mapping[str, Mapping[str, Any]] = {}  # options of the model, by kind of data
    algorithm_: Any
    reader_: Reader
    generator_: ExampleGenerator

    def __init__(
        self,
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
        super().__init__(sampling_strategy=sampling_strategy)
        self.options = options
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.trainer = trainer
        self.validation_fraction = validation_fraction
        self.balance = balance
        self.class_prior = class_prior
        self.curation = curation
        self.near_copies = near_copies
        self.schema = schema
        self.modality = modality
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _validate_params(self) -> None:
        """Check the parameters against the ranges of ``__init__``; scikit-learn's hook."""
        super()._validate_params()
        check_parameters(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.target_tags.required = False
        return tags

    # ---------------------------------------------------------------- fitting
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn to generate rows like ``X``, by class if ``y`` is given.

        Raises DataError for fewer than two rows, unusable columns, missing labels or a single class; ConfigError for an
        unknown model or option, and for a parameter out of range, which is scikit-learn's InvalidParameterError, too.
        """
        self._validate_params()
        with unchanged_on_error(self):
            table, self._back = open_table(X)
            reader = self._reader_for(table)
            if not reader.tabular:
                self._like_array, self._label = True, "label"
                return self._fit(reader, reader.open(table), y)
            self._like_array = not hasattr(table, "columns")
            frame = self._accept(table)
            if "table" in self._entry.modalities and is_described(self._entry, y, tabular=True):
                properties, y = Properties.read(y, frame)
                self._labels, self._label = properties, properties.names
                return self._fit(reader, frame, y)
            return self._fit(reader, frame, self._named_labels(y, frame))

    def _named_labels(self, y: Any, frame: pd.DataFrame) -> np.ndarray | None:
        """The labels of a table's rows; remembers their type, and a name that no column has."""
        labelled = self._labels = Labels.read(y)
        plain, name = labelled.plain, labelled.name
        self._label = free_name("label" if name is None or name == "" else name, frame)
        if y is None:
            return None
        if name is not None and str(name) in frame.columns:
            warnings.warn(f"y, {name!r}, is also a column of X, so it is generated twice: drop it from X", stacklevel=3)
        check_labels(plain)
        labels: np.ndarray = check_target_type(plain, indicate_one_vs_all=True)[0]
        return labels

    def fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, Any]:
        """Return the given rows followed by generated ones, and their labels, in the types of the input.

        Raises the errors of ``fit``, and ConfigError for images and series.
        """
        table, back = open_table(X)
        labels = Labels.read(y)
        with unchanged_on_error(self):
            rows, made = super().fit_resample(table, labels.plain, **params)
        return back(rows), labels.restored(made)

    def _check_X_y(self, X: Any, y: Any) -> tuple[Any, np.ndarray, bool]:
        if not self._reader_for(X).tabular:
            raise ConfigError("fit_resample() is for tables; with images and series use fit() and sample()")
        if self._entry.takes == ("attributes",):
            raise only_sampled(self._entry.name, "fit_resample()")
        labels, binarize = check_target_type(y, indicate_one_vs_all=True)
        if not hasattr(X, "columns"):
            X = check_array(reject_sparse(X), dtype=None, ensure_all_finite=False, estimator=self)
        self._accept(X)
        return X, labels, binarize

    def _fit_resample(self, X: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
        """The hook that imbalanced-learn's ``fit_resample`` calls."""
        self._labels, self._like_array, self._back = Labels(y), not hasattr(X, "columns"), Back()
        frame = self._accept(X)
        self._label = free_name("label", frame)
        self._fit(self._reader_for(X), frame, y, resampling=True)
        wanted = np.array([self.sampling_strategy_.get(c, 0) for c in self.classes_], dtype=np.int64)
        made = self._rows.by_class(wanted, seed_of(self.random_state))
        labels = np.concatenate([y, np.repeat(self.classes_, wanted).astype(y.dtype)])
        if hasattr(X, "columns"):
            made.columns = X.columns
            return stack(X, made), labels
        return np.vstack([X, like_array(made, X.dtype)]), labels

    def _fit(self, reader: Reader, examples: Any, y: Any, resampling: bool = False) -> Self:
        """Train a generator of opened examples, by their labels or descriptions ``y``; None learns them all alike."""
        plan = self._plan(reader, resampling)
        if len(examples) < 2:
            raise DataError(f"an augmenter needs at least 2 examples (samples); got {len(examples)}")
        self.generator_ = generator = generator_for(reader, examples, y, plan)
        self.reader_, self.algorithm_, self.history_ = reader, generator.algorithm, generator.history
        classes = generator.classes
        self.classes_, self.conditions_, self.class_counts_ = classes.values, list(classes.texts), classes.counts
        several = ", ".join(self._label) if isinstance(self._label, list) else str(self._label)
        self.label_ = None if y is None else several
        warn_of_collapse(*generator.probe(examples, plan.seed))
        return self

    def _reader_for(self, X: Any) -> Reader:
        return reader_for(X, self.modality, self._entry.modalities, schema=self.schema, for_generation=True)

    def _plan(self, reader: Reader, resampling: bool = False) -> GenerationPlan:
        return self._plan_of(self._entry, self._defaults.get(reader.modality, {}), reader, resampling)

    def _plan_of(
        self, model: Entry, defaults: Mapping[str, Any], reader: Reader, resampling: bool = False
    ) -> GenerationPlan:
        """The plan of one model, with the options that differ from the model's."""
        if "augmenter" not in model.tasks or reader.modality not in model.modalities:
            raise ConfigError(
                f"model {model.name!r} does not generate {reader.plural}; `ganlib models --task augmenter` lists what "
                "each generates"
            )
        chosen = {"latent_dim": self.latent_dim, "hidden": self.hidden, "learning_rate": self.learning_rate}
        given = {k: v for k, v in chosen.items() if v is not None}
        reject_twice(given, self.options)
        options = {**defaults, **given, **(self.options or {})}
        model.options(options)
        training = Training.of(self, model, GENERATION, seed_of(self.random_state))
        return GenerationPlan(
            model, options, training, self.validation_fraction, self.balance, self.class_prior, self.curation,
            self.near_copies, resampling,
        )  # fmt: skip

    # ---------------------------------------------------------------- sampling
    def sample(self, n: int | None = None, conditions: Any = None, *, random_state: Any = None) -> Any:
        """Generate rows.

        After fitting on a frame, returns a frame, with the label as its last column if there is one. After fitting on
        an array, returns an array, or with labels a pair of array and labels.

        ``conditions`` is None for the class shares of the training table, one class, a sequence of ``n`` classes, or a
        mapping from class to count (then ``n`` may be omitted). Counts are exact. After fitting with attributes or
        captions, it is one description for all rows or one for each; defaults to training descriptions.
        Raises ConfigError for an unknown class or counts that do not add up.
        """
        check_is_fitted(self, "algorithm_")
        seed = seed_of(self.random_state if random_state is None else random_state)
        made, labels = self.generator_.sample(n, conditions, seed)
        if self._like_array:
            rows = made.to_numpy() if self.reader_.tabular else made
            return rows if labels is None else (rows, labels)
        made = made.rename(columns=self._names)
        if labels is not None:
            made[self._label] = self._labels.restored(labels)
        return self._back(made)

    def augment(
        self,
        frame: pd.DataFrame,
        label: str | None = None,
        rows: int | None = None,
        *,
        condition: Any = None,
        counts: Mapping[Any, int] | None = None,
        where: str | Sequence[str] | Condition | None = None,
        target: str = "auto",
        only_synthetic: bool = False,
    ) -> pd.DataFrame:
        """Fit on ``frame`` and return it followed by generated rows, with a boolean column ``_synthetic``.

        ``rows`` is the number of generated rows. None balances all classes; a number is distributed to balance the
        classes, or generated for the class ``condition``. ``counts`` instead gives the number by class. Without
        ``label``, only ``rows`` is allowed. Rows with a missing label are returned but not used for training.

        ``where`` generates only rows that satisfy a condition on their values, such as ``"country = FR and age >= 60"``
        (``ganlib.data.conditions``). Counts are exact and classes counted among the real rows that satisfy it; the
        others are learned from as classes of their own. Rows that do not satisfy it are sampled again, up to ten times
        with up to ten times as many; no value is set. ``classes_`` then names the label and the condition.

        ``target`` says whether ``label`` names classes or is a numeric target: ``"classes"``, ``"numeric"``, or
        ``"auto"`` (``ganlib.augment.ranges``). The ranges of a numeric target take the place of classes: ``rows=None``
        adds rows to rare ranges until each has as many as the mean of all, and each generated value lies in its range.

        Raises DataError for a missing label column, a single class, a frame that is already marked, a condition that
        fewer than four rows satisfy, and rows that do not satisfy it after ten rounds; ConfigError for inconsistent
        counts and a condition that cannot be read.
        """
        frame, back = open_table(frame)
        if not hasattr(frame, "columns"):
            raise ConfigError("augment() takes a DataFrame; with arrays use fit() and sample(), or fit_resample()")
        if MARK in frame.columns:
            raise DataError(f"the table already has a column {MARK!r}; augment the real rows only, without that column")
        check_rows(rows, "rows")
        if label is None and (condition is not None or counts is not None):
            raise ConfigError("condition and counts refer to classes: name the label column too")
        if counts is not None and (rows is not None or condition is not None):
            raise ConfigError("counts already gives the rows of each class: leave out rows and condition")
        if label is None and rows is None:
            raise ConfigError("without a label there is nothing to balance: give the number of rows to generate")
        real = frame.reset_index(drop=True)
        cells = self._cells(real, label, where, target)
        if cells is not None:
            made = self._augment_cells(real, cells, rows, condition, counts)
        elif label is None:
            made = self.fit(real).sample(rows)
        else:
            made = self._augment_by_class(real, label, rows, condition, counts)
        return back(mark(real, made.reindex(columns=real.columns), only_synthetic))

    def _cells(
        self, real: pd.DataFrame, label: str | None, where: str | Sequence[str] | Condition | None, target: str
    ) -> Cells | None:
        """The cells to learn; None if the classes of the label, or all rows alike, are learned."""
        if label is not None and label not in real.columns:
            raise DataError(f"there is no column {label!r}; {close_names(label, real.columns)}")
        numeric = label is not None and is_numeric_target(real[label], target)
        if where is None and not numeric and (label is None or not few_fractions(real[label])):
            return None
        if self._entry.takes == ("attributes",):
            raise only_sampled(self._entry.name, "augment()")
        read = None if where is None else Condition.of(where, real, self.schema, label)
        return Cells.read(real, label, read, numeric)

    def _augment_cells(
        self, real: pd.DataFrame, cells: Cells, rows: int | None, condition: Any, counts: Mapping[Any, int] | None
    ) -> pd.DataFrame:
        """Learn the cells, and generate rows of the wanted ones."""
        label, known = cells.label, real.iloc[cells.rows].reset_index(drop=True)
        wanted = cells.requested(rows, condition, counts)
        learned = known if label is None or cells.ranges is not None else known.drop(columns=[label])
        self.fit(learned, None if cells.single else pd.Series(cells.names.astype(str), name="cell"))
        self._check_generated(cells)
        reports = []

        def draw(request: Mapping[str, int], seed: int) -> pd.DataFrame:
            # One cell for each row: counts alone would come in the order of the learned cells.
            each = None if cells.single else [name for name, count in request.items() for _ in range(count)]
            made = self.sample(sum(request.values()), each or None, random_state=seed)
            reports.append(self.constraint_report_)
            if label is not None and cells.ranges is None:
                first = np.repeat([cells.first[name] for name in request], list(request.values())).astype(np.int64)
                made[label] = known[label].iloc[first].reset_index(drop=True)
            return made.reindex(columns=known.columns)

        made = sampled(draw, wanted, cells.fits, cells.describe(), seed_of(self.random_state))
        self._rows.report = joined_reports(reports)
        return made

    def _check_generated(self, cells: Cells) -> None:
        """Raise DataError if a column that rows must fit is not generated."""
        made = {c.name for c in self.encoder_.columns()}
        needed = set() if cells.condition is None else {*cells.condition.names} - {cells.label}
        if cells.ranges is not None:
            needed.add(str(cells.label))
        if lost := sorted(needed - made):
            note = self.schema_.column(lost[0]).note
            raise DataError(
                f"column {lost[0]!r} is not generated{f' ({note})' if note else ''}, so generated rows cannot satisfy "
                f"{cells.describe()}: name another column, or give a schema in which its role is feature"
            )

    def _augment_by_class(
        self, real: pd.DataFrame, label: str, rows: int | None, condition: Any, counts: Mapping[Any, int] | None
    ) -> pd.DataFrame:
        if self._entry.takes == ("attributes",):
            raise only_sampled(self._entry.name, "augment()")
        known = real[label].notna().to_numpy()
        y = real.loc[known, label]
        classes = y.unique()
        for wanted in counts or ([] if condition is None else [condition]):  # fail before training
            index_of(wanted, classes, [category_text(value) for value in classes])
        self.fit(real.loc[known].drop(columns=[label]).reset_index(drop=True), y.reset_index(drop=True))
        if counts is None:
            wanted = to_balance(self.class_counts_)
            if condition is not None:
                _, one = counts_for(1, condition, self.classes_, self.conditions_, self.class_counts_)
                wanted = one * (rows if rows is not None else int((wanted * one).sum()))
            elif rows is not None:
                wanted = share_out(rows, wanted if wanted.sum() else self.class_counts_)
            counts = {c: int(n) for c, n in zip(self.classes_, wanted, strict=True) if n}
        return self.sample(conditions=counts)

    def generate(self, z: np.ndarray, conditions: Sequence[int] | np.ndarray | None = None) -> pd.DataFrame:
        """Raw columns from noise ``z`` float32 ``(n, latent_dim)`` and class indices, without filters and constraints.

        Equals the sealed artifact's graph; ``latent_dim`` is ``algorithm_.sampler().latent_dim``. Raises ConfigError
        after fitting on images or series.
        """
        check_is_fitted(self, "algorithm_")
        if not self.reader_.tabular:
            raise ConfigError("generate() returns table rows; use sample() for images and series")
        codes = None if conditions is None else np.asarray(conditions)
        return cast("TableReader", self.reader_).restore(self._rows.encoded(z, codes))

    def quick(self, modality: str) -> Self:
        """An unfitted copy for measuring: its examples of this kind resemble this one's, and may cost less."""
        return clone(self)

    def usual(self, modality: str) -> Usual:
        """The usual gain from rows of such data, by which a measured one is weighed."""
        return UNKNOWN

    # ---------------------------------------------------------------- what was fitted
    @property
    def _entry(self) -> Entry:
        return entry(self.model or self.default_model)

    @property
    def _rows(self) -> RowGenerator:
        if isinstance(self.generator_, DescribedRows):
            raise only_sampled(self._entry.name, "this")
        return cast("RowGenerator", self.generator_)

    @property
    def _keeper(self) -> Keeper | None:
        """The constraints of the table, for sealing; None without constraints."""
        return self._rows.keeper

    @property
    def schema_(self) -> Schema:
        """The schema of the table."""
        return cast("TableReader", self.reader_).schema

    @property
    def encoder_(self) -> TableEncoder:
        """The encoder of the generated columns."""
        return cast("TableReader", self.reader_).encoder

    @property
    def constraint_report_(self) -> Mapping[str, Mapping[str, int]]:
        """Rows of the last call that were broken, redrawn and repaired, by constraint."""
        return self._rows.report

    @property
    def arrays_(self) -> ExampleGenerator | None:
        """The generator of images or series; None for tables."""
        return None if self.reader_.tabular else self.generator_

    # ---------------------------------------------------------------- input
    def _accept(self, X: Any) -> pd.DataFrame:
        """A frame with string column names."""
        if isinstance(X, pd.DataFrame):
            check_names(X)
        _check_feature_names(self, X, reset=True)
        if not hasattr(X, "columns"):
            X = check_array(reject_sparse(X), dtype=None, ensure_all_finite=False, estimator=self)
            X = pd.DataFrame(X, columns=[f"x{i}" for i in range(X.shape[1])])
        _check_n_features(self, X, reset=True)
        self._names = {str(name): name for name in X.columns}
        frame = X.rename(columns=str).reset_index(drop=True)
        if MARK in frame.columns:
            raise DataError(f"the table has a column {MARK!r}; learn from the real rows only, without that column")
        return frame
