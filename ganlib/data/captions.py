"""Embeddings of captions, for generators that are conditioned on text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ganlib.errors import ConfigError, DataError


class CaptionEncoder:
    """Embeds captions by tf-idf of words and word pairs, reduced to the leading singular directions.

    Suited to templated or short technical captions, for which a pretrained network adds little. ``width`` is the
    largest number of directions; after ``fit`` it is the actual number. Directions in which the captions do not differ
    are left out. Each direction has unit variance over the training captions.
    """

    def __init__(self, width: int = 64) -> None:
        if width < 1:
            raise ConfigError(f"width must be at least 1, not {width}")
        self.width = width

    def fit(self, captions: Sequence[str]) -> CaptionEncoder:
        """Learn the vocabulary; raises DataError without two different captions."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        if wrong := [caption for caption in captions if not isinstance(caption, str)]:
            raise DataError(f"captions are texts; {len(wrong)} are not, {wrong[0]!r} for one: leave these examples out")
        if len(set(captions)) < 2:
            raise DataError("captions must differ; give at least two different ones")
        # Keep single letters and digits, which may be essential in a caption.
        self._words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        try:
            counted = self._words.fit_transform(captions)
        except ValueError as error:
            raise DataError(f"captions hold no words ({error})") from error
        # One extra direction, because the first may be what all captions share.
        self._directions = TruncatedSVD(min(self.width + 1, *counted.shape), random_state=0)
        spread = self._directions.fit_transform(counted).std(0)
        # Few kinds of captions span few directions. The others are rounding noise; dividing by their spread would
        # turn a differently worded caption into values of 1e5.
        self._kept = (spread > 1e-6 * np.sqrt((spread**2).sum() + 1e-12)).nonzero()[0][: self.width]
        if not len(self._kept):
            raise DataError(f"captions must differ in their words; these differ in spelling only, as {captions[0]!r}")
        self._scale = spread[self._kept]
        self.width = len(self._kept)
        return self

    def transform(self, captions: Sequence[str]) -> Tensor:
        """Embeddings float32 ``(n, width)``; raises DataError for a caption without any known word."""
        if not hasattr(self, "_words"):
            raise ConfigError("this CaptionEncoder has seen no captions: call fit first")
        counted = self._words.transform(captions)
        if unknown := [caption for caption, row in zip(captions, counted, strict=True) if row.nnz == 0]:
            raise DataError(f"no word of caption {unknown[0]!r} was in the captions that the encoder was fitted to")
        return torch.tensor(self._directions.transform(counted)[:, self._kept] / self._scale, dtype=torch.float32)
