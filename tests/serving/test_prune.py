"""``prune``: what is old goes, what a position needs stays, and a kill anywhere loses and doubles nothing."""

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_data import table

from serving import prune_runs
from serving.batch import score_batch
from serving.errors import DataError, TemporaryError, UsageError
from serving.files import read_checked, write_checked
from serving.lease import Lease
from serving.prune import prune
from serving.pruning import Pruning, pruning_of, seconds_of
from serving.sinks import Commit, DeadLetter, lease_of, open_sink
from serving.sources import Gap
from serving.sources.sqlite_queue import QUEUE_TABLE
from serving.status import status
from serving.stream import run_stream
from serving.verify import verify

NOW = datetime.now(UTC)
LINE_POINTS = ["lines_rewritten", "rewrite_noted", "lines_replaced", "rewrite_settled"]
RUN_POINTS = ["run_renamed", "run_entry_deleted:1", "run_entry_deleted:3"]


def ago(days):
    return (NOW - timedelta(days=days)).isoformat()


def score(position, days, name="q"):
    return {"source": name, "position": position, "anomaly_score": 1.5, "p_value": 0.5, "is_anomaly": False,
            "scored_at": ago(days), "record": '{"a": "ü"}'}  # fmt: skip


def filled(output, ages, consumer="queue:a", begin=0):
    """Score rows of these ages in days, a commit each; odd ones come with a dead letter and a gap of that age."""
    sink = open_sink(output)
    for number, days in enumerate(ages, begin + 1):
        before = sink.cursors().get(consumer, {})
        letters = [DeadLetter("q", 1000 + number, b"x", "why")] if number % 2 else []
        gaps = [Gap("q", number, "lost")] if number % 2 else []
        commit = Commit(consumer, before, {"id": number}, [score(number, days)], letters, ("1", ago(days)), gaps)
        sink.commit(commit)
    sink.close()


def state_of(output):
    return output if output.suffix == ".db" else output.with_name(output.name + ".state.db")


def positions(output):
    if output.suffix == ".db":
        with sqlite3.connect(output) as db:
            return [p for (p,) in db.execute("SELECT position FROM scores ORDER BY position")]
    return [json.loads(line)["position"] for line in output.read_text().splitlines()]


def held(output):
    with sqlite3.connect(state_of(output)) as db:
        return [db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0] for table in ("dead_letters", "gaps")]


def pruned(*paths, days=30, **options):
    return list(prune([str(p) for p in paths], Pruning((NOW - timedelta(days=days)).timestamp(), **options)))


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- streams
@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_old_scores_go_and_dead_letters_gaps_and_positions_stay(tmp_path, name):
    output = tmp_path / name
    filled(output, [90, 40, 31, 29, 5, 60])
    before = contents(tmp_path)
    said = pruned(output, dry_run=True)
    assert contents(tmp_path) == before and said[0].dry_run
    done = pruned(output)
    assert positions(output) == [4, 5] and held(output) == [3, 3]
    assert [(r.count, r.bytes) for r in done] == [(r.count, r.bytes) for r in said] and done[0].count == 4
    assert done[0].bytes > 0 and "4 " in done[0].line() and "would" in said[0].line()
    assert pruned(output)[0].count == 0 and not lease_of(output).exists()
    done = pruned(output, dead_letters=True)
    assert [r.count for r in done[1:]] == [2, 2] and held(output) == [1, 1] and positions(output) == [4, 5]
    # It goes on from its position.
    filled(output, [0], begin=6)
    assert positions(output) == [4, 5, 7] and not list(tmp_path.glob(".*"))


AGES = st.lists(st.integers(0, 60).map(lambda n: n + 0.5), max_size=12)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ages=AGES, name=st.sampled_from(["o.db", "o.jsonl"]), days=st.integers(1, 60))
def test_exactly_what_is_older_goes(tmp_path_factory, ages, name, days):
    output = tmp_path_factory.mktemp("prune") / name
    filled(output, ages)
    assert pruned(output, days=days)[0].count == sum(age > days for age in ages)
    assert positions(output) == [n for n, age in enumerate(ages, 1) if age <= days]
    filled(output, [1], begin=len(ages))
    assert positions(output)[-1] == len(ages) + 1
    gone = sum(age > days for age in ages)
    assert verify(output)["pruned"] == gone and verify(output)["scored"] == len(ages) + 1 - gone


def killed(environment, point, *args):
    command = [sys.executable, "-m", "serving", "prune", *map(str, args)]
    done = subprocess.run(command, env={**environment, "GANLIB_CRASH_AT": point}, capture_output=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize("next_step", ["stream", "prune", "status"])
@pytest.mark.parametrize("point", LINE_POINTS)
def test_a_file_of_lines_killed_anywhere_is_the_old_one_or_the_new_one(environment, tmp_path, point, next_step):
    output = tmp_path / "o.jsonl"
    filled(output, [90, 40, 29, 5, 60])
    killed(environment, point, output, "--older-than", "30d")
    assert positions(output) == ([1, 2, 3, 4, 5] if point in LINE_POINTS[:2] else [3, 4])
    with output.open("ab") as file:  # what a killed stream has left beyond the committed length
        file.write(b"" if point in LINE_POINTS[1:3] else b'{"half')
    if next_step == "status":
        status(output)
    if next_step == "prune":
        assert pruned(output)[0].count == (3 if point in LINE_POINTS[:2] else 0)
    filled(output, [1], begin=5)
    assert verify(output)["counted"]
    expected = [1, 2, 3, 4, 5, 6] if point in LINE_POINTS[:2] and next_step != "prune" else [3, 4, 6]
    assert positions(output) == expected
    pruned(output)
    assert positions(output) == [3, 4, 6] and not list(tmp_path.glob(".*"))
    assert verify(output)["pruned"] == 3


def test_the_rewritten_file_keeps_its_bytes_its_rights_and_its_link(tmp_path):
    real, output = tmp_path / "real.jsonl", tmp_path / "o.jsonl"
    real.write_bytes(b"")
    output.symlink_to(real)
    filled(output, [90, 5, 90, 4])
    real.chmod(0o640)
    lines = real.read_bytes().splitlines(keepends=True)
    pruned(output)
    assert output.is_symlink() and real.read_bytes() == lines[1] + lines[3] and real.stat().st_mode & 0o777 == 0o640


def test_a_line_without_a_time_stays(tmp_path):
    output = tmp_path / "o.jsonl"
    sink = open_sink(output)
    scores = [{k: v for k, v in score(1, 90).items() if k != "scored_at"}, score(2, 90)]
    sink.commit(Commit("queue:a", {}, {"id": 2}, scores, [], ("1", ago(90))))
    sink.close()
    assert pruned(output)[0].count == 1 and positions(output) == [1]


def test_a_writer_that_was_paused_does_not_write_into_the_file_that_is_gone(tmp_path):
    output = tmp_path / "o.jsonl"
    filled(output, [90, 5])
    paused = open_sink(output)
    pruned(output)
    with pytest.raises(TemporaryError, match="replaced by another process"):
        paused.commit(Commit("queue:a", {"id": 2}, {"id": 3}, [score(3, 0)], [], ("1", ago(0))))
    paused.close()
    filled(output, [0], begin=2)
    assert positions(output) == [2, 3]


@pytest.mark.parametrize("name", ["o.db", "o.jsonl"])
def test_what_is_being_written_is_not_pruned(tmp_path, name):
    output = tmp_path / name
    filled(output, [90, 5])
    before = positions(output)
    with Lease(lease_of(output), what=str(output)), pytest.raises(TemporaryError, match=f"{name}.* is being written"):
        pruned(output)
    assert positions(output) == before


def test_a_file_that_lost_lines_is_not_rewritten(tmp_path):
    output = tmp_path / "o.jsonl"
    filled(output, [90, 5])
    output.write_bytes(output.read_bytes()[:-20])
    for dry_run in (True, False):
        with pytest.raises(DataError, match="shorter than"):
            pruned(output, dry_run=dry_run)


# ---------------------------------------------------------------- queues
def queue(path, ages):
    with sqlite3.connect(path) as db:
        db.execute(QUEUE_TABLE)
        rows = table(len(ages), 2).to_json(orient="records", date_format="iso", lines=True).splitlines()
        db.executemany("INSERT INTO queue(body, enqueued_at) VALUES (?, ?)", list(zip(rows, ages, strict=True)))


def ids(path):
    with sqlite3.connect(path) as db:
        return [i for (i,) in db.execute("SELECT id FROM queue ORDER BY id")]


def test_rows_go_that_every_output_has_read_and_that_are_old(artifact, tmp_path):
    path, one, other = tmp_path / "q.db", tmp_path / "one.db", tmp_path / "other.jsonl"
    old = (NOW - timedelta(days=40)).strftime("%Y-%m-%d %H:%M:%S")
    queue(path, [old, ago(35), ago(1), "long ago", None, "1700000000"])
    run_stream(artifact, f"sqlite:{path}", other)
    queue(path, [old, old])
    run_stream(artifact, f"sqlite:{path}", one)
    with pytest.raises(UsageError, match="--scored-by"):
        pruned(f"sqlite:{path}")
    before = path.read_bytes()
    said = pruned(f"sqlite:{path}", scored_by=(one, other), dry_run=True)
    assert path.read_bytes() == before and said[0].count == 3
    (done,) = pruned(f"sqlite:{path}", scored_by=(one, other))
    assert ids(path) == [3, 4, 6, 7, 8] and done.count == 3 and done.bytes == said[0].bytes > 0
    assert done.notes == ["2 rows kept: enqueued_at is no date and time"]
    assert pruned(f"sqlite:{path}", scored_by=(one,))[0].count == 2 and ids(path) == [3, 4, 6]
    # The slower stream goes on behind its position, though the queue was pruned by the other's alone.
    queue(path, [ago(0)])
    assert run_stream(artifact, f"sqlite:{path}", other) == 0 and ids(path)[-1] == 9


def test_without_times_the_position_decides(artifact, tmp_path):
    path, output = tmp_path / "q.db", tmp_path / "o.db"
    bodies = table(4, 2).to_json(orient="records", date_format="iso", lines=True).splitlines()
    with sqlite3.connect(path) as db:
        db.execute('CREATE TABLE queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL, "a ""b"" c" TEXT)')
        db.executemany("INSERT INTO queue(body) VALUES (?)", [(b,) for b in bodies[:3]])
    run_stream(artifact, f"sqlite:{path}", output)
    with sqlite3.connect(path) as db:
        db.execute("INSERT INTO queue(body) VALUES (?)", (bodies[3],))
    assert pruned(f"sqlite:{path}", scored_by=(output,))[0].count == 3 and ids(path) == [4]
    run_stream(artifact, f"sqlite:{path}", output)
    assert positions(output) == [1, 2, 3, 4]


def test_an_output_that_has_not_read_the_queue_is_refused_and_nothing_goes(artifact, tmp_path):
    path, output = tmp_path / "q.db", tmp_path / "o.db"
    queue(path, [ago(90)] * 3)
    run_stream(artifact, f"sqlite:{path}", output)
    filled(tmp_path / "stranger.db", [90])
    with pytest.raises(UsageError, match=r"stranger.db holds no position of .*q.db"):
        pruned(f"sqlite:{path}", scored_by=(output, tmp_path / "stranger.db"))
    with pytest.raises(UsageError, match="for a queue"):
        pruned(output, scored_by=(output,))
    assert len(ids(path)) == 3


# ---------------------------------------------------------------- batch folders
@pytest.fixture
def runs(artifact, tmp_path):
    """A folder of runs: old, young, unfinished, one with dead letters, one with a file of somebody."""
    table(20, 1).to_csv(tmp_path / "rows.csv", index=False)
    for name in ("old", "young", "unfinished", "dead", "others"):
        out = tmp_path / "runs" / name
        score_batch(artifact, tmp_path / "rows.csv", out)
        if name != "young":
            os.utime(out / "_manifest.json", (NOW.timestamp() - 40 * 86400,) * 2)
    (tmp_path / "runs" / "unfinished" / "_manifest.json").unlink()
    manifest = tmp_path / "runs" / "dead" / "_manifest.json"
    write_checked(manifest, read_checked(manifest, DataError) | {"dead": 2})
    os.utime(manifest, (NOW.timestamp() - 40 * 86400,) * 2)
    (tmp_path / "runs" / "others" / "report.txt").write_text("mine")
    (tmp_path / "runs" / "notes").mkdir()
    return tmp_path / "runs"


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_finished_runs_go_whole_and_unfinished_ones_never(runs):
    before = contents(runs)
    said = pruned(runs, dry_run=True)
    assert contents(runs) == before
    done = pruned(runs)
    assert names(runs) == ["dead", "notes", "others", "unfinished", "young"]
    assert [(r.path, r.count, r.bytes) for r in said] == [(r.path, r.count, r.bytes) for r in done]
    (gone,) = [r for r in done if r.count]
    size = sum(len(v) for k, v in before.items() if k.parts[0] == "old")
    assert gone.path.endswith("old") and gone.bytes == size
    notes = {r.path.rpartition("/")[2]: r.notes[0] for r in done if r.notes}
    assert "2 dead letters" in notes["dead"] and "'report.txt'" in notes["others"] and len(notes) == 2
    assert [r.count for r in pruned(runs / "young")] == [0]
    pruned(runs / "dead", dead_letters=True)
    assert names(runs) == ["notes", "others", "unfinished", "young"]


@pytest.mark.parametrize("path", ["runs", "runs/old"])
@pytest.mark.parametrize("point", RUN_POINTS)
def test_a_run_killed_while_it_goes_is_gone_for_readers_and_the_next_call_finishes(environment, runs, point, path):
    killed(environment, point, runs.parent / path, "--older-than", "30d")
    assert "old" not in names(runs) and ".old.pruned" in names(runs)
    done = pruned(runs.parent / path)
    assert names(runs) == ["dead", "notes", "others", "unfinished", "young"] and sum(r.count for r in done) == 1


@pytest.mark.parametrize("said", [".", "..", "link", "../runs/old/"])
def test_a_run_goes_whatever_its_path_is_called(runs, monkeypatch, said):
    monkeypatch.chdir(runs / "notes" if said == ".." else runs / "old" if said == "." else runs)
    (runs / "link").symlink_to(runs / "old")
    done = list(prune([said], Pruning((NOW - timedelta(days=30)).timestamp())))
    assert sum(r.count for r in done) == 1 and not (runs / "old").exists()
    assert {"dead", "others", "unfinished", "young"} <= set(names(runs)) and not list(runs.glob(".*"))


def test_nothing_is_followed_out_of_the_folder(runs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (runs / "old").rename(tmp_path / "elsewhere" / "old")
    (runs / "link").symlink_to(tmp_path / "elsewhere")
    (runs / "straight").symlink_to(tmp_path / "elsewhere" / "old")
    assert sum(r.count for r in pruned(runs)) == 0 and (tmp_path / "elsewhere" / "old").exists()


@pytest.mark.parametrize("name", ["rename", "unlink", "rmdir"])
def test_what_cannot_be_removed_is_named_and_the_next_call_goes_on(runs, monkeypatch, name):
    def refuse(self, *_):
        raise OSError(errno.EBUSY, "Device or resource busy", str(self))

    with monkeypatch.context() as patched:
        patched.setattr(prune_runs.Path, name, refuse)
        with pytest.raises(UsageError, match="cannot remove .*busy.*leave"):
            pruned(runs / "old")
    assert sum(r.count for r in pruned(runs / "old")) == 1
    assert names(runs) == ["dead", "notes", "others", "unfinished", "young"]


def test_a_run_that_is_written_is_kept(runs):
    with Lease(runs / "old" / "_lease.json"), pytest.raises(TemporaryError, match="is being written"):
        pruned(runs)
    assert "old" in names(runs)


def test_a_run_that_is_continued_while_it_is_waited_for_is_kept(runs, monkeypatch):
    stays = iter(["", None])
    monkeypatch.setattr(prune_runs, "_stays", lambda *_: next(stays))
    with pytest.raises(DataError, match="was changed"):
        pruned(runs / "old")
    assert "old" in names(runs)


# ---------------------------------------------------------------- options, both commands
@pytest.mark.parametrize("text", ["", "30", "d", "0d", "-3d", "1.5d", "30 days", "9999999999d"])
def test_an_age_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--older-than"):
        seconds_of(text)


def test_ages_are_read():
    assert [seconds_of(t) for t in ("90s", "90m", "12h", "30d", "2w")] == [90, 5400, 43200, 2592000, 1209600]
    assert pruning_of("1h", now=7200).before == "1970-01-01T01:00:00+00:00"


def test_paths_are_looked_at_before_anything_goes(tmp_path):
    filled(tmp_path / "o.db", [90])
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "absent.db", tmp_path / "empty", f"sqlite:{tmp_path / 'absent.db'}", tmp_path):
        with pytest.raises(UsageError):
            pruned(tmp_path / "o.db", wrong)
    assert positions(tmp_path / "o.db") == [1]


def test_both_commands_say_what_went(environment, tmp_path):
    for module in ("pipelines.cli", "serving"):
        output = tmp_path / f"{module}.db"
        filled(output, [90, 5])
        call = [sys.executable, "-m", module, "prune", str(output), "--older-than", "30d"]
        shown = subprocess.run([*call, "--json"], env=environment, capture_output=True, text=True)
        assert json.loads(shown.stdout)[0]["count"] == 1 and positions(output) == [2]
    refused = subprocess.run([*call[:-1], "soon"], env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1


def test_many_rows_go_in_short_transactions(tmp_path, monkeypatch):
    from serving import prune as module

    monkeypatch.setattr(module, "CHUNK", 7)
    output = tmp_path / "o.db"
    filled(output, [])
    with sqlite3.connect(output) as db:
        db.executemany("INSERT INTO scores(source, position, scored_at) VALUES ('q', ?, ?)",
                       [(i, ago(i % 60)) for i in range(200)])  # fmt: skip
    began = time.monotonic()
    assert pruned(output)[0].count == sum(i % 60 > 30 for i in range(200)) and time.monotonic() - began < 20
    assert all(position % 60 <= 30 for position in positions(output))
