"""Every format version since 1 is read by this release: artifacts, schema, configuration, queue and stream state."""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serving.artifact import FORMAT_VERSION, load_artifact
from serving.batch import open_scores, score_batch
from serving.errors import DataError, IntegrityError, UsageError
from serving.generator import Generator
from serving.scorer import Scorer
from serving.stream import run_stream
from serving.verify import verify

HERE = Path(__file__).parent
VERSIONS = sorted(HERE.glob("v*"))


# Tables are still written in version 2.
TABLES = [path for path in VERSIONS if (path / "detector.onnx").exists()]


@pytest.fixture(params=TABLES, ids=lambda path: path.name)
def kept(request):
    return request.param, json.loads((request.param / "expected.json").read_text())


def test_every_version_is_kept():
    assert [path.name for path in VERSIONS] == [f"v{n}" for n in range(1, FORMAT_VERSION + 1)]


def test_detectors_score_as_they_did(kept, tmp_path):
    folder, expected = kept
    artifact = load_artifact(folder / "detector.onnx")
    assert artifact.integrity == "sha256"
    scores = Scorer(artifact).score(pd.read_csv(folder / "rows.csv"), explain=True)
    np.testing.assert_allclose(scores.anomaly_score, expected["anomaly_score"], rtol=1e-5)
    np.testing.assert_allclose(scores.p_value, expected["p_value"], atol=1e-4)
    np.testing.assert_allclose(scores.contributions, expected["contributions"], rtol=1e-3, atol=1e-4)
    assert scores.is_anomaly.tolist() == expected["is_anomaly"]
    score_batch(folder / "detector.onnx", folder / "rows.csv", tmp_path / "out")
    np.testing.assert_allclose(open_scores(tmp_path / "out")["anomaly_score"], expected["anomaly_score"], rtol=1e-5)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("name", ["image", "series"])
def test_detectors_of_arrays_score_as_they_did(tmp_path, name, version):
    folder = HERE / f"v{version}"
    expected = json.loads((folder / "expected.json").read_text())[name]
    artifact = load_artifact(folder / f"{name}.onnx")
    assert artifact.integrity == "sha256" and artifact.metadata["format_version"] == version
    rows = np.load(folder / "rows.npz")[name]
    scores = Scorer(artifact).score(rows, explain=version > 3)
    if version > 3:
        np.testing.assert_allclose(scores.map, expected["map"], rtol=1e-3, atol=1e-3)
    else:
        with pytest.raises(UsageError, match="train it again, or leave out --explain"):
            Scorer(artifact).score(rows, explain=True)
    np.testing.assert_allclose(scores.anomaly_score, expected["anomaly_score"], rtol=1e-5)
    np.testing.assert_allclose(scores.p_value, expected["p_value"], atol=1e-4)
    assert scores.is_anomaly.tolist() == expected["is_anomaly"]
    np.savez(tmp_path / "rows.npz", x=rows)
    score_batch(folder / f"{name}.onnx", tmp_path / "rows.npz", tmp_path / "out")
    np.testing.assert_allclose(open_scores(tmp_path / "out")["anomaly_score"], expected["anomaly_score"], rtol=1e-5)


def test_windows_relative_to_levels_score_as_they_did(tmp_path):
    folder = HERE / "v5"
    expected = json.loads((folder / "expected.json").read_text())
    assert load_artifact(folder / "windows.onnx").metadata["format_version"] == 5
    summary = score_batch(folder / "windows.onnx", folder / "rows.csv", tmp_path / "out")
    assert any("17 scored rows are of keys that training has not seen, first 'm2'" in doubt for doubt in summary.doubts)
    scores = open_scores(tmp_path / "out")
    assert scores["source_row"].to_pylist() == expected["source_row"]
    np.testing.assert_allclose(scores["anomaly_score"], expected["anomaly_score"], rtol=1e-5)
    np.testing.assert_allclose(scores["p_value"], expected["p_value"], atol=1e-4)
    assert scores["is_anomaly"].to_pylist() == expected["is_anomaly"]


def test_augmenters_generate_as_they_did(kept):
    folder, expected = kept
    made = Generator(load_artifact(folder / "augmenter.onnx")).frame(6, list("abcabc"), seed=3)
    for row, want in zip(json.loads(made.to_json(orient="records", date_format="iso")), expected["made"], strict=True):
        assert row["flag"] == want["flag"] and row["count"] == want["count"]
        assert (row["amount"] is None) == (want["amount"] is None)
        assert want["amount"] is None or row["amount"] == pytest.approx(want["amount"], rel=1e-4)


def test_schema_and_configuration_are_read(kept):
    from ganlib.data.schema import Schema
    from pipelines.settings import Settings, load_settings

    folder, _ = kept
    assert [c.name for c in Schema.load(folder / "schema.yaml").features] == ["amount", "count", "flag", "kind", "when"]
    # Its file states the patience and the batch size that a detector has where none is stated now.
    wanted = Settings().training.model_copy(update={"patience": 12, "batch_size": 128})
    assert load_settings(folder / "config.yaml").training == wanted


def test_a_queue_goes_on_where_an_earlier_release_stopped(kept, tmp_path):
    folder, expected = kept
    for name in ("queue.db", "state.db"):
        shutil.copy(folder / name, tmp_path / name)
    state = tmp_path / "state.db"
    with sqlite3.connect(state) as connection:
        # The cursor is kept under the queue's path, which is another here.
        old = connection.execute("SELECT consumer FROM cursor").fetchone()[0]
        assert old.startswith("queue:")
        connection.execute("UPDATE cursor SET consumer = ?", (f"queue:{(tmp_path / 'queue.db').resolve()}",))
    assert run_stream(folder / "detector.onnx", f"sqlite:{tmp_path / 'queue.db'}", state) == 0
    with sqlite3.connect(state) as connection:
        rows = connection.execute("SELECT position, anomaly_score FROM scores ORDER BY position").fetchall()
        dead = connection.execute("SELECT position, reason FROM dead_letters").fetchall()
    assert [position for position, _ in rows] == [p for p in range(1, 22) if p != 11]
    np.testing.assert_allclose([score for _, score in rows], expected["anomaly_score"], rtol=1e-5)
    assert len(dead) == 1 and dead[0][0] == 11


@pytest.mark.parametrize("column", ["amount", "count", "flag", "when"])
def test_an_augmenter_that_makes_other_rows_is_refused(kept, tmp_path, column):
    import onnx

    from serving.errors import IntegrityError

    folder, _ = kept
    model = onnx.load(folder / "augmenter.onnx")
    for entry in model.metadata_props:
        if entry.key == "golden":
            golden = json.loads(entry.value)
            values = golden["columns"][column]
            place = next(i for i, v in enumerate(values) if v is not None)
            values[place] = None if column == "when" else values[place] * 1.01 + 1
            entry.value = json.dumps(golden)
    (tmp_path / "changed.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(IntegrityError, match=column):
        load_artifact(tmp_path / "changed.onnx")


@pytest.mark.parametrize("which", ["plain", "selected"])
def test_scores_of_the_old_layout_are_read_and_replaced_on_request(kept, tmp_path, which):
    folder, expected = kept
    if not (folder / "scores").is_dir():
        pytest.skip("the old layout ended with version 1")
    out = tmp_path / "out"
    shutil.copytree(folder / "scores" / which, out)
    assert verify(out)["rows"] == 20
    np.testing.assert_allclose(open_scores(out)["anomaly_score"], expected["anomaly_score"], rtol=1e-5)
    with pytest.raises(DataError, match="output of a scoring run"):
        score_batch(folder / "detector.onnx", out, tmp_path / "other")
    for begun in (False, True):
        if begun:
            (out / "manifest.json").unlink()
            with pytest.raises(IntegrityError, match="not finished"):
                verify(out)
        with pytest.raises(DataError, match="begun by an earlier release.*--new-run"):
            score_batch(folder / "detector.onnx", folder / "rows.csv", out)
    score_batch(folder / "detector.onnx", folder / "rows.csv", out, new_run=True)
    assert verify(out)["rows"] == 20 and sorted(p.name for p in out.iterdir() if p.name[0] != "_") == [
        next(out.glob("part-*.parquet")).name
    ]


@pytest.mark.parametrize("which", ["plain", "selected"])
def test_the_old_layout_is_replaced_whenever_that_is_stopped(kept, tmp_path, monkeypatch, which):
    folder, _ = kept
    if not (folder / "scores").is_dir():
        pytest.skip("the old layout ended with version 1")
    out = tmp_path / "out"
    shutil.copytree(folder / "scores" / which, out)
    with monkeypatch.context() as patch:
        patch.setattr("serving.adopt.write_checked", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            score_batch(folder / "detector.onnx", folder / "rows.csv", out, new_run=True)
    score_batch(folder / "detector.onnx", folder / "rows.csv", out)
    assert verify(out)["rows"] == 20 and not (out / "plan.json").exists()


LAYOUTS = HERE / "layout2", HERE / "layout3"


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda path: path.name)
@pytest.mark.parametrize(("which", "fdr"), [("plain", None), ("selected", 0.4)])
def test_scores_of_earlier_layouts_are_verified_read_and_continued(tmp_path, monkeypatch, layout, which, fdr):
    """Parts of layout 2 had no attempt in their names, its JSON files no checksum and no name of the model; up to
    layout 3 the files in subfolders had no underscore before their names."""
    shutil.copytree(layout, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / "input").iterdir():
        os.utime(path, ns=(0, 10**18))  # as when the folders were made: it is part of a file's identity
    monkeypatch.chdir(tmp_path)
    detector, out = HERE / "v2" / "detector.onnx", Path(which)
    before = open_scores(out)
    assert verify(out)["rows"] == before.num_rows == 39 and verify(out)["dead"] == 1
    assert score_batch(detector, "input", out, fdr=fdr).units == 0
    assert verify(out)["rows"] == 39 and open_scores(out).equals(before)
    next(out.glob("part-000001-*")).unlink()
    with pytest.raises(IntegrityError, match="part-000001-.* is gone"):
        verify(out)
    assert score_batch(detector, "input", out, fdr=fdr).skipped == 1
    assert verify(out)["rows"] == 39
    np.testing.assert_allclose(open_scores(out)["anomaly_score"], before["anomaly_score"], rtol=1e-5)
    for broken in (out / "_plan.json", out / "_manifest.json", *out.glob("_commits/*")):
        content = broken.read_bytes()
        broken.write_bytes(b"{}")
        with pytest.raises(IntegrityError):
            verify(out)
        broken.write_bytes(content)
