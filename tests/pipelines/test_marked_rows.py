"""Files with generated rows: no job takes them for real ones, whatever the task and the kind of data."""

import numpy as np
import pytest
from pipeline_data import refused, sensor_table, tiles

from ganlib.data.read import read_examples
from pipelines.readers.array_rows import write_folder

pytest.importorskip("PIL.Image")

TASKS = {
    "detector": ("train", "--name", "x"),
    "augmenter": ("train", "--name", "x", "--task", "augmenter"),
    "translator": ("train", "--name", "x", "--task", "translator"),
    "augment": ("augment", "--output", "more.npz"),
}


@pytest.fixture
def data(home):
    """A table and arrays whose last rows are generated."""
    frame = sensor_table(80)
    frame.assign(_synthetic=np.arange(80) >= 60).to_csv("table.csv", index=False)
    x = tiles(80)
    np.savez("arrays.npz", x=x, fault=np.repeat([0, 1], (60, 20)), _synthetic=np.arange(80) >= 60)
    (home / "images").mkdir()
    for kind, part in (("real", x[:60]), ("synthetic", x[60:])):
        write_folder(
            part, np.full(len(part), kind == "synthetic"), [f"{i:02}.png" for i in range(len(part))], home / kind
        )
        (home / kind).rename(home / "images" / kind)
    frame.drop(columns="fault").to_csv("real.csv", index=False)
    np.savez("real.npz", x=x)
    return home


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize("kind", ["table", "arrays", "images"])
@pytest.mark.parametrize("task", TASKS)
def test_generated_rows_are_not_taken_for_real_ones(ganlib, data, task, kind, dry):
    path, real = {
        "table": ("table.csv", "real.csv"), "arrays": ("arrays.npz", "real.npz"), "images": ("images", "real.npz"),
    }[kind]  # fmt: skip
    verb, *given = TASKS[task]
    given[-1] = "more.csv" if (task, kind) == ("augment", "table") else given[-1]
    before = set(data.rglob("*"))
    if task == "translator":
        sides = [(path, real), (real, path)]
    else:
        given += ["--label", "y" if kind == "images" else "fault"]
        sides = [(path, None)]
    for first, second in sides:
        more = ["--data", first] if second is None else ["--data", first, "--data-b", second]
        error = refused(ganlib(verb, *more, *given, *dry), 4, "_synthetic", "real rows")
        assert path in error, error
    assert not [p for p in set(data.rglob("*")) - before if "mlruns" not in str(p) and "mlflow" not in str(p)]


def test_the_mark_can_be_left_out_or_be_the_label(ganlib, data):
    given = ("train", "--data", "table.csv", "--name", "x", "--dry-run")
    code, out, err = ganlib(*given, "--label", "fault", "--drop", "_synthetic")
    assert code == 0 and "_synthetic: dropped on request" in out, (out, err)
    assert ganlib(*given, "--label", "_synthetic")[0] == 0
    assert ganlib("data", "describe", "table.csv")[0] == 0


def test_a_folder_says_which_images_were_generated(data):
    found = read_examples("images")
    assert found["_synthetic"].tolist() == [name.startswith("synthetic") for name in found["name"]]
    assert "_synthetic" not in read_examples("images/real") and found["x"].shape == (80, 8, 8)
