"""Files that nobody vouches for: whatever was changed or made up, a typed refusal, soon and in bounded memory."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from mutations import numbered
from onnx import helper, numpy_helper
from serving_data import resealed, table

from serving.artifact import Limits, load_artifact
from serving.errors import DataError, IntegrityError, TemporaryError, UsageError
from serving.opening import child
from serving.opening.cost import cost
from serving.opening.metadata import read_metadata
from serving.opening.session import run
from serving.opening.whole import examine
from serving.scorer import Scorer

HERE = Path(__file__).parent
GOLDEN = HERE.parent / "golden"
FILES = [GOLDEN / "v2" / "detector.onnx", GOLDEN / "v1" / "augmenter.onnx", GOLDEN / "v3" / "image.onnx"]


@pytest.fixture
def model(artifact):
    return onnx.load(artifact)


def refused(model, words):
    data = resealed(model)
    with pytest.raises(IntegrityError, match=words):
        load_artifact(data, hashlib.sha256(data).hexdigest())


# ---------------------------------------------------------------- mutations
def opened(path, first, count):
    """What came of mutations, one by one in a process with limits, and the bytes it took at most.

    A mutation that ends the process must be refused where it counts: by ``load_artifact``, which survives its child.
    """
    root = HERE.parent.parent
    done = subprocess.run(
        [sys.executable, HERE / "mutations.py", path, str(first), str(count)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{root}:{HERE}", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    *lines, (last, *peak) = [line.split() for line in done.stdout.splitlines()]
    came = [came for _, came in lines]
    if done.returncode == 0:
        return came, 1024 * int(peak[0])
    assert done.returncode < 0, f"{path}: mutation {last}: {done.stderr[-1500:]}"
    with pytest.raises(IntegrityError, match="opening it"):
        load_artifact(numbered(str(path), Path(path).read_bytes(), int(last)))
    after, held = opened(path, int(last) + 1, first + count - int(last) - 1) if len(came) + 1 < count else ([], 0)
    return [*came, "crash", *after], held


def check_mutations(paths, first, count):
    for path in paths:
        came, peak = opened(path, first, count)
        assert len(came) == count and set(came) <= {"opened", "IntegrityError", "DataError", "crash"}
        # Most changes are found; those that open give the same golden rows and shares.
        assert came.count("IntegrityError") > 0.85 * count > came.count("opened") > 0
        assert came.count("crash") <= 0.002 * count
        assert peak < 1.5 * (1 << 30)


def test_a_changed_file_is_refused_or_gives_what_was_sealed(artifact, files):
    check_mutations([artifact, *FILES[1:], files / "images.onnx"], 0, 200)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", range(10))
def test_a_hundred_thousand_changed_files(artifact, files, part):
    check_mutations([artifact, *FILES, files / "images.onnx", files / "encoder.onnx"], 200 + 2000 * part, 2000)


# ---------------------------------------------------------------- hostile graphs
def before_the_score(model, *nodes, **constants):
    """Nodes that make ``grown``, from constants and whatever the score is made of, put where all rows pass."""
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    target = next(n for n in model.graph.node if "anomaly_score" in n.output)
    at = list(model.graph.node).index(target)
    for node in reversed(nodes):
        model.graph.node.insert(at, node)
    joined = helper.make_node("ReduceMin", ["grown"], ["least"], keepdims=0)
    added = helper.make_node("Add", [target.input[-1], "least"], ["more"])
    for node in (added, joined):
        model.graph.node.insert(at + len(nodes), node)
    list(model.graph.node)[at + len(nodes) + 2].input[-1] = "more"
    return model


def test_a_loop_in_any_disguise_is_refused(model):
    for kind in ("Loop", "Scan", "SequenceMap", "Optional", "SequenceConstruct"):
        changed = onnx.ModelProto.FromString(model.SerializeToString())
        changed.graph.node.append(helper.make_node(kind, ["amount"], ["looped"]))
        refused(changed, f"{kind} is not allowed")


def test_branches_are_those_of_the_contributions_alone(model):
    node = next(n for n in model.graph.node if n.op_type == "If")
    nested = onnx.ModelProto.FromString(model.SerializeToString())
    inner = next(a.g for a in next(n for n in nested.graph.node if n.op_type == "If").attribute)
    second = onnx.NodeProto.FromString(node.SerializeToString())
    second.output[0] = "again"
    for attribute in second.attribute:
        attribute.g.CopyFrom(helper.make_graph([], "empty", [], []))
    inner.node.append(second)
    refused(nested, "graphs that this format does not use")
    model.graph.node[0].attribute.append(helper.make_attribute("body", helper.make_graph([], "g", [], [])))
    refused(model, "graphs that this format does not use")


@pytest.mark.parametrize("path", [*FILES, GOLDEN / "v2" / "augmenter.onnx"], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_node_without_what_it_takes_is_refused(path):
    """For each operator: an input that nobody makes, none at all, and one too many. Shape inference crashes on some."""
    model = onnx.load(path)
    first = {node.op_type: at for at, node in reversed([*enumerate(model.graph.node)])}
    for at in first.values():
        for inputs in (["nothing"], [""], [], [*model.graph.node[at].input, *["nothing"] * 9]):
            changed = onnx.load(path)
            changed.graph.node[at].input[:] = inputs
            with pytest.raises(IntegrityError):
                examine(resealed(changed), Limits())


def test_work_that_does_not_depend_on_rows_is_bounded(model):
    side = np.full((6000, 1), 1e-9, dtype=np.float32)
    nodes = [helper.make_node("MatMul", ["tall", "flat"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(40)]
    nodes.append(helper.make_node("Identity", ["m40"], ["grown"]))
    refused(before_the_score(model, *nodes, tall=side, flat=side.T.copy()), "one row takes [0-9,]+ operations")


def test_memory_of_a_row_is_bounded(model):
    node = helper.make_node("Expand", ["small", "size"], ["grown"])
    refused(before_the_score(model, node, small=np.zeros(1, np.float32), size=[1 << 29]), "one row takes [0-9,]+ bytes")


def test_a_long_string_counts_for_each_of_its_copies(model):
    node = next(n for n in model.graph.node if n.op_type == "LabelEncoder")
    nodes = [helper.make_node("Expand", ["long", "size"], ["many"]), helper.make_node("Identity", ["many"], ["kept"])]
    model.graph.initializer.append(helper.make_tensor("long", onnx.TensorProto.STRING, [1], [b"x" * 2_000_000]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1000]), "size"))
    at = list(model.graph.node).index(node)
    for made in reversed(nodes):
        model.graph.node.insert(at, made)
    refused(model, "one row takes [0-9,]+ bytes")


def test_shapes_that_a_value_decides_are_refused(model):
    nodes = [
        helper.make_node("ReduceMin", ["when"], ["w"], keepdims=1),
        helper.make_node("Expand", ["small", "w"], ["grown"]),
    ]
    refused(before_the_score(model, *nodes, small=np.zeros(1, np.float32)), "not known before it runs")


def test_rows_that_multiply_make_smaller_chunks(model):
    """A row's cost is what bounds how many run at once: 4 MB a row leave no room for 2,048."""
    wide = helper.make_node("Expand", ["small", "size"], ["wide"])
    shape = [helper.make_node("Shape", ["amount"], ["n"]), helper.make_node("Concat", ["n", "one"], ["both"], axis=0)]
    grown = [helper.make_node("Expand", ["wide", "both"], ["grown"])]
    changed = before_the_score(
        model, wide, *shape, *grown, small=np.zeros((1, 1), np.float32), size=[1, 1 << 20], one=[1]
    )  # fmt: skip
    data = resealed(changed)
    opened = examine(data, Limits())
    assert 1 <= opened.rows <= 256 and opened.explained_rows <= 64
    assert cost(onnx.load_model_from_string(data), opened.rows, False).bytes <= Limits().chunk_bytes
    with pytest.raises(IntegrityError, match="one row takes"):
        examine(data, Limits(chunk_bytes=1 << 20))


# ---------------------------------------------------------------- metadata
def edited(model, key, edit):
    entry = next(e for e in model.metadata_props if e.key == key)
    value = json.loads(entry.value)
    entry.value = json.dumps(edit(value) or value)
    return model


def with_golden(g, key, values):
    g[key] = values


@pytest.mark.parametrize(
    ("key", "edit", "words"),
    [
        ("golden", lambda g: with_golden(g, "anomaly_score", []), "at least 32"),
        ("golden", lambda g: with_golden(g, "p_value", [*g["p_value"], 0.5]), "at most 32"),
        ("golden", lambda g: with_golden(g, "columns", {}), "golden rows have the columns"),
        ("golden", lambda g: with_golden(g["columns"], "amount", ["one"] * 32), "'amount' hold a value that is not d"),
        ("golden", lambda g: with_golden(g["columns"], "when", [1.5] * 32), "'when' hold a value that is not int64"),
        ("golden", lambda g: with_golden(g["columns"], "kind", [None] * 32), "'kind' hold a value that is not string"),
        ("golden", lambda g: with_golden(g["columns"], "kind", ["a"] * 31), "'kind' have the shape"),
        ("features", lambda f: f[::-1], "features are not those"),
        ("features", lambda f: ["other", *f[1:]], "features are not those"),
        ("features", lambda f: [f[0], *f], "twice"),
        ("schema", lambda s: with_golden(s["columns"][0], "input", "other"), "features are not those"),
        ("schema", lambda s: with_golden(s["columns"][0], "kind", "category"), "other columns"),
        ("schema", lambda s: with_golden(s["columns"][0], "layout", "{"), "no layout"),
        ("schema", lambda s: with_golden(s, "timezone", "Mars"), "no time zone"),
        ("schema", lambda s: with_golden(s, "columns", []), "schema.columns"),
        ("calibration", lambda c: with_golden(c, "median_score", 1e30), "median_score is not"),
        ("calibration", lambda c: with_golden(c, "median_score", -1.0), "calibration.median_score"),
        ("calibration", lambda c: with_golden(c, "n", c["n"] + 1), "alpha_min is not"),
        ("calibration", lambda c: c.update(n=999, alpha_min=1 / 1000), "n is not what the graph"),
        ("calibration", lambda c: with_golden(c, "alpha_min", 1e-9), "alpha_min is not"),
        ("calibration", lambda c: with_golden(c, "alpha", 0.5), "alpha is not what the graph"),
        ("calibration", lambda c: with_golden(c, "alpha", 0), "calibration.alpha"),
        ("calibration", lambda c: with_golden(c, "group_column", "kind"), "group column"),
        ("contributions", lambda c: with_golden(c, "base", -1e6), "shares of their scores"),
        ("shares", lambda s: with_golden(s["amount"], "missing", 7), "shares.amount.missing"),
        ("parity", lambda p: with_golden(p, "rows", True), "parity.rows"),
        ("hashes", lambda h: with_golden(h, "graph", 5), "hashes.graph"),
    ],
)
def test_each_value_is_held_against_the_graph_and_the_others(model, key, edit, words):
    data = resealed(model)
    if key != "hashes":
        refused(edited(model, key, edit), words)
        return
    data = edited(model, key, edit).SerializeToString()
    with pytest.raises(IntegrityError, match=words):
        load_artifact(data, hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("path", [*GOLDEN.glob("v*/*.onnx")], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_needed_entry_is_missed_by_name(path):
    """Each key without which a file is no artifact, at every depth."""
    model = onnx.load(path)
    checked = read_metadata(model)[1]
    for field, info in type(checked).model_fields.items():
        key = info.alias or field
        if not info.is_required():
            continue
        changed = onnx.load(path)
        kept = [e for e in changed.metadata_props if e.key != key]
        del changed.metadata_props[:]
        changed.metadata_props.extend(kept)
        # Without a modality, a file is for a table.
        words = {"format_version": "no sealed artifact", "modality": "lacks 'schema'"}.get(key, f"lacks '{key}'")
        with pytest.raises(IntegrityError, match=words):
            examine(resealed(changed) if key != "hashes" else changed.SerializeToString(), Limits())


def test_an_entry_given_twice_or_with_a_key_twice_is_refused(model):
    entry = next(e for e in model.metadata_props if e.key == "training")
    whole = entry.value
    entry.value = whole[:-1] + ', "rows": 1}'
    refused(model, "key twice")
    entry.value = whole
    model.metadata_props.append(entry)
    refused(model, "'training' twice")


def test_text_that_is_not_utf_8_is_refused(artifact):
    """Each string of the protobuf can hold any bytes."""
    whole = artifact.read_bytes()
    for text in (b"fingerprint", b"training", b"anomaly_score", b"ganlib/const_1", b"LabelEncoder", b"ai.onnx.ml"):
        assert text in whole
        changed = whole.replace(text, b"\xff" + text[1:])
        with pytest.raises(IntegrityError):
            examine(changed, Limits())


def test_a_new_file_without_its_hash_of_the_metadata_is_refused(model):
    edited(model, "hashes", lambda h: {k: v for k, v in h.items() if k != "metadata"})
    with pytest.raises(IntegrityError, match="do not match their hashes"):
        examine(model.SerializeToString(), Limits())


# ---------------------------------------------------------------- the process of its own
@pytest.fixture
def data(artifact, monkeypatch):
    """An unvouched file that no process has opened before."""
    monkeypatch.setattr(child, "_passed", set())
    return artifact.read_bytes()


def test_a_file_is_opened_in_a_child_once_and_never_where_it_is_vouched_for(data, monkeypatch):
    started = []
    real = subprocess.run
    monkeypatch.setattr(child.subprocess, "run", lambda *a, **k: started.append(1) or real(*a, **k))
    load_artifact(data, hashlib.sha256(data).hexdigest())
    assert not started
    load_artifact(data)
    load_artifact(data)
    assert len(started) == 1


def test_what_a_child_refuses_is_refused_in_its_words(data, model):
    model.graph.node[0].op_type = "Evil"
    with pytest.raises(IntegrityError, match=r"^artifact: operator ai.onnx:Evil is not allowed; rejected$"):
        load_artifact(resealed(model))


@pytest.mark.skipif(sys.platform != "linux", reason="memory of a process is bounded on Linux alone")
def test_a_child_keeps_within_its_memory(data):
    with pytest.raises(IntegrityError, match="bytes of memory|ended a process|onnxruntime cannot open|memory ran out"):
        load_artifact(data, limits=Limits(memory=1 - 6 * len(data)))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os; os.abort()", "ended a process"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "seconds of processor time"),
        ("raise SystemExit('out of luck')", "out of luck"),
        ("import time; time.sleep(60)", "took more than"),
    ],
)
def test_a_child_that_dies_is_a_refusal(data, monkeypatch, code, words):
    monkeypatch.setattr(child, "_CODE", code)
    monkeypatch.setattr(child, "_SLOW", 0.02)
    with pytest.raises(IntegrityError, match=f"{words}.*sha-256"):
        load_artifact(data)


def test_where_no_child_can_be_started(data, monkeypatch):
    monkeypatch.setattr(child.sys, "executable", "/nowhere/python")
    with pytest.raises(TemporaryError, match="cannot start a process.*sha-256"):
        load_artifact(data)


def test_hashes_that_are_none_are_named(artifact, tmp_path):
    with pytest.raises(UsageError, match="is no sha-256"):
        load_artifact(artifact, "abc")
    digest = hashlib.sha256(artifact.read_bytes()).hexdigest()
    assert load_artifact(artifact, digest.upper()).sha256 == digest
    (tmp_path / "a.onnx").write_bytes(artifact.read_bytes())
    (tmp_path / "a.onnx.sha256").write_bytes(b"\xff\xfe words")
    with pytest.raises(IntegrityError, match="does not begin with a sha-256"):
        load_artifact(tmp_path / "a.onnx")


# ---------------------------------------------------------------- runs
@pytest.fixture(scope="module")
def scorer(artifact):
    return Scorer(load_artifact(artifact))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda f: {}, "needs the input 'amount'"),
        (lambda f: f.pop("kind") is None, "needs the input 'kind'"),
        (lambda f: f.update(more=f["amount"]), "has no input 'more'"),
        (lambda f: f.update(amount=f["amount"].astype(np.float32)), "'amount' is fed as float32"),
        (lambda f: f.update(when=f["when"].astype(float)), "'when' is fed as float64"),
        (lambda f: f.update(kind=f["amount"]), "'kind' is fed as float64"),
        (lambda f: f.update(amount=list(f["amount"])), "'amount' is fed as list"),
        (lambda f: f.update(amount=f["amount"][:, None]), "'amount' is fed in shape"),
        (lambda f: f.update(amount=np.zeros(())), "'amount' is fed in shape"),
        (lambda f: f.update(count=f["count"][:5]), "'count' has 5 rows"),
        (lambda f: f.update(kind=np.array([1] * 60, dtype=object)), "'kind' is fed with 1 in row 0"),
        (lambda f: f.update(kind=np.array([*["a"] * 59, None])), "'kind' is fed with None in row 59"),
    ],
)
def test_feeds_that_do_not_fit_are_named(scorer, edit, words):
    feeds = dict(scorer.reader.feeds(table(60)))
    feeds = {} if edit(feeds) == {} else feeds
    with pytest.raises(DataError, match=words):
        scorer.score(feeds)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MemoryError(), TemporaryError),
        (RuntimeError("std::bad_alloc"), TemporaryError),
        (RuntimeError("Non-zero status code returned while running Gather node"), IntegrityError),
        (ValueError("Required inputs are missing"), DataError),
    ],
)
def test_what_onnxruntime_raises_has_a_type(error, kind):
    def failing(*_):
        raise error

    port = SimpleNamespace(name="x", type="tensor(float)", shape=["batch", 2])
    session = SimpleNamespace(get_inputs=lambda: [port], get_overridable_initializers=lambda: [], run=failing)
    with pytest.raises(kind, match="3 rows"):
        run(session, ["y"], {"x": np.zeros((3, 2), np.float32)})
