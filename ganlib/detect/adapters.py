"""Creates a detector from any registered model."""

from __future__ import annotations

from typing import Any

from ganlib.detect.auto import AUTO, AutoDetector
from ganlib.detect.base import BaseDetector, detecting
from ganlib.detect.estimators import Detector, GANomalyDetector, ReconstructionVAEDetector, VAEDetector
from ganlib.estimator import estimator_parameters
from ganlib.registry import Entry, resolve
from ganlib.training.algorithm import Algorithm

_NAMED = {cls.default_model: cls for cls in (GANomalyDetector, VAEDetector, ReconstructionVAEDetector)}


def as_detector(model: str | Entry | Algorithm | type, **config: Any) -> BaseDetector:
    """An unfitted detector from a registry name or entry, a registered model class or an untrained model.

    ``"auto"`` is an AutoDetector, a fusion of several models.

    Of an untrained model only the options are used; its networks are built again for the data.

    ``config`` contains parameters of the detector (``alpha``, ``epochs``, ...) and options of the model (``beta``,
    ``score``, ...). Raises ConfigError for an unknown name or option, or a model that does not detect.
    """
    if model == AUTO.name:
        return AutoDetector(
            **estimator_parameters(AUTO, AUTO, set(AutoDetector._get_param_names()), config, "detector")
        )
    chosen = detecting(resolve(model))
    own = set(Detector._get_param_names()) - {"model"}
    parameters = estimator_parameters(model, chosen, own, config, "detector")
    if chosen.name in _NAMED:
        return _NAMED[chosen.name](**parameters)
    return Detector(chosen.name, **parameters)
