"""Generative models for anomaly detection and data augmentation.

Public names are resolved lazily, so that ``import ganlib`` costs milliseconds and no torch. Type checkers and editors
see the real objects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganlib.augment import (
        Augmenter,
        AutoAugmenter,
        CGANAugmenter,
        CVAEAugmenter,
        CVAEGANAugmenter,
        VAEAugmenter,
        as_augmenter,
    )
    from ganlib.augment.audit import audit
    from ganlib.augment.audited import Audit
    from ganlib.data.spec import DataSpec
    from ganlib.density import Density, as_density
    from ganlib.detect import (
        AutoDetector,
        Detector,
        GANomalyDetector,
        ReconstructionVAEDetector,
        VAEDetector,
        as_detector,
    )
    from ganlib.export import seal
    from ganlib.losses.adversarial import list_objectives
    from ganlib.registry import create, list_models
    from ganlib.training import Trainer, TrainerConfig
    from ganlib.translate import Translator, as_translator

__version__ = "0.1.0"

__all__ = [
    "Audit",
    "Augmenter",
    "AutoAugmenter",
    "AutoDetector",
    "CGANAugmenter",
    "CVAEAugmenter",
    "CVAEGANAugmenter",
    "DataSpec",
    "Density",
    "Detector",
    "GANomalyDetector",
    "ReconstructionVAEDetector",
    "Trainer",
    "TrainerConfig",
    "Translator",
    "VAEAugmenter",
    "VAEDetector",
    "__version__",
    "as_augmenter",
    "as_density",
    "as_detector",
    "as_translator",
    "audit",
    "create",
    "list_models",
    "list_objectives",
    "seal",
]

if not TYPE_CHECKING:  # a checker that knew of __getattr__ would accept any name
    import importlib

    _MODULES = {
        "augment": "Augmenter AutoAugmenter CGANAugmenter CVAEAugmenter CVAEGANAugmenter VAEAugmenter as_augmenter",
        "augment.audit": "audit",
        "augment.audited": "Audit",
        "data.spec": "DataSpec",
        "density": "Density as_density",
        "detect": "AutoDetector Detector GANomalyDetector ReconstructionVAEDetector VAEDetector as_detector",
        "export": "seal",
        "losses.adversarial": "list_objectives",
        "registry": "create list_models",
        "training": "Trainer TrainerConfig",
        "translate": "Translator as_translator",
    }
    _HOMES = {name: f"ganlib.{module}" for module, names in _MODULES.items() for name in names.split()}

    def __getattr__(name: str) -> object:
        """Import a public name on first use."""
        if name not in _HOMES:
            raise AttributeError(f"module 'ganlib' has no attribute {name!r}; public names: {', '.join(__all__)}")
        globals()[name] = value = getattr(importlib.import_module(_HOMES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted(__all__)
