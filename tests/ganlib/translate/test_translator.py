"""Estimators of translators: what they take, what they give back, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
import torch

from ganlib import as_translator
from ganlib.data.spec import DataSpec, Image
from ganlib.errors import ConfigError, DataError
from ganlib.registry import create
from ganlib.training import Batch, Losses
from ganlib.translate import Translator
from ganlib.translate.domains import split

torch.set_num_threads(1)
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY], -1)
SERIES = RNG.standard_normal((40, 2, 32)).cumsum(2)
SMALL = {"width": 4, "steps": 2, "batch_size": 8}
UNPAIRED = {**SMALL, "blocks": 1, "halvings": 1, "layers": 1}


def test_pairs_are_learned_in_one_direction_and_given_back_in_the_second_domains_format():
    translator = as_translator("pix2pix", layers=1, **SMALL).fit(GREY, COLOUR)
    made = translator.translate(GREY[:3])
    assert made.shape == (3, 8, 8, 3) and made.dtype == np.uint8
    assert np.array_equal(made, translator.translate(GREY[:3], to="b"))
    with pytest.raises(ConfigError, match=r"from a to b only: fit another translator with the domains exchanged"):
        translator.translate(COLOUR, to="a")
    with pytest.raises(DataError, match="fitted on uint8 of shape"):
        translator.translate(COLOUR)
    with pytest.raises(ConfigError, match="to is 'a' or 'b'"):
        translator.translate(GREY, to="c")


@pytest.mark.parametrize("form", ["list", "tuple", "mapping"])
def test_pairs_may_come_as_one_argument(form):
    given = {
        "list": list(zip(GREY, COLOUR, strict=True)),
        "tuple": (GREY, COLOUR),
        "mapping": {"x": GREY, "x_b": COLOUR},
    }
    two = as_translator("pix2pix", layers=1, **SMALL).fit(GREY, COLOUR).translate(GREY[:2])
    assert np.array_equal(as_translator("pix2pix", layers=1, **SMALL).fit(given[form]).translate(GREY[:2]), two)


def test_domains_of_different_numbers_are_learned_without_pairs_both_ways():
    translator = as_translator("cyclegan", **UNPAIRED).fit(GREY, COLOUR[:25])
    assert translator.translate(GREY[:3]).shape == (3, 8, 8, 3)
    back = translator.translate(COLOUR[:3], to="a")
    assert back.shape == (3, 8, 8) and back.dtype == np.uint8


def test_series_come_back_in_the_units_of_their_domain():
    translator = as_translator("cyclegan", layers=2, blocks=1, **SMALL).fit(SERIES, 1000 + 5 * SERIES)
    assert abs(translator.translate(SERIES).mean() - 1000) < 50
    assert abs(translator.translate(1000 + 5 * SERIES, to="a").mean()) < 20


def test_tables_are_translated_to_tables_of_other_columns():
    a = pd.DataFrame({"size": RNG.standard_normal(60), "kind": RNG.choice(list("xyz"), 60)})
    b = pd.DataFrame({"count": RNG.integers(0, 9, 50), "place": RNG.choice(["u", "v"], 50), "t": RNG.random(50)})
    translator = as_translator("discogan", steps=5).fit(a, b)
    made, back = translator.translate(a), translator.translate(b, to="a")
    assert list(made) == list(b) and len(made) == 60 and set(made["place"]) <= {"u", "v"}
    assert made["count"].dtype == b["count"].dtype and made["t"].between(0, 1).all()
    assert list(back) == list(a) and set(back["kind"]) <= set("xyz")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: as_translator("pix2pix").fit(GREY, COLOUR[:30]),
            DataError,
            "40 examples of domain a and 30 of domain b",
        ),
        (lambda: as_translator("cyclegan").fit(GREY, COLOUR), ConfigError, "too small for 2 halvings.*set halvings=1"),
        (lambda: as_translator("pix2pix").fit(GREY, GREY), ConfigError, "too small for a patch critic.*set layers=1"),
        (
            lambda: as_translator("pix2pix").fit(GREY[:, :4], GREY[:, :4]),
            ConfigError,
            "bring them to sides of 6 or more",
        ),
        (lambda: as_translator("cyclegan", identity=1.0).fit(GREY, COLOUR), ConfigError, "set identity=0"),
        (lambda: as_translator("cyclegan").fit(GREY[:5], COLOUR), DataError, "at least 10 examples of each domain"),
        (lambda: as_translator("cyclegan").fit(GREY, SERIES), ConfigError, "domain a holds images and domain b series"),
        (lambda: as_translator("cyclegan").fit(GREY), DataError, r"two domains: fit\(X_a, X_b\)"),
        (lambda: as_translator("cyclegan").fit(RNG.random((20, 3)), RNG.random((20, 3))), ConfigError, "reads image"),
        (lambda: as_translator("pix2pix", blocks=3), ConfigError, "has no option 'blocks'"),
        (lambda: as_translator("vae"), ConfigError, "model 'vae' does not translate"),
        (lambda: Translator("vae").fit(GREY, GREY), ConfigError, "model 'vae' does not translate"),
        (lambda: Translator(validation_fraction=2.0).fit(GREY, GREY), ConfigError, "validation_fraction"),
    ],
)
def test_what_cannot_be_translated_is_refused_with_the_fix(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_unpaired_domains_are_trained_on_in_no_common_order():
    a, b, held = split((50, 50), False, 0.1, 0)
    assert sorted(a) == sorted(b) == list(range(50)) and not len(held) and (a == b).sum() < 10
    a, b, _ = split((50, 20), False, 0.1, 0)
    assert len(a) == len(b) == 50 and set(b) == set(range(20))
    a, b, held = split((50, 50), True, 0.1, 0)
    assert np.array_equal(a, b) and len(held) == 5 and not set(a) & set(held)


def test_the_identity_loss_is_that_of_the_code_where_both_domains_have_one_shape():
    def losses(b, **options):
        spec = DataSpec({"x": Image(1, 8, 8), "x_b": Image(b, 8, 8)})
        model = create("cyclegan", spec, width=4, blocks=1, halvings=1, layers=1, **options)
        batch = Batch({"x": torch.rand(4, 1, 8, 8), "x_b": torch.rand(4, b, 8, 8)}, torch.Generator())
        return model.generator_loss(batch)

    assert losses(1).weights["identity"] == 5.0 and losses(1, identity=0.1).weights["identity"] == 1.0
    assert isinstance(losses(3), Losses) and "identity" not in losses(3) and "identity" not in losses(1, identity=0.0)
