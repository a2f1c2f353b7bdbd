"""What estimators share: ranges of parameters, options given twice, the training run, and a fit that fails."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import typing
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import InvalidParameterError

from ganlib.config import checked
from ganlib.errors import ConfigError
from ganlib.registry import Entry, options_of
from ganlib.training import TrainerConfig

Seed = Annotated[int, Ge(0), Le(2**32 - 1)] | np.random.RandomState | None
"""A random state of scikit-learn."""
TrainerOptions = TrainerConfig | Mapping[str, Any] | None
"""A training configuration, or its options by name (and ``callbacks``)."""


class ParameterError(ConfigError, InvalidParameterError):
    """A parameter of an estimator that is out of its range; also scikit-learn's InvalidParameterError."""


def check_parameters(estimator: Any) -> None:
    """Raise ParameterError unless each parameter has the type and range with which ``__init__`` declares it."""
    for name, hint in _ranges(estimator.__class__).items():
        try:
            checked(name, getattr(estimator, name), hint, "parameter")
        except ConfigError as error:
            raise ParameterError(f"{type(estimator).__name__}: {error}") from None


@functools.cache
def _ranges(kind: Any) -> dict[str, Any]:
    """The types of the parameters, with their ranges."""
    hints = typing.get_type_hints(kind.__init__, include_extras=True)
    return {name: hints[name] for name in kind._get_param_names()}


def reject_twice(parameters: Mapping[str, Any], options: Mapping[str, Any] | None, within: str = "options") -> None:
    """Raise ConfigError where an option is given both by itself and within ``options``."""
    if both := sorted(parameters.keys() & (options or {}).keys()):
        raise ConfigError(f"{both[0]} is given twice, by itself and in {within}: leave one out")


def estimator_parameters(
    model: Any, chosen: Entry, own: Collection[str], given: Mapping[str, Any], kind: str
) -> dict[str, Any]:
    """Keywords as an estimator's own parameters, the model's options among them as ``options``.

    An untrained ``model`` lends its options. Raises ConfigError on a keyword that is neither, naming both lists, on an
    option that is given twice, and on a value that the model does not take.
    """
    options = {name: value for name, value in given.items() if name not in own}
    known = {field.name for field in dataclasses.fields(chosen.config)}
    if unknown := sorted(set(options) - known):
        close = difflib.get_close_matches(unknown[0], sorted(known | set(own)), n=1)
        raise ConfigError(
            f"{kind} {chosen.name!r} has no option {unknown[0]!r}{f', did you mean {close[0]!r}?' if close else ';'} "
            f"The {kind}'s are {', '.join(sorted(own))}; the model's are {', '.join(sorted(known - set(own)))}"
        )
    parameters = {name: value for name, value in given.items() if name in own}
    inner = parameters.pop("options", None) or {}
    if not isinstance(inner, Mapping):
        raise ConfigError(f"options are a mapping from the model's options to values, not {inner!r}")
    reject_twice({**options, **{k: v for k, v in parameters.items() if v is not None}}, inner)
    lent = {name: value for name, value in options_of(model).items() if name not in parameters}
    if merged := {**lent, **inner, **options}:
        chosen.options(merged)
        parameters["options"] = merged
    return parameters


def seed_of(random_state: Any) -> int:
    """The seed of a run: the number itself, or one drawn from a random state of scikit-learn."""
    if isinstance(random_state, int | np.integer):
        if random_state < 0:
            raise ConfigError(f"random_state must be 0 or more, not {random_state}")
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


@contextmanager
def unchanged_on_error(estimator: object) -> Iterator[None]:
    """An estimator whose fit fails is left with the attributes it had: what was fitted before still answers."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
