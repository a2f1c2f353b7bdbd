"""Generative models for anomaly detection and data augmentation.

Public names are resolved lazily, so that ``import ganlib`` costs milliseconds and no torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "create": "ganlib.registry",
    "list_models": "ganlib.registry",
    "list_objectives": "ganlib.losses.adversarial",
    "as_detector": "ganlib.detect",
    "as_augmenter": "ganlib.augment",
    "GANomalyDetector": "ganlib.detect",
    "VAEDetector": "ganlib.detect",
    "CVAEGANAugmenter": "ganlib.augment",
    "CVAEAugmenter": "ganlib.augment",
    "CGANAugmenter": "ganlib.augment",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name on first use."""
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'ganlib' has no attribute {name!r}; public names: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
