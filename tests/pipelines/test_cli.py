"""The command as people type it: help, the way through, configuration; refusals stand in test_cli_refusals.py."""

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pipeline_data import refused, sensor_table

ROOT = Path(__file__).resolve().parents[2]
VERBS = (
    "demo", "models", "train", "augment", "translate", "score", "explain", "stream", "export", "verify", "promote",
    "rollback", "history", "status", "prune", "config", "doctor", "data", "register", "list", "show",
    "audit",
)  # fmt: skip


# ---------------------------------------------------------------- help
def test_help_names_every_verb_and_each_verb_shows_an_example(ganlib):
    code, out, _ = ganlib("--help")
    assert code == 0 and all(f"  {verb} " in out for verb in VERBS) and "3 gate refused" in out
    assert not [line for line in out.splitlines() if line.endswith("...") and not line.startswith("Usage")]
    for verb in VERBS:
        code, out, _ = ganlib(verb, "--help")
        assert code == 0 and (
            verb == "config" or f"Example: ganlib {verb}" in " ".join(out.split()) or verb == "stream"
        )
        options = out[out.index("Options:") :].split("Example:")[0].splitlines()
        undescribed = [line for line in options if line.startswith("  --") and len(line.split()) < 3]
        assert not undescribed, undescribed


def test_the_scoring_verbs_need_no_training_stack(template, tmp_path):
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'sklearn', 'mlflow', 'prefect', 'pandas', 'scipy'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from pipelines.cli import main\n"
        "sys.exit(main())"
    )
    features = sensor_table(30).drop(columns=["fault"]).assign(operator="ann")
    features.to_csv(tmp_path / "new.csv", index=False)

    def run(*args):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", code, *args], cwd=tmp_path, env=env, capture_output=True, text=True
        )

    model = str(template / "demo.onnx")
    done = run("score", "--model", model, "--input", "new.csv", "--output", "scores", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["rows"] == 30, done.stderr
    assert run("verify", "scores").returncode == 0
    done = run("explain", "--model", model, "--input", "new.csv", "--worst", "2")
    assert done.returncode == 0 and done.stdout.count("held-out normal row") == 2, done.stderr
    (tmp_path / "new.jsonl").write_text(features.to_json(orient="records", lines=True, date_format="iso"))
    done = run("stream", "--model", model, "--input", "new.jsonl", "--output", "s.db", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["scored"] == 30, done.stderr
    for verb in (["train", "--data", "new.csv", "--name", "x"], ["augment", "--data", "new.csv"], ["models"]):
        done = run(*verb)
        assert done.returncode == 2 and 'pip install "ganlib[train]"' in done.stderr and "Traceback" not in done.stderr
    done = run("promote", "demo")
    assert done.returncode == 2 and 'pip install "ganlib[pipelines]"' in done.stderr


def test_models_are_listed_and_their_page_is_true(ganlib):
    code, out, _ = ganlib("models", "--task", "detector", "--json")
    found = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0 and {"ganomaly", "vae", "reconstruction_vae"} <= set(found) and "cvae_gan" not in found
    assert all(entry["paper"] and entry["exports"] for entry in found.values())
    assert ganlib("models", "--markdown")[1] == (ROOT / "docs" / "models.md").read_text()
    assert "cvae_gan" in ganlib("models")[1]


# ---------------------------------------------------------------- the way through
def test_from_promotion_to_rollback(ganlib, home, add_version, template):
    code, out, _ = ganlib("promote", "demo", "--dry-run", "--json")
    assert code == 0 and json.loads(out)["passed"]
    refused(
        ganlib("score", "--model", "models:/demo@champion", "--input", "x", "--output", "y"), 2, "ganlib promote demo"
    )
    assert ganlib("promote", "demo")[0] == 0
    assert ganlib("promote", "demo") == (0, "demo version 1 is champion already; nothing to promote\n", "")
    assert json.loads(ganlib("promote", "demo", "--json")[1])["already_champion"]
    add_version()
    assert "version 2 is champion" in ganlib("promote", "demo")[1]
    code, out, _ = ganlib("rollback", "demo", "--json")
    assert (json.loads(out)["from"], json.loads(out)["to"]) == ("2", "1")
    rows = json.loads(ganlib("history", "demo", "--json")[1])
    assert [(r["action"], r["from"], r["to"]) for r in rows] == [
        ("rollback", "2", "1"), ("promote", "1", "2"), ("promote", "", "1"),
    ]  # fmt: skip
    assert "ledger of demo" in ganlib("history", "demo")[1]
    code, out, _ = ganlib("export", "--model", "models:/demo@champion", "--output", "pump.onnx")
    assert code == 0 and (home / "pump.onnx").read_bytes() == (template / "demo.onnx").read_bytes()
    assert (home / "pump.onnx.sha256").read_text().split()[0] in out


def test_a_refused_gate_shows_its_table_and_exits_3(ganlib, home, add_version):
    add_version(quality="0.1")
    code, out, err = ganlib("promote", "demo")
    assert code == 3 and "refused" in out and "error: demo version 2 was not promoted" in err
    code, out, _ = ganlib("promote", "demo", "--json")
    assert code == 3 and not json.loads(out)["passed"]


def test_a_registered_model_scores_a_batch_and_a_stream_alike(ganlib, home):
    ganlib("promote", "demo")
    features = sensor_table(80, seed=3).drop(columns=["fault"]).assign(operator="bob")
    features.to_parquet("new.parquet")
    given = ("--model", "models:/demo@champion", "--explain")
    code, out, _ = ganlib("score", *given, "--input", "new.parquet", "--output", "scores", "--json")
    assert code == 0 and json.loads(out)["model_name"] == "demo"
    assert ganlib("verify", "scores")[0] == 0
    (home / "new.jsonl").write_text(features.to_json(orient="records", lines=True, date_format="iso") + "not json\n")
    code, out, _ = ganlib("stream", *given, "--input", "new.jsonl", "--output", "s.db", "--json")
    said = json.loads(out)
    assert code == 0 and (said["scored"], said["dead_letters"], said["output"]) == (80, 1, "s.db")
    assert said["alarm_share"] == said["anomalies"] / 80 and said["shares"] == {"flow": {"missing": 0.1}}
    batch = pd.concat(map(pd.read_parquet, sorted((home / "scores").rglob("*.parquet"))))
    live = pd.read_sql("SELECT * FROM scores ORDER BY position", sqlite3.connect("s.db"))
    np.testing.assert_allclose(np.sort(batch["anomaly_score"]), np.sort(live["anomaly_score"]), rtol=1e-5)
    assert set(live["model_version"]) == {"1"} and live["contributions"].notna().all()


def test_a_row_is_explained_by_the_model_and_input_of_the_configuration(ganlib, home):
    ganlib("promote", "demo")
    features = sensor_table(80, seed=3).drop(columns=["fault"]).assign(operator="bob")
    features.loc[7, "pressure"] = 1e6
    features.to_parquet("day-2026-01-02.parquet")
    Path("job.yaml").write_text("score: {model: 'models:/demo@champion', input: 'day-{date}.parquet', alpha: 0.2}\n")
    given = ("--config", "job.yaml", "--date", "2026-01-02")
    code, out, _ = ganlib("explain", *given, "--row", 7)
    assert code == 0 and "day-2026-01-02.parquet, row 7: anomaly at alpha 0.2" in out and "'pressure' has" in out
    code, out, _ = ganlib("explain", *given, "--worst", 1, "--json")
    (found,) = json.loads(out)
    assert code == 0 and found["source_row"] == 7 and found["parts"][0]["column"] == "pressure"
    record = features.iloc[7].to_dict() | {"when": "2026-01-03T00:00:00Z", "flow": None}
    code, out, _ = ganlib("explain", "--config", "job.yaml", "--record", json.dumps(record, default=str))
    assert code == 0 and "record: anomaly" in out
    refused(ganlib("explain", "--config", "job.yaml", "--record", "{}", "--input", "x.csv"), 2, "not both")


@pytest.mark.trained
def test_train_by_configuration_then_augment_with_what_was_sealed(ganlib, home):
    sensor_table().to_csv("data.csv", index=False)
    Path("job.yaml").write_text("data: {path: data.csv, label: fault}\ntraining: {steps: 40}\nmodel: {name: vae}\n")
    code, out, _ = ganlib("train", "--name", "pump", "--config", "job.yaml", "--dry-run")
    assert code == 0 and "20 known anomalies in 240 rows" in out and "nothing was trained" in out
    refused(ganlib("history", "pump"), 2, "no registered model is called 'pump'")
    code, out, _ = ganlib("train", "--name", "pumps", "--config", "job.yaml", "--alpha", "0.001")
    assert code == 0 and "would be rejected (gate alpha_supported): 0.001 needs 999 calibration rows" in out
    assert "next: ganlib promote" not in out
    least = out.split("--alpha ")[1].split()[0]
    code, out, _ = ganlib("train", "--name", "pumps", "--config", "job.yaml", "--alpha", least)
    assert code == 0 and "next: ganlib promote pumps" in out and "refused" not in out
    code, out, _ = ganlib("train", "--name", "pump", "--config", "job.yaml", "--alpha", "0.05", "--json")
    assert code == 0 and json.loads(out)["version"] == "1" and "PCA" in json.loads(out)["validation"]
    given = ("--data", "data.csv", "--label", "valve", "--steps", 30)
    code, out, err = ganlib("train", "--name", "valves", *given, "--model", "cvae_gan")
    assert err.startswith("cvae_gan is no detector but an augmenter: an augmenter is trained"), err
    assert "real rows alone" in err and "on one split" in err
    assert code == 0 and "registered valves version 1 as challenger (cvae_gan)" in out, err
    code, out, err = ganlib("augment", *given[:4], "--model", "models:/valves@challenger", "--rows", 50, "--class",
                            "half", "--output", "more.csv", "--json")  # fmt: skip
    assert code == 0 and json.loads(out)["classes"] == {"half": 50}, err
    made = pd.read_csv("more.csv")
    pd.testing.assert_frame_equal(made[~made["_synthetic"]].drop(columns=["_synthetic"]), pd.read_csv("data.csv"))
    refused(
        ganlib("score", "--model", "models:/valves@challenger", "--input", "data.csv", "--output", "o"), 2, "augmenter"
    )


def test_augment_reports_what_it_adds_and_the_gate_refuses(ganlib, home):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=list("abc")).assign(kind=["x"] * 48 + ["y"] * 12)
    frame.to_csv("noise.csv", index=False)
    Path("job.yaml").write_text("augment: {repeats: 3, confidence: 0.99}\ntraining: {steps: 10}\n")
    given = ("--config", "job.yaml", "--data", "noise.csv", "--label", "kind", "--output", "more.parquet")
    code, out, _ = ganlib("augment", *given, "--dry-run")
    assert code == 0 and "synthetic rows: 36" in out and not list(home.glob("more*"))
    refused(ganlib("augment", *given), 3, "more.parquet was not written", "more.report.html", "Instead:", "99% is")
    assert [p.name for p in home.glob("more*")] == ["more.report.html"]
    page = (home / "more.report.html").read_text()
    assert "not likely to help" in page and "SMOTE" in page and "data:image/png" in page and "no file was" in page
    assert "ganlib augment --data noise.csv --label kind" in page and "in four of five cases" in page
    assert "Privacy and fidelity of generated rows" in page and "rows very near to a training row" in page
    assert page.count("data:image/png") == 2 and "10 synthetic rows, chosen at random" in page and len(page) < 2e6
    code, out, _ = ganlib("augment", *given, "--gate", "report", "--only-synthetic")
    made = pd.read_parquet("more.parquet")
    assert code == 0 and len(made) == 36 and made["_synthetic"].all() and set(made["kind"]) == {"y"}
    assert "not likely to help" in out and "3 splits" in out and "copies added" in out
    code, out, _ = ganlib("augment", *given, "--gate", "report", "--json")
    done = json.loads(out)
    assert code == 0 and done["accepted"] is False and 0 < done["chance"] < 0.99 and done["advice"]
    assert done["audit"].startswith("Privacy, beside ") and "Fidelity of " in done["audit"]
    # A model that is fitted already cannot be measured, and rows without classes neither.
    refused(ganlib("augment", *given, "--gate", "on", "--model", "m.onnx"), 2, "leave the gate out")


@pytest.mark.parametrize("name", ["noise.csv", "./noise.csv", "sub/../noise.csv", "link.csv", "hard.csv"])
def test_augment_never_overwrites_what_it_reads(ganlib, home, name):
    pd.DataFrame({"a": range(20), "kind": ["x"] * 15 + ["y"] * 5}).to_csv("noise.csv", index=False)
    (home / "sub").mkdir()
    (home / "link.csv").symlink_to("noise.csv")
    os.link("noise.csv", "hard.csv")
    before = (home / "noise.csv").read_bytes()
    given = ("--label", "kind", "--output", name, "--steps", 3, "--gate", "off")
    refused(ganlib("augment", "--data", "noise.csv", *given), 2, "is the input; choose another")
    refused(ganlib("augment", "--data", ".", *given), 2, "folder that is read")
    assert (home / "noise.csv").read_bytes() == before


def hopeless(**columns):
    rows = len(next(iter(columns.values())))
    pd.DataFrame({"a": np.arange(rows) * 1.0, "b": np.arange(rows) % 3, **columns}).to_csv("t.csv", index=False)


HOPELESS = {
    "a class a row": ({"k": list("uvwxyz")}, (), 4, ("'k' divides 6 rows into 6 classes", "none has 4")),
    "no label": ({"k": [None] * 40}, (), 4, ("label column 'k' holds no value: all of them are missing", "--label")),
    "one class": ({"k": ["x"] * 40}, (), 4, ("label column 'k' holds one class, 'x'", "--label")),
    "balanced": ({"k": ["x", "y"] * 20}, (), 4, ("the classes of 'k' are balanced", "--rows")),
    "the largest class": (
        {"k": ["x"] * 30 + ["y"] * 10},
        ("--class", "x"),
        4,
        ("class 'x' of 'k' is the largest", "--rows"),
    ),
    "no such class": ({"k": ["x"] * 30 + ["y"] * 10}, ("--class", "z"), 2, ("no class 'z'", "'x', 'y'")),
    "no rows": ({"k": ["x"] * 30 + ["y"] * 10}, ("--rows", 0), 2, ("augment.rows", "1")),
}


@pytest.mark.parametrize("case", HOPELESS)
def test_augment_refuses_what_cannot_help_before_anything_is_fitted(ganlib, home, monkeypatch, case):
    from ganlib.augment.base import BaseAugmenter

    columns, options, code, words = HOPELESS[case]
    hopeless(**columns)
    monkeypatch.setattr(BaseAugmenter, "_fit", lambda *_: pytest.fail("something was fitted"))
    result = ganlib("augment", "--data", "t.csv", "--label", "k", "--output", "more.csv", *options)
    refused(result, code, *words)
    assert len(result[2].splitlines()) == 1 and not list(home.glob("more*")), result[2]


def test_augment_without_a_label_needs_rows_at_once(ganlib, home):
    refused(ganlib("augment", "--data", "absent.csv", "--output", "more.csv"), 2, "--label", "--rows")


def test_a_label_of_one_value_warns_and_trains(ganlib, home):
    sensor_table(80).drop(columns="fault").assign(kind="malignant").to_csv("t.csv", index=False)
    given = ("train", "--name", "m", "--data", "t.csv", "--label", "kind", "--model", "vae", "--steps", 5)
    code, out, err = ganlib(*given, "--dry-run")
    assert code == 0 and "warning: label column 'kind' holds 'malignant' only" in out
    code, out, err = ganlib(*given, "--alpha", 0.2)
    for said in (out, err):
        assert code == 0 and "warning: label column 'kind' holds 'malignant' only" in said and "--normal VALUE" in said


# ---------------------------------------------------------------- configuration
def test_config_writes_describes_and_resolves(ganlib, home, monkeypatch):
    assert ganlib("config", "init", "job.yaml")[0] == 0
    written = yaml.safe_load(Path("job.yaml").read_text())
    assert written["training"]["batch_size"] is None and written["score"]["max_bad_share"] == 0.1
    refused(ganlib("config", "init", "job.yaml"), 2, "--force")
    assert json.loads(ganlib("config", "schema")[1])["properties"]["augment"]
    Path("job.yaml").write_text("training: {epochs: 3}\nregistry: {token: 'env:TOKEN'}\n")
    monkeypatch.setenv("TOKEN", "very-secret")
    monkeypatch.setenv("GANLIB__SCORE__ALPHA", "0.2")
    _, out, _ = ganlib("config", "show", "--config", "job.yaml", "--json")
    assert "very-secret" not in out
    origin = {row["key"]: (row["value"], row["source"]) for row in json.loads(out)}
    assert origin["training.epochs"] == (3, "job.yaml") and origin["score.alpha"] == (0.2, "GANLIB__SCORE__ALPHA")
    Path("job.yaml").write_text("training: {epoch: 3}\n")
    refused(ganlib("config", "show", "--config", "job.yaml"), 2, "did you mean 'epochs'")


def test_doctor_says_what_is_installed(ganlib, home):
    code, out, _ = ganlib("doctor", "--json")
    found = {check["name"]: check for check in json.loads(out)}
    assert code == 0 and found["registry"]["found"].startswith("1 model at") and found["torch"]["state"] == "ok"
