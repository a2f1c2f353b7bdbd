"""Tables of readings through the jobs: windows are formed, split whole, trained on, sealed and scored."""

import json

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused

from ganlib.errors import DataError
from pipelines.errors import UsageError
from pipelines.readers import read_data
from pipelines.rows import split_for_detection
from pipelines.sections import DataSettings
from pipelines.settings import Settings
from serving.artifact import load_artifact


def readings(keys=12, rows=60, seed=0):
    """Readings of machines, in turn; the load of a faulty one does not follow its heat."""
    rng = np.random.default_rng(seed)
    minute, machine = np.repeat(np.arange(rows), keys), np.tile(np.arange(keys), rows)
    fault = (minute >= rows // 2) & (minute < rows // 2 + 6) & (machine % 3 == 0)
    heat, load = np.sin(minute / 3 + machine), np.cos(minute / 3 + machine)
    return pd.DataFrame(
        {
            "ts": pd.Timestamp("2026-01-01") + pd.to_timedelta(minute, unit="min"), "machine": machine,
            "heat": heat + rng.normal(0, 0.1, len(minute)),
            "load": np.where(fault, 0.0, load) + rng.normal(0, 0.1, len(minute)),
            "state": np.where(fault, "broken", "fine"),
        }
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a registry of its own and readings of twelve machines."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    readings().to_parquet("readings.parquet")
    return tmp_path


RNG = np.random.default_rng(0)
GIVEN = ("--data", "readings.parquet", "--time", "ts", "--key", "machine", "--window", "8")
LABELS = ("--label", "state", "--normal", "fine")


def settings(path="readings.parquet", **given):
    drop = () if "label" in given else ("state",)
    return DataSettings(path=path, **{"time": "ts", "key": "machine", "window": 8, "drop": drop, **given})


def written(frame, name="in.parquet"):
    frame.to_parquet(name)
    return name


# ---------------------------------------------------------------- the way through
def test_a_detector_of_windows_is_trained_sealed_and_scores_tables_and_streams(ganlib, folder):
    chosen = ("--model", "reconstruction_vae", "--steps", "40", "--alpha", "0.1", "--name", "pump")
    code, out, err = ganlib("train", *GIVEN, *LABELS, *chosen, "--json")
    done = json.loads(out)
    assert code == 0 and done["measure"] == "AUPRC" and {"PCA", "nearest examples"} < set(done["validation"]), err
    artifact = load_artifact(done["artifact"])
    assert artifact.calibration["runs"] == 2 and "warning: calibration: 54 windows of 2 runs" in err
    windows = artifact.windows
    assert (windows.time, windows.key, windows.channels, windows.length) == ("ts", "machine", ["heat", "load"], 8)
    assert (windows.step, windows.largest_gap, windows.clock) == (60.0, 5.0, "date")
    card = json.loads(ganlib("show", "pump/1", "--json")[1])["card"]
    assert "by 54 calibration rows of 2 runs" in card
    assert "windows of 8 readings of each 'machine'" in card and "alarms come in bursts" in card
    readings(2, 20, seed=4).to_csv("new.csv", index=False)
    code, out, err = ganlib("score", "--model", "models:/pump/1", "--input", "new.csv", "--output", "scores")
    assert code == 0 and "26 rows scored" in out and "14 rows end no window" in out, err
    scores = pd.read_parquet("scores")
    assert (
        list(scores.columns[:4]) == ["source", "source_row", "machine", "ts"] and scores["anomaly_score"].notna().all()
    )
    assert "26 rows in 1 part: each exactly once; 14 rows end no window" in ganlib("verify", "scores")[1]
    new = readings(2, 20, seed=4)
    lines = [{**row, "ts": row["ts"].isoformat()} for row in new.drop(columns="state").to_dict("records")]
    (folder / "live.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, out, err = ganlib("stream", "--model", "models:/pump/1", "--input", "live.jsonl", "--output", "live.db")
    assert code == 0 and "26 scored" in out and "14 before a whole window" in out, err


def test_a_dry_run_and_describe_say_what_the_windows_are(ganlib, folder):
    frame = readings()
    frame.loc[(frame["machine"] == 1) & (frame["ts"] > "2026-01-01 00:30"), "ts"] += pd.Timedelta("1h")
    frame.loc[5, "heat"] = np.nan
    written(frame)
    given = ("--time", "ts", "--key", "machine", "--window", "8", "--stride", "3", *LABELS)
    code, out, err = ganlib("train", "--data", "in.parquet", *given, "--name", "pump", "--dry-run")
    assert code == 0 and "keys: 12" in out and "gaps: 1\n" in out and "split by: key" in out, err
    assert "unusable rows: 1 (first row 5, column 'heat': is missing)" in out and "usual step: 60 seconds" in out
    found = json.loads(ganlib("data", "describe", "in.parquet", *given, "--json")[1])
    windows = 10 * 18 + (8 + 8) + 18  # 10 machines, one with a gap, one without its first row
    assert (found["windows"], found["keys"], found["gaps"], found["table rows"]) == (windows, 12, 1, 720)
    assert "a window is anomalous if one of its rows is" in found["rule"]
    code, _, err = ganlib("data", "describe", "in.parquet", *given, "--write", "s.yaml")
    assert code == 2 and "--write is for tables of rows" in err


# ---------------------------------------------------------------- windows, labels and splits
def test_windows_are_those_of_the_table_and_anomalous_if_a_row_is(folder):
    frame = readings(12, 40)
    written(frame.sample(frac=1, random_state=0))
    data = read_data(settings("in.parquet", label="state", normal="fine", stride=4))
    assert len(data) == 12 * 9 and data.x.shape[1:] == (2, 8)
    labels, ordered = data.labels(), frame.sort_values(["machine", "ts"])
    for number in (0, 5, 20, 107):
        machine, start = int(sorted(map(str, range(12)))[number // 9]), 4 * (number % 9)
        rows = ordered[ordered["machine"] == machine].iloc[start : start + 8]
        assert np.array_equal(data.x[number], rows[["heat", "load"]].to_numpy().T)
        assert labels.anomalous[number] == (rows["state"] == "broken").any()
    assert labels.anomalous.sum() == 4 * 3


@pytest.mark.parametrize("keys", [1, 3, 12])
def test_no_row_is_in_two_parts_and_blocks_do_not_touch(folder, keys):
    frame = readings(keys, 900 // keys)
    written(frame)
    data = read_data(settings("in.parquet", stride=1))
    parts = split_for_detection(data.content(), data.labels(), data.settings, 0, data.runs)
    assert all(len(rows) >= 2 for rows in parts.values()) and sum(map(len, parts.values())) == len(data)
    members = data.framed.members
    where = {}
    for part, rows in parts.items():
        for run in np.unique(data.runs[rows]):
            mine = members[rows][data.runs[rows] == run]
            where[run] = (part, frame["machine"].iloc[mine[0, 0]], frame["ts"].iloc[mine.ravel()])
    assert len(where) == len(np.unique(data.runs)) >= 10
    for run, (_, machine, times) in where.items():
        for other, (_, another, theirs) in where.items():
            if run != other and machine == another:
                later, earlier = (times, theirs) if times.min() > theirs.min() else (theirs, times)
                assert later.min() - earlier.max() > pd.Timedelta(minutes=8)
    assert data.framed.by_key == (keys == 12)


def test_runs_with_known_anomalies_are_judged_first(folder):
    data = read_data(settings(label="state", normal="fine"))
    parts = split_for_detection(data.content(), labels := data.labels(), data.settings, 0, data.runs)
    faulty = [set(data.runs[rows[labels.anomalous[rows]]].tolist()) for rows in map(np.array, parts.values())]
    assert not faulty[0] and len(faulty[1]) == len(faulty[2]) == 2  # of four faulty machines


def test_calibration_runs_are_not_those_of_training(folder, monkeypatch):
    from ganlib.detect import as_detector, base
    from ganlib.detect.rows import hold_out

    seen = {}

    def recorded(content, validation, calibration, seed, runs):
        seen["held"], seen["runs"] = hold_out(content, validation, calibration, seed, runs), runs
        return seen["held"]

    monkeypatch.setattr(base, "hold_out", recorded)
    data = read_data(settings())
    as_detector("principal_mixture", alpha=0.1).fit(data.x, runs=data.runs)
    held, runs = seen["held"], seen["runs"]
    parts = [set(runs[rows]) for rows in (held.train, held.validation, held.calibration)]
    assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


# ---------------------------------------------------------------- what goes wrong
@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        (lambda f: f, {"window": 400}, "the longest stretch has 60"),
        (lambda f: f[f["machine"] < 2], {"window": 20}, "10 are needed"),
        (lambda f: f, {"time": "when"}, "no time column 'when'"),
        (lambda f: f, {"key": None}, "separates machines by --key"),
        (lambda f: f, {"drop": ()}, "--drop 'state'"),
        (lambda f: f.assign(heat=np.where(f.index % 5, f["heat"], np.nan)), {}, "144 of 720 rows"),
        (lambda f: f.assign(ts="soon"), {}, "'soon' is not an ISO date"),
        (lambda f: f.assign(ts=7), {}, "two rows at different times"),
        (lambda f: f[["ts", "machine", "state"]], {}, "no channel beside"),
    ],
)
def test_tables_without_windows_are_errors_that_name_the_fix(folder, change, given, words):
    written(change(readings()))
    with pytest.raises(DataError, match=words):
        read_data(settings("in.parquet", **given))


def test_constant_channels_are_named(folder):
    written(readings().assign(load=3.0))
    data = read_data(settings("in.parquet", label="state", normal="fine"))
    with pytest.raises(DataError, match=r"1 channel is constant in the training windows: 'load'; .* --drop"):
        data.learn(range(len(data)), np.zeros(len(data), bool), folder)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"window": 8}, "data.window .* needs data.time"), ({"time": "ts"}, "needs data.window"),
        ({"key": "machine"}, "data.key .* needs data.time"),
    ],
)  # fmt: skip
def test_options_that_need_each_other(given, words):
    with pytest.raises(ValueError, match=words):
        Settings(data=DataSettings(**given))


def test_a_time_zone_that_does_not_exist(folder):
    with pytest.raises(UsageError, match="data.timezone: .*Mars"):
        read_data(settings(timezone="Mars/Base"))


@pytest.mark.parametrize(
    ("times", "clock", "step"),
    [
        (np.arange(60) * 0.5, "number", 0.5), ([str(i) for i in range(60)], "number", 1.0),
        (pd.to_timedelta(np.arange(60), unit="min"), "number", 60.0),
        (pd.date_range("2026-01-01", periods=60, freq="D").date, "date", 86_400.0),
        ([f"2026-01-01T{i // 60:02}:{i % 60:02}:00+01:00" for i in range(60)], "date", 60.0),
    ],
)  # fmt: skip
def test_times_of_every_kind(folder, times, clock, step):
    machines = pd.concat([pd.DataFrame({"ts": times, "machine": m, "heat": RNG.random(60)}) for m in range(10)])
    written(machines)
    data = read_data(settings("in.parquet", drop=()))
    assert (data.windows.clock, data.windows.step, len(data)) == (clock, step, 270)


@pytest.mark.parametrize(
    "given", [{"group": "machine"}, {"split": "time", "split_column": "ts"}, {"modality": "series"}]
)
def test_settings_that_windows_would_ignore(folder, given):
    with pytest.raises(UsageError, match="windows.*leave"):
        read_data(settings(**given))


def test_a_column_of_two_roles(folder):
    with pytest.raises(UsageError, match="two roles"):
        read_data(settings(key="ts", drop=("state",)))


def test_other_tasks_do_not_read_windows(ganlib, folder):
    refused(ganlib("train", *GIVEN, "--task", "augmenter", "--name", "pump"), 2, "--time is for detectors")
    (folder / "c.yaml").write_text("data: {time: ts, window: 8, key: machine, label: state}\n")
    given = ("--config", "c.yaml", "--data", "readings.parquet", "--output", "out.npz")
    refused(ganlib("augment", *given), 2, "only detectors are trained on")
