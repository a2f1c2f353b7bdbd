"""Images and series through the jobs: trained, registered, loaded by MLflow, augmented, and rejected in words."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused, tiles

from ganlib.augment import example_arms
from ganlib.augment.arms import EXAMPLES
from ganlib.errors import DataError
from pipelines.privacy import check_examples, near_copies
from pipelines.readers import read_data
from pipelines.readers.arrays import permuted_parts
from pipelines.sections import DataSettings
from serving.artifact import golden_feeds, load_artifact

Image = pytest.importorskip("PIL.Image")
RNG = np.random.default_rng(0)
FAST = ("--steps", "30", "--alpha", "0.1")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with arrays, a folder of images, and a registry of its own."""
    monkeypatch.setattr(example_arms, "STEPS", 3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    x, kind = tiles(120), np.array(["good"] * 90 + ["bad"] * 30)
    np.savez("tiles.npz", x=x, y=kind, id=np.arange(120))
    np.savez("waves.npz", x=np.sin(np.arange(40) / 3 + RNG.random((80, 2, 1)) * 6) + RNG.normal(0, 0.1, (80, 2, 40)))
    for number, (name, image) in enumerate(zip(kind, x, strict=True)):
        (tmp_path / "tiles" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "tiles" / name / f"{number}.png")
    return tmp_path


# ---------------------------------------------------------------- the way through
def test_a_detector_of_images_is_registered_and_loaded_by_mlflow(ganlib, folder):
    import mlflow

    given = ("--data", "tiles.npz", "--label", "y", "--normal", "good", "--model", "reconstruction_vae")
    code, out, err = ganlib("train", *given, "--name", "tiles", *FAST, "--json")
    done = json.loads(out)
    assert code == 0 and {"reconstruction_vae", "PCA", "nearest examples"} == set(done["validation"]), err
    assert done["extra"]["privacy"] == "passed" and done["measure"] == "AUPRC"
    shown = json.loads(ganlib("show", "tiles/1", "--json")[1])
    assert "Anomaly detector of images" in shown["card"] and "tensor(uint8, (-1, 8, 8))" in shown["card"]
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    model, x = mlflow.pyfunc.load_model("models:/tiles/1"), np.load("tiles.npz")["x"]
    assert model.metadata.signature.inputs.inputs[0].shape == (-1, 8, 8)
    assert ganlib("score", "--model", "models:/tiles/1", "--input", "tiles.npz", "--output", "scores")[0] == 0
    scores = pd.read_parquet("scores").sort_values("id")
    np.testing.assert_allclose(model.predict(x)["anomaly_score"], scores["anomaly_score"], rtol=1e-5)


def test_series_without_labels_are_measured_against_permuted_parts(ganlib, folder):
    given = ("--data", "waves.npz", "--modality", "series", "--model", "reconstruction_vae")
    code, out, err = ganlib("train", *given, "--name", "waves", *FAST, "--json")
    assert code == 0 and json.loads(out)["measure"] == "AUROC against series with permuted parts", err


def test_a_registered_generator_of_images_needs_no_examples(ganlib, folder):
    import mlflow

    given = ("--data", "tiles", "--label", "y", "--task", "augmenter", "--steps", "3")
    code, out, err = ganlib("train", *given, "--name", "auto")
    assert code == 0 and "generated examples added, with" in out, (out, err)
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    made = mlflow.pyfunc.load_model("models:/auto/1").predict(pd.DataFrame({"condition": ["bad", "good"]}))
    version = mlflow.MlflowClient().get_model_version("auto", "1")
    pictures = {"samples.png", "swap.png", "walk.png"}
    assert pictures < {file.path for file in mlflow.MlflowClient().list_artifacts(version.run_id)}
    assert all(f"get-artifact?path={name}&" in version.description for name in pictures)
    assert made.shape == (2, 8, 8, 1) and made.dtype == np.uint8


def test_a_generator_of_images_is_registered_and_augments(ganlib, folder):
    import mlflow

    given = ("--data", "tiles", "--label", "y", "--task", "augmenter", "--model", "cvae", "--steps", "30")
    code, out, err = ganlib("train", *given, "--name", "more", "--json")
    assert code == 0 and json.loads(out)["extra"]["classes"] == {"bad": 30, "good": 90}, err
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    made = mlflow.pyfunc.load_model("models:/more/1").predict(pd.DataFrame({"condition": ["bad", "good"]}))
    assert made.shape == (2, 8, 8, 1) and made.dtype == np.uint8
    given = ("--data", "tiles.npz", "--label", "y", "--model", "models:/more/1")
    code, out, err = ganlib("augment", *given, "--output", "all.npz", "--json")
    assert code == 0 and json.loads(out)["synthetic"] == 60, err
    found, real = np.load("all.npz"), np.load("tiles.npz")
    assert found["x"].shape == (180, 8, 8) and found["x"].dtype == np.uint8
    assert np.array_equal(found["x"][:120], real["x"]) and found["y"][:120].tolist() == real["y"].tolist()
    assert found["_synthetic"].tolist() == [False] * 120 + [True] * 60 and set(found["y"][120:]) == {"bad"}
    assert found["id"][:120].tolist() == list(range(120)) and np.isnan(found["id"][120:]).all()
    code, out, err = ganlib("augment", *given, "--class", "bad", "--rows", "3", "--output", "some")
    assert code == 0 and len(list((folder / "some/bad").glob("synthetic-*.png"))) == 3, err
    kept = sorted((folder / "some/good").glob("real-*.png"))
    assert len(kept) == 90 and np.array_equal(np.asarray(Image.open(kept[4])), real["x"][4])


@pytest.mark.parametrize("model", ["cvae", "auto"])
def test_a_fitted_generator_of_series_is_measured(ganlib, folder, model):
    x = np.load("waves.npz")["x"]
    np.savez("two.npz", x=x, y=np.repeat([0, 1], (60, 20)))
    (folder / "job.yaml").write_text("augment: {repeats: 2, gate: report}\n")
    given = ("--data", "two.npz", "--modality", "series", "--label", "y", "--model", model, "--steps", "20")
    code, out, err = ganlib("augment", *given, "--output", "all.npz", "--config", "job.yaml", "--json")
    done = json.loads(out)
    assert code == 0 and done["classes"] == {"1": 40}, err
    assert [row[0] for row in done["lift"]] == list(EXAMPLES.titles.values())
    page = Path(done["report"]).read_text()
    assert page.count("<img") == 2 and "Class 1: real examples, generated ones" in page and "Not measured" not in page
    assert np.load("all.npz")["y"].dtype.kind == "i"


def test_a_dry_run_says_shapes_and_parts(ganlib, folder):
    code, out, _ = ganlib("train", "--data", "tiles", "--label", "y", "--normal", "good", "--name", "x", "--dry-run")
    assert code == 0 and all(line in out for line in ("kind: image", "shape: 8 x 8", "type: uint8", "fit: "))
    assert "model: auto, which fuses principal_mixture, ldcof, patch_gaussian, blended_patches" in out
    assert "30 known anomalies in 120 rows" in out
    given = ("--data", "tiles", "--label", "y", "--output", "more", "--dry-run")
    code, out, _ = ganlib("augment", *given)
    assert code == 0 and "synthetic rows: 60" in out and not (folder / "more").exists()


# ---------------------------------------------------------------- what goes wrong
def _sizes(folder):
    Image.fromarray(tiles(1)[0][:, :6]).save(folder / "tiles/bad/small.png")
    return ("train", "--data", "tiles", "--name", "x"), 4, "small.png"


def _broken(folder):
    (folder / "tiles/bad/99.png").write_bytes(b"\x89PNG no")
    return ("train", "--data", "tiles", "--name", "x"), 4, "99.png"


def _empty(folder):
    (folder / "none").mkdir()
    return ("train", "--data", "none", "--name", "x"), 4, "none"


def _few(folder):
    np.savez("few.npz", x=tiles(5))
    return ("train", "--data", "few.npz", "--name", "x"), 4, "5 rows"


def _equal(folder):
    np.savez("equal.npz", x=np.repeat(tiles(1), 50, 0))
    return ("train", "--data", "equal.npz", "--name", "x"), 4, "all 50 examples of equal.npz are equal"


def _unclear(folder):
    np.savez("unclear.npz", x=RNG.random((50, 10, 15)))
    return ("train", "--data", "unclear.npz", "--name", "x"), 4, "--modality image or --modality series"


def _no_reader(folder):
    given = ("train", "--data", "tiles", "--name", "x", "--model", "realnvp")
    return given, 2, "'realnvp' does not detect anomalies in images"


def _no_generator(folder):
    given = ("augment", "--data", "waves.npz", "--modality", "series", "--rows", "3", "--output", "x.npz")
    return (*given, "--model", "stackgan"), 2, "'stackgan' does not generate series"


def _schema(folder):
    return ("train", "--data", "tiles", "--name", "x", "--drop", "id"), 2, "--drop is for tables"


def _label(folder):
    return ("train", "--data", "tiles", "--name", "x", "--label", "kind"), 4, "no label column 'kind'"


def _table(folder):
    (folder / "t.csv").write_text("a,b\n1,2\n")
    return ("train", "--data", "t.csv", "--name", "x", "--modality", "image"), 4, "no column or array 'x'"


def _format(folder):
    return ("augment", "--data", "tiles", "--label", "y", "--output", "more.csv"), 2, "must end in .npz"


def _series_as_png(folder):
    given = ("augment", "--data", "waves.npz", "--modality", "series", "--rows", "3", "--output", "more")
    return given, 2, "hold images of bytes, not series data"


def _exists(folder):
    return ("augment", "--data", "tiles.npz", "--label", "y", "--output", "tiles"), 2, "tiles exists already"


@pytest.mark.parametrize(
    "case",
    [_sizes, _broken, _empty, _few, _equal, _unclear, _no_reader, _no_generator, _schema, _label, _table, _format,
     _series_as_png, _exists],
    ids=lambda case: case.__name__,
)  # fmt: skip
def test_faults_are_one_line_with_their_code(ganlib, folder, case):
    arguments, code, words = case(folder)
    refused(ganlib(*arguments), code, words)


# ---------------------------------------------------------------- parts
@pytest.mark.parametrize(("shape", "axes"), [((50, 8, 9), (1, 2)), ((50, 3, 8, 9), (2, 3)), ((50, 2, 40), (2,))])
def test_permuted_parts_break_a_third_of_each_example(shape, axes):
    x = np.random.default_rng(1).random(shape)
    broken = permuted_parts(x, axes, seed=0)
    changed = (broken != x).reshape(len(x), -1).mean(1)
    assert (changed > 0.2).all() and (changed < 0.5).all()
    assert np.isin(broken, x).all() and np.array_equal(broken, permuted_parts(x, axes, seed=0))
    with pytest.raises(DataError, match="two examples"):
        permuted_parts(x[:1], axes, 0)


@pytest.mark.parametrize("shape", [(30, 9, 8), (30, 1, 9, 8), (30, 9, 8, 1), (30, 3, 9, 8), (30, 9, 8, 3)])
def test_images_of_any_axes_are_written_as_files_hold_them(folder, shape):
    x = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
    np.savez("axes.npz", x=x)
    reader = read_data(DataSettings(path="axes.npz"))
    pictures = reader.pictures(x)
    assert pictures.shape == ((30, 9, 8, 3) if 3 in shape else (30, 9, 8))
    assert all(Image.fromarray(picture).size == (8, 9) for picture in pictures)
    both, altered, _ = reader.contrast(x, folder, 0)
    assert both.shape == (60, *shape[1:]) and altered.sum() == 30 and np.array_equal(both[:30], x)


def test_equal_examples_are_never_split(folder):
    np.savez("twice.npz", x=np.repeat(tiles(60), 2, 0))
    content = read_data(DataSettings(path="twice.npz")).content()["content"]
    assert content.nunique() == 60 and (content[::2].to_numpy() == content[1::2].to_numpy()).all()


def test_copies_of_training_examples_are_found(ganlib, folder):
    real = RNG.normal(size=(50, 30))
    assert near_copies(real, RNG.normal(size=(40, 30))) == 0
    assert near_copies(real, np.concatenate([RNG.normal(size=(40, 30)), real[:3] + 1e-4])) == 3
    given = ("--data", "tiles.npz", "--label", "y", "--normal", "good", "--model", "reconstruction_vae")
    done = json.loads(ganlib("train", *given, "--name", "tiles", *FAST, "--json")[1])
    golden = golden_feeds(load_artifact(Path(done["artifact"])))["x"]
    verdict = check_examples(Path(done["artifact"]), golden, golden.reshape(len(golden), -1), lambda _: golden)
    assert "training example" in verdict and verdict != "passed"
