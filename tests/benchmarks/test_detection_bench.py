"""The bench of detectors of tables: runs, goes on where it was, and reports what it measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn

from benchmarks.detection import judging
from benchmarks.detection.__main__ import run
from benchmarks.detection.footprint import footprint
from benchmarks.detection.methods import METHODS
from benchmarks.detection.report import report
from benchmarks.detection.splits import is_enough, named, sets_in, sized, split
from ganlib import AutoDetector


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
    one = split(name, x, y, 0, "P1")
    assert len(one.train) == 54 and len(one.test) == 66 and one.truth.sum() == 12
    assert np.allclose(one.train.mean(0), 0, atol=1e-9)
    assert np.abs(one.train).max() < 5 < np.abs(one.test[one.truth == 1]).max()
    assert np.array_equal(one.test, split(name, x, y, 0, "P1").test)
    assert not np.array_equal(one.train, split(name, x, y, 1, "P1").train)
    every = split(name, x, y, 0, "P2")
    assert np.array_equal(every.train, every.test) and every.truth.sum() == 12


def test_sized_splits_judge_the_same_rows_and_training_sets_are_nested(sets):
    assert named(["P1", "P3"], [20, 40], [0, 0.1]) == ["P1", "P3-40-0.1", "P3-40-0", "P3-20-0.1", "P3-20-0"]
    _, (name, x, y) = sets_in(sets)
    found = {}
    for rows, share in ((20, 0.1), (40, 0.1), (40, 0)):
        train, test = sized(name, y, 0, rows, share)
        assert len(train) == rows and y[train].sum() == rows * share and y[test].sum() == 6 and len(test) == 100
        assert not set(train) & set(test) and len(set(test)) == 100
        assert len(split(name, x, y, 0, f"P3-{rows}-{share:g}").train) == rows
        found[rows, share] = train, test
    assert set(found[20, 0.1][0]) < set(found[40, 0.1][0])
    assert np.array_equal(found[20, 0.1][1], found[40, 0][1])
    assert is_enough(y, ["P1", "P3-60-0.1"]) and not is_enough(y, ["P3-80-0.1"]) and not is_enough(y, ["P3-100-0"])


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
    assert made["auroc"].between(0.9, 1).all() and set(made["n_anomalies"]) == {12}
    text = report([out], "On one machine.")
    assert (
        "## P1: trained on normal rows" in text and "## P2: trained on all rows" in text and "On one machine." in text
    )
    mean = made[(made["method"] == "histogram") & (made["protocol"] == "P1")]["auroc"].mean()
    assert f"| **histogram** | {mean:.3f} (" in text and f"scikit-learn {sklearn.__version__}" in text
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith("|"))
    out.write_text("dataset,method\n")
    with pytest.raises(SystemExit, match="has other columns"):
        run(sets, ["histogram"], ["P1"], [0], out)


def test_a_sealed_file_and_members_are_judged_beside_the_detector(sets, monkeypatch):
    quick = ("histogram", "centroid_kernels")
    monkeypatch.setitem(
        METHODS, "AutoDetector",
        lambda seed: (AutoDetector(members=quick, random_state=seed), lambda fitted, x: fitted.anomaly_score(x)),
    )  # fmt: skip
    for _ in range(2):
        run(sets, ["AutoDetector", "sk-IForest"], ["P1"], [0], sets / "out.csv", sealed=True, members=True)
    made = pd.read_csv(sets / "out.csv").set_index(["dataset", "method"])
    assert len(made) == 10
    for name in ("a", "b"):
        whole, file = made.loc[(name, "AutoDetector")], made.loc[(name, "AutoDetector sealed")]
        assert file["auroc"] == pytest.approx(whole["auroc"], abs=1e-3) and 0.01 < file["file_mb"] < 1
        assert made.loc[(name, "AutoDetector: histogram"), "auroc"] > 0.9
    text = report([sets / "out.csv"])
    assert "| **AutoDetector: centroid_kernels** |" in text and "| **AutoDetector sealed** |" in text


def test_the_sealed_file_of_another_detector_ends_the_run(sets, monkeypatch):
    monkeypatch.setattr(judging, "file_scores", lambda file, rows: (np.arange(len(rows), 0, -1.0), 1.0))
    with pytest.raises(SystemExit, match="is another detector"):
        run(sets, ["histogram"], ["P1"], [0], sets / "out.csv", sealed=True)


def test_footprint_is_measured_in_a_process_of_its_own():
    (line,) = footprint(["histogram"], [400], [6]).splitlines()[2:]
    cells = [cell.strip().replace(",", "") for cell in line.strip("|").split("|")]
    fit, auroc, of_file, size, speed, idle, peak = map(float, cells[3:])
    assert cells[:3] == ["histogram", "400", "6"] and auroc == pytest.approx(of_file, abs=1e-3)
    assert 0 < size < 1 and speed > 1000 and 20 < idle < peak < 1000 and fit >= 0


def _lines(*methods, protocol="P1", seeds=(0,), sets=8):
    return [
        (f"set{i}", protocol, seed, method, 0.5 + bonus, 0.1 * i + bonus + 0.01 * seed, 1.0, 10.0, 60, 12)
        for i in range(sets)
        for seed in seeds
        for method, bonus in methods
    ]


def _reported(folder, lines, name="r.csv"):
    columns = ["dataset", "protocol", "seed", "method", "auroc", "auprc", "fit_cpu_s", "score_rows_per_s", "n_test",
               "n_anomalies"]  # fmt: skip
    pd.DataFrame(lines, columns=columns).to_csv(folder / name, index=False)
    return report([folder / name])


def test_intervals_and_differences_are_those_of_the_sets(tmp_path):
    lines = _lines(("VAEDetector", 0.1), ("PyOD-KNN", 0.0))
    text = _reported(tmp_path, [*lines, ("set0", "P1", 0, "partial", 0.5, 0.5, 1.0, 1.0, 60, 12)])
    assert "| **VAEDetector** | 0.600 (0.600 to 0.600) | 0.450" in text and "| chance | 0.500 | 0.200 |" in text
    assert "+0.100 (+0.100 to +0.100) | 8 of 8 |" in text and "left out: partial" in text
    assert "on 8 of 8 sets, a lower one on none" in text


def test_methods_are_compared_on_the_seeds_that_both_have(tmp_path):
    lines = [*_lines(("AutoDetector", 0.0), ("PyOD-KNN", 0.1), seeds=(0, 1)), *_lines(("PyOD-LOF", 0.2), ("vae", 0))]
    text = _reported(tmp_path, lines)
    one, two = text.split("### Seed 0\n")[1].split("### Seeds 0, 1\n")
    two = two.split("### By")[0]
    assert "PyOD-LOF *" in one and "| **AutoDetector** | 0.500" in one
    assert "PyOD-LOF" not in two and "PyOD-KNN *" in two and "AutoDetector** 0.007" in two
    assert "| P1 | 0, 1 | **AutoDetector** | 0.500 | 0.355 | PyOD-KNN |" in text
    assert "0 of 8 sets, a lower one on set" in text


def test_sizes_are_means_of_the_sets_measured_whole(tmp_path):
    methods = (("AutoDetector", 0.1), ("sk-IForest", 0.0))
    lines = [*_lines(*methods, protocol="P3-500-0.1", sets=3), *_lines(*methods, protocol="P3-100-0", sets=2)]
    text = _reported(tmp_path, lines)
    assert "2 sets with enough rows: set0, set1" in text.replace("\n", " ")
    assert "| 100 | 0% | 0.600 (0.150) | 0.500 (0.050) |" in text and "| 500 | 10% | 0.600 (0.150) |" in text


def test_what_is_no_data_set_is_named(tmp_path):
    with pytest.raises(SystemExit, match="holds no .npz files"):
        list(sets_in(tmp_path))
    np.savez(tmp_path / "a.npz", data=np.zeros(3))
    with pytest.raises(SystemExit, match="X and y"):
        list(sets_in(tmp_path))
    with pytest.raises(SystemExit, match="unknown: nothing"):
        run(tmp_path, ["nothing"], ["P1"], [0], tmp_path / "out.csv")


def test_the_page_is_the_report_of_the_figures_beside_it():
    folder = Path(__file__).parents[2] / "docs" / "benchmarks"
    notes = (folder / "detection-notes.md").read_text(encoding="utf-8")
    text = report([folder / "detection.csv", folder / "detection-peers.csv"], notes)
    assert (folder / "detection.md").read_text(encoding="utf-8") == text, "write it again: benchmarks.detection report"
