"""Detectors of images and series: sealed, and scored from every format as the estimator scores the array."""

import base64
import io
import json
import signal
import sqlite3

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving_data import command, pictures, waves
from test_batch import run
from test_dead_letters import letters

from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.errors import DataError
from serving.inputs import list_inputs
from serving.scorer import Scorer
from serving.table.tensors import stacked
from serving.verify import verify

Image = pytest.importorskip("PIL.Image")
COLOURS = np.random.default_rng(5).integers(0, 256, (60, 9, 8, 3), dtype=np.uint8)
UNIT = pictures(60) / 255
# Every array that an estimator takes: name, examples, modality if the array could be either.
ARRAYS = {
    "grey bytes": (pictures(60), None),
    "grey bytes, last": (pictures(60)[..., None], None),
    "grey bytes, first": (pictures(60)[:, None], None),
    "colour bytes, last": (COLOURS, None),
    "colour bytes, first": (COLOURS.transpose(0, 3, 1, 2), None),
    "unit floats": (UNIT, "image"),
    "unit float32": (UNIT.astype("f4"), "image"),
    "unit float16, last": (UNIT.astype("f2")[..., None], None),
    "signed floats": (UNIT * 2 - 1, "image"),
    "signed colours": (COLOURS / np.float32(127.5) - 1, None),
    "booleans": (pictures(60) > 100, "image"),
    "series": (waves(60), None),
    "series of float32": (waves(60).astype("f4"), None),
    "series of float16": (waves(60).astype("f2"), None),
    "series of integers": (np.rint(waves(60) * 10).astype(int), "series"),
    "series of bytes": (pictures(60), "series"),
}


def encoded(image, kind="png"):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def folder(path, images):
    """PNG files named by their number, in two classes."""
    for i, image in enumerate(images):
        place = path / "ab"[2 * i // len(images)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:04}.png").write_bytes(encoded(image))
    return path


def stored(path, values):
    """The examples in each format that holds arrays."""
    np.savez(path / "x.npz", x=values, id=np.arange(len(values)))
    np.savez_compressed(path / "zip.npz", x=np.asfortranarray(values))
    np.save(path / "x.npy", values)
    pq.write_table(pa.concat_tables(list_inputs(path / "x.npz")[0].tables()), path / "tensor.parquet")
    kind = pa.from_numpy_dtype(values.dtype)
    for size in values.shape[:0:-1]:
        kind = pa.list_(kind, size) if size % 2 else pa.list_(kind)
    pq.write_table(pa.table({"x": pa.array(values.tolist(), kind)}), path / "lists.parquet")
    lines = [json.dumps({"x": x.tolist(), "id": f"{i}"}) for i, x in enumerate(values)]
    (path / "x.jsonl").write_text("\n".join(lines))
    return [path / name for name in ("x.npz", "zip.npz", "x.npy", "tensor.parquet", "lists.parquet", "x.jsonl")]


# One of each kind in the fast lane.
FAST = ("grey bytes", "colour bytes, last", "unit floats", "signed colours", "series", "series of float16")
FORMATS = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ARRAYS]


@pytest.mark.parametrize("name", FORMATS)
def test_a_sealed_detector_scores_as_its_estimator(tmp_path, name):
    from ganlib.detect import as_detector
    from ganlib.export import seal

    values, modality = ARRAYS[name]
    chosen = {"hidden": (8,), "latent_dim": 2, "steps": 3, "alpha": 0.2}
    detector = as_detector("reconstruction_vae", modality=modality, **chosen).fit(values)
    seal(detector, tmp_path / "d.onnx")
    new = np.concatenate([values[:10], values[:10, ..., ::-1]])
    scorer = Scorer(load_artifact(tmp_path / "d.onnx"))
    scores = scorer.score(new)
    wanted = detector.anomaly_score(new)
    bound = 1e-5 * np.maximum(np.abs(wanted), detector.calibration_.median_score)
    assert (np.abs(scores.anomaly_score - wanted) <= bound).all()
    np.testing.assert_allclose(scores.p_value, detector.p_value(new), atol=1e-4)
    assert scores.is_anomaly.tolist() == (detector.predict(new) < 0).tolist()
    for file in stored(tmp_path, new):
        out = tmp_path / f"out-{file.name}"
        assert score_batch(tmp_path / "d.onnx", file, out).dead == 0
        assert np.array_equal(open_scores(out)["anomaly_score"].to_numpy(), scores.anomaly_score), file.name


def detecting(modality):
    from ganlib.registry import list_models

    return list_models("detector", modality)


def kinds():
    """Each detector once in the fast lane: by images, or by series if it reads no images."""
    images = detecting("image")
    again = [pytest.param(n, "series", marks=pytest.mark.slow if n in images else ()) for n in detecting("series")]
    heavy = {"glow_images"}  # half a minute
    return [pytest.param(n, "image", marks=pytest.mark.slow if n in heavy else ()) for n in images] + again


@pytest.mark.parametrize(("name", "kind"), kinds())
def test_every_detector_of_arrays_is_sealed(tmp_path, name, kind):
    """Its convolutions in float32 agree with torch's in double."""
    from ganlib.detect import as_detector
    from ganlib.export import seal
    from ganlib.registry import entry

    data = pictures(60) if kind == "image" else waves(60)
    small = {"latent_dim": 4} if hasattr(entry(name).config(), "latent_dim") else {}
    detector = as_detector(name, steps=3, alpha=0.2, **small).fit(data)
    seal(detector, tmp_path / "d.onnx")
    scores = Scorer(load_artifact(tmp_path / "d.onnx")).score(data)
    assert scores.is_anomaly.tolist() == (detector.predict(data) < 0).tolist()


def test_a_folder_of_images_is_scored_with_names_and_classes(detectors, tmp_path):
    detector, file = detectors["image"]
    images = pictures(40, 3)
    folder(tmp_path / "in", images)
    (tmp_path / "in" / "b" / "0030.png").write_bytes(b"\x89PNG\r\n no image")
    (tmp_path / "in" / "b" / "0031.png").write_bytes(encoded(images[0][:6]))
    (tmp_path / "in" / "b" / "0032.png").write_bytes(encoded(np.stack([images[0], images[0] // 2, images[0] // 3], 2)))
    (tmp_path / "in" / "b" / "0033.png").write_bytes(encoded(np.repeat(images[33][..., None], 3, 2)))
    summary = score_batch(file, tmp_path / "in", tmp_path / "out")
    assert (summary.rows, summary.dead) == (37, 3) and verify(tmp_path / "out")["rows"] == 37
    table = open_scores(tmp_path / "out")
    rows = table["source_row"].to_numpy()
    assert table["name"].to_pylist() == [f"{'ab'[i // 20]}/{i:04}.png" for i in rows]
    assert table["y"].to_pylist() == ["ab"[i // 20] for i in rows] and set(table["source"].to_pylist()) == {"in"}
    # A colour file without colours is grey.
    np.testing.assert_allclose(table["anomaly_score"], detector.anomaly_score(images[rows]), rtol=1e-5)
    for letter, row, words in zip(
        letters(tmp_path / "out"), (30, 31, 32), ("readable", "8 x 6", "colours"), strict=True
    ):
        assert (letter["source_row"], letter["column"]) == (row, "x") and words in letter["reason"]
        raw = json.loads(letter["raw"])
        assert raw["name"] == f"b/{row:04}.png"
        assert base64.b64decode(raw["x"]) == (tmp_path / "in" / raw["name"]).read_bytes()


def test_images_are_scored_for_a_model_of_floats(tmp_path):
    from ganlib.detect import as_detector
    from ganlib.export import seal

    for low in (0, -1):
        floats = pictures(40) / 255 * (1 - low) + low
        detector = as_detector("reconstruction_vae", hidden=(8,), latent_dim=2, steps=3, modality="image").fit(floats)
        seal(detector, tmp_path / f"{low}.onnx")
        cells = [{"x": encoded(image)} for image in pictures(9, 2)]
        got = Scorer(load_artifact(tmp_path / f"{low}.onnx")).score(cells).anomaly_score
        wanted = detector.anomaly_score(pictures(9, 2) / 255 * (1 - low) + low)
        np.testing.assert_allclose(got, wanted, rtol=1e-4)


GOOD = pictures(1)[0]
BAD_IMAGES = {
    "shape": (GOOD[:4].tolist(), "has the shape 4 x 8, where the model takes 8 x 8"),
    "axes": (GOOD[None].tolist(), "has the shape 1 x 8 x 8"),
    "range": ((GOOD.astype(int) + 100).tolist(), "where the model takes bytes from 0 to 255"),
    "negative": ((-GOOD.astype(int)).tolist(), "where the model takes bytes from 0 to 255"),
    "floats": ((GOOD / 255).tolist(), "holds values of type float64"),
    "ragged": ([[1, 2], [3]], "holds lists of different lengths"),
    "text": ([["a"]], "missing or no number"),
    "null inside": ([[None]], "missing or no number"),
    "empty": ([], "is empty"),
    "null": (None, "is missing"),
    "number": (7, "7"),
    "no base64": ("?", "neither a list of numbers nor an image in base64"),
    "no image": (base64.b64encode(b"hello").decode(), "is not a readable image"),
    "another size": (base64.b64encode(encoded(np.zeros((9, 9), np.uint8))).decode(), "is 9 x 9 pixels"),
}
BAD_SERIES = {
    "shape": (waves(1)[0][:, :5].tolist(), "has the shape 2 x 5, where the model takes 2 x 24"),
    "nan": (np.where(waves(1)[0] > 310, np.nan, waves(1)[0]).tolist(), "holds nan, where the model takes finite"),
    "inf": (np.where(waves(1)[0] > 310, np.inf, waves(1)[0]).tolist(), "holds inf"),
    "booleans": ((waves(1)[0] > 0).tolist(), "holds values of type bool"),
    "image": (base64.b64encode(encoded(GOOD)).decode(), "is an image file, where the model takes series"),
}


@pytest.mark.parametrize(("kind", "name"), [*(("image", n) for n in BAD_IMAGES), *(("series", n) for n in BAD_SERIES)])
def test_a_bad_example_is_one_dead_letter_in_batch_and_stream(detectors, tmp_path, kind, name):
    from serving.stream import run_stream

    _, file = detectors[kind]
    bad, words = (BAD_IMAGES if kind == "image" else BAD_SERIES)[name]
    good = [x.tolist() for x in (pictures(4, 1) if kind == "image" else waves(4, 1))]
    source = tmp_path / "in.jsonl"
    source.write_text("\n".join(json.dumps({"x": x, "id": i}) for i, x in enumerate([*good[:2], bad, *good[2:]])))
    assert score_batch(file, source, tmp_path / "out", max_bad_share=0.5).dead == 1
    (letter,) = letters(tmp_path / "out")
    assert letter["source_row"] == 2 and words in letter["reason"]
    assert open_scores(tmp_path / "out")["id"].to_pylist() == ["0", "1", "3", "4"]
    assert run_stream(file, str(source), tmp_path / "s.db") == 0
    scores, ((reason,),) = streamed(tmp_path / "s.db")
    np.testing.assert_allclose(scores, open_scores(tmp_path / "out")["anomaly_score"], rtol=1e-6)
    assert words in reason


def streamed(path):
    """Scores and reasons of dead letters of a stream's output."""
    with sqlite3.connect(path) as db:
        scores = [score for (score,) in db.execute("SELECT anomaly_score FROM scores ORDER BY position")]
        return scores, db.execute("SELECT reason FROM dead_letters").fetchall()


@pytest.mark.parametrize("values", [pictures(3).astype(int) * 2, pictures(3) / 255, pictures(3) > 1], ids=str)
def test_a_type_that_the_model_does_not_take_is_refused(detectors, values):
    scorer = Scorer(load_artifact(detectors["image"][1]))
    with pytest.raises(DataError, match="column 'x', row 0: holds .* where the model takes bytes from 0 to 255"):
        scorer.score(values)


def test_a_batch_of_several_units_is_shared_killed_and_continued(detectors, tmp_path, environment):
    detector, file = detectors["series"]
    (tmp_path / "in").mkdir()
    data = waves(250, 4)
    for part in range(5):
        rows = slice(50 * part, 50 * part + 50)
        np.savez(tmp_path / "in" / f"{part}.npz", x=data[rows], key=np.arange(250)[rows])
    arguments = ("score", "--model", file, "--input", tmp_path / "in", "--output", tmp_path / "out")
    killed = run(environment, *map(str, arguments), crash="unit_committed:2")
    assert killed.returncode == -signal.SIGKILL
    done = run(environment, *map(str, arguments), "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert verify(tmp_path / "out") | {"anomalies": 0} == {
        "rows": 250,
        "dead": 0,
        "anomalies": 0,
        "parts": 5,
        "sources": 5,
    }
    table = open_scores(tmp_path / "out")
    assert table["key"].to_pylist() == list(range(250))
    np.testing.assert_allclose(table["anomaly_score"], detector.anomaly_score(data), rtol=1e-5)


def test_a_file_larger_than_a_unit_is_read_in_parts(detectors, tmp_path, monkeypatch):
    detector, file = detectors["image"]
    monkeypatch.setattr("serving.plan.EXAMPLES_PER_UNIT", 33)
    data = pictures(100, 6)
    np.savez_compressed(tmp_path / "x.npz", x=data)
    folder(tmp_path / "in", data)
    for source, name in ((tmp_path / "x.npz", "a"), (tmp_path / "in", "b")):
        summary = score_batch(file, source, tmp_path / name)
        assert (summary.units, summary.rows) == (4, 100)
        np.testing.assert_allclose(
            open_scores(tmp_path / name)["anomaly_score"], detector.anomaly_score(data), rtol=1e-5
        )


def test_lists_beside_the_examples_are_kept_as_text(detectors, tmp_path):
    _, file = detectors["series"]
    lines = [json.dumps({"x": x.tolist(), "meta": {"tags": [i]}}) for i, x in enumerate(waves(4))]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    assert score_batch(file, tmp_path / "x.jsonl", tmp_path / "out").dead == 0
    assert open_scores(tmp_path / "out")["meta"][3].as_py() == '{"tags": [3]}'


def test_images_at_a_url(detectors, tmp_path):
    fsspec = pytest.importorskip("fsspec")
    detector, file = detectors["image"]
    images, store = pictures(6, 9), fsspec.filesystem("memory")
    for i, image in enumerate(images):
        store.pipe(f"/photos/day=2026-01-0{1 + i % 2}/{i}.png", encoded(image))
    try:
        score_batch(file, "memory://photos", tmp_path / "out")
    finally:
        store.rm("/photos", recursive=True)
    table = open_scores(tmp_path / "out")
    order = [0, 2, 4, 1, 3, 5]
    assert table["day"].to_pylist() == ["2026-01-01"] * 3 + ["2026-01-02"] * 3 and "y" not in table.column_names
    assert table["name"].to_pylist() == [f"day=2026-01-0{1 + i % 2}/{i}.png" for i in order]
    np.testing.assert_allclose(table["anomaly_score"], detector.anomaly_score(images[order]), rtol=1e-5)


def test_long_files_are_read_in_parts(tmp_path, monkeypatch):
    """No more than a few megabytes of examples are held at once, whatever the format."""
    values = np.random.default_rng(0).integers(0, 256, (50, 64, 64), dtype=np.uint8)
    for module in ("jsonlines", "arrays"):
        monkeypatch.setattr(f"serving.inputs.{module}.BYTES", 1 << 16)
    monkeypatch.setattr("serving.inputs.parquet.NESTED_BYTES", 1 << 16)
    monkeypatch.setattr("serving.inputs.images.BYTES", 1 << 16)
    for file in [*stored(tmp_path, values), folder(tmp_path / "in", values)]:
        (source,) = list_inputs(file)
        sizes = [piece.table.num_rows for piece in source.pieces(["x"], 0, None, ["x"], ["x"])]
        assert sum(sizes) == 50 and max(sizes) <= 50 * (1 << 16) / values.nbytes + 1, file.name
        middle = pa.concat_tables(piece.table for piece in source.pieces(["x"], 17, 44, ["x"], ["x"]))
        whole = pa.concat_tables(source.tables(["x"])) if file.suffix != ".jsonl" else None
        if file.suffix in (".npz", ".npy", ".parquet"):
            assert np.array_equal(stacked(middle.column("x")), values[17:44])
        assert middle.num_rows == 27 and (
            whole is None or middle.combine_chunks() == whole.slice(17, 27).combine_chunks()
        )


def test_a_changed_folder_is_noticed(detectors, tmp_path):
    _, file = detectors["image"]
    folder(tmp_path / "in", pictures(4))
    (source,) = list_inputs(tmp_path / "in")
    (tmp_path / "in" / "a" / "new.png").write_bytes(encoded(pictures(1)[0]))
    with pytest.raises(DataError, match="was changed while it was (read|scored); run the same command again"):
        source.check_unchanged(source.identity())


def test_a_stream_of_series_by_command(detectors, tmp_path, environment):
    import subprocess

    detector, file = detectors["series"]
    data = waves(6, 7)
    lines = [json.dumps({"x": x.tolist(), "id": i}) for i, x in enumerate(data)]
    lines.insert(3, '{"x": [[1, 2')
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        command(file, tmp_path / "in.jsonl", tmp_path / "out.db"), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    scores, ((reason,),) = streamed(tmp_path / "out.db")
    np.testing.assert_allclose(scores, detector.anomaly_score(data), rtol=1e-5)
    assert reason.startswith("not JSON")


def test_frames_and_records_with_a_column_of_examples(detectors):
    import pandas as pd
    import polars

    detector, file = detectors["image"]
    scorer, data = Scorer(load_artifact(file)), pictures(9, 8)
    wanted = scorer.score(data).anomaly_score
    for given in (
        pd.DataFrame({"x": list(data), "other": 1}),
        pd.DataFrame({"x": [encoded(image) for image in data]}),
        polars.DataFrame({"x": data}),
        pa.table({"x": pa.array(data.tolist())}),
        [{"x": image.tolist()} for image in data],
        [{"x": "data:image/png;base64," + base64.b64encode(encoded(image)).decode()} for image in data],
        {"x": data},
    ):
        assert np.array_equal(scorer.score(given).anomaly_score, wanted)
    with pytest.raises(DataError, match="1 column is missing: 'x', the images; the data has 'picture'"):
        scorer.score(pd.DataFrame({"picture": list(data)}))


def test_without_pillow_a_folder_of_images_says_what_to_install(detectors, tmp_path, environment):
    folder(tmp_path / "in", pictures(4))
    (tmp_path / "hidden" / "PIL").mkdir(parents=True)
    (tmp_path / "hidden" / "PIL" / "__init__.py").write_text("raise ImportError('no PIL')")
    bare = environment | {"PYTHONPATH": f"{tmp_path / 'hidden'}:{environment['PYTHONPATH']}"}
    arguments = ("score", "--model", detectors["image"][1], "--input", tmp_path / "in", "--output", tmp_path / "out")
    done = run(bare, *map(str, arguments))
    assert done.returncode == 2 and "pip install 'ganlib[images]'" in done.stderr
    # Arrays need no Pillow.
    np.save(tmp_path / "x.npy", pictures(4))
    arguments = (*arguments[:4], tmp_path / "x.npy", "--output", tmp_path / "out2")
    assert run(bare, *map(str, arguments)).returncode == 0
