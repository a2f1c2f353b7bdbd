"""The estimator of every registered translator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from ganlib.abilities import TranslatesBack, can
from ganlib.config import Count, Rate, Share, Whole
from ganlib.data.readers import Reader, reader_for
from ganlib.data.schema import Schema
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError
from ganlib.estimator import (
    Seed,
    TrainerOptions,
    check_parameters,
    estimator_parameters,
    reject_twice,
    seed_of,
    unchanged_on_error,
)
from ganlib.nn.translation import Translation
from ganlib.recipe import TRANSLATION, Training
from ganlib.registry import Entry, entry, resolve
from ganlib.training.algorithm import Algorithm
from ganlib.translate.domains import check_kinds, domains_of, split

Domain = Literal["a", "b"]
_CHUNK = 256
_LISTED = "`ganlib models --task translator` lists others"


class Translator(BaseEstimator):
    """Turns tables, images or series of domain A into those of domain B, and back where the model learns both ways.

    ``model`` is a registry name. A model that learns from pairs needs as many examples of both domains, in one order;
    the others take them in any order and number.

    Parameters:
    - ``options``: further options of the model; ``learning_rate`` (``None``: the model's default).
    - ``epochs``, ``steps``: training budget; ``batch_size``, ``patience``, ``trainer``: as of detectors.
    - ``validation_fraction``: share of the pairs held out for early stopping; not used without pairs.
    - ``schema``, ``schema_b``: of tables, a Schema or a path each; ``modality``: "image" or "series", of arrays that
      could be either.
    - ``random_state``: an int, a numpy RandomState or None; ``device``: auto, cpu or cuda:N; ``verbose``: progress bar.

    Fitted attributes: ``reader_a_`` and ``reader_b_``, ``algorithm_``, ``history_``.
    """

    def __init__(
        self,
        model: str = "cyclegan",
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
        schema_b: Schema | str | Path | None = None,
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
        self.schema_b = schema_b
        self.modality = modality
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # ---------------------------------------------------------------- fitting
    def fit(self, X: Any, X_b: Any = None) -> Self:
        """Learn from examples of domain A and of domain B: two frames or arrays, or a list of pairs as ``X``.

        Raises DataError for pairs of unequal number and for unusable data; ConfigError for bad options, for domains of
        different kinds, and for examples that are too small for the model's networks.
        """
        check_parameters(self)
        model, seed = _able(entry(self.model)), seed_of(self.random_state)
        paired = model.build.paired  # type: ignore[attr-defined]
        with unchanged_on_error(self):
            training = Training.of(self, model, TRANSLATION, seed)
            readers, examples = list[Reader](), list[Any]()
            for given, schema in zip(domains_of(X, X_b), (self.schema, self.schema_b), strict=True):
                reader = reader_for(given, self.modality, model.modalities, schema=schema, for_generation=True)
                readers.append(reader)
                examples.append(reader.select(reader.open(given)))
            rows = len(examples[0]), len(examples[1])
            check_kinds(model.name, readers[0], readers[1], rows, paired)
            *chosen, held = split(rows, paired, self.validation_fraction, seed)
            for reader, domain, own in zip(readers, examples, chosen, strict=True):
                reader.fit(reader.take(domain, own))
            self.reader_a_, self.reader_b_ = readers
            self._train(training, *(_both(readers, examples, of) for of in (chosen, (held, held))))
        return self

    def _train(self, training: Training, data: dict[str, Tensor], validation: dict[str, Tensor]) -> None:
        spec = DataSpec({"x": self.reader_a_.spec.x, "x_b": self.reader_b_.spec.x})
        given = {} if self.learning_rate is None else {"learning_rate": self.learning_rate}
        reject_twice(given, self.options)
        with torch.random.fork_rng():
            torch.manual_seed(training.seed)
            algorithm = training.model.create(spec, **given, **(self.options or {}))
        self.history_ = training.run(algorithm, data, validation)
        self.algorithm_ = algorithm

    # ---------------------------------------------------------------- use
    def translate(self, X: Any, to: Domain = "b") -> Any:
        """The counterparts of ``X`` in domain ``to``, in the format of the examples that it was fitted on.

        Raises ConfigError if the model does not translate in that direction; DataError for examples of another format
        than those of the domain they start from.
        """
        check_is_fitted(self, "algorithm_")
        source, target, module = self.way(to)
        with torch.no_grad():
            chunks = source.read(X if not source.tabular else source.again(X)).split(_CHUNK)
            made = torch.cat([module(chunk) for chunk in chunks])
        return written(target, made)

    def way(self, to: Domain) -> tuple[Reader, Reader, Translation]:
        """The readers of the domain that a translation starts from and of the one it leads to, and its network, a copy
        on the CPU."""
        if to not in ("a", "b"):
            raise ConfigError(f"to is 'a' or 'b', the domain to translate to; not {to!r}")
        if to == "b":
            return self.reader_a_, self.reader_b_, Translation(self.algorithm_).cpu()
        if not can(self.algorithm_, TranslatesBack):
            raise ConfigError(
                f"model {self.model!r} learned the way from a to b only: fit another translator with the domains "
                "exchanged, fit(X_b, X_a)"
            )
        return self.reader_b_, self.reader_a_, Translation(self.algorithm_, back=True).cpu()


def written(target: Reader, made: Tensor) -> Any:
    """A network's examples of a domain in the format of those that it was fitted on."""
    if target.scale is not None:
        mean, deviation = target.scale
        made = made * deviation + mean
    return target.restore(made)


def _both(readers: list[Reader], examples: list[Any], chosen: Any) -> dict[str, Tensor]:
    """The chosen examples of both domains as tensors."""
    return {
        name: reader.read(reader.take(domain, own)) if len(own) else torch.zeros(0, *reader.spec.shape)
        for name, reader, domain, own in zip(("x", "x_b"), readers, examples, chosen, strict=True)
    }


def _able(model: Entry) -> Entry:
    if "translator" not in model.tasks:
        raise ConfigError(f"model {model.name!r} does not translate; {_LISTED}")
    return model


def as_translator(model: str | Entry | Algorithm | type, **config: Any) -> Translator:
    """An unfitted translator from a registry name or entry, a registered model class or an untrained model.

    Of an untrained model only the options are used. ``config`` contains parameters of the translator (``steps``,
    ``modality``, ...) and options of the model (``cycle``, ``width``, ...). Raises ConfigError for an unknown name or
    option, or a model that does not translate.
    """
    chosen = _able(resolve(model))
    own = set(Translator._get_param_names()) - {"model"}
    return Translator(chosen.name, **estimator_parameters(model, chosen, own, config, "translator"))
