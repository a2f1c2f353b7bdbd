"""Levels of keys through the jobs: learned from training rows only, sealed, and applied to new rows."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from ganlib.detect import as_detector
from ganlib.errors import DataError
from pipelines.readers import read_data
from pipelines.readers import windows as reading
from pipelines.readers.levels import FLOOR, learned
from pipelines.rows import split_for_detection
from pipelines.sections import DataSettings
from pipelines.settings import Settings
from serving.artifact import load_artifact


def readings(keys=4, rows=200, seed=0, spread=50.0):
    """Readings of machines whose levels and scales differ by far more than their noise."""
    rng = np.random.default_rng(seed)
    own = np.random.default_rng(99).random((keys, 4))  # of a machine, whatever the number of others
    level, scale = spread * (2 * own[:, :2] - 1), 0.5 + 1.5 * own[:, 2:]
    minute, machine = np.repeat(np.arange(rows), keys), np.tile(np.arange(keys), rows)
    waves = np.stack([np.sin(minute / 3), np.cos(minute / 3)], 1) + rng.normal(0, 0.3, (len(minute), 2))
    values = level[machine] + scale[machine] * waves
    return pd.DataFrame(
        {"ts": minute.astype(float), "machine": [f"m{m}" for m in machine], "heat": values[:, 0], "load": values[:, 1]}
    )


def settings(**given):
    return DataSettings(path="in.parquet", **{"time": "ts", "key": "machine", "window": 8, **given})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a registry of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return tmp_path


def read(frame, folder, **given):
    """The data after learning, and its parts."""
    frame.to_parquet("in.parquet")
    data = read_data(settings(**given))
    labels = data.labels()
    parts = split_for_detection(data.content(), labels, data.settings, 0, data.runs, data.levelled)
    data.learn(parts["fit"], labels.anomalous, folder)
    return data, parts


# ---------------------------------------------------------------- learning
def test_levels_are_medians_and_inner_ranges_with_a_floor():
    rng = np.random.default_rng(0)
    values, keys = rng.normal(0, 1, (6000, 2)), np.repeat(["a", "b", "c"], 2000)
    values[keys == "b"] = values[keys == "b"] * 3 + 100
    values[keys == "c", 1] = 7.0  # a channel that does not vary
    values[::50] += 1e6  # outliers move neither
    levels, apart = learned(values, keys, np.repeat([f"r{i}" for i in range(12)], 500))
    assert levels.keys == ["a", "b", "c"] and len(apart.keys) == 12
    assert np.allclose(levels.centres[0], 0, atol=0.2) and np.allclose(levels.centres[1], 100, atol=0.5)
    assert np.allclose(levels.scales[0], 1, rtol=0.2) and np.allclose(levels.scales[1], 3, rtol=0.2)
    assert levels.scales[2][1] == pytest.approx(FLOOR * levels.scale[1]) and levels.centres[2][1] == 7.0
    assert levels.centre == np.median(levels.centres, axis=0).tolist()


def test_a_channel_that_never_varies_has_a_scale():
    levels, _ = learned(np.ones((20, 1)), np.repeat(["a", "b"], 10), np.repeat(["r", "s", "t", "u"], 5))
    assert levels.scale == [1.0] and levels.scales == [[FLOOR]] * 2


def test_a_training_block_is_read_by_the_other_blocks_of_its_key():
    rng = np.random.default_rng(0)
    values, keys, blocks = rng.normal(0, 1, (400, 1)), np.repeat(["a", "b"], 200), np.repeat(["p", "q", "r", "s"], 100)
    levels, apart = learned(values, keys, blocks)
    changed = values.copy()
    changed[blocks == "p"] += 50
    again, others = learned(changed, keys, blocks)
    assert others.centres[apart.keys.index("p")] == apart.centres[apart.keys.index("p")]
    assert others.centres[apart.keys.index("q")] != apart.centres[apart.keys.index("q")]
    assert again.centres[0] != levels.centres[0] and again.centres[1] == levels.centres[1]
    alone, by_block = learned(values, keys, keys)
    assert by_block.centres == alone.centres


def test_levels_come_from_training_rows_only(folder):
    frame = readings()
    data, parts = read(frame, folder)
    held = data.members[np.concatenate([parts["validation"], parts["test"]])].ravel()
    changed = frame.copy()
    changed.loc[np.unique(held), ["heat", "load"]] *= -3
    again, same = read(changed, folder)
    assert same == parts and again.windows.levels == data.windows.levels
    used = np.unique(data.members[parts["fit"]])
    changed.loc[used, "heat"] += 1
    assert read(changed, folder)[0].windows.levels != data.windows.levels


def test_each_key_trains_and_parts_do_not_touch(folder):
    data, parts = read(readings(12, 300), folder)
    assert {part: set(data.levelled[rows]) for part, rows in parts.items()}["fit"] == set(data.levelled)
    runs = {part: set(data.runs[rows]) for part, rows in parts.items()}
    assert not (runs["fit"] & runs["validation"] or runs["fit"] & runs["test"] or runs["validation"] & runs["test"])
    for part in ("validation", "test"):
        assert len(set(data.levelled[parts[part]])) >= 10  # taken from all keys in turn
    minutes = data.columns["ts"].to_numpy()
    for key in set(data.levelled):
        mine = data.levelled == key
        for run in set(data.runs[mine]):
            for other in set(data.runs[mine]) - {run}:
                apart = np.abs(minutes[data.runs == run][:, None] - minutes[data.runs == other]).min()
                assert apart >= 2 * 8  # of the last rows: the windows and a window between them


def test_known_anomalies_leave_each_key_half_of_its_blocks(folder):
    frame = readings(4, 400)
    frame["state"] = np.where((frame["machine"] == "m1") | (frame["ts"] % 90 == 0), "broken", "fine")
    frame.to_parquet("in.parquet")
    data = read_data(settings(label="state", normal="fine"))
    labels = data.labels()
    parts = split_for_detection(data.content(), labels, data.settings, 0, data.runs, data.levelled)
    for key in ("m0", "m2", "m3"):
        mine = data.levelled == key
        held = set(data.runs[np.concatenate([parts["validation"], parts["test"]]).astype(int)]) & set(data.runs[mine])
        assert len(held) <= len(set(data.runs[mine])) // 2
    assert labels.anomalous[parts["validation"]].any() and labels.anomalous[parts["test"]].any()
    # All windows of m1 are anomalies: it has no level, which is said.
    doubts = data.learn(parts["fit"], labels.anomalous, folder).differences
    assert doubts == ["1 key has no normal training windows, so no level: 'm1'"]
    assert data.windows.levels.keys == ["m0", "m2", "m3"]


def test_a_shift_of_a_key_changes_nothing(folder):
    frame = readings()
    data, _ = read(frame, folder)
    moved = frame.copy()
    moved.loc[moved["machine"] == "m2", "heat"] += 1234.5
    again, _ = read(moved, folder)
    assert np.allclose(again.x, data.x, atol=1e-8) and data.x.std() < 2


def test_levels_are_taken_up_by_another_process(folder):
    data, parts = read(readings(), folder)
    again = read_data(settings())
    assert not np.array_equal(again.part(parts["fit"]), data.part(parts["fit"]))
    again.recall(folder)
    assert np.array_equal(again.part(parts["fit"]), data.part(parts["fit"])) and again.windows == data.windows


# ---------------------------------------------------------------- whether there are levels
@pytest.mark.parametrize(
    ("frame", "given", "by_key", "why"),
    [
        (readings(), {}, True, "each key has about 96 rows"),
        (readings(), {"level": "none"}, False, "--level none"),
        (readings(), {"level": "key"}, True, "--level key"),
        (readings(1, 800), {}, False, "'machine' has one value only"),
        (readings(12, 60), {}, False, "12 of 12 keys, first 'm0', have fewer than about 96 rows"),
        (readings(4, 200).query("machine != 'm3' or ts < 60"), {}, True, "most keys have about 96 rows"),
        (readings(4, 200).query("machine != 'm3' or ts < 80"), {}, False, "1 of 4 keys, first 'm3', has fewer than"),
        (readings(4, 200).query("machine != 'm3' or ts < 80"), {"level": "key"}, True, "--level key"),
    ],
)  # fmt: skip
def test_levels_are_learned_where_keys_have_enough_rows(folder, frame, given, by_key, why):
    frame.to_parquet("in.parquet")
    data = read_data(settings(**given))
    assert (data.levelled is not None) == by_key == data.facts()["level"].startswith("of each key: ")
    assert why in data.facts()["level"]
    assert by_key or data.runs is not None


def test_keys_with_too_few_rows_are_not_trained_on_and_said(folder):
    frame = readings(4, 200).query("machine != 'm3' or ts < 60")
    frame.to_parquet("in.parquet")
    data = read_data(settings())
    learned = data.learn(range(len(data)), np.zeros(len(data), bool), folder)
    assert set(data.levelled) == {"m0", "m1", "m2"} == set(data.windows.levels.keys)
    assert learned.differences == [
        "1 of 4 keys, first 'm3', has fewer than about 96 rows without long gaps: not trained on, and read by the "
        "level of all keys"
    ]
    assert learned.level.startswith("of each key")


def test_levels_that_cannot_be_learned_are_an_error_if_asked_for(folder, monkeypatch):
    readings(12, 60).to_parquet("in.parquet")
    with pytest.raises(DataError, match=r"levels of keys cannot be learned: 12 of 12 keys.*--level none"):
        read_data(settings(level="key"))
    monkeypatch.setattr(reading, "MOST_LEVELS", 3)
    readings().to_parquet("in.parquet")
    with pytest.raises(DataError, match="4 keys are more than 3, the most that a model can hold levels of"):
        read_data(settings(level="key", stride=3))
    assert "more than 3" in read_data(settings(stride=5)).facts()["level"]


def test_levels_need_a_key():
    with pytest.raises(ValueError, match=r"data.level=key \(--level\) needs data.key"):
        Settings(data=DataSettings(time="ts", window=8, level="key"))


# ---------------------------------------------------------------- the way through
@pytest.mark.trained
def test_levels_are_sealed_said_and_applied(ganlib, folder):
    readings().to_parquet("readings.parquet")
    given = ("--data", "readings.parquet", "--time", "ts", "--key", "machine", "--window", "8")
    chosen = ("--model", "principal_mixture", "--alpha", "0.1", "--name", "pump")
    code, out, err = ganlib("train", *given, *chosen, "--json")
    assert code == 0 and "level of each key: each key has about 96 rows" in err, err
    path = json.loads(out)["artifact"]
    artifact = load_artifact(path)
    assert artifact.metadata["format_version"] == 5 and artifact.windows.levels.keys == ["m0", "m1", "m2", "m3"]
    card = json.loads(ganlib("show", "pump/1", "--json")[1])["card"]
    assert "relative to the levels of 4 keys" in card and "Level of each key: each key has" in card
    new = readings(5, 40, seed=7)
    new.to_csv("new.csv", index=False)
    code, out, err = ganlib("score", "--model", "models:/pump/1", "--input", "new.csv", "--output", "scores")
    assert code == 0 and "33 scored rows are of keys that training has not seen, first 'm4'" in err, err
    scores = pd.read_parquet("scores")
    known = scores[scores["machine"] != "m4"]
    assert known["is_anomaly"].mean() < 0.4 and scores[scores["machine"] == "m4"]["is_anomaly"].all()
    # Later trainings compare themselves with the champion, which reads the same windows by its own levels.
    (folder / "gates.yaml").write_text("version: 1\ndetector: {integrity: true}\n")
    assert ganlib("promote", "pump", "--gates", "gates.yaml")[0] == 0
    for level, version in (("auto", 2), ("none", 3)):
        code, _, err = ganlib("train", *given, *chosen, "--level", level)
        assert code == 0, err
        tags = json.loads(ganlib("show", f"pump/{version}", "--json")[1])["tags"]
        assert tags["champion_version"] == "1"
        same = abs(float(tags["champion_quality"]) - float(tags["quality"])) < 1e-3
        assert same == (level == "auto")
    assert tags["level"] == "none: --level none" and "level none: --level none" in err


# ---------------------------------------------------------------- how often normal windows alarm
def machines(seed, rows, after, keys=12, spread=20.0, correlation=0.8):
    """Readings of machines with autocorrelated noise: those to train on, and later ones of the same machines."""
    own, rng = np.random.default_rng(1000 + seed).random((keys, 4)), np.random.default_rng(seed)
    noise = rng.normal(0, 1, (rows + after + 50, keys, 2)) * np.sqrt(1 - correlation**2)
    for step in range(1, len(noise)):
        noise[step] += correlation * noise[step - 1]
    values = spread * (2 * own[:, :2] - 1) + (0.5 + 1.5 * own[:, 2:]) * noise[50:]
    frame = pd.DataFrame(values.reshape(-1, 2), columns=["heat", "load"])
    frame["ts"] = np.repeat(np.arange(rows + after, dtype=float), keys)
    frame["machine"] = np.tile([f"m{m}" for m in range(keys)], rows + after)
    return frame[frame["ts"] < rows], frame[frame["ts"] >= rows]


@pytest.mark.trained
def test_fresh_normal_windows_alarm_about_as_often_as_the_budget_says(folder):
    """The mean over three samples lies within a factor of two, and machines are more alike than without levels."""
    alpha, shares = 0.05, {"auto": [], "none": []}
    for seed, level in itertools.product(range(3), shares):
        train, later = machines(seed, 400, 800)
        data, parts = read(train, folder, level=level)
        detector = as_detector("principal_mixture", alpha=alpha, device="cpu")
        detector.fit(data.part(parts["fit"]), runs=data.runs[parts["fit"]])
        for key, rows in later.groupby("machine"):
            values = data.windows.relative([key] * len(rows), rows[["heat", "load"]].to_numpy())
            windows = np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(values, 8, axis=0))
            shares[level].append((detector.p_value(windows) <= alpha).mean())
    assert alpha / 2 < np.mean(shares["auto"]) < 2 * alpha, np.mean(shares["auto"])
    assert np.std(shares["auto"]) < 0.5 * np.std(shares["none"])
    assert max(shares["auto"]) < 0.5 < max(shares["none"])  # none: a machine far from those of calibration
