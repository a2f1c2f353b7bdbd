"""What is found in a registry: cards, the overview, files, versions of other registries, a project that moved."""

import json
import shutil
import sqlite3

import onnx
import pytest
from pipeline_data import refused, sensor_table

from pipelines.card import LIMIT, card, with_gates
from pipelines.connection import masked
from pipelines.registry import Registry
from pipelines.settings import RegistrySettings
from serving.artifact import load_artifact
from serving.opening.hashes import hashes_of


@pytest.fixture
def other(tmp_path):
    """An empty registry elsewhere."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Registry(f"sqlite:///{folder}/mlflow.db", RegistrySettings(retries=1))


def by_hand(registry, version):
    """What somebody does in the MLflow UI."""
    registry.client().set_registered_model_alias("demo", "champion", version)


# ---------------------------------------------------------------- a champion that was set by hand
def test_every_verb_that_follows_a_champion_says_when_the_gates_had_refused_it(ganlib, home, registry, add_version):
    ganlib("promote", "demo")
    bad = add_version(privacy="found 1 rare text in the artifact")
    assert ganlib("promote", "demo")[0] == 3
    rows = sensor_table(20).drop(columns=["fault"]).assign(operator="ann")
    rows.to_csv("new.csv", index=False)
    (home / "new.jsonl").write_text(rows.to_json(orient="records", lines=True, date_format="iso"))
    model = ("--model", "models:/demo@champion")
    verbs = {
        "history": ("demo",),
        "score": (*model, "--input", "new.csv", "--output", "scores", "--new-run"),
        "stream": (*model, "--input", "new.jsonl", "--output", "s.db"),
        "list": (),
        "show": ("demo@champion",),
    }
    for verb, arguments in verbs.items():
        assert "by hand" not in ganlib(verb, *arguments)[2], verb
    by_hand(registry, bad)
    for verb, arguments in verbs.items():
        code, out, err = ganlib(verb, *arguments)
        assert code == 0 and err.count("the alias was moved by hand") == 1, (verb, err)
        assert "version 2, but the ledger ends with version 1" in err and "gates had rejected it (privacy)" in err
    # Such a champion is judged when asked, and stays what it is.
    refused(ganlib("promote", "demo"), 3, "privacy")
    assert "goes back" in ganlib("history", "demo")[2]
    assert ganlib("promote", "demo", "--version", "1")[0] == 0
    assert ganlib("history", "demo")[2] == ""


def test_a_champion_set_by_hand_that_passes_enters_the_ledger(registry, add_version):
    from pipelines.ledger import Ledger
    from pipelines.promotion import promote, rollback

    ledger = Ledger(registry, "demo")
    by_hand(registry, "1")
    assert "no promotion is recorded" in ledger.doubt()
    assert not promote(registry, "demo", dry_run=True).already and "by hand" in ledger.doubt()
    assert not promote(registry, "demo").already and ledger.doubt() is None
    by_hand(registry, add_version())
    promote(registry, "demo", version="2")
    assert ledger.doubt() is None and ledger.line() == ["1", "2"] and registry.aliases("demo")["previous"] == "1"
    assert rollback(registry, "demo") == ("2", "1") and ledger.doubt() is None


# ---------------------------------------------------------------- a project that was moved
@pytest.fixture
def project(template, tmp_path, monkeypatch):
    """A project folder of its own, artifacts included, as it was before it moved."""
    folder = tmp_path / "a project, before"
    (folder / "runs").mkdir(parents=True)
    shutil.copy(template / "mlflow.db", folder / "runs" / "mlflow.db")
    shutil.copytree(template / "mlartifacts", folder / "runs" / "mlartifacts")
    monkeypatch.chdir(folder)
    assert Registry().relocate() > 0 and Registry().moved() is None
    return folder


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_a_project_that_moved_is_named_and_corrected(ganlib, project, template, monkeypatch, how):
    sensor_table(80).to_csv(project / "data.csv", index=False)
    after = project.with_name("änother place")
    project.rename(after) if how == "moved" else shutil.copytree(project, after)
    monkeypatch.chdir(after)
    export = ("export", "--model", "models:/demo@challenger", "--output", "demo.onnx")
    train = ("train", "--name", "demo", "--data", "data.csv", "--label", "fault", "--model", "vae", "--steps", 2)
    checks = {c["name"]: c for c in json.loads(ganlib("doctor", "--json")[1])}
    assert checks["artifacts"]["state"] == "error" and "--fix" in checks["artifacts"]["mend"]
    assert ganlib("doctor")[0] == 2
    if how == "moved":
        refused(ganlib(*export), 2, "moved or copied", str(project), "ganlib doctor --fix")
    # Nothing is written into the folder that the project had before.
    before = sorted(project.rglob("*"))
    refused(ganlib(*train), 2, "moved or copied", "ganlib doctor --fix")
    assert sorted(project.rglob("*")) == before
    code, out, err = ganlib("doctor", "--fix")
    assert code == 0 and "corrected" in err, (out, err)
    assert ganlib(*export)[0] == 0 and (after / "demo.onnx").read_bytes() == (template / "demo.onnx").read_bytes()
    assert "nothing to correct" in ganlib("doctor", "--fix")[2]
    for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
        with sqlite3.connect("runs/mlflow.db") as database:
            places = [place for (place,) in database.execute(f"SELECT {column} FROM {table}")]
        assert places and not [place for place in places if "before" in place]


def test_a_database_that_cannot_be_corrected_is_named(ganlib, project, monkeypatch):
    after = project.with_name("100 % #new")
    project.rename(after)
    monkeypatch.chdir(after)
    with sqlite3.connect("runs/mlflow.db") as writer:
        writer.execute("BEGIN IMMEDIATE")
        refused(ganlib("doctor", "--fix"), 75, "mlflow.db is in use")
        writer.rollback()
    assert ganlib("doctor", "--fix")[0] == 0
    (after / "runs" / "mlflow.db").write_bytes(b"this is no database" * 100)
    refused(ganlib("doctor", "--fix"), 2, "cannot be corrected")
    (after / "what?").mkdir()
    monkeypatch.chdir(after / "what?")
    refused(ganlib("list"), 2, "a ? in its name")


def test_doctor_names_versions_whose_files_are_gone(ganlib, project):
    assert ganlib("doctor")[0] == 0
    for file in (project / "runs" / "mlartifacts").rglob("demo.onnx"):
        file.unlink()
    code, out, _ = ganlib("doctor", "--json")
    found = {c["name"]: c for c in json.loads(out)}["artifacts"]
    assert code == 2 and found["state"] == "error" and "demo version 1" in found["found"]


# ---------------------------------------------------------------- files
def test_a_file_is_registered_through_its_gates_and_used(ganlib, home, template, registry):
    shutil.copy(template / "demo.onnx", "odd name #1.onnx")
    code, out, _ = ganlib("register", "odd name #1.onnx", "--name", "pump", "--dry-run", "--json")
    assert code == 0 and json.loads(out)["version"] is None and registry.names() == ["demo"]
    code, out, _ = ganlib("register", "odd name #1.onnx", "--name", "pump", "--json")
    assert code == 0 and json.loads(out)["version"] == "1"
    found = registry.by_alias("pump", "challenger")
    known = registry.version("demo", "1").tags
    for tag in ("artifact_sha256", "model", "schema_sha256", "data_fingerprint", "alpha_min", "parity_ratio"):
        assert found.tags[tag] == known[tag], tag
    # What only the data could show is not known, and no gate passes over that.
    said = refused(ganlib("promote", "pump"), 3, "privacy: not checked")
    assert "AUPRC" in said or "quality" in said
    (home / "gates.yaml").write_text(
        "version: 1\ndetector: {integrity: true, lineage: true, parity_ratio_at_most: 1}\n"
    )
    assert ganlib("promote", "pump", "--gates", "gates.yaml")[0] == 0
    assert ganlib("export", "--model", "models:/pump@champion", "--output", "out.onnx")[0] == 0
    assert (home / "out.onnx").read_bytes() == (template / "demo.onnx").read_bytes()


def forged(source, target, **changes):
    """The artifact with other metadata, and hashes that fit them."""
    model = onnx.load(source)
    entries = {entry.key: entry for entry in model.metadata_props}
    for key, value in changes.items():
        entries[key].value = json.dumps(value)
    graph = model.graph.SerializeToString(deterministic=True)
    entries["hashes"].value = json.dumps(hashes_of(graph, {key: entry.value for key, entry in entries.items()}))
    onnx.save(model, target)


def test_files_that_cannot_be_registered_are_refused_and_leave_nothing(ganlib, home, template, registry):
    (home / "text.onnx").write_text("no model at all")
    shutil.copy(template / "demo.onnx", "demo.bin")
    forged(template / "demo.onnx", "far.onnx", parity={"max_abs": 1.0, "bound": 0.5, "rows": 32})
    shutil.copy(template / "demo.onnx", "other.onnx")
    (home / "other.onnx.sha256").write_text(f"{'0' * 64}  other.onnx\n")
    encoder = {"kind": "encoder"}
    forged(template / "demo.onnx", "encoder.onnx", **encoder)
    cases = {
        "absent.onnx": (2, "absent.onnx"), "text.onnx": (6, "text.onnx"), "demo.bin": (2, "end in .onnx"),
        "far.onnx": (6, "torch's by 2 of the bound"), "other.onnx": (6, "other.onnx"), "encoder.onnx": (6, "encoder"),
    }  # fmt: skip
    for file, (code, word) in cases.items():
        refused(ganlib("register", file, "--name", "pump"), code, word)
    refused(ganlib("register", "far.onnx", "--name", "a/b"), 2, "'a/b'")
    assert registry.names() == ["demo"]


# ---------------------------------------------------------------- other registries
def test_a_champion_is_promoted_across_registries(ganlib, home, registry, other, template):
    across = ("promote", "demo", "--from", registry.uri, "--tracking", other.uri)
    refused(ganlib(*across), 2, "no alias 'champion'")
    ganlib("promote", "demo")
    assert ganlib(*across, "--dry-run")[0] == 0 and other.names() == []
    refused(ganlib("promote", "demo", "--from", registry.uri), 2, "this registry itself")
    refused(ganlib("promote", "demo", "--from", "http://127.0.0.1:9"), 5, "127.0.0.1:9")
    refused(ganlib("promote", "dem", "--from", registry.uri, "--tracking", other.uri), 2, "registered: demo")
    assert ganlib(*across)[0] == 0
    there, here = registry.by_alias("demo", "champion"), other.by_alias("demo", "champion")
    own = {"copied_from", "gate_verdict", "last_scored"}
    assert {k: v for k, v in here.tags.items() if k not in own} == {k: v for k, v in there.tags.items() if k not in own}
    assert here.tags["copied_from"] == f"{masked(registry.uri)} version 1" and "### Gates" in here.card
    assert other.resolve("models:/demo@champion").path.read_bytes() == (template / "demo.onnx").read_bytes()
    # Again: it is here already, and champion.
    assert "champion already" in ganlib(*across)[1] and len(other.versions("demo")) == 1


def test_a_version_that_another_tool_copied_without_tags_is_used(registry, other, template):
    import mlflow

    registry.client()
    folder = mlflow.artifacts.download_artifacts("models:/demo/1", dst_path=str(other.folder / "copy"))
    with other.run("copies", "by another tool") as run:
        mlflow.log_artifacts(folder, "model")
    other.client().create_registered_model("demo")
    other.client().create_model_version("demo", f"{run.info.artifact_uri}/model", run.info.run_id)
    found = other.resolve("models:/demo/1")
    assert found.path.read_bytes() == (template / "demo.onnx").read_bytes()
    assert load_artifact(found.path, found.sha256).integrity == "sha256"


def test_a_version_of_another_kind_of_model_is_refused(ganlib, home, registry):
    import mlflow

    with registry.run("others", "no artifact") as run:
        mlflow.log_text("hello", "model/hello.txt")
    registry.client().create_registered_model("foreign")
    registry.client().create_model_version("foreign", f"{run.info.artifact_uri}/model", run.info.run_id)
    refused(ganlib("export", "--model", "models:/foreign/1", "--output", "x.onnx"), 2, "no sealed artifact", "register")
    refused(ganlib("show", "foreign"), 2, "no sealed artifact")
    assert ganlib("list")[0] == 0


# ---------------------------------------------------------------- list and show
def test_list_and_show_say_what_is_there(ganlib, home, registry, add_version):
    assert ganlib("promote", "demo")[0] == 0
    add_version()
    registry.client().create_registered_model("empty")
    (demo, empty) = json.loads(ganlib("list", "--json")[1])
    assert demo["aliases"] == {"champion": "1", "challenger": "2"} and demo["versions"] == ["1", "2"]
    assert demo["age_days"] >= 0 and demo["last_scored"] is None and empty["versions"] == []
    sensor_table(10).drop(columns="fault").assign(operator="ann").to_csv("new.csv", index=False)
    assert ganlib("score", "--model", "models:/demo@champion", "--input", "new.csv", "--output", "s")[0] == 0
    assert json.loads(ganlib("list", "--json")[1])[0]["last_scored"] and "empty" in ganlib("list")[1]
    for what, version in (("demo", "1"), ("demo@challenger", "2"), ("models:/demo/1", "1"), ("demo/2", "2")):
        code, out, _ = ganlib("show", what, "--json")
        assert code == 0 and json.loads(out)["version"] == version, what
    code, out, _ = ganlib("show", "demo")
    assert code == 0 and "(champion)" in out and "### Gates" in out and "| pressure | number | double |" in out
    refused(ganlib("show", "dem"), 2, "registered: demo")
    refused(ganlib("show", "demo@gold"), 2, "'gold'", "challenger")
    refused(ganlib("show", "demo/9"), 2, "versions: 1, 2")
    refused(ganlib("show", "empty"), 2, "no version yet")
    refused(ganlib("show", "a b"), 2, "'a b'")
    refused(ganlib("list", "--tracking", "http://127.0.0.1:9"), 5, "127.0.0.1:9")


def test_names_of_other_tools_do_not_break_the_overview(ganlib, home, registry):
    for name in ("my model", "o'hara", "ünïcode"):
        registry.client().create_registered_model(name)
    code, out, err = ganlib("list", "--json")
    assert code == 0 and {row["name"] for row in json.loads(out)} == {"demo", "my model", "o'hara", "ünïcode"}, err
    refused(ganlib("show", "o'hara"), 2, "no version yet")
    refused(ganlib("rollback", "my model"), 2, "no promotion to roll back")
    assert ganlib("doctor")[0] == 0


@pytest.mark.parametrize("what", ["tag", "find_experiment"])
def test_whoever_may_only_read_models_may_score(ganlib, home, registry, monkeypatch, caplog, what):
    from mlflow.exceptions import MlflowException

    def refuse(*_):
        raise MlflowException("read only", error_code=7)

    ganlib("promote", "demo")
    monkeypatch.setattr(Registry, what, refuse)
    sensor_table(10).drop(columns="fault").assign(operator="ann").to_csv("new.csv", index=False)
    assert ganlib("score", "--model", "models:/demo@champion", "--input", "new.csv", "--output", "s")[0] == 0
    assert "read only" in caplog.text


def test_a_card_fits_into_what_a_database_keeps(template):
    artifact = load_artifact(template / "demo.onnx")
    gates = [{"name": f"gate {n}", "passed": n % 2 == 0, "found": "a | b " * 40, "needed": "x\ny"} for n in range(12)]
    text = card(artifact, "demo", {"quality": "high", "privacy": "p" * 9000}, "r", ["curves.png"])
    judged = with_gates(with_gates(text, gates), gates[:3])
    assert judged.count("### Gates") == 1 and "gate 3" not in judged and "high" in judged
    for column in list(artifact.schema["columns"]):
        artifact.schema["columns"] += [column | {"name": f"{column['name']} {n} {'x' * 200}"} for n in range(60)]
    wide = with_gates(card(artifact, "demo", {"privacy": "p" * 90}, "r", ["curves.png"]), gates)
    assert len(wide) <= LIMIT and "more |" in wide and "### Call" in wide
    assert with_gates("", gates[:1]).startswith("### Gates")
