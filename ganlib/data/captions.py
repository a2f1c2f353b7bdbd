"""Captions to embeddings, for generators that are told a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ganlib.errors import ConfigError, DataError


class CaptionEncoder:
    """Embeds captions by the words and pairs of words they hold: tf-idf and its leading singular directions.

    For templated or short technical captions, where a network learned on other texts adds little. ``width``: number of
    directions, fewer where the captions have fewer. After ``fit``, ``width`` is what embeddings have; each direction
    has unit variance over the captions seen, so embeddings suit a network's input. Directions in which these captions
    do not differ are left out.
    """

    def __init__(self, width: int = 64) -> None:
        if width < 1:
            raise ConfigError(f"width must be at least 1, not {width}")
        self.width = width

    def fit(self, captions: Sequence[str]) -> CaptionEncoder:
        """Learn the words; raises DataError where there are no two different captions."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        if wrong := [caption for caption in captions if not isinstance(caption, str)]:
            raise DataError(f"captions are texts; {len(wrong)} are not, {wrong[0]!r} for one: leave these examples out")
        if len(set(captions)) < 2:
            raise DataError("captions must differ: with fewer than two of them there is nothing to tell")
        # Single letters and digits may be what a caption is about.
        self._words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
        try:
            counted = self._words.fit_transform(captions)
        except ValueError as error:
            raise DataError(f"captions hold no words ({error})") from error
        # One direction more than asked for: the first may be what all captions share.
        self._directions = TruncatedSVD(min(self.width + 1, *counted.shape), random_state=0)
        spread = self._directions.fit_transform(counted).std(0)
        # Captions of few kinds span few directions; the others are noise of rounding, and dividing by their spread
        # would turn a caption in other words into values of 1e5.
        self._kept = (spread > 1e-6 * np.sqrt((spread**2).sum() + 1e-12)).nonzero()[0][: self.width]
        if not len(self._kept):
            raise DataError(f"captions must differ in their words; these differ in spelling only, as {captions[0]!r}")
        self._scale = spread[self._kept]
        self.width = len(self._kept)
        return self

    def transform(self, captions: Sequence[str]) -> Tensor:
        """Embeddings float32 ``(n, width)``; raises DataError on a caption none of whose words were seen."""
        if not hasattr(self, "_words"):
            raise ConfigError("this CaptionEncoder has seen no captions: call fit first")
        counted = self._words.transform(captions)
        if unknown := [caption for caption, row in zip(captions, counted, strict=True) if row.nnz == 0]:
            raise DataError(f"no word of caption {unknown[0]!r} was in the captions that the encoder was fitted to")
        return torch.tensor(self._directions.transform(counted)[:, self._kept] / self._scale, dtype=torch.float32)
