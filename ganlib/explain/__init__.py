"""Explanations without gradients, so that a sealed graph can compute them too."""

from ganlib.explain.occlusion import contributions, score_base, unexpected_missing
from ganlib.explain.places import MeanPlaces, Occlusion, Places, in_parts, limited, mean_of

__all__ = [
    "MeanPlaces", "Occlusion", "Places", "contributions", "in_parts", "limited", "mean_of", "score_base",
    "unexpected_missing",
]  # fmt: skip
