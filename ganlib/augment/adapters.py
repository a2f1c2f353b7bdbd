"""Creates an augmenter from any registered model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganlib.augment.auto import AUTO, AutoAugmenter
from ganlib.augment.base import BaseAugmenter
from ganlib.augment.estimators import Augmenter, CGANAugmenter, CVAEAugmenter, CVAEGANAugmenter, VAEAugmenter
from ganlib.errors import ConfigError
from ganlib.estimator import estimator_parameters
from ganlib.registry import Entry, resolve
from ganlib.training.algorithm import Algorithm

AUGMENTERS: Mapping[str, type[BaseAugmenter]] = {
    "cvae_gan": CVAEGANAugmenter,
    "cvae": CVAEAugmenter,
    "cgan": CGANAugmenter,
    "vae": VAEAugmenter,
}


def as_augmenter(model: str | Entry | Algorithm | type, **parameters: Any) -> BaseAugmenter:
    """Any registered augmenter by name, entry, class or untrained model, with ``BaseAugmenter``'s parameters.

    ``"auto"`` is an AutoAugmenter, a fusion of several models, with its own.
    Other keywords are the model's options. Of an untrained model only the options are used; its networks are built
    again for the data. Raises ConfigError for an unknown model or option, or a model that does not generate.
    """
    if model == AUTO.name:
        names = set(AutoAugmenter._get_param_names())
        return AutoAugmenter(**estimator_parameters(AUTO, AUTO, names, parameters, "augmenter"))
    known = resolve(model)
    if "augmenter" not in known.tasks:
        raise ConfigError(f"model {known.name!r} does not generate; `ganlib models --task augmenter` lists others")
    parameters = estimator_parameters(model, known, BaseAugmenter._get_param_names(), parameters, "augmenter")
    return AUGMENTERS[known.name](**parameters) if known.name in AUGMENTERS else Augmenter(known.name, **parameters)
