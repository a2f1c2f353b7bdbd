"""The estimator of every registered density."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ganlib.abilities import HasDensity, Samples, abilities_of, can
from ganlib.config import Count, Rate, Share, Whole
from ganlib.data.readers import Reader, TableReader, reader_for
from ganlib.data.schema import Schema
from ganlib.density.units import noisy, units_of
from ganlib.errors import ConfigError, DataError
from ganlib.estimator import (
    Seed,
    TrainerOptions,
    check_parameters,
    estimator_parameters,
    reject_twice,
    seed_of,
    unchanged_on_error,
)
from ganlib.nn.density import log_density
from ganlib.recipe import DENSITY, Training
from ganlib.registry import Entry, entry, resolve
from ganlib.training.algorithm import Algorithm

_CHUNK = 256
_LISTED = "`ganlib models --task density` lists those that have one"
_NUMBERS = ("number", "integer")


class Density(BaseEstimator):
    """Learns the density of tables of numbers, images or series.

    ``model`` is a registry name. The density is of raw values in their own units: that of a table of one or two columns
    integrates to one over these columns (``ganlib.density.units`` holds the change of variables). Of images of bytes it
    is per level, of pixels as floats per unit of their range.

    Columns of a table must be numbers. Values on a grid (whole numbers, columns rounded to a step, bytes) are trained
    on with uniform noise of one step, so that ties do not raise the density without bound. Text columns and identifiers
    are left out; a warning names columns off a grid of which a tenth of the rows share one value.

    Parameters:
    - ``options``: further options of the model; ``learning_rate`` (``None``: the model's default).
    - ``epochs``, ``steps``: training budget; ``batch_size``, ``patience``, ``trainer``: as of detectors.
    - ``validation_fraction``: share of the rows held out for early stopping.
    - ``schema``: of tables, a Schema or a path; ``modality``: "image" or "series", of arrays that could be either.
    - ``random_state``: an int, a numpy RandomState or None; ``device``: auto, cpu or cuda:N; ``verbose``: progress bar.

    Fitted attributes: ``reader_``, ``units_``, ``algorithm_``, ``density_`` (its log-density as a module),
    ``history_``.
    """

    def __init__(
        self,
        model: str = "spline_flow",
        *,
        options: Mapping[str, Any] | None = None,
        epochs: Count | None = None,
        steps: Count | None = None,
        batch_size: Count | None = None,
        learning_rate: Rate | None = None,
        patience: Whole | None = None,
        trainer: TrainerOptions = None,
        validation_fraction: Share = 0.1,
        schema: Schema | str | Path | None = None,
        modality: str | None = None,
        random_state: Seed = 0,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.model = model
        self.options = options
        self.epochs = epochs
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.trainer = trainer
        self.validation_fraction = validation_fraction
        self.schema = schema
        self.modality = modality
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # ---------------------------------------------------------------- fitting
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the density of ``X``; ``y`` is not used.

        Raises DataError for columns that are no numbers, missing values, constant columns and fewer rows than values;
        ConfigError for bad options.
        """
        check_parameters(self)
        model, seed = entry(self.model), seed_of(self.random_state)
        _check_able(model, self.options)
        with unchanged_on_error(self):
            training = Training.of(self, model, DENSITY, seed)
            reader = reader_for(X, self.modality, model.modalities, schema=self.schema, for_generation=True)
            if reader.tabular:
                reader = TableReader(self.schema, for_generation=True, numeric="standard")
            _check_kind(model, reader)
            examples = reader.select(reader.open(X))
            if isinstance(reader, TableReader):
                _check_columns(reader)
            order = np.random.default_rng(seed).permutation(len(examples))
            held, chosen = np.split(order, [round(self.validation_fraction * len(order))])
            reader.fit(reader.take(examples, chosen))
            self.reader_, self.units_ = reader, units_of(reader)
            self.units_.check(reader.take(examples, chosen))
            if len(chosen) <= reader.spec.dim:
                raise DataError(
                    f"{len(chosen)} rows to train on, of {reader.spec.dim} values each: a density needs more rows than "
                    "values. Give more rows, leave columns out, or reduce them first (a PCA, smaller images)"
                )
            self._train(training, *(self._placed(reader.take(examples, rows), seed) for rows in (chosen, held)))
        return self

    def _placed(self, examples: Any, seed: int) -> dict[str, Tensor]:
        if not len(examples):
            return {"x": torch.zeros(0, *self.reader_.spec.shape)}
        return {"x": self.units_.place(noisy(self.units_, self.units_.values(examples), seed))}

    def _train(self, training: Training, data: dict[str, Tensor], validation: dict[str, Tensor]) -> None:
        given = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        reject_twice(given, self.options)
        with torch.random.fork_rng():
            torch.manual_seed(training.seed)
            algorithm = training.model.create(self.reader_.spec, **given, **(self.options or {}))
        self.history_ = training.run(algorithm, data, validation)
        self.algorithm_, self.density_ = algorithm, log_density(algorithm)

    # ---------------------------------------------------------------- use
    def log_prob(self, X: Any) -> np.ndarray:
        """Log-densities of rows in nats, in the units of the data, float64 ``(n,)``.

        Raises DataError for data of another format, and for missing or infinite values.
        """
        check_is_fitted(self, "density_")
        return self._log_prob(self.units_.values(self._again(X)))

    def score(self, X: Any, y: Any = None) -> float:
        """The mean log-density; ``y`` is not used."""
        return float(self.log_prob(X).mean())

    def bits_per_dim(self, X: Any) -> float:
        """-log2 p(x) per value, the mean over ``X``.

        Values on a grid get uniform noise of one step, from ``random_state``. For bytes this bounds, from above, the
        bits by which the density would compress the images.
        """
        check_is_fitted(self, "density_")
        values = noisy(self.units_, self.units_.values(self._again(X)), seed_of(self.random_state))
        return float(-self._log_prob(values).mean() / (self.reader_.spec.dim * math.log(2)))

    def sample(self, n: int, random_state: Seed = 0) -> Any:
        """``n`` samples in the format of the training data; numbers are rounded to their grid and kept in the bounds of
        the schema. Raises ConfigError if the model has no sampler."""
        check_is_fitted(self, "density_")
        if not can(self.algorithm_, Samples):
            raise ConfigError(
                f"model {self.model!r} has a density but no sampler; choose gaussian_mixture, spline_flow or another "
                "of `ganlib models --task augmenter`"
            )
        sampler = self.algorithm_.sampler().cpu()  # type: ignore[attr-defined]
        rng = np.random.Generator(np.random.Philox(seed_of(random_state)))
        z = torch.from_numpy(rng.standard_normal((n, sampler.latent_dim), dtype=np.float32))
        with torch.no_grad():
            return self.units_.restore(torch.cat([sampler(part) for part in z.split(_CHUNK)]))

    def _again(self, X: Any) -> Any:
        return self.reader_.again(X)

    def _log_prob(self, values: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            parts = [self.density_(part) for part in self.units_.place(values).split(_CHUNK)]
        return torch.cat(parts).double().numpy() + self.units_.log_volume(values)


def _check_able(model: Entry, options: Mapping[str, Any] | None) -> None:
    """Raise ConfigError unless the model has a density with these options."""
    if not issubclass(model.build, HasDensity):  # type: ignore[arg-type]
        raise ConfigError(f"model {model.name!r} has no density; {_LISTED}")
    if HasDensity not in abilities_of(model.build, model.options(options)):  # type: ignore[arg-type]
        why = getattr(model.build, "why_no_density", _LISTED)
        raise ConfigError(f"model {model.name!r} has no density with these options: {why}")


def _check_kind(model: Entry, reader: Reader) -> None:
    """Raise ConfigError for data of which the model gives probabilities, not densities."""
    if reader.modality in getattr(model.build, "no_density_of", ()):
        raise ConfigError(
            f"model {model.name!r} has no density of {reader.plural}; choose gaussian, gaussian_mixture or another of "
            "`ganlib models --task density`"
        )


def _check_columns(reader: TableReader) -> None:
    """Raise DataError for columns that are no numbers."""
    for column in reader.schema.features:
        if column.kind not in (*_NUMBERS, "text"):
            raise DataError(
                f"column {column.name!r} is of kind {column.kind}, which has probabilities and no density: leave it "
                "out, fit one density for each of its values, or convert it to a number"
            )


def as_density(model: str | Entry | Algorithm | type, **config: Any) -> Density:
    """An unfitted density estimator from a registry name or entry, a registered model class or an untrained model.

    Of an untrained model only the options are used. ``config`` contains parameters of the estimator (``steps``,
    ``schema``, ...) and options of the model (``flow_steps``, ``components``, ...). Raises ConfigError for an unknown
    name or option, or a model without a density.
    """
    chosen = resolve(model)
    own = set(Density._get_param_names()) - {"model"}
    parameters = estimator_parameters(model, chosen, own, config, "density")
    _check_able(chosen, parameters.get("options"))
    return Density(chosen.name, **parameters)
