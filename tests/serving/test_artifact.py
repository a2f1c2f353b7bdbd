"""Loading refuses anything that is not what was sealed; scores are the estimator's."""

import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import helper
from serving_data import resealed, table

from serving.artifact import load_artifact
from serving.errors import DataError, IntegrityError, UsageError
from serving.opening.entries import FORMAT_VERSION
from serving.scorer import Scorer

NEXT = FORMAT_VERSION + 1
KEYS = (
    "calibration", "contributions", "exporter", "features", "format_version", "golden", "kind", "model", "parity",
    "schema", "shares", "training", "versions",
)  # fmt: skip


@pytest.fixture
def bare(artifact, tmp_path):
    """The artifact without its .sha256, to be changed."""
    path = tmp_path / "bare.onnx"
    path.write_bytes(artifact.read_bytes())
    return path


def refused(data, words):
    """Opened in this process, as a file that somebody vouches for."""
    with pytest.raises(IntegrityError, match=words) as error:
        load_artifact(data, hashlib.sha256(data).hexdigest())
    assert str(error.value).startswith("artifact: ") and error.value.exit_code == 6


def set_metadata(model, key, value):
    for entry in model.metadata_props:
        if entry.key == key:
            entry.value = json.dumps(value)


def test_integrity_is_named(artifact, bare):
    assert load_artifact(artifact).integrity == "sha256"
    assert load_artifact(bare).integrity == "self-test"
    digest = hashlib.sha256(bare.read_bytes()).hexdigest()
    assert load_artifact(bare, sha256=digest).integrity == "sha256"


def external(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def foreign(model):
    model.graph.node.append(helper.make_node("Evil", ["x"], ["y"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def hidden_loop(model):
    node = next(n for n in model.graph.node if n.op_type == "If")
    branch = next(a.g for a in node.attribute if a.name == "then_branch")
    branch.node.append(helper.make_node("Loop", ["", ""], ["z"]))


def in_a_branch(model, *nodes):
    node = next(n for n in model.graph.node if n.op_type == "If")
    next(a.g for a in node.attribute if a.name == "then_branch").node.extend(nodes)


def weights(model):
    tensor = next(t for t in model.graph.initializer if t.data_type == 1 and len(t.raw_data) > 64)
    tensor.raw_data = bytes(len(tensor.raw_data))


def drop_golden(model):
    entry = next(e for e in model.metadata_props if e.key == "golden")
    model.metadata_props.remove(entry)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (external, "external data"),
        (foreign, "com.example"),
        (hidden_loop, "Loop"),
        (weights, "golden rows"),
        (drop_golden, "golden"),
        (lambda m: set_metadata(m, "format_version", NEXT), f"format version {NEXT}"),
        (lambda m: set_metadata(m, "format_version", -7), "format_version"),
        (lambda m: set_metadata(m, "format_version", True), "format_version"),
        (lambda m: set_metadata(m, "schema", {}), "lacks 'schema.version'"),
        (lambda m: m.metadata_props.__delitem__(slice(None)), "no sealed artifact"),
    ],
)
def test_unsafe_or_changed_graphs_are_refused(bare, edit, words):
    model = onnx.load(bare)
    edit(model)
    refused(resealed(model), words)


@pytest.mark.parametrize("key", KEYS)
def test_each_entry_is_under_a_hash(bare, key):
    """A change that means nothing to any reader is found too."""
    model = onnx.load(bare)
    entry = next(e for e in model.metadata_props if e.key == key)
    entry.value += " "
    refused(model.SerializeToString(), "hash")


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_flipped_byte_or_a_cut_file_is_refused(artifact, tmp_path, where):
    data = bytearray(artifact.read_bytes())
    data[int(where * len(data))] ^= 0xFF
    (tmp_path / "flipped.onnx").write_bytes(bytes(data))
    sha256 = hashlib.sha256(artifact.read_bytes()).hexdigest()
    with pytest.raises(IntegrityError):
        load_artifact(tmp_path / "flipped.onnx", sha256=sha256)
    (tmp_path / "cut.onnx").write_bytes(artifact.read_bytes()[: int(where * len(data))])
    with pytest.raises(IntegrityError):
        load_artifact(tmp_path / "cut.onnx")


def test_absent_file_and_unsupported_alpha_are_usage_errors(artifact, tmp_path):
    with pytest.raises(UsageError, match="no artifact"):
        load_artifact(tmp_path / "absent.onnx")
    loaded = load_artifact(artifact)
    with pytest.raises(UsageError, match="calibration"):
        Scorer(loaded, alpha=1e-6)
    with pytest.raises(UsageError, match="less than 1"):
        Scorer(loaded, alpha=2.0)


def test_frames_tables_records_and_feeds_agree(artifact):
    import pyarrow as pa

    scorer, frame = Scorer(load_artifact(artifact)), table(60, 4)
    whole = scorer.score(frame)
    records = json.loads(frame.to_json(orient="records", date_format="iso"))
    for other in (pa.Table.from_pandas(frame), records, frame.convert_dtypes(dtype_backend="pyarrow"),
                  frame.astype({"kind": "category"}), scorer.reader.feeds(frame)):  # fmt: skip
        assert np.array_equal(scorer.score(other).anomaly_score, whole.anomaly_score)
    assert np.array_equal(whole.is_anomaly, whole.p_value <= np.float32(scorer.alpha))
    assert len(scorer.score(frame.iloc[:0]).p_value) == 0
    assert scorer.score(frame, explain=True).contributions.shape == (60, 5)


def test_alpha_moves_the_alarms_and_not_the_scores(artifact):
    loaded, frame = load_artifact(artifact), table(300, 6)
    low, high = (Scorer(loaded, alpha).score(frame) for alpha in (0.05, 0.5))
    assert np.array_equal(low.anomaly_score, high.anomaly_score)
    assert low.is_anomaly.sum() < high.is_anomaly.sum()


def test_rows_are_judged_one_by_one(artifact):
    adapter = Scorer(load_artifact(artifact)).reader
    good = {"amount": 1.5, "count": 3, "flag": True, "kind": "new", "when": "2026-02-01T10:00:00+02:00"}
    assert adapter.check_row(good) is None
    assert "missing column: 'kind'" in adapter.check_row({k: v for k, v in good.items() if k != "kind"})
    assert "is not a number" in adapter.check_row({**good, "amount": "plenty"})
    assert "ISO date" in adapter.check_row({**good, "when": "tomorrow"})
    assert "object" in adapter.check_row([1, 2])
    with pytest.raises(DataError, match="twice"):
        adapter.check_columns(["amount", "amount"])
