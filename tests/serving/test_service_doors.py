"""The same row has the same score, p-value and alarm by every door."""

import html
import json
import re
import struct

import numpy as np
import pandas as pd
import pytest
from service_data import Running, assembled, records
from serving_data import LEVELS, table, waves, with_levels

from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.scorer import Scorer

SCORES = ["anomaly_score", "p_value", "is_anomaly"]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A sealed detector of every kind of column, and rows of it as JSON lines."""
    import torch

    from ganlib.detect import VAEDetector
    from ganlib.export import seal

    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("kinds") / "kinds.onnx"
    seal(VAEDetector(steps=100, alpha=0.1, options={"score_samples": 2}).fit(mixed(500)), path)
    return path


def mixed(rows, seed=0):
    rng = np.random.default_rng(seed)
    days = pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.integers(0, 300, rows), unit="D")
    frame = table(rows, seed)
    frame["price"] = [f"{p:.2f}" for p in rng.lognormal(3, 1, rows)]
    frame["level"] = rng.choice(["1", "2", "10"], rows)
    frame["note"] = [" ".join(rng.choice(["pump", "valve", "ok", "leak"], 3)) + f" {i}" for i in range(rows)]
    frame["day"] = days.strftime("%d.%m.%Y")
    frame.loc[::7, "kind"] = None
    frame.loc[::11, "day"] = None
    return frame


def scores_of(answer):
    assert answer.status_code == 200, answer.text
    got = answer.json()["predictions"]
    return {name: [row[name] for row in got] for name in SCORES}


def outputs_of(answer):
    assert answer.status_code == 200, answer.text
    return {one["name"]: one["data"] for one in answer.json()["outputs"]}


def tensors(rows, ports):
    """Records as v2 tensors: numbers where all are numbers, else text."""
    made = []
    for name, datatype in ports.items():
        values = [row[name] for row in rows]
        kinds = {type(v) for v in values if v is not None}
        datatype = "BYTES" if kinds == {str} else "BOOL" if kinds == {bool} else "FP64" if float in kinds else datatype
        made.append({"name": name, "datatype": datatype, "shape": [len(rows)], "data": values})
    return made


def test_every_door_gives_the_same_scores(kinds, tmp_path):
    rows = records(mixed(150, 3))
    rows[3]["amount"], rows[4]["count"], rows[5]["kind"], rows[6]["when"] = "12.5", 3.0, "unseen", None
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    score_batch(str(kinds), str(tmp_path / "rows.jsonl"), str(tmp_path / "out"))
    batch = open_scores(tmp_path / "out").to_pandas().sort_values("source_row")
    direct = Scorer(load_artifact(kinds)).score(rows)
    expected = {name: getattr(direct, name).tolist() for name in SCORES}
    assert sum(expected["is_anomaly"]) > 0
    assert {name: batch[name].tolist() for name in SCORES} == expected
    columns = list(rows[0])
    split = {"columns": columns, "data": [[row[c] for c in columns] for row in rows]}
    by_column = {c: [row[c] for row in rows] for c in columns}
    with Running(assembled(kinds)) as running:
        post = running.client.post
        for body in (
            {"dataframe_records": rows},
            {"dataframe_split": split},
            {"instances": rows},
            {"inputs": by_column},
        ):
            assert scores_of(post("/invocations", json=body)) == expected, body.keys()
            assert scores_of(post("/invocations/kinds", json=body)) == expected
        alone = [scores_of(post("/invocations", json={"dataframe_records": [row]})) for row in rows[:40]]
        for name in SCORES:  # a row at another place of four may be rounded differently
            np.testing.assert_allclose([one[name][0] for one in alone], expected[name][:40], rtol=1e-5)
            assert [one[name][0] for one in alone[::4]] == expected[name][:40:4]
        said = running.client.get("/v2/models/kinds").json()
        ports = {port["name"]: port["datatype"] for port in said["inputs"]}
        # A tensor holds one datatype, which the first rows do not.
        got = outputs_of(post("/v2/models/kinds/infer", json={"inputs": tensors(rows[8:], ports)}))
        assert got == {name: expected[name][8:] for name in SCORES}


def test_binary_tensors_give_the_same_scores_as_json(kinds):
    rows = records(mixed(40, 5))
    with Running(assembled(kinds)) as running:
        said = running.client.get("/v2/models/kinds").json()
        inputs = tensors(rows, {port["name"]: port["datatype"] for port in said["inputs"]})
        as_json = outputs_of(running.client.post("/v2/models/kinds/infer", json={"inputs": inputs}))
        blobs, head = [], []
        for one in inputs:
            # Binary tensors have no null: NaN and empty text are missing values.
            if one["datatype"] == "BYTES":
                parts = [(value or "").encode() for value in one["data"]]
                blob = b"".join(struct.pack("<I", len(part)) + part for part in parts)
            elif one["datatype"] == "BOOL":
                blob = np.array(one["data"], np.bool_).tobytes()
            else:
                kind = np.int64 if one["datatype"] == "INT64" else np.float64
                blob = np.array([np.nan if v is None else v for v in one["data"]], kind).tobytes()
            blobs.append(blob)
            head.append(
                {k: one[k] for k in ("name", "datatype", "shape")} | {"parameters": {"binary_data_size": len(blob)}}
            )
        outputs = [{"name": name, "parameters": {"binary_data": True}} for name in SCORES]
        text = json.dumps({"inputs": head, "outputs": outputs}).encode()
        answer = running.client.post(
            "/v2/models/kinds/infer",
            content=text + b"".join(blobs),
            headers={"Inference-Header-Content-Length": str(len(text)), "Content-Type": "application/octet-stream"},
        )
        assert answer.status_code == 200, answer.text
        size = int(answer.headers["Inference-Header-Content-Length"])
        said, data = json.loads(answer.content[:size])["outputs"], answer.content[size:]
        for one, dtype in zip(said, ("<f4", "<f4", "?"), strict=True):
            count = one["parameters"]["binary_data_size"]
            assert np.frombuffer(data[:count], dtype).tolist() == as_json[one["name"]]
            data = data[count:]
        assert not data


@pytest.mark.parametrize("kind", ["image", "series"])
def test_examples_by_every_door(detectors, kind):
    from serving_data import pictures

    data = pictures(12, 4) if kind == "image" else waves(12, 4)
    path = detectors[kind][1]
    direct = Scorer(load_artifact(path)).score(data, explain=True)
    expected = {name: getattr(direct, name).tolist() for name in SCORES}
    datatype = "UINT8" if kind == "image" else "FP64"
    with Running(assembled(path)) as running:
        post = running.client.post
        for body in ({"instances": data.tolist()}, {"inputs": {"x": data.tolist()}},
                     {"dataframe_split": {"columns": ["x"], "data": [[one] for one in data.tolist()]}}):  # fmt: skip
            assert scores_of(post("/invocations", json=body)) == expected
        tensor = {"name": "x", "datatype": datatype, "shape": list(data.shape)}
        for values in (data.tolist(), data.reshape(-1).tolist()):
            assert (
                outputs_of(post(f"/v2/models/{kind}/infer", json={"inputs": [tensor | {"data": values}]})) == expected
            )
        got = outputs_of(
            post(f"/v2/models/{kind}/infer",
                 json={"inputs": [tensor | {"data": data.tolist()}], "parameters": {"explain": True}})
        )  # fmt: skip
        assert got["map"] == direct.map.reshape(-1).tolist()
        assert got["top_reasons"] == [reason or "" for reason in direct.top_reasons.to_pylist()]


def test_reasons_and_contributions_are_those_of_the_scorer(kinds):
    rows = records(mixed(60, 8))
    direct = Scorer(load_artifact(kinds), 0.3).score(rows, explain=True)
    with Running(assembled(kinds)) as running:
        body = {"dataframe_records": rows, "params": {"alpha": 0.3, "explain": True}}
        got = running.client.post("/invocations", json=body).json()["predictions"]
    features = load_artifact(kinds).features
    assert [[row[f"contribution.{f}"] for f in features] for row in got] == direct.contributions.tolist()
    assert [row["top_reasons"] for row in got] == direct.top_reasons.to_pylist()
    assert [row["is_anomaly"] for row in got] == direct.is_anomaly.tolist() and any(direct.is_anomaly)


def test_windows_with_their_key(windowed):
    _, path = windowed
    from serving_data import readings

    frame = readings(1, 40, 3)
    values = frame[["heat", "load"]].to_numpy()
    examples = np.stack([values[i : i + 8].T for i in range(20)])
    direct = Scorer(load_artifact(path)).score(examples)
    with Running(assembled(path)) as running:
        got = scores_of(running.client.post("/invocations", json={"instances": examples.tolist()}))
        assert got == {name: getattr(direct, name).tolist() for name in SCORES}
        one = running.client.post("/invocations", json={"instances": [[[1.0] * 7] * 2]})
        assert one.status_code == 400 and one.json()["column"] == "x" and one.json()["row"] == 0


def test_windows_relative_to_levels_need_their_key(windowed, tmp_path):

    path = tmp_path / "levelled.onnx"
    path.write_bytes(with_levels(windowed[1], LEVELS))
    rng = np.random.default_rng(0)
    rows = [{"x": rng.normal(300, 5, (2, 8)).tolist(), "machine": f"m{i % 2}"} for i in range(6)]
    direct = Scorer(load_artifact(path)).score(rows)
    expected = {name: getattr(direct, name).tolist() for name in SCORES}
    with Running(assembled(path)) as running:
        post = running.client.post
        assert scores_of(post("/invocations", json={"instances": rows})) == expected
        tensors = [
            {"name": "x", "datatype": "FP64", "shape": [6, 2, 8], "data": [row["x"] for row in rows]},
            {"name": "machine", "datatype": "BYTES", "shape": [6], "data": [row["machine"] for row in rows]},
        ]
        assert outputs_of(post("/v2/models/levelled/infer", json={"inputs": tensors})) == expected
        for wrong, words in ((rows[0] | {"machine": "m9"}, "no 'machine' 'm9'"), ({"x": rows[0]["x"]}, "'machine' is")):
            answer = post("/invocations", json={"instances": [wrong]})
            assert answer.status_code == 400 and words in answer.json()["error"], answer.text


def test_image_files_as_bytes_and_base64(detectors):
    import base64
    import io

    from PIL import Image
    from serving_data import pictures

    data = pictures(3, 9)
    files = []
    for image in data:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        files.append(buffer.getvalue())
    direct = Scorer(load_artifact(detectors["image"][1])).score(data)
    expected = {name: getattr(direct, name).tolist() for name in SCORES}
    with Running(assembled(detectors["image"][1])) as running:
        post = running.client.post
        texts = [{"x": base64.b64encode(file).decode()} for file in files]
        assert scores_of(post("/invocations", json={"instances": texts})) == expected
        blob = b"".join(struct.pack("<I", len(file)) + file for file in files)
        tensor = {"name": "x", "datatype": "BYTES", "shape": [3], "parameters": {"binary_data_size": len(blob)}}
        head = json.dumps({"inputs": [tensor]}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))}
        assert outputs_of(post("/v2/models/image/infer", content=head + blob, headers=headers)) == expected
        broken = post("/invocations", json={"instances": [{"x": "AAAA"}]})
        assert broken.status_code == 400 and broken.json()["row"] == 0


def test_the_example_of_the_page_is_scored(kinds, artifact, detectors):
    with Running(assembled(kinds, artifact, detectors["image"][1])) as running:
        page = html.unescape(running.client.get("/docs").text)
        found = re.findall(r"<pre>POST (/invocations/\w+)\n(.*?)</pre>", page, re.S)
        assert [path for path, _ in found] == ["/invocations/kinds", "/invocations/small"]
        for path, body in found:
            scores_of(running.client.post(path, content=body, headers={"Content-Type": "application/json"}))
