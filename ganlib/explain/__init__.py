"""Explanations that need no gradient, so that a sealed graph can give them too."""

from ganlib.explain.occlusion import contributions, score_base, unexpected_missing

__all__ = ["contributions", "score_base", "unexpected_missing"]
