"""The bench of augmenters: runs, goes on where it was, and reports what it measured."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.augmentation import judging, methods
from benchmarks.augmentation.__main__ import run_scarce, run_whole
from benchmarks.augmentation.coding import Coding
from benchmarks.augmentation.gains import complete_seeds, gains
from benchmarks.augmentation.judging import LEARNERS, Made, judged, scarce_rows
from benchmarks.augmentation.methods import METHODS, Method
from benchmarks.augmentation.report import report
from benchmarks.augmentation.tables import Parts, scarce, sets_in, whole
from benchmarks.pages import bounds


def _table(rows, seed=0):
    random = np.random.default_rng(seed)
    y = np.arange(rows) % 5 == 0
    level = np.where(random.random(rows) < 0.2, "b", np.where(y, "c", "a"))
    return pd.DataFrame(
        {"x": random.normal(size=rows) + 1.5 * y, "n": random.integers(0, 9, rows), "k": level, "y": y.astype(int)}
    )


@pytest.fixture
def sets(tmp_path):
    folder = tmp_path / "sets"
    folder.mkdir()
    for name, rows in (("one", 150), ("two", 200)):
        _table(rows).to_csv(folder / f"{name}.csv.gz", index=False)
    return folder


@pytest.fixture
def quick(monkeypatch):
    """Classifiers of few trees, steps and bags."""
    usual = judging.learners

    def few(seed):
        found = usual(seed)
        found["RF"].set_params(n_estimators=10)
        found["HGB"].set_params(max_iter=5)
        found["MLP"].set_params(max_iter=5)
        return found

    monkeypatch.setattr(judging, "learners", few)
    monkeypatch.setattr(judging, "TREES", 10)
    monkeypatch.setattr(judging, "BAGS", 3)


def test_parts_repeat_and_keep_the_rows_that_judge_apart(sets):
    (name, frame), _ = sets_in(sets)
    parts = scarce(name, frame, 0, 8)
    assert (parts.train["y"] == 1).sum() == 8 and (parts.train["y"] == 0).sum() == 72 and len(parts.test) == 60
    pd.testing.assert_frame_equal(parts.train, scarce(name, frame, 0, 8).train)
    assert parts.seed != scarce(name, frame, 1, 8).seed
    assert not set(parts.train["x"]) & set(parts.test["x"])
    fewer = scarce(name, frame, 0, 5).train
    assert set(fewer.loc[fewer["y"] == 1, "x"]) < set(parts.train.loc[parts.train["y"] == 1, "x"])
    assert scarce(name, frame, 0, 50) is None
    assert len(whole(name, frame, 0).train) == 90


def test_what_is_no_table_is_named(sets):
    with pytest.raises(SystemExit, match="has no three; it has one, two"):
        list(sets_in(sets, ["three"]))
    (sets / "three.csv").write_text("x,label\n1,0\n")
    with pytest.raises(SystemExit, match="needs a column 'y' of 0 and 1"):
        list(sets_in(sets, ["three"]))
    (sets / "three.csv").write_text("x,y\n1,0\n,1\n")
    with pytest.raises(SystemExit, match="empty cells in x"):
        list(sets_in(sets, ["three"]))
    (sets / "three.csv").write_text("x,y\n1,0\n2,1\n")
    (sets / "columns.json").write_text('{"three": ["x"]}')
    ((_, frame),) = sets_in(sets, ["three"])
    assert frame["x"].tolist() == ["1", "2"]
    with pytest.raises(SystemExit, match="A does not measure real"):
        run_scarce(sets, ["real"], [0], [5], sets.parent / "out.csv")


def test_coding_has_an_inverse_and_marks_unknown_levels():
    frame = _table(60)
    coding = Coding(frame)
    pd.testing.assert_frame_equal(coding.frame(coding.scaled(frame)), frame[coding.columns], check_dtype=False)
    assert np.allclose(coding.scaled(frame)[:, :2].mean(0), 0)
    other = frame.assign(k="z")
    assert (coding.ranked(other)[:, 2] == -1).all() and (coding.scaled(other)[:, 2:] == 0).all()


def test_a_run_goes_on_and_its_gains_are_reported(sets, quick, capsys):
    out = sets.parent / "a.csv"
    run_scarce(sets, ["none", "SMOTE"], [0], [8], out)
    first = out.read_text()
    run_scarce(sets, ["none", "SMOTE", "bagging", "threshold"], [0, 1], [8], out)
    made = pd.read_csv(out)
    assert out.read_text().startswith(first) and len(made) == 4 * 4 * 2 * 2
    assert made.loc[made["learner"] != "MLP", "auroc"].between(0.7, 1).all()
    assert set(made.loc[made["method"] == "SMOTE", "n_added"]) == {64, 88}
    tuned = made[made["method"] == "threshold"]
    assert (
        tuned["bacc_tuned"].mean() > tuned["bacc"].mean()
        and made.loc[made["method"] == "none", "bacc_tuned"].isna().all()
    )
    capsys.readouterr()
    run_scarce(sets, ["SMOTE"], [0], [8], out)
    assert capsys.readouterr().out == ""
    text = report([out], [], "On one machine.")
    wide = made.pivot_table(index="method", values="auprc")["auprc"]
    assert f"| SMOTE | {100 * (wide['SMOTE'] - wide['none']):+.2f} (" in text
    assert "| none |" in text and "On one machine." in text and "### Seeds 0, 1: points" in text
    assert all(len(line) <= 120 for line in text.splitlines() if not line.startswith(("|", "python", "    ")))
    out.write_text("dataset,method\n")
    with pytest.raises(SystemExit, match="has other columns"):
        run_scarce(sets, ["none"], [0], [8], out)


def test_generated_tables_are_judged(sets, quick):
    out = sets.parent / "b.csv"
    for _ in range(2):
        run_whole(sets, ["real", "columns_apart", "copies", "SMOTE", "gaussian"], [0], out, ["two"])
    made = pd.read_csv(out).groupby("method").mean(numeric_only=True)
    assert len(pd.read_csv(out)) == 5 and np.allclose(made.loc["real", ["tstr_auprc_ratio", "exact"]], 1)
    assert made.loc["copies", "exact"] == 1 and made.loc["gaussian", "exact"] < 0.2
    assert made.loc["columns_apart", "tstr_auprc_ratio"] < 0.7 < made.loc["SMOTE", "tstr_auprc_ratio"]
    pd.read_csv(out).replace("real", "ARF").to_csv(sets.parent / "peers.csv", index=False)
    text = report([out], [sets.parent / "peers.csv"])
    assert (
        "## B: generated tables" in text and "| mean | **gaussian** |" in text and "| two | ARF (quoted) | 1.00" in text
    )
    assert "mean of 1 tables" not in text  # of AutoAugmenter alone
    pd.read_csv(out).replace("gaussian", "AutoAugmenter").to_csv(out, index=False)
    assert f"lowest on two, {made.loc['gaussian', 'tstr_auprc_ratio']:.0%})" in report([out]).replace("\n", " ")
    assert "In both runs: SMOTE, columns_apart, copies, gaussian. They differ by 0, 0 and 0" in text.replace("\n", " ")


def test_a_gated_method_has_the_figures_of_what_the_gate_chose(sets, quick, monkeypatch):
    chosen = iter(["copies", "none", "none", "copies"])
    monkeypatch.setitem(METHODS, "AutoAugmenter", METHODS["copies"])
    monkeypatch.setitem(METHODS, "AutoAugmenter gated", Method("", "ganlib", gate=lambda frame, seed: next(chosen)))
    run_scarce(sets, ["none", "AutoAugmenter", "AutoAugmenter gated"], [0], [8, 12], sets.parent / "a.csv")
    made = pd.read_csv(sets.parent / "a.csv").pivot_table(
        index=["dataset", "n_min", "learner"], columns="method", values="auprc"
    )
    one, two = (made.loc[key] for key in (("one", 8), ("one", 12)))
    assert (one["AutoAugmenter gated"] == one["copies"]).all() and (two["AutoAugmenter gated"] == two["none"]).all()
    text = report([sets.parent / "a.csv"]).replace("\n", " ")
    assert "accepted generated rows in 2 of 4 cells" in text and "the real rows alone in 2:" in text


def test_the_gate_compares_as_the_default_augmenter_does(monkeypatch):
    from ganlib.augment import auto

    seen = []

    def measured(one, frame, label, **options):
        seen.append(
            ({**one.get_params(), "steps": None}, {auto.entry(name).trainer.get("epochs") for name in one.members})
        )
        raise auto.DataError("too few")

    monkeypatch.setattr(auto, "measure_lift", measured)
    monkeypatch.setattr(auto.AutoAugmenter, "choice_", "none", raising=False)
    monkeypatch.setattr(auto.BaseAugmenter, "_fit_resample", lambda self, x, y: (x, y))
    frame = _table(40)
    assert methods._gate(frame, 3) == "none"
    with pytest.warns(UserWarning, match="not compared"):
        auto.AutoAugmenter(random_state=3).fit_resample(frame.drop(columns=["y"]), frame["y"])
    assert len(seen) == 2 and seen[0] == seen[1] and seen[0][1] == {1}  # one pass, whatever the steps


def test_resampling_adds_the_rows_that_are_sampled_after_a_fit():
    from ganlib import AutoAugmenter

    frame = _table(40)
    x, y = frame.drop(columns=["y"]), frame["y"]
    one = AutoAugmenter(["gaussian"], compare=False, random_state=5)
    rows, _ = one.fit_resample(x, y)
    made = one.fit(x, y).sample(len(rows) - len(x), 1)[list(x)]
    pd.testing.assert_frame_equal(rows.iloc[len(x) :].reset_index(drop=True), made, check_dtype=False)


def test_bags_are_balanced_and_the_tuned_threshold_separates(quick):
    random = np.random.default_rng(0)
    y = np.arange(400) % 40 == 0
    frame = pd.DataFrame({"x": random.normal(size=400) + 3 * y, "y": y.astype(int)})
    parts = Parts(frame, frame, 0)
    made = scarce_rows(METHODS["bagging"], frame, 0)
    bagged = {one.learner: one for one in judged(METHODS["bagging"], parts, made)}
    plain = {one.learner: one for one in judged(METHODS["threshold"], parts, Made(frame.iloc[:0]))}
    assert bagged["LR"].bacc > 0.85 > plain["LR"].bacc and plain["LR"].bacc_tuned > 0.85
    assert judging._best_cut(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.4, 0.5])) == pytest.approx(0.3)


def _lines(points, seeds=(0,), tables=("a", "b", "c"), counts=(10, 50)):
    return pd.DataFrame(
        [
            {"dataset": name, "seed": seed, "n_min": count, "method": method, "learner": learner, "auroc": 0.9,
             "auprc": 0.5 + gain * (1 + i), "bacc": 0.5, "bacc_prior": 0.6, "bacc_tuned": np.nan, "n_added": 5,
             "fit_cpu_s": 1.0, "version": "1"}
            for i, name in enumerate(tables) for seed in seeds for count in counts for learner in LEARNERS
            for method, gain in points.items()
        ]
    )  # fmt: skip


def test_gains_intervals_and_losses_are_those_of_the_cells(tmp_path):
    rows = _lines({"none": 0, "AutoAugmenter": 0.02, "SMOTE": -0.01}, seeds=(0, 1))
    found = gains(rows)
    assert np.allclose(found.loc["AutoAugmenter", "all"].groupby("dataset").mean(), [2, 4, 6])
    with pytest.raises(SystemExit, match="gains are over 'none': run it, too"):
        gains(rows[rows["method"] != "none"])
    partial = rows[(rows["method"] == "none") & (rows["seed"] == 0)].assign(method="gaussian", seed=0).iloc[:4]
    rows = pd.concat([rows, partial])
    assert complete_seeds(rows).get("gaussian") is None and complete_seeds(rows)["SMOTE"] == {0, 1}
    rows.to_csv(tmp_path / "a.csv", index=False)
    peers = _lines({"none": 0, "CTGAN_min": -0.03}, tables=("a",))
    peers.assign(error=np.nan).to_csv(tmp_path / "peers.csv", index=False)
    text = report([tmp_path / "a.csv"], [tmp_path / "peers.csv"]).replace("\n", " ")
    assert "| **AutoAugmenter** | +4.00 (+2." in text and "+2.00 to +6.00 | +4.00 | +4.00 | +4.00 |" in text
    assert (
        "a loss in 0 of 12 cells. The best measured method of others is SMOTE with -2.00: a difference of +6.00" in text
    )
    assert "| SMOTE | 12 | -2.00 | +4.00 | +6.00 (" in text and "- **AutoAugmenter**, 0 of 12: none." in text
    assert "| CTGAN_min (quoted) | 2 | -3.00 | +2.00 | +5.00 (+5.00 to +5.00) |" in text
    assert "**gaussian** seed 0 (1 of 6 cells)" in text and "8 AUPRC in common differ by 0 at most" in text


def test_groups_are_resampled_whole():
    values, groups = np.array([0.0, 0.0, 4.0, 4.0]), ["a", "a", "b", "b"]
    assert bounds(values, groups) == (0.0, 4.0)
    low, high = bounds(values)
    assert 0 <= low < 2 < high <= 4 and bounds(np.ones(5)) == (1.0, 1.0)


def test_the_page_is_the_report_of_the_figures_beside_it():
    folder = Path(__file__).parents[2] / "docs" / "benchmarks"
    measured = [folder / "augmentation.csv", folder / "augmentation-tables.csv"]
    peers = [folder / "augmentation-peers.csv", folder / "augmentation-peers-tables.csv"]
    text = report(measured, peers, (folder / "augmentation-notes.md").read_text(encoding="utf-8"))
    assert (folder / "augmentation.md").read_text(encoding="utf-8") == text, "write it again: benchmarks.augmentation"
