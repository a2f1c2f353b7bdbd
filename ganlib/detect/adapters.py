"""A model is written once; adapters make a detector of it."""

from __future__ import annotations

from typing import Any

from ganlib.detect.base import BaseDetector
from ganlib.detect.estimators import Detector, GANomalyDetector, ReconstructionVAEDetector, VAEDetector
from ganlib.errors import ConfigError
from ganlib.registry import Entry, options_of, resolve
from ganlib.training.algorithm import Algorithm

_NAMED = {cls.default_model: cls for cls in (GANomalyDetector, VAEDetector, ReconstructionVAEDetector)}


def as_detector(model: str | Entry | Algorithm | type, **config: Any) -> BaseDetector:
    """An unfitted detector from a registry name or entry, a registered model class or an untrained model.

    An untrained model lends its options; networks are built anew for the data.

    ``config`` mixes the detector's parameters (``alpha``, ``epochs``, ...) and the model's own options (``beta``,
    ``score``, ...). Raises ConfigError on an unknown name or option, or on a model that does not detect.
    """
    chosen = resolve(model)
    if "detector" not in chosen.tasks or "scorer" not in chosen.exports:
        raise ConfigError(f"model {chosen.name!r} does not detect; `ganlib models --task detector` lists others")
    own = set(Detector._get_param_names()) - {"model"}
    options = {name: value for name, value in config.items() if name not in own}
    known = set(chosen.config.__dataclass_fields__)
    if unknown := set(options) - known:
        raise ConfigError(
            f"detector {chosen.name!r} has no option {sorted(unknown)[0]!r}; "
            f"the detector's are {', '.join(sorted(own))}; the model's are {', '.join(sorted(known - own))}"
        )
    parameters = {name: value for name, value in config.items() if name in own}
    lent = {name: value for name, value in options_of(model).items() if name not in parameters}
    if merged := {**lent, **(parameters.pop("options", None) or {}), **options}:
        chosen.config.from_dict(merged)
        parameters["options"] = merged
    if chosen.name in _NAMED:
        return _NAMED[chosen.name](**parameters)
    return Detector(chosen.name, **parameters)
