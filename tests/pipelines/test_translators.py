"""Translators through the jobs: trained from two data sets, registered with both directions, applied and rejected."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused, tiles

from pipelines.errors import UsageError
from pipelines.gates import judge
from pipelines.readers import read_domains
from pipelines.readers.pairs import pairs_of
from pipelines.registry import Registry
from pipelines.sections import DataSettings

Image = pytest.importorskip("PIL.Image")
SMALL = "model: {name: cyclegan, options: {width: 4, blocks: 1, halvings: 1, layers: 1}}\ntraining: {batch_size: 8}\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with images and their negatives, in folders and in arrays, and a registry of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    x = tiles(60)
    np.savez("dark.npz", x=x, id=np.arange(60))
    np.savez("light.npz", x=255 - tiles(60, seed=1))
    for number, image in enumerate(x):
        for name, shown in (("in", image), ("out", 255 - image)):
            (tmp_path / name / "day").mkdir(parents=True, exist_ok=True)
            Image.fromarray(shown).save(tmp_path / name / "day" / f"{number:02}.png")
    (tmp_path / "job.yaml").write_text(SMALL)
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_translator_is_trained_promoted_and_applied_both_ways(ganlib, folder):
    import mlflow

    given = ("--data", "dark.npz", "--data-b", "light.npz", "--config", "job.yaml", "--name", "ink")
    code, out, err = ganlib("train", *given, "--steps", 2, "--json")
    done = json.loads(out)
    assert code == 0 and set(done["test"]) == {"cyclegan", "untranslated", "moments matched"}, err
    assert done["extra"]["both_ways"] and len(done["extra"]["cycle"]) == 2 and done["extra"]["privacy"] == "passed"
    assert "60 rows of domain a and 60 of domain b, no pairs: 45 train, 15 judge" in err
    refused(ganlib("translate", "--data", "dark.npz", "--model", "models:/ink@champion", "--output", "o"), 2, "promote")
    lenient = folder / "gates.yaml"
    lenient.write_text("version: 1\ntranslator: {integrity: true, lineage: true, privacy: true, saved_at_least: -1}\n")
    assert ganlib("promote", "ink", "--gates", lenient)[0] == 0
    shown = json.loads(ganlib("show", "ink", "--json")[1])
    assert "Translator of images" in shown["card"] and "both ways" in shown["card"] and "untranslated" in shown["card"]
    assert json.loads(ganlib("list", "--json")[1])[0]["task"] == "translator"

    model = ("--model", "models:/ink@champion")
    code, out, err = ganlib("translate", "--data", "dark.npz", *model, "--output", "made.npz", "--json")
    assert code == 0 and json.loads(out)["rows"] == 60 and json.loads(out)["to"] == "b", err
    made = np.load("made.npz")
    assert made["_synthetic"].all() and made["id"].tolist() == list(range(60)) and made["x"].dtype == np.uint8
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    loaded = mlflow.pyfunc.load_model("models:/ink@champion")
    assert np.array_equal(loaded.predict(np.load("dark.npz")["x"]), made["x"])
    code, _, err = ganlib("translate", "--data", "out", *model, "--to", "a", "--output", "back")
    assert code == 0 and "domain a by ink version 1" in err
    files = sorted((folder / "back/day").iterdir())
    assert [file.name for file in files[:2]] == ["synthetic-00.png", "synthetic-01.png"] and len(files) == 60
    assert Image.open(files[0]).text["Synthetic"] == "true" and Image.open(files[0]).size == (8, 8)

    assert ganlib("export", *model, "--to", "a", "--output", "a.onnx")[0] == 0
    code, out, _ = ganlib("translate", "--data", "out", "--model", "a.onnx", "--output", "again.npz", "--json")
    assert code == 0 and json.loads(out)["to"] == "a"
    assert np.array_equal(np.load("again.npz")["x"][0], np.asarray(Image.open(files[0])))
    refused(ganlib("translate", "--data", "out", "--model", "a.onnx", "--to", "b", "--output", "x.npz"), 2, "domain a")

    # The way back belongs to the version: it is copied with it, and no gate passes a damaged one.
    (folder / "other").mkdir()
    elsewhere, source = f"sqlite:///{folder}/other/mlflow.db", f"sqlite:///{folder}/mlflow.db"
    assert ganlib("promote", "ink", "--from", source, "--tracking", elsewhere, "--gates", lenient)[0] == 0
    copy, first = (Registry(uri).resolve("models:/ink@champion", to="a") for uri in (elsewhere, source))
    assert copy.path != first.path and copy.sha256 == first.sha256
    (stored,) = (file for file in (folder / "other").rglob("ink-to-a.onnx") if "cache" not in file.parts)
    stored.write_bytes(stored.read_bytes() + b"0")
    verdict, _ = judge(Registry(elsewhere), "ink", "1", lenient)
    assert not verdict.passed and verdict.gates[0].name == "integrity"
    Registry(elsewhere).client().delete_model_version_tag("ink", "1", "back_sha256")
    with pytest.raises(UsageError, match="translates to domain b only"):
        Registry(elsewhere).resolve("models:/ink@champion", to="a")


@pytest.mark.slow
@pytest.mark.timeout(580)
def test_a_translator_of_tables_keeps_what_identifies_rows(ganlib, folder):
    import mlflow

    rng = np.random.default_rng(0)
    a = pd.DataFrame({"id": range(60), "flow": rng.normal(5, 1, 60), "valve": rng.choice(["open", "half"], 60)})
    b = pd.DataFrame({"flow": rng.normal(9, 2, 60).round(1), "level": rng.integers(0, 9, 60)})
    a.to_csv("a.csv", index=False)
    b.to_parquet("b.parquet")
    Path("few.yaml").write_text("model: {name: discogan, options: {hidden: [8]}}\n")
    given = ("--data", "a.csv", "--data-b", "b.parquet", "--id", "id", "--config", "few.yaml", "--name", "plant")
    code, out, err = ganlib("train", *given, "--steps", 5, "--json")
    done = json.loads(out)
    assert code == 0 and done["extra"]["both_ways"] and done["extra"]["privacy"] == "passed", err
    assert set(done["test"]) == {"discogan"}  # the tables have other columns: nothing to compare with
    model = ("--model", "models:/plant@challenger", "--id", "id")
    for output, read in (("made.csv", pd.read_csv), ("made.parquet", pd.read_parquet)):
        assert ganlib("translate", "--data", "a.csv", *model, "--output", output)[0] == 0
        made = read(output)
        assert list(made.columns) == ["id", "flow", "level", "_synthetic"] and made["_synthetic"].all()
        assert made["id"].tolist() == list(range(60)) and made["level"].between(0, 8).all()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    loaded = mlflow.pyfunc.load_model("models:/plant/1")
    assert loaded.metadata.signature.inputs.input_names() == ["flow", "valve"]
    pd.testing.assert_frame_equal(loaded.predict(a.drop(columns="id")), made[["flow", "level"]], check_dtype=False)
    refused(ganlib("translate", "--data", "b.parquet", *model, "--output", "x.csv"), 4, "id")
    refused(ganlib("translate", "--data", "b.parquet", *model[:2], "--output", "x.csv"), 4, "'valve'")
    refused(ganlib("translate", "--data", "a.csv", *model, "--output", "x.npz"), 2, ".csv, .tsv or .parquet")


def test_a_dry_run_says_what_would_be_trained_and_how_pairs_were_found(ganlib, folder):
    given = ("train", "--data", "in", "--data-b", "out", "--name", "x", "--dry-run")
    code, out, _ = ganlib(*given)
    assert code == 0 and "model: cyclegan\npairs: none\ndomain a: kind image; shape 8 x 8; type uint8; 60 rows" in out
    code, out, _ = ganlib(*given, "--pairs")
    assert code == 0 and "model: pix2pix\npairs: by file name" in out and "fit: 45\ntest: 15" in out
    Path("a.csv").write_text("id,flow,label\n" + "".join(f"{n},{n % 7},x\n" for n in range(40)))
    Path("b.csv").write_text("valve,name\n" + "".join(f"{n % 5},n{n}\n" for n in range(40)))
    tables = ("train", "--data", "a.csv", "--data-b", "b.csv", "--name", "x", "--dry-run")
    code, out, _ = ganlib(*tables, "--id", "id", "--id", "name", "--label", "label")
    assert code == 0 and "model: discogan" in out and "a: flow" in out and "b: valve" in out and "label" not in out
    refused(ganlib(*tables, "--id", "nme"), 4, "nme")


def test_pairs_go_by_file_name_or_by_order(folder):
    a, b = read_domains(DataSettings(path="in", path_b="out"))
    first, second, how = pairs_of(a, b)
    assert how == "by file name" and np.array_equal(a.part(first), 255 - b.part(second))
    a, b = read_domains(DataSettings(path="dark.npz", path_b="light.npz"))
    assert pairs_of(a, b)[2] == "in one order"


# ---------------------------------------------------------------- what goes wrong
TRAIN = ("train", "--name", "x", "--data", "in")
APPLY = ("translate", "--data", "in", "--output", "made")
FAULTS = {
    "one domain": ((*TRAIN, "--task", "translator"), 2, "--data-b"),
    "no translator": ((*TRAIN, "--data-b", "out", "--model", "vae"), 2, "'vae' does not translate"),
    "kinds": ((*TRAIN, "--data-b", "t.csv"), 4, "in holds images, and t.csv a table"),
    "reads no tables": (("train", "--name", "x", "--data", "t.csv", "--data-b", "t.csv", "--model", "pix2pix"), 2,
                        "does not translate tables"),
    "unequal pairs": ((*TRAIN, "--data-b", "dark30.npz", "--model", "pix2pix"), 4, "there are 60 and 30"),
    "no counterpart": ((*TRAIN, "--data-b", "fewer", "--pairs"), 4, "59 images have no counterpart"),
    "for translators": ((*TRAIN, "--data-b", "out", "--task", "detector"), 2, "--data-b and --pairs are for trans"),
    "no model": (APPLY, 2, "--model is missing"),
    "no output": (("translate", "--data", "in", "--model", "x.onnx"), 2, "--output is missing"),
    "no file": ((*APPLY, "--model", "x.onnx"), 2, "no artifact x.onnx"),
    "detector": ((*APPLY, "--model", "demo.onnx"), 2, "sealed detector, not a translator"),
    "domain": ((*APPLY, "--model", "x.onnx", "--to", "c"), 2, "translate.to"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_faults_are_one_line_with_their_code(ganlib, folder, template, case):
    arguments, code, words = FAULTS[case]
    Path("t.csv").write_text("flow\n" + "".join(f"{n}\n" for n in range(40)))
    np.savez("dark30.npz", x=tiles(30))
    (folder / "fewer/day").mkdir(parents=True)
    Image.fromarray(tiles(1)[0]).save(folder / "fewer/day/07.png")
    shutil.copy(template / "demo.onnx", folder)
    refused(ganlib(*arguments), code, words)
