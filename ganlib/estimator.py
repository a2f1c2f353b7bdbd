"""What estimators share: refusing an option given twice, and what a refused fit leaves behind."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from sklearn.utils._param_validation import Interval, StrOptions

from ganlib.data.schema import Schema
from ganlib.errors import ConfigError
from ganlib.registry import Entry, options_of

# What scikit-learn checks of the parameters that detectors and augmenters share.
SHARED_CONSTRAINTS: Mapping[str, Any] = {
    "options": [dict, None],
    "latent_dim": [Interval(Integral, 1, None, closed="left"), None],
    "hidden": [tuple, list, None],
    "epochs": [Interval(Integral, 1, None, closed="left"), None],
    "steps": [Interval(Integral, 1, None, closed="left"), None],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "learning_rate": [Interval(Real, 0, None, closed="neither"), None],
    "patience": [Interval(Integral, 0, None, closed="left")],
    "schema": [Schema, str, Path, None],
    "modality": [StrOptions({"image", "series"}), None],
    "random_state": ["random_state"],
    "device": [str],
    "verbose": ["boolean"],
}


def refuse_twice(parameters: Mapping[str, Any], options: Mapping[str, Any] | None) -> None:
    """Raise ConfigError where an option is given both by itself and within ``options``."""
    if both := sorted(parameters.keys() & (options or {}).keys()):
        raise ConfigError(f"{both[0]} is given twice, by itself and in options: leave one out")


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
    refuse_twice({**options, **{k: v for k, v in parameters.items() if v is not None}}, inner)
    lent = {name: value for name, value in options_of(model).items() if name not in parameters}
    if merged := {**lent, **inner, **options}:
        chosen.options(merged)
        parameters["options"] = merged
    return parameters


def modality_of(stated: str | None, model: Entry) -> str | None:
    """The kind of arrays an estimator reads: as stated, or the only one its model reads; None if still open."""
    able = [kind for kind in ("image", "series") if kind in model.modalities]
    return stated or (able[0] if len(able) == 1 else None)


@contextmanager
def kept_when_refused(estimator: object) -> Iterator[None]:
    """An estimator whose fit fails is left with the attributes it had: what was fitted before still answers."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise
