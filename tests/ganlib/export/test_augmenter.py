"""A sealed augmenter: noise and a condition in, raw columns out, as torch would give them."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.data.inverse import decode_feeds
from ganlib.data.values import NO_DATE
from ganlib.export import seal
from ganlib.export.parity import open_session
from ganlib.nn.sampler import TableSampler

LATENT = 4


class Decoder(nn.Module):
    """A linear map of noise and class to positions, with spread enough to reach all bounds."""

    def __init__(self, width, classes):
        super().__init__()
        self.map, self.shift = nn.Linear(LATENT, width), nn.Embedding(max(1, classes), width)
        nn.init.normal_(self.map.weight, std=1.5)

    def forward(self, z, y=None):
        return self.map(z) + (self.shift(y) if y is not None else 0.0)


class Generator:
    """What sealing needs of a fitted augmenter."""

    model = "hand_made"

    def __init__(self, frame, conditions):
        torch.manual_seed(0)
        self.schema_, self.conditions_ = infer_schema(frame), conditions
        self.encoder_ = TableEncoder(self.schema_, for_generation=True).fit(frame)
        spec = self.encoder_.spec
        sampler = TableSampler(Decoder(spec.dim, len(conditions)), LATENT, spec, torch.full((spec.dim,), 0.3)).eval()
        config = SimpleNamespace(to_dict=lambda: {"latent_dim": LATENT})
        self.algorithm_ = SimpleNamespace(config=config, sampler=lambda: sampler)


def noise(rows, width, seed):
    return np.random.Generator(np.random.Philox(seed)).standard_normal((rows, width), dtype=np.float32)


@pytest.fixture(scope="module")
def generator(table):
    return Generator(table, ["no", "yes", "m\u00e4ybe"])


@pytest.fixture(scope="module")
def artifact(generator, tmp_path_factory):
    path = tmp_path_factory.mktemp("augmenter") / "augmenter.onnx"
    return path, seal(generator, path)


def run(path, feeds):
    session = open_session(path.read_bytes())
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("rows", [1, 7, 3000])
def test_columns_are_those_of_torch(generator, artifact, rows):
    sampler = generator.algorithm_.sampler()
    z = noise(rows, sampler.latent_dim, 11)
    condition = np.resize(np.array(generator.conditions_, dtype=object), rows)
    got = run(artifact[0], {"z": z, "condition": condition})
    with torch.no_grad():
        encoded = sampler(torch.from_numpy(z), torch.from_numpy(np.arange(rows) % 3)).numpy()
    expected = decode_feeds(generator.encoder_, encoded)
    assert set(got) == set(expected) and "words" not in got
    for code in generator.encoder_.codes:
        a, b = got[code.input], expected[code.input]
        if a.dtype == object:
            # Rounding may decide a near tie of two categories.
            assert (a == b).mean() >= 0.999
        else:
            assert a.dtype == b.dtype and np.array_equal(np.isnan(a), np.isnan(b))
            near = np.isclose(a, b, rtol=1e-4, atol=1e-4 * max(1.0, float(code.scale)), equal_nan=True)
            assert near.mean() >= 0.999


def test_columns_keep_the_schema(generator, artifact):
    sampler = generator.algorithm_.sampler()
    z = noise(2000, sampler.latent_dim, 5)
    got = run(artifact[0], {"z": z, "condition": np.full(2000, "yes", dtype=object)})
    schema = generator.schema_
    assert np.array_equal(got["count"], np.round(got["count"])) and set(np.unique(got["flag"])) == {0.0, 1.0}
    for name in ("amount", "count", "when"):
        low, high = schema.column(name).minimum, schema.column(name).maximum
        assert low == got[name].min() and got[name].max() <= high, "the lower bound is reached, none is passed"
    assert got["count"].max() == schema.column("count").maximum
    assert got["when"].dtype == np.int64 and (got["when"] != NO_DATE).all()
    assert np.isnan(got["gaps"]).any() and np.isnan(got["maybe"]).any() and (got["level"] == "").any()
    assert not np.isnan(got["amount"]).any()
    assert set(got["cat"]) <= {"red", "green", "blue", ""}, "a rare word is left missing"


def test_the_class_changes_the_rows(generator, artifact):
    z = noise(50, generator.algorithm_.sampler().latent_dim, 6)
    no, yes = (run(artifact[0], {"z": z, "condition": np.full(50, c, dtype=object)}) for c in ("no", "yes"))
    assert not np.array_equal(no["amount"], yes["amount"])


def test_an_unknown_class_fails_instead_of_becoming_another(generator, artifact):
    z = noise(2, generator.algorithm_.sampler().latent_dim, 6)
    with pytest.raises(Exception, match="out of data bounds|out of bounds"):
        run(artifact[0], {"z": z, "condition": np.array(["no", "nobody"], dtype=object)})


def test_metadata_and_golden_rows(generator, artifact):
    path, report = artifact
    facts = {p.key: json.loads(p.value) for p in onnx.load(path).metadata_props}
    assert facts["kind"] == "augmenter" and facts["conditions"] == generator.conditions_ and report.alpha_min is None
    assert facts["latent_dim"] == generator.algorithm_.sampler().latent_dim
    golden = facts["golden"]
    z, condition = np.array(golden["z"], dtype=np.float32), np.array(golden["condition"], dtype=object)
    assert z.shape == (32, facts["latent_dim"]) and len(np.unique(z[:, 0])) == 32
    got = run(path, {"z": z, "condition": condition})
    assert list(golden["columns"]) == facts["features"] == [c.input for c in generator.encoder_.codes]
    for name, values in golden["columns"].items():
        if got[name].dtype == object:
            assert got[name].tolist() == values
            continue
        none = NO_DATE if got[name].dtype == np.int64 else np.nan
        expected = np.array([none if v is None else v for v in values], dtype=np.float64)
        bound = 1e-4 * np.maximum(1, np.abs(expected))
        assert ((np.abs(got[name] - expected) <= bound) | (np.isnan(expected) & np.isnan(got[name]))).all()


def test_no_canary_leaves(artifact):
    data = artifact[0].read_bytes()
    for word in (b"zebra-canary-7731", b"otter/canary/88", b"123456.789", b"98765.432"):
        assert word not in data
    for number in (123456.789012, -98765.432109):
        assert np.float64(number).tobytes() not in data and np.float32(number).tobytes() not in data


def test_without_classes(table, tmp_path):
    frame = table[["amount", "cat", "explain"]].iloc[:80]
    estimator = Generator(frame, [])
    seal(estimator, tmp_path / "plain.onnx")
    got = run(tmp_path / "plain.onnx", {"z": noise(9, estimator.algorithm_.sampler().latent_dim, 1)})
    assert set(got) == {"amount", "cat", "column:explain"} and len(got["amount"]) == 9
