"""One file from raw columns to decisions: what it holds, what it gives, and what it refuses."""

import copy
import hashlib
import json
import os
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pandas as pd
import pytest
import torch

from ganlib import create
from ganlib.data.inference import infer_schema
from ganlib.data.spec import DataSpec
from ganlib.errors import ConfigError, ParityError
from ganlib.explain import contributions, score_base, unexpected_missing
from ganlib.explain.occlusion import block_masks, block_of_column, in_blocks
from ganlib.export import fingerprint, save_sealed, seal
from ganlib.export.golden import schema_feeds
from ganlib.export.parity import open_session

OUTPUTS = ["anomaly_score", "p_value", "is_anomaly", "contributions"]
SECRETS = ("zebra-canary-7731", "otter/canary/88")
NUMBERS = (123456.789012, -98765.432109)
KEYS = {"format_version", "kind", "model", "schema", "features", "calibration", "golden", "training", "versions"}
KEYS |= {"exporter", "parity", "hashes", "shares", "profile", "contributions"}


@pytest.fixture(scope="module")
def session(sealed):
    return open_session(sealed[0].read_bytes())


@pytest.fixture(scope="module")
def metadata(sealed):
    return {p.key: json.loads(p.value) for p in onnx.load(sealed[0]).metadata_props}


def test_parity_on_many_rows(detector, session):
    feeds = schema_feeds(detector.encoder_, 10_000, seed=77, wild=0.3)
    scores = detector._score(detector.encoder_.encode(feeds))
    p_torch = detector.calibration_.p_value(scores, feeds["site"])
    for rows in (slice(0, 1), slice(3, 10), slice(None)):
        got, p, flags, none = session.run(OUTPUTS, {n: v[rows] for n, v in feeds.items()})
        bound = 1e-5 * np.maximum(np.abs(scores[rows]), detector.calibration_.median_score)
        assert (np.abs(got - scores[rows]) <= bound).all()
        differ = flags != (p_torch[rows] <= np.float32(0.01))
        assert (np.abs(p_torch[rows][differ] - 0.01) <= 1e-4).all()
        assert np.array_equal(flags, p <= np.float32(0.01)) and none.shape == (0, len(detector.encoder_.codes))


def test_inputs_are_the_raw_columns(detector, session):
    assert {i.name for i in session.get_inputs()} == {c.input for c in detector.schema_.columns}
    assert "column:explain" in {i.name for i in session.get_inputs()}
    assert {i.name for i in session.get_overridable_initializers()} == {"alpha", "explain"}
    kinds = {i.name: (i.type, i.shape) for i in session.get_inputs()}
    assert kinds["amount"] == ("tensor(double)", ["batch"]) and kinds["cat"] == ("tensor(string)", ["batch"])
    assert kinds["when"] == ("tensor(int64)", ["batch"]) and kinds["words"] == ("tensor(float)", ["batch", 38])
    assert [o.name for o in session.get_outputs()] == OUTPUTS


def test_alpha_moves_the_alarms(detector, session, table):
    feeds = detector.encoder_.feeds(table)
    for alpha in (0.005, 0.05, 0.5):
        p, flags = session.run(["p_value", "is_anomaly"], {**feeds, "alpha": np.array(alpha, np.float32)})
        assert np.array_equal(flags, p <= np.float32(alpha)) and 0 < flags.sum() <= 1.3 * alpha * len(table)


def check_against_torch(got, detector, feeds):
    """Contributions of the graph agree with torch in double precision."""
    encoder, calibration = detector.encoder_, detector.calibration_
    x = torch.from_numpy(encoder.encode(feeds)).double()
    lacks = torch.from_numpy(unexpected_missing(encoder, feeds))
    scorer, base = copy.deepcopy(detector.scorer_).double(), score_base(calibration)
    expected = contributions(scorer, encoder, x, lacks, base, calibration.median_score).numpy()
    assert (np.abs(got - expected).max(1) <= 2e-3 * expected.sum(1)).all()


def test_contributions_are_shares_of_the_score_as_in_torch(detector, session):
    feeds = schema_feeds(detector.encoder_, 200, seed=9, wild=0.3)
    score, got = session.run(["anomaly_score", "contributions"], {**feeds, "explain": np.array(True)})
    assert np.isfinite(got).all() and (got >= 0).all()
    np.testing.assert_allclose(got.sum(1), np.clip(score - score_base(detector.calibration_), 0, 1e38), rtol=1e-5)
    check_against_torch(got, detector, feeds)


def test_a_value_missing_against_all_training_rows_is_blamed_on_its_column(detector, session):
    feeds = {n: v[10:11].copy() for n, v in schema_feeds(detector.encoder_, 20, seed=3, wild=0.0).items()}
    code = next(c for c in detector.encoder_.codes if c.column == "count")
    index, usual = detector.encoder_.codes.index(code), {**feeds, "count": np.array([19.0])}
    (before,) = session.run(["contributions"], {**usual, "explain": np.array(True)})
    (got,) = session.run(["contributions"], {**feeds, "count": np.array([np.nan]), "explain": np.array(True)})
    assert got[0, index] > before[0, index] + 0.1


def test_metadata_is_as_documented(sealed, metadata, detector):
    path, report = sealed
    model = onnx.load(path)
    assert set(metadata) == KEYS and metadata["format_version"] == 2 and metadata["kind"] == "detector"
    assert {o.domain: o.version for o in model.opset_import} == {"": 20, "ai.onnx.ml": 3} and not model.functions
    graph = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    raw = {p.key: p.value for p in model.metadata_props}
    others = "".join(f"{key}\n{raw[key]}\n" for key in sorted(set(raw) - {"hashes"}))
    parts = {"schema": raw["schema"], "metadata": others}
    assert metadata["hashes"] == {
        "graph": graph, **{key: hashlib.sha256(text.encode()).hexdigest() for key, text in parts.items()}
    }  # fmt: skip
    assert model.producer_version == metadata["versions"]["ganlib"]
    assert metadata["features"] == [c.input for c in detector.schema_.features]
    calibration = metadata["calibration"]
    assert calibration["n"] == 750 and calibration["group_column"] == "site"
    assert set(calibration["groups"]) == {"north", "south"}
    assert calibration["alpha_min"] == report.alpha_min == detector.calibration_.alpha_min
    assert metadata["exporter"] == report.exporter == "dynamo"
    assert metadata["parity"] == {"max_abs": report.parity_max_abs, "bound": report.parity_bound, "rows": 2056}
    assert report.parity_max_abs <= report.parity_bound
    assert metadata["training"] == {"fingerprint": "f" * 64, "rows": 750, "data": "toy"}
    assert set(metadata["versions"]) == {"ganlib", "torch", "onnx", "python"}
    beside = path.with_name(path.name + ".sha256").read_text()
    assert beside == f"{hashlib.sha256(path.read_bytes()).hexdigest()}  detector.onnx\n" and report.sha256 in beside
    assert [p.name for p in path.parent.iterdir() if p.name.startswith(".")] == []


COLD = """
import json, sys
sys.modules["torch"] = sys.modules["ganlib"] = None
import numpy as np, onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
entries = {k: json.loads(v) for k, v in session.get_modelmeta().custom_metadata_map.items()}
types = {i.name: i.type for i in session.get_inputs()}
def feed(name, values):
    if types[name] == "tensor(string)": return np.array(values, dtype=object)
    if types[name] == "tensor(int64)": return np.array([-2**63 if v is None else v for v in values])
    if types[name] == "tensor(float)": return np.array(values, dtype=np.float32)
    return np.array([np.nan if v is None else float(v) for v in values])
golden = entries["golden"]
feeds = {n: feed(n, v) for n, v in golden["columns"].items()}
for rows in (slice(0, 1), slice(1, 8), slice(None)):
    score, p = session.run(["anomaly_score", "p_value"], {n: v[rows] for n, v in feeds.items()})
    expected = np.array(golden["anomaly_score"][rows])
    bound = 1e-5 * np.maximum(abs(expected), entries["calibration"]["median_score"])
    assert (abs(score - expected) <= bound).all() and (abs(p - golden["p_value"][rows]) <= 1e-4).all()
print(len(golden["p_value"]), len(set(golden["anomaly_score"])))
"""


def test_golden_rows_in_a_cold_process(sealed):
    command = [sys.executable, "-c", COLD, str(sealed[0])]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert out.stdout.split() == ["32", "32"]


def test_golden_rows_hold_what_scoring_meets(metadata):
    columns = metadata["golden"]["columns"]
    assert None in columns["amount"] and None in columns["when"] and "" in columns["cat"]
    assert {"inf", "-inf"} & {v for v in columns["gaps"] if isinstance(v, str)}
    assert any(v not in ("", "red", "green", "blue") for v in columns["cat"])


def test_no_canary_leaves(sealed, detector):
    data, beside = sealed[0].read_bytes(), sealed[0].with_name("detector.onnx.sha256").read_bytes()
    for secret in SECRETS:
        assert secret.encode() not in data + beside
    for number in NUMBERS:
        assert repr(number).encode() not in data and f"{number:.3f}".encode() not in data
        for form in ("<d", "<f", ">d", ">f"):
            assert struct.pack(form, number) not in data
    # The search finds what is there: a common category, and a number that every file holds.
    assert b"green" in data and struct.pack("<d", detector.encoder_.codes[0].center) in data


def test_no_source_paths_leave(sealed):
    data = sealed[0].read_bytes()
    assert b".py" not in data and b"site-packages" not in data and b"stack_trace" not in data


def test_same_estimator_same_bytes(detector, sealed, tmp_path):
    training = {"fingerprint": "f" * 64, "rows": 750, "data": "toy"}
    seal(detector, tmp_path / "again.onnx", training=training)
    assert (tmp_path / "again.onnx").read_bytes() == sealed[0].read_bytes()


# ---------------------------------------------------------------- refusals
def test_a_graph_that_differs_is_not_written(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(detector, "_score", lambda x: type(detector)._score(detector, x) * np.float32(1.0001))
    monkeypatch.setattr("ganlib.export.detector.export_network", lambda *a: _network(detector))
    with pytest.raises(ParityError, match="nothing was written"):
        seal(detector, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def _network(detector):
    from ganlib.export.network import export_network

    return export_network(detector.scorer_, torch.zeros(2, detector.encoder_.width), exporters=("torchscript",))


def test_a_column_may_not_take_a_name_of_the_graph(make, tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["p_value", "b"])
    schema = infer_schema(frame).with_column("p_value", input="p_value")
    with pytest.raises(ConfigError, match="'p_value' cannot be fed"):
        seal(make(frame, schema=schema), tmp_path / "x.onnx")


def test_an_unfitted_estimator_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="call fit first"):
        seal(object(), tmp_path / "x.onnx")


def test_models_are_sealed_by_other_names(tmp_path):
    model = create("cvae", DataSpec.vector(3, 2))
    with pytest.raises(ConfigError, match="seal_generator"):
        seal(model, tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="seal_generator"):
        save_sealed(model, tmp_path / "x.onnx")


def test_where_no_file_can_be(detector, tmp_path):
    with pytest.raises(ConfigError, match="is a folder"):
        seal(detector, tmp_path)
    (tmp_path / "file").touch()
    for below in ("x.onnx", "made/x.onnx"):
        with pytest.raises(ConfigError, match="lies in a file"):
            seal(detector, tmp_path / "file" / below)


def test_a_failed_write_leaves_the_old_file(sealed, detector, tmp_path, monkeypatch):
    from ganlib.export import sealed as module

    path = tmp_path / "kept.onnx"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        module.write_sealed(onnx.load(sealed[0]), path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["kept.onnx"]


# ---------------------------------------------------------------- wide tables and odd ones
WIDE = 400


@pytest.fixture(scope="module")
def wide():
    return pd.DataFrame(np.random.default_rng(0).normal(size=(400, WIDE)), columns=[f"c{i}" for i in range(WIDE)])


def test_wide_tables_are_explained_by_residual_shares(make, wide, tmp_path):
    estimator = make(wide)
    seal(estimator, tmp_path / "wide.onnx")
    feeds = estimator.encoder_.feeds(wide[:50])
    session = open_session((tmp_path / "wide.onnx").read_bytes())
    scores, shares = session.run(["anomaly_score", "contributions"], {**feeds, "explain": np.array(True)})
    residual = estimator.scorer_.residual(torch.from_numpy(estimator.encoder_.encode(feeds))).detach().numpy()[:, :WIDE]
    np.testing.assert_allclose(
        shares, residual / residual.sum(1, keepdims=True) * scores[:, None], rtol=2e-2, atol=1e-5
    )
    np.testing.assert_allclose(shares.sum(1), scores, rtol=1e-4)
    weight = estimator.scorer_.net[0].weight.detach().numpy().T.tobytes()
    assert (tmp_path / "wide.onnx").read_bytes().count(weight[:400]) <= 1, "weights are stored once"
    feeds |= {"c7": np.where(np.arange(50) < 20, np.nan, feeds["c7"])}
    feeds |= {"c300": np.where(np.arange(50) < 10, np.nan, feeds["c300"])}
    (got,) = session.run(["contributions"], {**feeds, "explain": np.array(True)})
    check_against_torch(got, estimator, feeds)
    assert (got[10:20].argmax(1) == 7).all() and np.isin(got[:10].argsort(1)[:, -2:], [7, 300]).all()


def test_wide_tables_without_residuals_are_occluded_in_blocks(make, wide, tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weights = torch.nn.Parameter(torch.arange(1.0, width + 1))

        def forward(self, x):
            return (x.square() * self.weights).sum(1)

    estimator = make(wide, scorer=Plain)
    blocks, masks = block_of_column(estimator.encoder_), block_masks(estimator.encoder_)
    assert len(masks) == WIDE // 2 and masks.sum() == WIDE and list(blocks[:4]) == [0, 0, 1, 1]
    seal(estimator, tmp_path / "wide.onnx")
    feeds = estimator.encoder_.feeds(wide[:5])
    feeds["c7"] = np.array([np.nan, *feeds["c7"][1:]])
    session = open_session((tmp_path / "wide.onnx").read_bytes())
    (got,) = session.run(["contributions"], {**feeds, "explain": np.array(True)})
    check_against_torch(got, estimator, feeds)
    assert got[0].argmax() == 7
    x, reference = (a[..., :WIDE] for a in (estimator.encoder_.encode(feeds), estimator.encoder_.reference))
    parts = (x**2 - reference**2) * np.arange(1, WIDE + 1)
    drops = np.clip(parts[1:, ::2] + parts[1:, 1::2], 0, None)
    shares = got[1:] / got[1:].sum(1, keepdims=True)
    np.testing.assert_allclose(shares[:, ::2] + shares[:, 1::2], drops / drops.sum(1, keepdims=True), atol=2e-3)
    gaps = np.abs(x - reference)[1:]
    first = drops > 50  # where the even part is small
    got_first = (shares[:, ::2] / (shares[:, ::2] + shares[:, 1::2]))[first]
    np.testing.assert_allclose(got_first, (gaps[:, ::2] / (gaps[:, ::2] + gaps[:, 1::2]))[first], atol=0.01)


@pytest.mark.parametrize(("columns", "width", "blocks"), [
    (128, 9000, 128), (129, 4096, 129), (129, 4097, 65), (384, 384, 384), (385, 400, 193), (9000, 9000, 127),
])  # fmt: skip
def test_how_many_blocks_are_replaced(columns, width, blocks):
    encoder = SimpleNamespace(codes=range(columns), width=width)
    assert block_of_column(encoder)[-1] + 1 == blocks and in_blocks(encoder) == (blocks < columns)


def test_a_score_too_fine_for_float32_is_sealed_in_double(make, tmp_path):
    class Cancelling(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.far = torch.nn.Parameter(torch.full((width,), 3e4))

        def forward(self, x):
            return ((x + self.far) - self.far).square().sum(1)

    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 3)), columns=list("abc"))
    estimator = make(frame, scorer=Cancelling)
    report = seal(estimator, tmp_path / "fine.onnx")
    feeds = estimator.encoder_.feeds(frame)
    exact = np.square(estimator.encoder_.encode(feeds).astype(np.float64)).sum(1)
    (got,) = open_session((tmp_path / "fine.onnx").read_bytes()).run(["anomaly_score"], feeds)
    np.testing.assert_allclose(got, exact, rtol=1e-6)
    assert report.parity_max_abs <= report.parity_bound


def test_tables_of_repeated_rows_are_judged_as_in_torch(make, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.choice(["x", "y", "z"], 600, p=[0.6, 0.3, 0.1]), "b": rng.choice([0, 1], 600)})
    estimator = make(frame)
    seal(estimator, tmp_path / "twins.onnx")
    feeds = estimator.encoder_.feeds(frame)
    scores = estimator._score(estimator.encoder_.encode(feeds))
    (p,) = open_session((tmp_path / "twins.onnx").read_bytes()).run(["p_value"], feeds)
    assert len(np.unique(p)) == 6
    np.testing.assert_allclose(p, estimator.calibration_.p_value(scores), atol=1e-6)


def test_fingerprints_change_with_the_data():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    assert fingerprint(frame) == fingerprint(frame.copy()) and len(fingerprint(frame)) == 64
    changes = (frame.iloc[::-1], frame.rename(columns={"a": "c"}), frame.assign(a=[1.0, 3.0]), frame.astype({"a": int}))
    assert len({fingerprint(f) for f in (frame, *changes)}) == 5
