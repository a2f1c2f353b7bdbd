"""The bench of detectors of tables: runs, goes on where it was, and reports what it measured."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.detection.__main__ import run
from benchmarks.detection.report import report
from benchmarks.detection.splits import sets_in, split


@pytest.fixture
def sets(tmp_path):
    rng = np.random.default_rng(0)
    for name, rows in (("a", 120), ("b", 200)):
        x, y = rng.normal(size=(rows, 3)), np.zeros(rows, int)
        y[:12], x[:12] = 1, x[:12] + 6
        np.savez(tmp_path / f"{name}.npz", X=x, y=y)
    return tmp_path


def test_splits_are_one_class_or_all_rows_and_repeat(sets):
    (name, x, y), _ = sets_in(sets)
    train, test, truth = split(name, x, y, 0, "P1")
    assert len(train) == 54 and len(test) == 66 and truth.sum() == 12
    assert np.allclose(train.mean(0), 0, atol=1e-9) and np.abs(train).max() < 5 < np.abs(test[truth == 1]).max()
    assert np.array_equal(test, split(name, x, y, 0, "P1")[1])
    assert not np.array_equal(train, split(name, x, y, 1, "P1")[0])
    every, again, truth = split(name, x, y, 0, "P2")
    assert np.array_equal(every, again) and truth.sum() == 12


def test_a_run_goes_on_and_its_figures_are_reported(sets, capsys):
    out = sets / "out.csv"
    run(sets, ["histogram"], ["P1"], [0], out)
    first = out.read_text()
    run(sets, ["histogram", "sk-IForest"], ["P1", "P2"], [0], out)
    assert out.read_text().startswith(first) and len(pd.read_csv(out)) == 8
    capsys.readouterr()
    run(sets, ["histogram", "sk-IForest"], ["P1", "P2"], [0], out)
    assert capsys.readouterr().out == ""
    made = pd.read_csv(out)
    assert made["auroc"].between(0.9, 1).all()
    text = report([out])
    assert "## P1: 2 data sets" in text and "## P2: 2 data sets" in text
    mean = made[(made["method"] == "histogram") & (made["protocol"] == "P1")]["auroc"].mean()
    assert f"| histogram | {mean:.3f} (" in text and text.count("sk-IForest") == 2


def test_intervals_and_differences_are_those_of_the_sets(tmp_path):
    rows = [
        (f"set{i}", "P1", 0, method, 0.5 + bonus, 0.1 * i + bonus, 1.0, 10.0)
        for i in range(8)
        for method, bonus in (("VAEDetector", 0.1), ("PyOD-KNN", 0.0))
    ]
    columns = ["dataset", "protocol", "seed", "method", "auroc", "auprc", "fit_cpu_s", "score_rows_per_s"]
    frame = pd.DataFrame(rows, columns=columns)
    frame = pd.concat([frame, frame[:1].assign(method="partial")])
    frame.to_csv(tmp_path / "r.csv", index=False)
    text = report([tmp_path / "r.csv"])
    assert "| VAEDetector | 0.600 (0.600 to 0.600) | 0.450" in text
    assert "+0.100 (+0.100 to +0.100)" in text and "left out: partial" in text


def test_what_is_no_data_set_is_named(tmp_path):
    with pytest.raises(SystemExit, match="holds no .npz files"):
        list(sets_in(tmp_path))
    np.savez(tmp_path / "a.npz", data=np.zeros(3))
    with pytest.raises(SystemExit, match="X and y"):
        list(sets_in(tmp_path))
    with pytest.raises(SystemExit, match="unknown: nothing"):
        run(tmp_path, ["nothing"], ["P1"], [0], tmp_path / "out.csv")
