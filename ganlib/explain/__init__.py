"""Explanations that need no gradient, so that a sealed graph can give them too."""

from ganlib.explain.occlusion import contributions

__all__ = ["contributions"]
