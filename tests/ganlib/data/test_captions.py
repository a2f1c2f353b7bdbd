"""Captions to embeddings, and the captioned digits."""

import pytest
import torch

from ganlib.data.captions import CaptionEncoder
from ganlib.errors import ConfigError, DataError
from ganlib.testing.problems import NUMERALS, digit_captions, digits, stroke


def test_captions_of_one_meaning_are_near():
    encoder = CaptionEncoder().fit(["a thick seven", "thick seven", "a thin two", "thin two", "a thin seven", "two"])
    same, other, base = encoder.transform(["thick seven", "thin two", "a thick seven"])
    assert encoder.width == len(base)
    assert torch.dist(base, same) < torch.dist(base, other)


@pytest.mark.parametrize(
    "seen",
    [
        ["a bright square", "a dark square"],
        ["a bright square", "a dark square"] * 50,
        ["bright square", "dark square", "bright ring", "dark ring"] * 9,
    ],
    ids=len,
)
def test_captions_in_other_words_stay_in_the_range_of_those_seen(seen):
    """Captions of few kinds span few directions; noise of rounding must not become the others' scale."""
    encoder = CaptionEncoder().fit(seen)
    kinds = sorted(set(seen))
    assert 1 <= encoder.width <= len(kinds) == len(torch.unique(encoder.transform(kinds), dim=0))
    low, high = encoder.transform(["something dark", "something bright"])
    bright = encoder.transform([c for c in seen if "bright" in c]).mean(0)
    assert torch.dist(high, bright) < torch.dist(low, bright)
    for caption in ("square a dark", "bright", "dark dark ring square bright" if len(seen) == 36 else "dark a bright"):
        assert encoder.transform([caption]).abs().max() < 3 * encoder.transform(seen).abs().max(), caption


def test_digits_are_described_as_they_look():
    x, y = digits(0)
    captions = digit_captions(x, y, 0)
    assert all(NUMERALS[digit] in caption for digit, caption in zip(y.tolist(), captions, strict=True))
    ink = stroke(x)[:, 0]
    thick, thin = (ink[torch.tensor([word in c for c in captions])] for word in ("thick", "thin"))
    assert thick.min() > thin.max()


def test_stroke_of_a_drawn_line():
    upright, leaning = torch.full((2, 1, 5, 5), -1.0)
    upright[0, :, 2] = 1.0
    leaning[0, torch.arange(5), 4 - torch.arange(5)] = 1.0  # one column to the right per row upwards
    assert stroke(torch.stack([upright, leaning])).tolist() == [[pytest.approx(0.2), 0.0], [pytest.approx(0.2), 1.0]]


def test_bad_captions_are_named():
    with pytest.raises(DataError, match="differ"):
        CaptionEncoder().fit(["one", "one"])
    with pytest.raises(DataError, match="differ in their words"):
        CaptionEncoder().fit(["one two", "One, two!"])
    with pytest.raises(DataError, match="captions are texts; 1 are not"):
        CaptionEncoder().fit(["a", None])
    with pytest.raises(DataError, match="no words"):
        CaptionEncoder().fit(["...", "!"])
    encoder = CaptionEncoder().fit(["one", "two", "three"])
    with pytest.raises(DataError, match="'four'"):
        encoder.transform(["one", "four"])
    with pytest.raises(ConfigError, match="fit first"):
        CaptionEncoder().transform(["one"])
    with pytest.raises(ConfigError, match="width"):
        CaptionEncoder(0)
