"""Features of free text, as docs/artifact.md defines them."""

from __future__ import annotations

import math
import zlib

import numpy as np

CHANNELS = 6


def text_features(values: list[str], buckets: int) -> np.ndarray:
    """Features of strings, float32 ``(n, 6 + buckets)``; equal strings are computed once."""
    memo: dict[str, np.ndarray] = {}
    out = np.zeros((len(values), CHANNELS + buckets), dtype=np.float32)
    for row, value in enumerate(values):
        if value:
            if value not in memo:
                memo[value] = _one(value, buckets)
            out[row] = memo[value]
    return out


def _one(s: str, buckets: int) -> np.ndarray:
    features = np.zeros(CHANNELS + buckets)
    letters, digits = sum(map(str.isalpha, s)), sum(map(str.isdigit, s))
    spaces, upper = sum(map(str.isspace, s)), sum(map(str.isupper, s))
    other = sum(not (c.isalpha() or c.isdigit() or c.isspace()) for c in s)
    features[0] = math.log1p(len(s))
    features[1:CHANNELS] = np.array([letters, digits, spaces, upper, other]) / len(s)
    lower = s.lower()
    grams = [lower[i : i + 3] for i in range(len(lower) - 2)] or [lower]
    for gram in grams:
        features[CHANNELS + zlib.crc32(gram.encode("utf-8")) % buckets] += 1 / len(grams)
    return features
