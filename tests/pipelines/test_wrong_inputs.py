"""What a person can supply wrongly, by verb: a typed refusal in one line, never exit 1; and secrets stay secret."""

import os
import shutil
import socket

import pytest
from pipeline_data import refused, sensor_table

from pipelines.errors import UsageError
from pipelines.settings import load_settings

ODD = os.fsdecode(b"odd\xff")  # no UTF-8
SCORE = {"verb": "score", "--model": "demo.onnx", "--input": "new.csv", "--output": "out"}
EXPLAIN = {"verb": "explain", "--model": "demo.onnx", "--input": "new.csv"}
TRAIN = {"verb": "train", "--name": "x", "--data": "data.csv", "--label": "fault", "--model": "vae", "--steps": "3"}
STREAM = {"verb": "stream", "--model": "demo.onnx", "--input": "new.jsonl", "--output": "out.db"}
AUGMENT = {"verb": "augment", "--data": "data.csv", "--label": "kind", "--output": "more.csv"}
EXPORT = {"verb": "export", "--model": "demo.onnx", "--output": "out.onnx"}

WRONG = [
    # a name that is no UTF-8
    (SCORE, {"--model": f"{ODD}.onnx"}, 2, "UTF-8"),
    (SCORE, {"--input": f"{ODD}.csv"}, 2, "UTF-8"),
    (SCORE, {"--input": "folder"}, 4, "UTF-8"),
    (SCORE, {"--input": "folder/*"}, 4, "UTF-8"),
    (SCORE, {"--output": ODD}, 2, "UTF-8"),
    (EXPLAIN, {"--input": f"{ODD}.csv"}, 2, "UTF-8"),
    (EXPLAIN, {"--row": ODD}, 2, "no row"),
    (STREAM, {"--output": f"{ODD}.db"}, 2, "UTF-8"),
    (STREAM, {"--input": f"{ODD}.jsonl"}, 2, "UTF-8"),
    (TRAIN, {"--data": f"{ODD}.csv"}, 2, "UTF-8"),
    (AUGMENT, {"--output": f"{ODD}.csv"}, 2, "UTF-8"),
    (EXPORT, {"--output": f"{ODD}.onnx"}, 2, "UTF-8"),
    (EXPORT, {"--model": f"{ODD}.onnx"}, 2, "UTF-8"),
    ({"verb": "config", "init": f"{ODD}.yaml"}, {}, 2, "UTF-8"),
    # a URL where only this machine will do
    (SCORE, {"--model": "http://127.0.0.1:9/m.onnx"}, 2, "download the file first"),
    (SCORE, {"--model": "s3://bucket/m.onnx"}, 2, "download the file first"),
    (SCORE, {"--output": "s3://bucket/out"}, 2, "not a URL"),
    (STREAM, {"--model": "https://host/m.onnx"}, 2, "download the file first"),
    (STREAM, {"--output": "http://host/out.db"}, 2, "not a URL"),
    (AUGMENT, {"--output": "gs://bucket/more.csv"}, 2, "not a URL"),
    (AUGMENT, {"--model": "https://host/m.onnx"}, 2, "download the file first"),
    (TRAIN, {"--schema": "http://host/schema.yaml"}, 2, "not a URL"),
    (EXPORT, {"--output": "http://host/out.onnx"}, 2, "is a URL"),
    # nothing, as of a variable that is not set
    (SCORE, {"--input": ""}, 2, "--input is empty"),
    (SCORE, {"--output": ""}, 2, "--output is empty"),
    (EXPLAIN, {"--record": ""}, 2, "--record is empty"),
    (TRAIN, {"--data": ""}, 2, "--data is empty"),
    (TRAIN, {"--label": ""}, 2, "--label is empty"),
    ({"verb": "promote", "name": "demo"}, {"--version": ""}, 2, "--version is empty"),
    ({"verb": "verify", "folder": ""}, {}, 2, "is empty"),
    # numbers that are none, too small, or without end
    (SCORE, {"--alpha": "1e-320"}, 2, "score.alpha"),
    (SCORE, {"--alpha": "nan"}, 2, "score.alpha"),
    (SCORE, {"--wait": "-inf"}, 2, "score.wait"),
    (SCORE, {"--workers": "0"}, 2, "score.workers"),
    (STREAM, {"--alpha": "1e-320"}, 2, "stream.alpha"),
    (STREAM, {"--deadline": "nan"}, 2, "stream.deadline"),
    (EXPLAIN, {"--alpha": "1e-320"}, 2, "score.alpha"),
    (EXPLAIN, {"--worst": "0"}, 2, "--worst"),
    (EXPLAIN, {"--row": "9" * 30}, 2, "has 60 rows"),
    (TRAIN, {"--alpha": "1e-320"}, 2, "calibration.alpha"),
    (TRAIN, {"--seed": "-1"}, 2, "training.random_state"),
    (SCORE, {"--model": "models:/demo/" + "9" * 30}, 2, "models:/NAME"),
    # no file
    ({"verb": "config", "init": "socket"}, {"--force": None}, 2, "no file but a device"),
    (EXPORT, {"--output": "socket.onnx"}, 2, "no file but a device"),
    (SCORE, {"--model": "folder"}, 2, "folder"),
    (EXPLAIN, {"--model": "folder"}, 2, "folder"),
    (EXPLAIN, {"--input": "absent.csv"}, 2, "absent.csv"),
    (EXPLAIN, {"--row": "folder:1"}, 2, "no file 'folder'"),
    (TRAIN, {"--schema": "folder"}, 2, "Is a directory"),
]


def arguments(given, changes):
    for name, value in (given | changes).items():
        if name.startswith("--") or name == "init":
            yield name
        if value is not None:
            yield value


@pytest.fixture
def supplies(home, template):
    """A folder in which the verbs would work."""
    shutil.copy(template / "demo.onnx", home)
    shutil.copy(template / "demo.onnx", f"{ODD}.onnx")
    frame = sensor_table(60)
    frame.rename(columns={"fault": "kind"}).assign(fault=frame["fault"]).to_csv("data.csv", index=False)
    (home / "folder").mkdir()
    scored = frame.drop(columns=["fault"]).assign(operator="ann")
    for name in ("new.csv", f"{ODD}.csv", f"folder/{ODD}.csv"):
        scored.to_csv(name, index=False)
    for name in ("new.jsonl", f"{ODD}.jsonl"):
        (home / name).write_text(scored.head(3).to_json(orient="records", lines=True, date_format="iso"))
    kept = []
    for name in ("socket", "socket.onnx"):
        kept.append(socket.socket(socket.AF_UNIX))
        kept[-1].bind(name)
    yield home
    for one in kept:
        one.close()


@pytest.mark.parametrize("case", WRONG, ids=lambda case: ascii(" ".join([case[0]["verb"], *map(str, case[1].items())])))
def test_every_wrong_input_has_one_line_and_its_exit_code(ganlib, supplies, case):
    given, changes, code, words = case
    before = sorted(supplies.rglob("*"))
    refused(ganlib(*arguments(given, changes)), code, words)
    made = {path.name for path in supplies.rglob("*")} - {path.name for path in before}
    assert not {name for name in made if name.startswith(("out", "more", "http", "s3", "gs"))}, made


DEVICES = ["", "gpu", "cpu:0", "mps", "cuda:x", "cuda:99", "cuda:" + "9" * 30]


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_is_not_there_is_named(ganlib, supplies, monkeypatch, device):
    monkeypatch.setenv("GANLIB__TRAINING__DEVICE", device)
    for given in (TRAIN, AUGMENT | {"--gate": "off", "--steps": "3"}):
        refused(ganlib(*arguments(given, {})), 2, "device")
    assert not list(supplies.glob("more*"))


@pytest.mark.parametrize("key", ["batch_size", "learning_rate", "latent_dim", "patience", "epochs", "random_state"])
@pytest.mark.parametrize("value", ["true", "nan", "-1", "1e400", "-.inf", "9" * 5000, "[1]", "x"])
def test_training_takes_numbers_within_bounds(monkeypatch, key, value):
    monkeypatch.setenv(f"GANLIB__TRAINING__{key.upper()}", value)
    with pytest.raises(UsageError, match=rf"training\.{key}"):
        load_settings()


@pytest.mark.parametrize(("key", "value"), [("latent_dim", 10**19), ("learning_rate", 1.5), ("random_state", 1 << 32)])
def test_training_takes_no_number_that_its_models_cannot(monkeypatch, key, value):
    monkeypatch.setenv(f"GANLIB__TRAINING__{key.upper()}", str(value))
    with pytest.raises(UsageError, match=rf"training\.{key}"):
        load_settings()


# ---------------------------------------------------------------- secrets
SECRET = "hunter2secret"
PLACES = [
    "data.path", "data.schema_file", "registry.tracking_uri", "registry.artifacts", "registry.cache", "registry.gates",
    "score.model", "score.input", "score.output", "stream.model", "stream.input", "stream.output", "augment.model",
    "augment.output", "translate.model", "translate.output",
]  # fmt: skip
VERBS = {
    "registry": (("config", "show"), ("config", "show", "--json"), ("doctor",), ("promote", "demo")),
    "data": (("train", "--name", "x"), ("data", "describe")),
    "score": (("score",), ("explain",)),
    "stream": (("stream",),),
    "augment": (("augment",),),
    "translate": (("translate",),),
}


def no_secret(home, said, *besides):
    assert SECRET not in "".join(map(str, said)), said
    for path in home.rglob("*"):
        if path.is_file() and path.name not in besides:
            assert SECRET.encode() not in path.read_bytes(), path


def test_the_places_are_all_settings_that_may_hold_a_url():
    from pipelines.settings import Settings

    texts = {f"{section}.{key}" for section, values in Settings().to_json().items() for key in values}
    words = ("path", "file", "uri", "artifacts", "cache", "gates", "input", "output")
    named = {key for key in texts if key.split(".")[1] in words or key.endswith(("_file", "_uri"))}
    assert named | {f"{section}.model" for section in ("score", "stream", "augment", "translate")} == set(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_in_a_setting_is_refused_and_never_shown(ganlib, home, monkeypatch, place):
    url = f"sftp://me:{SECRET}@127.0.0.1/x.csv"
    section, key = place.split(".")
    (home / "job.yaml").write_text(f"{section}: {{{key}: '{url}'}}\n")
    for verb in VERBS[section]:
        said = ganlib(*verb, "--config", "job.yaml")
        no_secret(home, said, "job.yaml")
        assert said[0] == 2 and place in said[2], said
    if place != "registry.tracking_uri":
        monkeypatch.setenv(f"GANLIB__{section.upper()}__{key.upper()}", url)
        said = ganlib("config", "show")
        assert said[0] == 2 and place in said[2] and SECRET not in said[2], said


@pytest.mark.parametrize(
    ("variable", "scheme"),
    [("MLFLOW_TRACKING_URI", "http"), ("GANLIB__REGISTRY__TRACKING_URI", "postgresql"), ("reference", "http")],
)
def test_a_password_of_the_registry_works_by_variable_and_is_never_shown(ganlib, home, monkeypatch, variable, scheme):
    monkeypatch.setenv("GANLIB__REGISTRY__RETRIES", "1")
    monkeypatch.setenv("URI" if variable == "reference" else variable, f"{scheme}://me:{SECRET}@127.0.0.1:9/x")
    if variable == "reference":
        monkeypatch.setenv("GANLIB__REGISTRY__TRACKING_URI", "env:URI")
    for verb in VERBS["registry"]:
        no_secret(home, ganlib(*verb))
    code, _, err = ganlib("history", "demo")
    assert code == 5 and f"{scheme}://***@127.0.0.1:9" in err, err


# ---------------------------------------------------------------- names
def test_names_of_columns_never_break_a_line_or_steer_the_terminal(ganlib, supplies):
    name = "flow\n\x1b[31mERROR\x1b[0m\r\u2028"
    frame = sensor_table(60).rename(columns={"flow": name})
    frame.to_csv("odd.csv", index=False)
    frame.drop(columns=["fault"]).assign(operator="ann").to_csv("odder.csv", index=False)
    verbs = (
        ("data", "describe", "odd.csv", "--label", "fault"),
        ("data", "describe", "odd.csv", "--label", name + "x"),
        ("train", "--name", "x", "--data", "odd.csv", "--label", "fault", "--model", "vae", "--dry-run"),
        ("train", "--name", "x", "--data", "odd.csv", "--label", "fault", "--drop", "nothing"),
        ("augment", "--data", "odd.csv", "--label", "fault", "--output", "more.csv", "--dry-run"),
        ("score", "--model", "demo.onnx", "--input", "odder.csv", "--output", "out"),
        ("score", "--model", "demo.onnx", "--input", "new.csv", "--output", "out", "--keep", name),
    )
    for verb in verbs:
        code, out, err = ganlib(*verb)
        assert code in (0, 2, 4), err
        for text in (out, err):
            assert not [letter for letter in text if not letter.isprintable() and letter != "\n"], (verb, text)
            assert not [line for line in text.split("\n") if line.startswith(("ERROR", "\\x1b"))], (verb, text)
