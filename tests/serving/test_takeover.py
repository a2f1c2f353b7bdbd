"""Whoever is paused, wherever: one run commits each unit, the other ends with 75, and the folder is sound."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from serving_data import pictures, table

from serving.batch import open_scores, score_batch
from serving.errors import DataError, TemporaryError
from serving.verify import verify

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path):
    """Two files of two units each, one with a dead letter."""
    folder = tmp_path / "input"
    folder.mkdir()
    frame = table(40, 1)
    frame["flag"] = frame["flag"].map(str)
    frame.loc[7, "flag"] = "perhaps"
    frame.to_csv(folder / "a.csv", index=False)
    table(40, 2).to_parquet(folder / "b.parquet")
    return folder


@pytest.fixture(autouse=True)
def small_units(monkeypatch):
    monkeypatch.setattr("serving.plan.ROWS_PER_UNIT", 20)
    monkeypatch.setattr("serving.lease.IMPATIENCE", 0.1)


@pytest.fixture
def at(monkeypatch):
    """``at(point, act)``: a run of this process calls ``act`` once, where it would be killed."""

    def arrange(point, act):
        def once(*_):
            monkeypatch.delenv("GANLIB_CRASH_AT")
            act()

        monkeypatch.setenv("GANLIB_CRASH_AT", point)
        monkeypatch.setattr("serving.crash._passed", {})
        monkeypatch.setattr("serving.crash.os", SimpleNamespace(environ=os.environ, kill=once, getpid=os.getpid))

    return arrange


def seem_gone(folder):
    """Make the holder of a lease look like one on another machine that has not been heard of for long."""
    path = folder / "_lease.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere", "machine": "elsewhere"}))
    os.utime(path, (0, 0))


def state(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


FREE = ["lease_taken", "unit_scored", "unit_scored:3", "input_checked", "unit_committed", "unit_committed:4",
        "manifest_written"]  # fmt: skip
HELD = ["plan_written", "dead_letters_renamed", "part_renamed", "part_renamed:4"]
SELECTION = ["threshold_written", "unit_selected:2", "unit_selected:4"]


@pytest.mark.parametrize(
    ("point", "fdr"), [(point, None) for point in FREE + HELD] + [(p, 0.4) for p in [*SELECTION, "part_selected:2"]]
)
@pytest.mark.parametrize("locks", [True, False])
def test_a_paused_run_that_was_taken_over_touches_nothing(
    artifact, source, tmp_path, at, monkeypatch, point, fdr, locks
):
    """Also where the file system loses its locks, so that the other takes over in the midst of a commit."""
    out, after = tmp_path / "out", {}
    if not locks:
        monkeypatch.setattr("serving.lease.fcntl.flock", lambda *_: None)
    held = locks and (point in HELD or point.startswith("part_selected"))

    def taken_over():
        seem_gone(out)
        if held:
            with pytest.raises(TemporaryError, match="is locked by another process"):
                score_batch(artifact, source, out, fdr=fdr)
        else:
            assert score_batch(artifact, source, out, fdr=fdr).rows == 79
        after.update(state(out))

    at(point, taken_over)
    if held or point == "manifest_written":
        assert score_batch(artifact, source, out, fdr=fdr).rows == 79
    else:
        with pytest.raises(TemporaryError) as caught:
            score_batch(artifact, source, out, fdr=fdr)
        assert caught.value.exit_code == 75 and "no longer held" in str(caught.value)
    assert after and (held or state(out) == after)
    assert verify(out)["rows"] == 79 and not (out / "_lease.json").exists()
    rows = open_scores(out).select(["source", "source_row"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (name, row) for name in ("a.csv", "b.parquet") for row in range(40) if (name, row) != ("a.csv", 7)
    ]


@pytest.mark.parametrize("point", ["manifest_written", "pictures_written"])
def test_a_page_of_images_is_written_by_the_holder_alone(detectors, tmp_path, at, point):
    """A run that is taken over before its page leaves the page to the other; once it writes, the other has to wait."""
    from PIL import Image

    (tmp_path / "in").mkdir()
    for number, image in enumerate(pictures(20, 3)):
        Image.fromarray(image).save(tmp_path / "in" / f"{number:04}.png")
    out, after = tmp_path / "out", {}

    def score():
        return score_batch(detectors["image"][1], tmp_path / "in", out, explain=True, alpha=0.5).rows

    def taken_over():
        seem_gone(out)
        if point == "pictures_written":
            with pytest.raises(TemporaryError, match="is locked by another process"):
                score()
        else:
            assert score() == 20
            after.update(state(out))

    at(point, taken_over)
    if point == "pictures_written":
        assert score() == 20 and (out / "_gallery" / "index.html").exists()
    else:
        with pytest.raises(TemporaryError, match="no longer held"):
            score()
        assert after and state(out) == after
    assert verify(out)["rows"] == 20


def test_the_successor_is_named_while_it_runs(artifact, source, tmp_path, at):
    out = tmp_path / "out"

    def taken_over():
        (out / "_lease.json").write_text(json.dumps({"host": "elsewhere", "pid": 12, "token": "new"}))

    at("unit_scored", taken_over)
    with pytest.raises(TemporaryError, match=r"out was taken over by process 12 on elsewhere; this run has stopped"):
        score_batch(artifact, source, out)
    assert json.loads((out / "_lease.json").read_text())["token"] == "new"
    assert not list(out.glob("part-*")) and not list(out.glob("_commits/*"))


def test_processes_of_a_run_that_was_taken_over_end_with_it(artifact, source, tmp_path, monkeypatch):
    from serving import batch

    score_units = batch._score_units

    def taken_over(job, *rest):
        (job.folder / "_lease.json").write_text(json.dumps({"host": "elsewhere", "pid": 12, "token": "new"}))
        score_units(job, *rest)

    monkeypatch.setattr(batch, "_score_units", taken_over)
    with pytest.raises(TemporaryError, match="taken over by process 12 on elsewhere"):
        score_batch(artifact, source, tmp_path / "out", workers=2)
    assert not list((tmp_path / "out").glob("_commits/*"))


PAUSED = """
import os, signal, sys
from types import SimpleNamespace
from serving import crash
from serving.__main__ import main
crash.os = SimpleNamespace(environ=os.environ, getpid=os.getpid, kill=lambda pid, _: os.kill(pid, signal.SIGSTOP))
sys.exit(main())
"""


def test_a_process_that_wakes_after_it_was_taken_over_exits_75(artifact, source, tmp_path, environment):
    out = tmp_path / "out"
    arguments = ["score", "--model", str(artifact), "--input", str(source), "--output", str(out)]
    paused = subprocess.Popen([sys.executable, "-c", PAUSED, *arguments], stderr=subprocess.PIPE, text=True,
                              env=environment | {"GANLIB_CRASH_AT": "unit_scored"})  # fmt: skip
    until = time.monotonic() + 60
    while Path(f"/proc/{paused.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < until and paused.poll() is None
        time.sleep(0.05)
    other = [sys.executable, "-m", "serving", *arguments]
    refused = subprocess.run(other, env=environment, capture_output=True, text=True)
    assert refused.returncode == 75 and f"being written by process {paused.pid}" in refused.stderr
    seem_gone(out)
    assert subprocess.run(other, env=environment, capture_output=True).returncode == 0
    after = state(out)
    os.kill(paused.pid, signal.SIGCONT)
    said = paused.communicate(timeout=60)[1]
    assert paused.returncode == 75 and "no longer held by this run" in said and "Traceback" not in said
    assert state(out) == after and verify(out)["rows"] == 79


def rewrite(path):
    """Other content of the same length, some time later."""
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.", b"1.") if path.suffix != ".parquet" else content)
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


CHANGES = {
    "rewritten": rewrite,
    "replaced": lambda path: (path.with_name("new").write_bytes(path.read_bytes()), path.with_name("new").rename(path)),
    "longer": lambda path: path.write_bytes(path.read_bytes() * 2),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", ["a.csv", "b.parquet"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("point", ["lease_taken", "unit_scored:1", "unit_scored:2"])
def test_a_file_that_changes_during_the_run_is_not_scored_under_its_old_identity(
    artifact, source, tmp_path, at, name, change, point
):
    """Neither before its first unit, nor between two of them; what was committed of the old file is scored anew."""
    (other,) = [path for path in source.iterdir() if path.name != name]
    other.rename(tmp_path / other.name)
    at(point, lambda: CHANGES[change](source / name))
    with pytest.raises(DataError, match=r"was changed while it was (scored|planned)|is gone|holds no data file"):
        score_batch(artifact, source, tmp_path / "out")
    assert len(list(tmp_path.glob("out/_commits/*"))) == int(point == "unit_scored:2")
    if change == "gone":
        (tmp_path / other.name).rename(source / other.name)
    if change != "longer":
        assert score_batch(artifact, source, tmp_path / "out").skipped == 0
        assert verify(tmp_path / "out")["rows"] in (39, 40)


def test_files_that_come_during_the_run_are_left_to_the_next(artifact, source, tmp_path, at):
    out = tmp_path / "out"
    at("lease_taken", lambda: table(10, 3).to_parquet(source / "c.parquet"))
    assert score_batch(artifact, source, out).rows == 79
    at("lease_taken", lambda: table(10, 4).to_parquet(source / "d.parquet"))
    assert score_batch(artifact, source, out).rows == 89 and verify(out)["rows"] == 89


def test_an_older_plan_does_not_replace_a_newer_one(artifact, source, tmp_path, monkeypatch):
    """Another run plans later, and is done before this one gets the lease."""
    from serving import batch

    def late(*arguments):
        plan = make_plan(*arguments)
        monkeypatch.setattr(batch, "make_plan", make_plan)
        table(10, 3).to_parquet(source / "c.parquet")
        assert score_batch(artifact, source, tmp_path / "out").rows == 89
        return plan

    make_plan = batch.make_plan
    monkeypatch.setattr(batch, "make_plan", late)
    with pytest.raises(DataError, match="was changed while it was planned"):
        score_batch(artifact, source, tmp_path / "out")
    assert verify(tmp_path / "out")["rows"] == 89


def test_an_object_of_a_store_that_changes_during_the_run_is_found(artifact, tmp_path, at):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/feed/a.csv", table(40, 1).to_csv(index=False).encode())
    try:
        at("unit_scored:2", lambda: memory.pipe("/feed/a.csv", table(40, 2).to_csv(index=False).encode()))
        with pytest.raises(DataError, match="was changed while it was scored"):
            score_batch(artifact, "memory://feed", tmp_path / "out")
        assert score_batch(artifact, "memory://feed", tmp_path / "out").skipped == 0
    finally:
        memory.rm("/feed", recursive=True)


def test_every_crash_point_is_documented_and_tested():
    found = {name for path in (ROOT / "serving").rglob("*.py")
             for name in re.findall(r'(?:crash_point\(|, )"(\w+_\w+)"\)', path.read_text())}  # fmt: skip
    table_of = re.search(r"\| batch \| `([^`]+)` \|", (ROOT / "docs" / "delivery.md").read_text())
    batch = set(table_of[1].split(", "))
    assert batch <= found
    tested = [*FREE, *HELD, *SELECTION, "part_selected", "pictures_written"]
    assert batch == {point.partition(":")[0] for point in tested}
