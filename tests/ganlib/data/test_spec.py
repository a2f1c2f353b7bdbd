"""Specifications of data: named fields, what each accepts, and the way to JSON and back."""

import copy
import json
import pickle

import pytest
import torch

from ganlib.data.fields import KINDS
from ganlib.data.spec import Block, Classes, DataSpec, Image, LabelMap, Lengths, Mask, Series, Tokens, Vector
from ganlib.errors import ConfigError, DataError
from ganlib.registry import create

COLUMNS = (Block("a", "number", 0), Block("b", "category", 1, 3))
SPECS = [
    DataSpec.vector(2),
    DataSpec.table(COLUMNS, classes=3),
    DataSpec.image(1, 8, 8, classes=10, attributes=2),
    DataSpec.series(3, 50),
    DataSpec.tokens(16, 100),
    DataSpec({"x": Image(3, 64, 64), "x_b": Image(3, 256, 256), "caption": Tokens(32, 999), "action": Vector(4)}),
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: "-".join(spec.fields))
def test_a_spec_survives_json_pickle_and_copies(spec):
    again = DataSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec == pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec)
    assert hash(again) == hash(spec) and len({*SPECS}) == len(SPECS)


def test_what_models_read_of_a_spec():
    spec = DataSpec.image(1, 8, 6, classes=10, attributes=2)
    assert (spec.kind, spec.shape, spec.dim) == ("image", (1, 8, 6), 48)
    assert (spec.classes, spec.attributes, spec.condition) == (10, 2, 12)
    assert DataSpec.table(COLUMNS).shape == (4,) and DataSpec.table(COLUMNS).blocks == COLUMNS
    assert DataSpec.tokens(16, 100).vocabulary == 100 and DataSpec.vector(2).vocabulary == 0


def test_a_second_domain_may_have_a_shape_of_its_own():
    spec = DataSpec({"x": Image(3, 64, 64), "x_b": Image(3, 256, 256)})
    assert spec.field_of("x_b").shape == (3, 256, 256) and DataSpec.vector(2).field_of("x_b").shape == (2,)
    assert spec.field_of("labelled_x") == spec.x and spec.field_of("weight") is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "has a field x"),
        ({"y": Classes(2)}, "has a field x"),
        ({"x": (1, 28, 28)}, r"field 'x' is \(1, 28, 28\); give a kind"),
        ((1, 28, 28), "names its fields"),
        (5, "names its fields"),
    ],
)
def test_the_kind_of_a_field_is_stated(fields, message):
    with pytest.raises(ConfigError, match=message):
        DataSpec(fields)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("size", [0, -1, 2.5, True, "a", None])
def test_sizes_are_whole_numbers_above_0(kind, size):
    if kind is Mask:
        with pytest.raises(ConfigError, match="sides of Mask must be a tuple of whole numbers above 0"):
            Mask((4, size))
        return
    sizes = {"vector": 1, "series": 2, "image": 3, "tokens": 2, "classes": 1, "label_map": 3, "lengths": 1}[kind.kind]
    for place in range(sizes):
        given = [4] * sizes
        given[place] = size
        with pytest.raises(ConfigError, match="must be a whole number above 0"):
            kind(*given)


@pytest.mark.parametrize("given", [{"kind": "film", "size": 2}, {"size": 2}, {"kind": "vector", "length": 2}])
def test_json_of_unknown_kinds_or_sizes_is_rejected(given):
    with pytest.raises(ConfigError, match="field 'x'"):
        DataSpec.from_dict({"x": given})


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        (Vector(3), torch.zeros(5, 2), r"shape \(3,\)"),
        (Vector(3), torch.zeros(5, 3, dtype=torch.int64), "floating-point"),
        (Series(2, 9), torch.ones(5, 2, 9), "the same"),
        (Image(1, 4, 4), 200 * torch.rand(5, 1, 4, 4), "to_tensor"),
        (Image(1, 4, 4), torch.rand(5, 1, 4, 4) / 0, "NaN or infinite"),
        (Tokens(4, 9), torch.full((5, 4), 9), "tokens run from 9 to 9"),
        (Tokens(4, 9), torch.rand(5, 4), "token numbers"),
        (Classes(3), torch.tensor([0, 3]), "from 0 to 3"),
        (Classes(3), torch.rand(5), "class indices"),
        (LabelMap(3, 4, 4), torch.full((5, 4, 4), 3), "labels of 'x' run from 3 to 3"),
        (LabelMap(3, 4, 4), torch.full((5, 4, 4), -1), "from -1 to -1"),
        (LabelMap(3, 4, 4), torch.rand(5, 4, 4), "class indices, int64"),
        (LabelMap(3, 4, 4), torch.zeros(5, 4, 5, dtype=torch.int64), r"of shape \(n, 4, 4\)"),
    ],
)
def test_each_field_rejects_what_it_cannot_be(field, values, message):
    with pytest.raises(DataError, match=message):
        field.check(values, "x")


def test_each_field_accepts_what_it_is():
    fine = {
        Vector(3): torch.ones(5, 3), Series(2, 9): torch.rand(5, 2, 9), Image(1, 4, 4): 2 * torch.rand(5, 1, 4, 4) - 1,
        Tokens(4, 9): torch.randint(9, (5, 4)), Classes(3): torch.arange(3),
        LabelMap(3, 4, 4): torch.randint(3, (5, 4, 4)),
    }  # fmt: skip
    for field, values in fine.items():
        field.check(values, "x")


def test_a_spec_of_padded_sequences_says_how_long_they_are():
    fields = {"x": Tokens(6, 4), "x_length": Lengths(6), "x_mask": Mask((6,))}
    spec = DataSpec(fields)
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    lengths, mask = torch.tensor([1, 4, 6]), fields["x_length"].mask(torch.tensor([1, 4, 6]))
    assert mask.tolist() == [[1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]
    fields["x_length"].check(lengths, "x_length")
    fields["x_mask"].check(mask, "x_mask")
    for wrong, message in ((torch.tensor([0, 3]), "from 1 to 6"), (torch.tensor([7]), "from 1 to 6"), (mask, "int64")):
        with pytest.raises(DataError, match=message):
            fields["x_length"].check(wrong, "x_length")
    with pytest.raises(DataError, match="other values than 0 and 1"):
        fields["x_mask"].check(0.5 * mask, "x_mask")
    with pytest.raises(ConfigError, match="sides of Mask must be a tuple"):
        Mask(6)


def test_a_model_says_which_field_it_cannot_do_without():
    pair = DataSpec({"x": Image(1, 8, 8), "x_b": Image(3, 16, 16)})
    assert pair.need("x_b", Image).shape == (3, 16, 16)
    with pytest.raises(ConfigError, match="needs a field 'x_b' of kind Image, and this spec has none"):
        DataSpec.image(1, 8, 8).need("x_b", Image)
    with pytest.raises(ConfigError, match=r"of kind Image, and this spec has Vector"):
        DataSpec({"x": Image(1, 8, 8), "x_b": Vector(3)}).need("x_b", Image)


def test_labels_of_pixels_are_no_classes_of_the_example():
    spec = DataSpec({"x": Image(1, 8, 8), "y": LabelMap(3, 8, 8)})
    assert (spec.classes, spec.condition) == (0, 0) and spec.need("y", LabelMap).labels == 3
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_condition_that_is_no_vector_is_not_counted_as_attributes():
    spec = DataSpec({"x": Vector(2), "y": Classes(3), "c": Image(1, 8, 8)})
    assert (spec.attributes, spec.condition) == (0, 3)
    with pytest.raises(ConfigError, match="attributes c, a Vector; this spec has Image"):
        create("cgan", spec)
