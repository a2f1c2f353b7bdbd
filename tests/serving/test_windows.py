"""Models of windows: tables and streams of readings become series, whatever their order, gaps, faults and kills."""

import functools
import json
import signal
import sqlite3

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
from serving_data import WINDOWS, command, readings, resealed
from test_batch import POINTS, run

from serving import feeding, plan, stream
from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.errors import DataError, IntegrityError, UsageError
from serving.memory import LateRow, Memory
from serving.scorer import Scorer
from serving.sinks import Tail
from serving.status import status
from serving.stream import run_stream
from serving.verify import line, verify
from serving.windows import Windows, runs_of

DESCRIBED = Windows.model_validate(WINDOWS)


def tangled(rows=60, seed=3):
    """Readings of three machines in any order, with two gaps of ten minutes and one of four (which is none)."""
    frame = readings(3, rows, seed)
    minute = (frame["at"] - frame["at"].min()).dt.total_seconds() / 60
    gap = 10 * ((frame["machine"] == "m1") & (minute > 20)) + 10 * ((frame["machine"] == "m2") & (minute > 40))
    frame["at"] += pd.to_timedelta(gap + 4 * (minute > 50), unit="min")
    return frame.sample(frac=1, random_state=seed).reset_index(drop=True)


def by_hand(frame, length=8, most=5.0):
    """{position of the last row: window} by plain loops, and the positions of rows that end no window."""
    found, waiting = {}, []
    for _, group in frame.groupby("machine"):
        group, run, before = group.sort_values("at"), [], None
        for position, row in group.iterrows():
            if before is not None and (row["at"] - before).total_seconds() > most * 60:
                run = []
            run, before = [*run, [row["heat"], row["load"]]], row["at"]
            if len(run) >= length:
                found[position] = np.array(run[-length:]).T
            else:
                waiting.append(position)
    return found, sorted(waiting)


def scores_by_hand(path, frame):
    found, waiting = by_hand(frame)
    positions = sorted(found)
    scores = Scorer(load_artifact(path)).score(np.stack([found[p] for p in positions]))
    return positions, scores.anomaly_score, waiting


def scored(folder):
    frame = open_scores(folder).to_pandas()
    return frame["source_row"].tolist(), frame["anomaly_score"].to_numpy()


def letters(folder):
    return [json.loads(row) for path in sorted((folder / "_dead").glob("*.jsonl")) for row in path.open()]


def write(frame, folder, kind):
    path = folder / f"in.{kind}"
    if kind == "parquet":
        frame.to_parquet(path, row_group_size=50)
    elif kind == "csv":
        frame.to_csv(path, index=False)
    else:
        records = [{**row, "at": row["at"].isoformat()} for row in frame.to_dict("records")]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.mark.parametrize("seed", range(5))
def test_runs_are_those_of_plain_loops(seed):
    rng = np.random.default_rng(seed)
    codes, times = rng.integers(0, 4, 200), rng.integers(0, 150, 200).astype(float)
    runs, repeated = runs_of(codes, times, 2.0)
    seen, expected = set(), []
    for row, pair in enumerate(zip(codes, times, strict=True)):
        expected += [row] if pair in seen else []
        seen.add(pair)
    assert repeated.tolist() == expected
    for i, row in enumerate(runs.order):
        run, at = [row], i
        while (
            at > 0 and codes[runs.order[at - 1]] == codes[row] and 0 < times[run[-1]] - times[runs.order[at - 1]] <= 2
        ):
            at -= 1
            run.append(runs.order[at])
        assert runs.start[i] == at
        assert runs.first[i] == (not ((codes == codes[row]) & (times < times[run[-1]])).any())
    assert len(runs.order) + len(repeated) == 200


def test_no_rows_have_no_runs():
    runs, repeated = runs_of(np.zeros(0, int), np.zeros(0), 1.0)
    assert not len(runs.order) and not len(repeated) and runs.reach(np.zeros(0, int), 3) is None


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_each_complete_window_is_scored_at_its_last_row(windowed, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(plan, "ROWS_PER_UNIT", 40)  # windows reach over units, and
    monkeypatch.setattr(feeding, "_VALUES", 16 * 17)  # over pieces of 17 rows
    frame = tangled()
    positions, values, waiting = scores_by_hand(windowed[1], frame)
    summary = score_batch(windowed[1], write(frame, tmp_path, kind), tmp_path / "out")
    found, mine = scored(tmp_path / "out")
    assert found == positions and np.allclose(mine, values, rtol=1e-6)
    assert summary.units == 5 and summary.rows == len(positions) and summary.dead == 0
    assert summary.waiting == {"first": 21, "gap": 14} and len(waiting) == 35
    assert "35 rows end no window: 21 among the first rows of a key, 14 after a gap" in summary.report()
    counts = verify(tmp_path / "out")
    assert counts["rows"] == len(positions) and "35 rows end no window" in line(counts)
    assert (status(tmp_path / "out")["rows"], status(tmp_path / "out")["rows_in_all"]) == (180, 180)
    kept = open_scores(tmp_path / "out").to_pandas()
    assert kept["machine"].tolist() == frame["machine"].iloc[found].tolist()
    assert pd.to_datetime(kept["at"], utc=True).tolist() == frame["at"].iloc[found].tolist()


def test_several_processes_give_the_same(windowed, tmp_path, monkeypatch):
    frame = tangled()
    write(frame, tmp_path, "parquet").rename(tmp_path / "a.parquet")
    (tmp_path / "in").mkdir()
    for name in "abc":
        frame.to_parquet(tmp_path / "in" / f"{name}.parquet")
    score_batch(windowed[1], tmp_path / "in", tmp_path / "out", workers=2)
    positions, values, _ = scores_by_hand(windowed[1], frame)
    found, mine = scored(tmp_path / "out")
    assert found == positions * 3 and np.allclose(mine, np.tile(values, 3), rtol=1e-6)
    assert verify(tmp_path / "out")["waiting"] == {"first": 63, "gap": 42}


def test_bad_rows_are_dead_letters_and_windows_go_on_without_them(windowed, tmp_path):
    frame = readings(1, 40)
    table = frame.assign(at=frame["at"].astype(str), heat=frame["heat"].astype(str), load=frame["load"].astype(str))
    table.loc[10, "heat"], table.loc[12, "load"], table.loc[14, "at"] = "hot", None, "noon"
    table.loc[16, "load"], table.loc[18, "machine"], table.loc[20, "at"] = "inf", None, table.loc[19, "at"]
    table.to_csv(tmp_path / "in.csv", index=False)
    good = frame.drop([10, 12, 14, 16, 18, 20])
    summary = score_batch(windowed[1], tmp_path / "in.csv", tmp_path / "out", max_bad_share=0.2)
    reasons = {row["source_row"]: (row["column"], row["reason"]) for row in letters(tmp_path / "out")}
    assert {row: column for row, (column, _) in reasons.items()} == {
        10: "heat", 12: "load", 14: "at", 16: "load", 18: "machine", 20: "at"
    }  # fmt: skip
    assert "'hot' is not a number" in reasons[10][1] and "is missing" in reasons[12][1]
    assert "is not an ISO date" in reasons[14][1] and "infinite" in reasons[16][1] and "had before" in reasons[20][1]
    positions, values, _ = scores_by_hand(windowed[1], good)
    found, mine = scored(tmp_path / "out")
    assert found == positions and np.allclose(mine, values, rtol=1e-6)
    assert (summary.dead, summary.waiting) == (6, {"first": 7}) and verify(tmp_path / "out")["dead"] == 6
    with pytest.raises(DataError, match="--max-bad-share 0.1"):
        score_batch(windowed[1], tmp_path / "in.csv", tmp_path / "other")


def test_malformed_lines_are_dead_letters_and_windows_go_on(windowed, tmp_path):
    frame = readings(1, 30)
    source = write(frame, tmp_path, "jsonl")
    lines = source.read_text().splitlines()
    lines[12], lines[14] = "{broken", '{"at": "2026-01-01"}'
    source.write_text("\n".join(lines))
    summary = score_batch(windowed[1], source, tmp_path / "out")
    positions, values, _ = scores_by_hand(windowed[1], frame.drop([12, 14]))
    found, mine = scored(tmp_path / "out")
    assert found == positions and np.allclose(mine, values, rtol=1e-6) and summary.dead == 2
    assert verify(tmp_path / "out")["dead"] == 2


def test_other_columns_are_an_error_that_names_them(windowed, tmp_path):
    readings(1, 20).rename(columns={"load": "loads"}).to_parquet(tmp_path / "in.parquet")
    with pytest.raises(DataError, match=r"1 column is missing: 'load' \(renamed to 'loads'\?\)"):
        score_batch(windowed[1], tmp_path / "in.parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_files_too_short_for_a_window_have_no_scores(windowed, tmp_path):
    readings(1, 7).to_parquet(tmp_path / "in.parquet")
    summary = score_batch(windowed[1], tmp_path / "in.parquet", tmp_path / "out")
    assert (summary.rows, summary.waiting) == (0, {"first": 7}) and verify(tmp_path / "out")["rows"] == 0


def test_verify_counts_rows_without_a_window(windowed, tmp_path):
    write(tangled(), tmp_path, "parquet")
    score_batch(windowed[1], tmp_path / "in.parquet", tmp_path / "out")
    from serving.files import read_checked, write_checked

    note = next((tmp_path / "out" / "_commits").iterdir())
    commit = {key: value for key, value in read_checked(note, IntegrityError).items() if key != "checksum"}
    first = commit["waiting_rows"][0]
    write_checked(note, commit | {"waiting_rows": [[first[0], first[1] + 1], *commit["waiting_rows"][1:]]})
    with pytest.raises(IntegrityError):
        verify(tmp_path / "out")


@pytest.mark.parametrize("point", [*POINTS, "dead_letters_renamed"])
def test_killed_at_any_point_a_rerun_gives_each_window_once(windowed, tmp_path, environment, point):
    frame = tangled()
    frame.loc[100, "load"] = np.nan
    (tmp_path / "in").mkdir()
    for name in "abc":
        frame.to_parquet(tmp_path / "in" / f"{name}.parquet")
    arguments = ("score", "--model", windowed[1], "--input", tmp_path / "in", "--output", tmp_path / "out")
    killed = run(environment, *arguments, crash=point)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = run(environment, *arguments, "--json")
    assert finished.returncode == 0, finished.stderr
    positions, values, waiting = scores_by_hand(windowed[1], frame.drop(100))
    found, mine = scored(tmp_path / "out")
    assert found == positions * 3 and np.allclose(mine, np.tile(values, 3), rtol=1e-6)
    counts = verify(tmp_path / "out")
    assert (counts["rows"], counts["dead"], sum(counts["waiting"].values())) == (len(found), 3, 3 * len(waiting))


# ---------------------------------------------------------------- the sealed file
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"length": 9}, "windows of 2 x 9"), ({"channels": ["heat"]}, "windows of 1 x 8"), ({"step": 0.0}, "step"),
        ({"channels": ["heat", "at"]}, "names a column twice"), ({"clock": "moon"}, "clock"),
        ({"timezone": "Mars/Base"}, "time zone"), ({"largest_gap": 0.5}, "largest_gap"),
    ],
)  # fmt: skip
def test_windows_that_do_not_fit_the_graph_are_rejected(windowed, change, words):
    model = onnx.load(windowed[1])
    entry = next(e for e in model.metadata_props if e.key == "windows")
    entry.value = json.dumps({**json.loads(entry.value), **change})
    with pytest.raises(IntegrityError, match=words):
        load_artifact(resealed(model))


def test_a_model_of_windows_still_scores_arrays(windowed):
    examples = np.stack(list(by_hand(tangled())[0].values()))
    scorer = Scorer(load_artifact(windowed[1]))
    wanted = windowed[0].anomaly_score(examples)
    assert np.allclose(scorer.score(examples).anomaly_score, wanted, rtol=1e-4)
    assert scorer.artifact.windows == DESCRIBED
    with pytest.raises(DataError, match=r"windows of 8 rows, .* shape \(n, 2, 8\) or the column 'x'"):
        scorer.score(readings(1, 20))


# ---------------------------------------------------------------- streams
def in_order(frame):
    return frame.sort_values("at", kind="stable").reset_index(drop=True)


def streamed(output):
    state = output if output.suffix == ".db" else output.with_name(output.name + ".state.db")
    with sqlite3.connect(state) as db:
        dead = dict(db.execute("SELECT position, reason FROM dead_letters").fetchall())
        tails = db.execute("SELECT key, seen, time, rows FROM tails ORDER BY seen").fetchall()
        rows = [] if output.suffix != ".db" else db.execute("SELECT record, anomaly_score FROM scores").fetchall()
    if output.suffix == ".jsonl":
        rows = [(json.dumps(row["record"]), row["anomaly_score"]) for row in map(json.loads, output.open())]
    keyed = [((r["machine"], r["at"]), score) for r, score in ((json.loads(text), score) for text, score in rows)]
    assert len(dict(keyed)) == len(keyed)
    return dict(keyed), dead, tails


@pytest.mark.parametrize("ending", ["db", "jsonl"])
def test_a_stream_scores_as_a_batch(windowed, tmp_path, ending):
    frame = in_order(tangled())
    source = write(frame, tmp_path, "jsonl")
    assert run_stream(windowed[1], str(source), tmp_path / f"o.{ending}", max_rows=7) == 0
    score_batch(windowed[1], source, tmp_path / "out")
    scores = open_scores(tmp_path / "out").to_pandas()
    want = {(row.machine, row.at): float(row.anomaly_score) for row in scores.itertuples()}
    mine, dead, tails = streamed(tmp_path / f"o.{ending}")
    assert mine.keys() == want.keys() and not dead and len(mine) == 145
    assert all(abs(mine[key] - want[key]) <= 1e-6 * abs(want[key]) for key in want)
    assert [len(rows) for *_, rows in tails] == [7 * 2 * 8] * 3


def messy(frame):
    """The rows as JSON records, with late, repeated, broken and incomplete ones among them."""
    records = [{**row, "at": row["at"].isoformat()} for row in frame.to_dict("records")]
    bodies = [json.dumps(record) for record in records]
    bodies.insert(90, json.dumps({**records[20], "heat": 1.0}))
    bodies.insert(120, bodies[119])
    bodies.insert(130, "{broken")
    bodies.insert(131, json.dumps({**records[125], "at": "2027-01-01T00:00:00", "heat": None}))
    bodies.insert(132, json.dumps({**records[125], "heat": [1]}))
    bodies.insert(133, json.dumps({"machine": "m1", "at": "2027-01-01T00:00:00"}))
    return bodies


STREAM_POINTS = ["batch_polled", "batch_scored:3", "sink_written:2", "sink_written:5", "cursor_committed",
                 "cursor_committed:4"]  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(windowed, tmp_path_factory):
    """What one run leaves of the messy stream, by ending."""
    folder, found = tmp_path_factory.mktemp("undisturbed"), {}
    (folder / "in.jsonl").write_text("\n".join(messy(in_order(tangled()))) + "\n")
    for ending in ("db", "jsonl"):
        run_stream(windowed[1], str(folder / "in.jsonl"), folder / f"o.{ending}", max_rows=11)
        found[ending] = streamed(folder / f"o.{ending}")
    return found


def test_late_and_unreadable_records_are_dead_letters_with_reasons(undisturbed):
    scores, dead, _ = undisturbed["db"]
    reasons = [dead[position] for position in sorted(dead)]
    assert ["late, or repeated" in reason for reason in reasons] == [True, True, False, False, False, False]
    assert "not JSON" in reasons[2] and "'heat': is missing" in reasons[3] and "list" in reasons[4]
    assert "missing columns: 'heat', 'load'" in reasons[5] and len(scores) == 145


@pytest.mark.parametrize("ending", ["db", "jsonl"])
@pytest.mark.parametrize("point", STREAM_POINTS)
def test_a_killed_stream_goes_on_with_the_same_windows(windowed, undisturbed, tmp_path, environment, ending, point):
    import subprocess

    (tmp_path / "in.jsonl").write_text("\n".join(messy(in_order(tangled()))) + "\n")
    output = tmp_path / f"o.{ending}"
    parts = command(windowed[1], tmp_path / "in.jsonl", output, "--max-rows", "11")
    killed = subprocess.run(parts, env={**environment, "GANLIB_CRASH_AT": point}, capture_output=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = subprocess.run(parts, env=environment, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    (scores, dead, tails), (want, letters, kept) = streamed(output), undisturbed[ending]
    assert scores.keys() == want.keys() and dead == letters
    assert all(abs(scores[key] - want[key]) <= 1e-6 * abs(want[key]) for key in want)
    assert tails == kept


def test_records_before_a_whole_window_are_counted(windowed, tmp_path, capsys):
    source = write(readings(2, 9), tmp_path, "jsonl")
    run_stream(windowed[1], str(source), tmp_path / "o.db", as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["scored"], found["waiting"], found["dead_letters"]) == (4, 14, 0)


def test_dead_letters_of_windows_are_not_replayed(windowed, tmp_path):
    source = write(readings(1, 9), tmp_path, "jsonl")
    run_stream(windowed[1], str(source), tmp_path / "o.db")
    with pytest.raises(UsageError, match="--replay"):
        run_stream(windowed[1], "-", tmp_path / "o.db", replay=True)


def test_a_stream_of_too_many_keys_warns_and_forgets(windowed, tmp_path, monkeypatch, capsys):
    frame = readings(3, 12)
    frame = pd.concat([frame[frame["machine"] == "m0"], frame[frame["machine"] != "m0"]])
    source = write(frame, tmp_path, "jsonl")
    monkeypatch.setattr(stream, "Memory", functools.partial(Memory, most=1))
    assert run_stream(windowed[1], str(source), tmp_path / "o.db", max_rows=5) == 0
    scores, dead, tails = streamed(tmp_path / "o.db")
    assert {machine for machine, _ in scores} == {"m0"} and len(scores) == 5 and not dead  # m1 and m2 come in turn
    assert [key for key, *_ in tails] == ["m2"]
    assert capsys.readouterr().err.count("more than 1 key:") == 1


def remembered(memory, key, minutes, value=0.0):
    """The number of windows that rows of a key at these minutes complete."""
    rows = [memory.add(DESCRIBED, key, minute * 60e6, np.array([minute, value])) for minute in minutes]
    return [None if row is None else row[0].tolist() for row in rows]


def test_memory_is_bounded_and_says_what_it_forgets():
    memory = Memory(most=2)
    memory.follow(DESCRIBED)
    assert remembered(memory, "a", range(8))[-1] == list(range(8))
    remembered(memory, "b", range(3))
    remembered(memory, "a", [8])
    assert not memory.news()
    remembered(memory, "c", [0])
    assert "'b'" in memory.news() and not memory.news()
    changes = memory.changes()
    assert [tail.key for tail in changes.written] == ["a", "c"] and changes.dropped == ["b"]
    assert remembered(memory, "b", [1]) == [None]  # begins anew: an earlier time is no longer known
    with pytest.raises(LateRow):
        remembered(memory, "b", [1])


def test_memory_survives_as_it_is_stored():
    first = Memory()
    first.follow(DESCRIBED)
    remembered(first, "a", range(6))
    remembered(first, "b", range(2))
    stored = first.changes().written
    again = Memory(stored, first.columns)
    assert remembered(again, "a", [6, 7]) == [None, [float(i) for i in range(8)]] == remembered(first, "a", [6, 7])
    assert again.changes().written == first.changes().written
    assert all(isinstance(tail, Tail) for tail in stored)


def test_a_model_of_other_columns_begins_anew_and_one_of_another_length_goes_on():
    memory = Memory()
    memory.follow(DESCRIBED)
    remembered(memory, "a", range(7))
    memory.changes()
    shorter = DESCRIBED.model_copy(update={"length": 4, "step": 30.0})
    memory.follow(shorter)
    assert memory.add(shorter, "a", 7 * 60e6, np.zeros(2)).shape == (2, 4) and not memory.changes().cleared
    memory.follow(DESCRIBED.model_copy(update={"channels": ["load", "heat"]}))
    assert memory.changes().cleared and "other columns" in memory.news()
    assert remembered(memory, "a", [1]) == [None]


def test_numbers_are_times_too(windowed, tmp_path):
    model = onnx.load(windowed[1])
    entry = next(e for e in model.metadata_props if e.key == "windows")
    entry.value = json.dumps({**WINDOWS, "clock": "number", "key": None, "step": 1.0})
    (tmp_path / "m.onnx").write_bytes(resealed(model))
    frame = readings(1, 30)
    frame["at"] = np.arange(30.0) * 0.1 * 10
    frame.loc[20:, "at"] += 5.5
    table = pa.Table.from_pandas(frame.drop(columns="machine"), preserve_index=False)
    pa.parquet.write_table(table, tmp_path / "in.parquet")
    summary = score_batch(tmp_path / "m.onnx", tmp_path / "in.parquet", tmp_path / "out")
    assert summary.rows == 13 + 3 and summary.waiting == {"first": 7, "gap": 7}
