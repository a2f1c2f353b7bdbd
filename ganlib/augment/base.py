"""Any registered generator as an imbalanced-learn over-sampler for tables of any column types."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from imblearn.over_sampling.base import BaseOverSampler
from imblearn.utils import check_target_type
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_array, check_is_fitted

from ganlib.augment.arrays import ArrayGenerator, Arrays, DescribedGenerator, is_described
from ganlib.augment.checks import PROBE, check_labels, one_axis, reject_sparse, warn_of_collapse, warn_of_left_out
from ganlib.augment.constraints import check_written, keeper_of
from ganlib.augment.counts import check_rows, counts_for, index_of, share_out, to_balance
from ganlib.augment.filters import Curator, choose, near_copies, schema_breaches
from ganlib.augment.generator import Plan, fit_generator
from ganlib.augment.labels import Labels
from ganlib.augment.originals import Originals
from ganlib.augment.stacking import MARK, like_array, mark, stack
from ganlib.data.arrays import examples_of
from ganlib.data.encoder import TableEncoder
from ganlib.data.frames import Back, check_names, open_table
from ganlib.data.inference import infer_schema, with_public
from ganlib.data.inverse import decode_feeds, to_frame
from ganlib.data.schema import Schema
from ganlib.data.values import category_text, reading
from ganlib.errors import ConfigError, DataError
from ganlib.estimator import SHARED_CONSTRAINTS, kept_when_refused, refuse_twice
from ganlib.registry import entry
from ganlib.training.callbacks import ProgressBar

POOL = 4
SCARCE = 0.5
CHUNK = 4096


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
    (gan_int_cls). The sealed artifact contains the generator and the constraints, but not the filters.

    Fitted attributes: ``algorithm_`` (the first one, if arrays have per-class models), ``history_``, ``classes_``
    (empty without labels), ``class_counts_``; for tables also ``schema_``, ``encoder_`` and ``constraint_report_``,
    which counts the rows of the last call that were broken, redrawn and repaired, by constraint (``generate`` does not
    enforce constraints).
    """

    _parameter_constraints = {
        **BaseOverSampler._parameter_constraints,
        **SHARED_CONSTRAINTS,
        "validation_fraction": [Interval(Real, 0, 0.5, closed="both")],
        "balance": [Interval(Real, 0, 1, closed="both")],
        "class_prior": ["boolean"],
        "curation": [Interval(Real, 0, 1, closed="left")],
        "near_copies": [Interval(Real, 0, 1, closed="both")],
    }
    default_model: str = ""
    model: str | None = None
    algorithm_: Any
    _defaults: Mapping[str, Any] = {}
    _array_defaults: Mapping[str, Any] = {}

    def __init__(
        self,
        *,
        sampling_strategy: Any = "auto",
        options: dict[str, Any] | None = None,
        latent_dim: int | None = None,
        hidden: tuple[int, ...] | None = None,
        epochs: int | None = None,
        steps: int | None = None,
        batch_size: int = 128,
        learning_rate: float | None = None,
        patience: int = 10,
        validation_fraction: float = 0.1,
        balance: float = 0.3,
        class_prior: bool = True,
        curation: float = 0.5,
        near_copies: float = 0.05,
        schema: Schema | str | None = None,
        modality: str | None = None,
        random_state: Any = 0,
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
        unknown model or option; scikit-learn's InvalidParameterError (a ValueError) for a parameter out of range.
        """
        self._validate_params()
        with kept_when_refused(self):
            self.arrays_: Arrays | None = None
            X, self._back = open_table(X)
            self._like_array = not hasattr(X, "columns")
            if (examples := examples_of(X)) is not None:
                return self._fit_arrays(examples, y)
            frame = self._accept(X)
            if y is None:
                return self._fit(frame, None, "label")
            self._labels = Labels.read(y)
            y, name = self._labels.plain, self._labels.name
            if name is not None and str(name) in frame.columns:
                warnings.warn(
                    f"y, {name!r}, is also a column of X, so it is generated twice: drop it from X", stacklevel=2
                )
            check_labels(y)
            labels, _ = check_target_type(y, indicate_one_vs_all=True)
            return self._fit(frame, labels, "label" if name is None or name == "" else name)

    def fit_resample(self, X: Any, y: Any, **params: Any) -> tuple[Any, Any]:
        """Return the given rows followed by generated ones, and their labels, in the types of the input.

        Raises the errors of ``fit``, and ConfigError for images and series.
        """
        table, back = open_table(X)
        labels = Labels.read(y)
        rows, made = super().fit_resample(table, labels.plain, **params)
        return back(rows), labels.restored(made)

    def _check_X_y(self, X: Any, y: Any) -> tuple[Any, np.ndarray, bool]:
        if examples_of(X) is not None:
            raise ConfigError("fit_resample() is for tables; with images and series use fit() and sample()")
        labels, binarize = check_target_type(y, indicate_one_vs_all=True)
        if not hasattr(X, "columns"):
            X = check_array(reject_sparse(X), dtype=None, ensure_all_finite=False, estimator=self)
        self._accept(X)
        return X, labels, binarize

    def _fit_resample(self, X: Any, y: np.ndarray) -> tuple[Any, np.ndarray]:
        """The hook that imbalanced-learn's ``fit_resample`` calls."""
        self.arrays_, self._like_array, self._back = None, not hasattr(X, "columns"), Back()
        frame = self._accept(X)
        self._fit(frame, y, "label", resampling=True)
        wanted = [self.sampling_strategy_.get(c, 0) for c in self.classes_]
        made, codes = self._generate(np.array(wanted, dtype=np.int64), self.random_state)
        labels = np.concatenate([y, self.classes_[codes].astype(y.dtype)])
        if hasattr(X, "columns"):
            made.columns = X.columns
            return stack(X, made), labels
        return np.vstack([X, like_array(made, X.dtype)]), labels

    def _fit(self, frame: pd.DataFrame, labels: np.ndarray | None, label_name: Any, resampling: bool = False) -> Self:
        if len(frame) < 2:
            raise DataError(f"an augmenter needs at least 2 rows (samples); got {len(frame)}")
        plan = self._plan()
        codes = self._read_labels(labels, len(frame), plan)
        while str(label_name) in frame.columns:
            label_name = f"{label_name}_"
        self._label = label_name
        self.label_ = None if labels is None else str(label_name)
        self.schema_ = self._schema_for(frame)
        made = tuple(c for c in self.schema_.features if c.kind != "text")
        if not made:
            raise DataError("no column can be generated: every one is text, an identifier or empty")
        self.encoder_ = TableEncoder(self.schema_.only(made), for_generation=True).fit(frame)
        if all(frame[c.name].nunique(dropna=False) == 1 for c in made):
            raise DataError("every column holds a single value: there is nothing to learn")
        warn_of_left_out(self.schema_, frame, resampling)
        self._originals = Originals(frame, self.encoder_, codes)
        self.constraint_report_: dict[str, dict[str, int]] = {}
        self._keeper = keeper_of(self._kept_schema(), frame, codes)
        x = self.encoder_.transform(frame)
        self.algorithm_, self.history_ = fit_generator(self.encoder_, x, codes, plan)
        self._fit_filters(x, codes, plan.seed)
        largest = int(np.argmax(self.class_counts_))
        warn_of_collapse(x, codes, largest, self._pool(largest, PROBE, np.random.default_rng(plan.seed)))
        return self

    def _fit_arrays(self, X: np.ndarray, y: Any) -> Self:
        """Fit to images or series, by class or by description; without schema and filters."""
        plan = self._plan("image", "series")
        if self.schema is not None:
            raise ConfigError("a schema is for tables; leave it out for images and series")
        if len(X) < 2:
            raise DataError(f"an augmenter needs at least 2 examples; got {len(X)}")
        self.label_ = None if y is None else "label"
        if is_described(plan.model, y):
            self._read_labels(None, len(X), plan)
            self.arrays_ = DescribedGenerator(X, y, plan)
            warn_of_collapse(X, None, 0, self.arrays_.sample(PROBE, None, plan.seed)[0])
        else:
            codes = self._read_labels(one_axis(y, plan), len(X), plan)
            self.arrays_ = ArrayGenerator(X, codes, plan)
            largest = int(np.argmax(self.class_counts_))
            counts = np.bincount([largest] * PROBE, minlength=len(self.class_counts_))
            warn_of_collapse(X, codes, largest, self.arrays_.sample(counts, plan.seed))
        self.algorithm_ = self.arrays_.models[0]
        self.history_ = self.arrays_.history
        return self

    def _read_labels(self, labels: np.ndarray | None, rows: int, plan: Plan) -> np.ndarray | None:
        """Return class indices, and set ``classes_``, ``conditions_`` and ``class_counts_``."""
        if labels is None:
            self.classes_, self.conditions_, self.class_counts_ = np.array([]), [], np.array([rows])
            return None
        if len(labels) != rows:
            raise DataError(f"X has {rows} rows and y {len(labels)}")
        if pd.isna(labels).any():
            raise DataError(f"y lacks {int(pd.isna(labels).sum())} labels; leave these rows out or use augment()")
        self.classes_, codes, self.class_counts_ = np.unique(labels, return_inverse=True, return_counts=True)
        self.conditions_ = [category_text(c) for c in self.classes_]
        if len(self.classes_) < 2:
            raise DataError(
                f"y holds one class, {self.conditions_[0]!r}; an augmenter needs two or more, "
                "or no y at all to learn the whole table"
            )
        if single := [c for c, n in zip(self.conditions_, self.class_counts_, strict=True) if n == 1]:
            how = "spread around it with the covariance of the other classes"
            if not (plan.class_prior and hasattr(plan.model.build, "fit_prior")):
                how = "close copies of it"
            warnings.warn(f"one row only in class {', '.join(single)}: its generated rows are {how}", stacklevel=4)
        return codes.astype(np.int64)

    def _plan(self, *modalities: str) -> Plan:
        name, wanted = self.model or self.default_model, modalities or ("table",)
        model = entry(name)
        if "augmenter" not in model.tasks or not set(wanted) & set(model.modalities):
            what = {"table": "tables"}.get(wanted[0], "images or series")
            raise ConfigError(
                f"model {name!r} does not generate {what}; `ganlib models --task augmenter` lists those that do"
            )
        chosen = {"latent_dim": self.latent_dim, "hidden": self.hidden, "learning_rate": self.learning_rate}
        defaults = self._defaults if wanted == ("table",) else self._array_defaults
        given = {k: v for k, v in chosen.items() if v is not None}
        refuse_twice(given, self.options)
        options = {**defaults, **given, **(self.options or {})}
        model.options(options)
        seed = self._seed(self.random_state)
        callbacks = (ProgressBar(f"training {name}"),) if self.verbose else ()
        return Plan(
            model, options, self.steps, self.epochs, self.batch_size, self.patience, self.validation_fraction,
            self.balance, self.class_prior, seed, self.device, self.modality, callbacks,
        )  # fmt: skip

    def _schema_for(self, frame: pd.DataFrame) -> Schema:
        if self.schema is None:
            return infer_schema(frame, for_generation=True)
        return with_public(self.schema if isinstance(self.schema, Schema) else Schema.load(Path(self.schema)), frame)

    def _kept_schema(self) -> Schema:
        """The schema of the generated columns; raises ConfigError if it lacks a column of a constraint."""
        kept = self.encoder_.schema
        if lost := [c for c in self.schema_.constraints if c not in kept.constraints]:
            names = [n for n in lost[0].columns if n not in {c.name for c in kept.columns}]
            raise ConfigError(
                f"constraint {lost[0].describe()!r} names {', '.join(map(repr, names))}, which is not generated: "
                "remove the constraint from the schema, or give the column the role feature"
            )
        return kept

    def _fit_filters(self, x: np.ndarray, codes: np.ndarray | None, seed: int) -> None:
        """Fit the filters, which use real rows; they stay in memory and are never sealed."""
        self._real = x
        self._scarce = self.class_counts_ < SCARCE * self.class_counts_.max()
        wanted = self.curation > 0 and self._scarce.any()
        self._curator = Curator(x, codes, seed) if codes is not None and wanted else None

    @staticmethod
    def _seed(random_state: Any) -> int:
        if isinstance(random_state, int | np.integer):
            if random_state < 0:
                raise ConfigError(f"random_state must be 0 or more, not {random_state}")
            return int(random_state)
        return int(check_random_state(random_state).randint(2**31 - 1))

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
        state = self.random_state if random_state is None else random_state
        if isinstance(self.arrays_, DescribedGenerator):
            return self.arrays_.sample(n, conditions, self._seed(state))
        per_row, counts = counts_for(n, conditions, self.classes_, self.conditions_, self.class_counts_)
        made: Any
        if isinstance(self.arrays_, ArrayGenerator):
            made, codes = self.arrays_.sample(counts, self._seed(state)), np.repeat(np.arange(len(counts)), counts)
        else:
            made, codes = self._generate(counts, state)
        order = np.arange(len(codes))
        if per_row is not None:
            # The k-th requested row of a class is the k-th generated one.
            order[np.argsort(per_row, kind="stable")] = np.arange(len(per_row))
        labels = None if self.label_ is None else self.classes_[codes[order]]
        if self._like_array:
            rows = (made if self.arrays_ is not None else made.to_numpy())[order]
            return rows if labels is None else (rows, labels)
        made = made.iloc[order].reset_index(drop=True).rename(columns=self._names)
        if labels is not None:
            made[self._label] = self._labels.restored(labels) if self._labels.dtype is not None else labels
        return self._back(made)

    def augment(
        self,
        frame: pd.DataFrame,
        label: str | None = None,
        rows: int | None = None,
        *,
        condition: Any = None,
        counts: Mapping[Any, int] | None = None,
        only_synthetic: bool = False,
    ) -> pd.DataFrame:
        """Fit on ``frame`` and return it followed by generated rows, with a boolean column ``_synthetic``.

        ``rows`` is the number of generated rows. None balances all classes; a number is distributed to balance the
        classes, or generated for the class ``condition``. ``counts`` instead gives the number by class. Without
        ``label``, only ``rows`` is allowed. Rows with a missing label are returned but not used for training.
        Raises DataError for a missing label column, a single class, or a frame that is already marked; ConfigError for
        inconsistent counts.
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
        real = frame.reset_index(drop=True)
        if label is None:
            if rows is None:
                raise ConfigError("without a label there is nothing to balance: give the number of rows to generate")
            made = self.fit(real).sample(rows)
        else:
            made = self._augment_by_class(real, label, rows, condition, counts)
        return back(mark(real, made.reindex(columns=real.columns), only_synthetic))

    def _augment_by_class(
        self, real: pd.DataFrame, label: str, rows: int | None, condition: Any, counts: Mapping[Any, int] | None
    ) -> pd.DataFrame:
        if label not in real.columns:
            from ganlib.data.inference import close_names

            raise DataError(f"there is no column {label!r}; {close_names(label, real.columns)}")
        known = real[label].notna().to_numpy()
        y = real.loc[known, label]
        classes = y.unique()
        for asked in counts or ([] if condition is None else [condition]):  # fail before training
            index_of(asked, classes, [category_text(value) for value in classes])
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
        if self.arrays_ is not None:
            raise ConfigError("generate() returns table rows; use sample() for images and series")
        return self.encoder_.inverse(self._encoded(z, None if conditions is None else np.asarray(conditions)))

    @torch.no_grad()
    def _encoded(self, z: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
        sampler, parts = self.algorithm_.sampler(), []
        for start in range(0, len(z), CHUNK):
            part = torch.from_numpy(z[start : start + CHUNK])
            extra = () if codes is None else (torch.from_numpy(codes[start : start + CHUNK].astype(np.int64)),)
            parts.append(sampler(part, *extra).numpy())
        if not all(np.isfinite(part).all() for part in parts):
            raise DataError("the generated rows are not finite: the model has diverged; try a lower learning_rate")
        return np.concatenate(parts) if parts else np.zeros((0, self.encoder_.spec.dim), dtype=np.float32)

    def _generate(self, counts: np.ndarray, random_state: Any) -> tuple[pd.DataFrame, np.ndarray]:
        """Filtered rows, ``counts[c]`` of each class in class order, and their class indices."""
        seed = self._seed(random_state)
        rng = np.random.default_rng(np.random.Philox(seed))
        codes = np.repeat(np.arange(len(counts)), counts)
        feeds = self._chosen(codes, rng)
        if self._keeper is not None:
            keep = reading(self._keeper.keep)
            feeds, self.constraint_report_ = keep(feeds, codes, lambda more: self._chosen(more, rng), rng)
        made = self._frame(feeds)
        if self._keeper is not None:
            check_written(self._keeper, self.encoder_.schema, made)
        return self._complete(made), codes

    def _chosen(self, codes: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Filtered rows of these ascending class indices, as raw values by column."""
        parts = [self._pool(label, int(n), rng) for label, n in enumerate(np.bincount(codes)) if n]
        empty = np.zeros((0, self.encoder_.spec.dim), dtype=np.float32)
        return self._decoded(np.concatenate([empty, *parts]), codes, rng)

    def _decoded(self, rows: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Encoded rows of these classes as raw values by column, with rare levels sampled from the real ones."""

        def rare(name: str, chosen: np.ndarray) -> np.ndarray:
            return self._originals.rare_words(name, codes[chosen], rng)

        feeds = decode_feeds(self.encoder_, rows, rare)
        return {c.name: feeds[c.input] for c in self.encoder_.columns()}

    def _frame(self, values: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Raw values by column as a frame of the real columns' types."""
        feeds = {c.input: values[c.name] for c in self.encoder_.columns()}
        return to_frame(self.encoder_, feeds, self._originals.likes)

    def _pool(self, label: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
        """``wanted`` encoded rows of one class, selected from an oversized pool."""
        curator = self._curator if self._scarce[label] else None
        filtered = curator is not None or self.near_copies > 0
        size = wanted * (POOL if filtered else 1)
        z = rng.standard_normal((size, self.algorithm_.sampler().latent_dim), dtype=np.float32)
        rows = self._encoded(z, np.full(size, label) if self.conditions_ else None)
        if not filtered:
            return rows
        made = self._frame(self._decoded(rows, np.full(size, label), rng))
        unfit = schema_breaches(self.encoder_.schema, made)
        coded = self.encoder_.transform(made)
        if self.near_copies:
            unfit |= near_copies(self._real, coded, self.near_copies)
        typicality = curator.typicality(coded, label) if curator is not None else None
        return rows[choose(wanted, unfit, typicality, 1 - self.curation, rng)]

    def _complete(self, made: pd.DataFrame) -> pd.DataFrame:
        """All columns of the training frame in their order; columns that are not generated are missing."""
        return made.reindex(columns=[c.name for c in self.schema_.columns if c.role != "label"])

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
