"""Explanations without gradients, so that a sealed graph can compute them too."""

from ganlib.explain.occlusion import contributions, score_base, unexpected_missing

__all__ = ["contributions", "score_base", "unexpected_missing"]
