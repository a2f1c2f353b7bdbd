"""Explanations that need no gradient, so that a sealed graph can give them too."""

from ganlib.explain.occlusion import contributions, unexpected_missing

__all__ = ["contributions", "unexpected_missing"]
