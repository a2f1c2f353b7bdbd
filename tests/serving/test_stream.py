"""Streams: each record exactly once in scores or dead letters, whatever input, output and crash."""

import collections
import json
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from serving_data import table

from serving.errors import UsageError
from serving.stream import run_stream
from serving.verify import verify


def lines(rows=40, seed=1):
    """JSON records, some of them bad."""
    good = table(rows, seed).to_json(orient="records", date_format="iso", lines=True).splitlines()
    bad = ["not json", '["a", "list"]', '{"amount": 1}', good[3].replace('"count":', '"count":"many","x":')]
    return good[:5] + bad[:2] + good[5:20] + bad[2:] + good[20:]


BAD = 4


def read_output(output):
    """(bodies scored, bodies dead) with their positions."""
    state = output if output.suffix == ".db" else output.with_name(output.name + ".state.db")
    with sqlite3.connect(state) as connection:
        dead = [
            (s, p, bytes(b).decode())
            for s, p, b in connection.execute("SELECT source, position, body FROM dead_letters")
        ]
        rows = []
        if output.suffix == ".db":
            rows = [tuple(r) for r in connection.execute("SELECT source, position, record FROM scores")]
    if output.suffix == ".jsonl":
        rows = [(r["source"], r["position"], record_of(line)) for line, r in parsed(output)]
    return rows, dead


def parsed(output):
    return [(line, json.loads(line)) for line in output.read_text().splitlines()]


def record_of(line):
    """A line's record, letter by letter."""
    return line[line.index('"record": ') + len('"record": ') : -1]


def check_exactly_once(output, bodies):
    scored, dead = read_output(output)
    assert collections.Counter(b for *_, b in scored + dead) == collections.Counter(bodies)
    positions = [(s, p) for s, p, _ in scored + dead]
    assert len(positions) == len(set(positions))
    assert len(dead) == BAD
    found = verify(output)
    assert (found["scored"], found["dead_letters"], found["counted"]) == (len(scored), BAD, True)


def make_queue(path, bodies):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS queue(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL)")
        connection.executemany("INSERT INTO queue(body) VALUES (?)", [(b,) for b in bodies])


def prepare(kind, folder, bodies):
    """(input, output) of one pair."""
    source, output = kind.split(">")
    out = folder / f"out.{output}"
    if source == "file":
        (folder / "in.jsonl").write_text("\n".join(bodies) + "\n")
        return str(folder / "in.jsonl"), out
    if source == "stdin":
        return "-", out
    path = out if output == "db" and source == "same" else folder / "queue.db"
    make_queue(path, bodies)
    return f"sqlite:{path}", out


def run(environment, artifact, source, output, *extra, crash=None, stdin=""):
    env = {**environment, **({"GANLIB_CRASH_AT": crash} if crash else {})}
    command = [sys.executable, "-m", "serving", "stream", "--model", artifact, "--input", source, "--output", output]
    command += ["--max-rows", "10", "--deadline", "0.05", *extra]
    return subprocess.run(list(map(str, command)), env=env, input=stdin, capture_output=True, text=True, timeout=120)


PAIRS = ["queue>db", "queue>jsonl", "file>db", "file>jsonl", "stdin>db", "stdin>jsonl", "same>db"]
POINTS = ["batch_polled", "batch_scored:2", "sink_written:2", "cursor_committed", "cursor_committed:3"]
ONLY_LINES = ["lines_appended:2"]


@pytest.mark.parametrize(
    ("pair", "point"),
    [(pair, point) for pair in PAIRS for point in POINTS + ONLY_LINES * pair.endswith("jsonl")],
)
def test_killed_anywhere_each_record_comes_out_once(pair, point, artifact, environment, tmp_path):
    bodies = lines()
    source, output = prepare(pair, tmp_path, bodies)
    text = "\n".join(bodies) + "\n" if source == "-" else ""
    killed = run(environment, artifact, source, output, crash=point, stdin=text)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # What was queued is safe; a sender resumes after the line that the restart names.
    rest = text
    if source == "-":
        with sqlite3.connect(output if output.suffix == ".db" else output.with_name(output.name + ".state.db")) as db:
            queued = db.execute("SELECT lines FROM inbox_received").fetchone()[0]
        rest = "\n".join(bodies[queued:]) + "\n"
    finished = run(environment, artifact, source, output, stdin=rest)
    assert finished.returncode == 0, finished.stderr
    if source == "-":
        assert f"stdin: {queued} lines" in finished.stderr
    check_exactly_once(output, bodies)


def test_killed_while_queueing_stdin(artifact, environment, tmp_path):
    bodies = lines()
    killed = run(environment, artifact, "-", tmp_path / "o.db", crash="stdin_queued", stdin="\n".join(bodies) + "\n")
    assert killed.returncode == -signal.SIGKILL
    finished = run(environment, artifact, "-", tmp_path / "o.db")
    assert finished.returncode == 0 and f"stdin: {len(bodies)} lines" in finished.stderr
    check_exactly_once(tmp_path / "o.db", bodies)


def test_reasons_are_kept_and_mended_letters_can_be_replayed(artifact, tmp_path):
    make_queue(tmp_path / "q.db", lines())
    output = tmp_path / "o.db"
    assert run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", output) == 0
    with sqlite3.connect(output) as db:
        reasons = [r for (r,) in db.execute("SELECT reason FROM dead_letters ORDER BY position")]
        assert "not JSON" in reasons[0] and "list" in reasons[1] and "missing columns" in reasons[2]
        assert "'count'" in reasons[3] and "is not a number" in reasons[3]
        db.execute("UPDATE dead_letters SET body = CAST(replace(CAST(body AS TEXT), '\"many\"', '7') AS BLOB)")
    before = len(read_output(output)[0])
    assert run_stream(artifact, "-", output, replay=True) == 0
    scored, dead = read_output(output)
    assert len(scored) == before + 1 and len(dead) == BAD - 1
    with sqlite3.connect(output) as db:
        assert {a for (a,) in db.execute("SELECT attempts FROM dead_letters")} == {2}


STRANGE = [
    {"amount": True}, {"count": False}, {"amount": [1]}, {"kind": ["a"]}, {"kind": {"a": 1}}, {"flag": [True]},
    {"when": 20260101}, {"when": 2.5}, {"when": True}, {"kind": "\ud800"}, {"flag": 10**30}, {"amount": "much"},
]  # fmt: skip


@pytest.mark.parametrize("alone", [True, False])
def test_values_that_a_column_cannot_mean_are_dead_letters_whatever_comes_with_them(artifact, tmp_path, alone):
    good = json.loads(table(2, 1).to_json(orient="records", date_format="iso"))[1]
    bodies = [json.dumps({**good, **strange}) for strange in STRANGE]
    fine = [json.dumps({**good, **value}) for value in ({"amount": 10**30}, {"kind": 10**30}, {"kind": True})]
    fine += [json.dumps(good).replace(str(good["amount"]), value) for value in ("NaN", "Infinity", "-1e999")]
    make_queue(tmp_path / "q.db", bodies + fine)
    with sqlite3.connect(tmp_path / "q.db") as db:
        db.execute("INSERT INTO queue(body) VALUES (?)", (json.dumps(good).encode("utf-16"),))
    assert run_stream(artifact, f"sqlite:{tmp_path / 'q.db'}", tmp_path / "o.db", max_rows=1 if alone else 50) == 0
    with sqlite3.connect(tmp_path / "o.db") as db:
        dead = dict(db.execute("SELECT position, reason FROM dead_letters"))
        scored = db.execute("SELECT COUNT(*), COUNT(anomaly_score) FROM scores").fetchone()
    assert scored == (len(fine), len(fine)) and len(dead) == len(bodies) + 1
    assert dead[1] == "column 'amount': true is a boolean, where a number is needed"
    assert "not UTF-8" in dead[len(bodies + fine) + 1]
    for position, strange in enumerate(STRANGE, 1):
        assert repr(next(iter(strange))) in dead[position] and "row 0" not in dead[position]


def test_a_second_run_finds_nothing_new_and_goes_on_with_what_comes(artifact, tmp_path):
    path, output = tmp_path / "in.jsonl", tmp_path / "o.jsonl"
    good = table(30, 2).to_json(orient="records", date_format="iso", lines=True).splitlines()
    path.write_text("\n".join(good[:10]) + "\n")
    for _ in range(2):
        run_stream(artifact, str(path), output)
    with path.open("a") as file:
        file.write("\n".join(good[10:20]) + "\n")
    run_stream(artifact, str(path), output)
    assert [r for *_, r in read_output(output)[0]] == good[:20]


def test_rotation_and_truncation_are_seen(artifact, tmp_path):
    path, output = tmp_path / "in.jsonl", tmp_path / "o.db"
    good = table(30, 2).to_json(orient="records", date_format="iso", lines=True).splitlines()
    path.write_text("\n".join(good[:10]) + "\n")
    run_stream(artifact, str(path), output)
    path.rename(tmp_path / "in.jsonl.1")
    path.write_text("\n".join(good[10:20]) + "\n")
    run_stream(artifact, str(path), output)
    path.write_text("\n".join(good[20:23]) + "\n")
    run_stream(artifact, str(path), output)
    scored = read_output(output)[0]
    assert [r for *_, r in scored] == good[:23]
    assert {s for s, *_ in scored} == {"in.jsonl", "in.jsonl#1", "in.jsonl#2"}


def start(environment, artifact, source, output):
    command = [sys.executable, "-m", "serving", "stream", "--model", artifact, "--input", source, "--output", output]
    command += ["--follow", "--deadline", "0.05"]
    return subprocess.Popen(list(map(str, command)), env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_for(count, output):
    for _ in range(300):
        if output.exists():
            try:
                if len(read_output(output)[0]) >= count:
                    return
            except sqlite3.OperationalError:
                pass
        time.sleep(0.1)
    raise AssertionError(f"{output} never held {count} rows")


def test_following_a_growing_file_with_half_lines_and_a_drain(artifact, environment, tmp_path):
    path, output = tmp_path / "in.jsonl", tmp_path / "o.db"
    good = table(12, 2).to_json(orient="records", date_format="iso", lines=True).splitlines()
    path.write_text("\n".join(good[:5]) + "\n" + good[5][:20])
    process = start(environment, artifact, path, output)
    try:
        wait_for(5, output)
        time.sleep(0.3)
        assert len(read_output(output)[0]) == 5, "half a line must wait"
        with path.open("a") as file:
            file.write(good[5][20:] + "\n" + "\n".join(good[6:]) + "\n")
        wait_for(12, output)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
    assert [r for *_, r in read_output(output)[0]] == good and not read_output(output)[1]


def test_usage_errors(artifact, tmp_path):
    with pytest.raises(UsageError, match=r"\.db .*or \.jsonl"):
        run_stream(artifact, "-", tmp_path / "out.txt")
    with pytest.raises(UsageError, match="no queue"):
        run_stream(artifact, f"sqlite:{tmp_path / 'absent.db'}", tmp_path / "o.db")
    with pytest.raises(UsageError, match="no input"):
        run_stream(artifact, str(tmp_path / "absent.jsonl"), tmp_path / "o.db")
    with pytest.raises(UsageError, match="no table"):
        sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE t(a)").connection.commit()
        run_stream(artifact, f"sqlite:{tmp_path / 'empty.db'}", tmp_path / "o.db")
    with pytest.raises(UsageError, match="max_rows"):
        run_stream(artifact, "-", tmp_path / "o.db", max_rows=0)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A detector with enough calibration rows for a false discovery rate on a stream."""
    from ganlib.calibrate import Calibration
    from ganlib.detect import VAEDetector
    from ganlib.export import seal

    path = tmp_path_factory.mktemp("calibrated") / "model.onnx"
    detector = VAEDetector(steps=60, options={"score_samples": 2}).fit(table(600))
    detector.calibration_ = Calibration.fit(-detector.score_samples(table(4000, 1)))
    seal(detector, path)
    return path


def test_a_rate_that_the_calibration_cannot_keep_is_an_error(artifact, environment, tmp_path):
    make_queue(tmp_path / "q.db", lines(5))
    failed = run(environment, artifact, f"sqlite:{tmp_path / 'q.db'}", tmp_path / "out.db", "--fdr", "0.1")
    assert failed.returncode == 2 and "needs a model with at least 24,047 calibration rows" in failed.stderr
    assert not (tmp_path / "out.db").exists()


@pytest.mark.parametrize("point", ["sink_written:2", "cursor_committed"])
def test_the_online_rule_survives_a_kill(point, calibrated, environment, tmp_path):
    artifact = calibrated
    make_queue(tmp_path / "q.db", lines(60))
    source, whole, broken = f"sqlite:{tmp_path / 'q.db'}", tmp_path / "whole.db", tmp_path / "broken.db"
    given = ("--fdr", "0.9")
    assert run(environment, artifact, source, whole, *given).returncode == 0
    assert run(environment, artifact, source, broken, *given, crash=point).returncode == -signal.SIGKILL
    assert run(environment, artifact, source, broken, *given).returncode == 0
    question = "SELECT position, fdr_selected FROM scores ORDER BY position"
    decided = [sqlite3.connect(path).execute(question).fetchall() for path in (whole, broken)]
    assert decided[0] == decided[1] and len(decided[0]) == 60
    assert {chosen for _, chosen in decided[0]} <= {0, 1}
    cursors = [sqlite3.connect(path).execute("SELECT state FROM cursor").fetchall() for path in (whole, broken)]
    assert cursors[0] == cursors[1] and json.loads(cursors[0][0][0])["fdr"]["seen"] == 60


def test_a_database_of_an_earlier_release_gains_the_new_column(artifact, calibrated, environment, tmp_path):
    make_queue(tmp_path / "q.db", lines(5))
    source, output = f"sqlite:{tmp_path / 'q.db'}", tmp_path / "out.db"
    run(environment, artifact, source, output)
    with sqlite3.connect(output) as connection:
        connection.execute("ALTER TABLE scores DROP COLUMN fdr_selected")
    make_queue(tmp_path / "q.db", lines(6, seed=9))
    assert run(environment, calibrated, source, output, "--fdr", "0.9").returncode == 0
    rows = sqlite3.connect(output).execute("SELECT fdr_selected FROM scores ORDER BY position").fetchall()
    assert [row[0] is None for row in rows] == [True] * 5 + [False] * 6
