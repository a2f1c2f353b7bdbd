"""Where scores may be written and what may be read: refusals come early, say the fix, and leave nothing behind."""

import errno
import os
import sqlite3

import pytest
from serving_data import table

from serving.artifact import load_artifact
from serving.batch import open_scores, score_batch
from serving.errors import DataError, TemporaryError, UsageError
from serving.files import disk_errors
from serving.stream import run_stream
from serving.verify import verify

HEADER = "amount,count,flag,kind,when\n"


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.csv"
    table(20, 1).to_csv(path, index=False)
    return path


@pytest.fixture
def records(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text(table(20, 1).to_json(orient="records", date_format="iso", lines=True))
    return path


def test_a_folder_with_files_of_others_is_refused(artifact, rows, tmp_path):
    mine = tmp_path / "mine"
    (mine / "parts").mkdir(parents=True)
    (mine / "parts" / "engine.txt").write_text("x")
    with pytest.raises(UsageError, match="holds 'parts'.*empty or a new folder"):
        score_batch(artifact, rows, mine)
    (mine / "parts" / "engine.txt").rename(mine / "manifest.json")
    with pytest.raises(UsageError, match=r"holds 'manifest.json'"):
        score_batch(artifact, rows, mine)
    assert sorted(p.name for p in mine.iterdir()) == ["manifest.json", "parts"]


def test_an_empty_folder_and_our_own_leftovers_are_taken(artifact, rows, tmp_path):
    out = tmp_path / "out"
    for place in ("parts", "_commits", "_scored", "_dead"):
        (out / place).mkdir(parents=True)
    (out / "_lease.json").write_text('{"host": "elsewhere", "pid": 1, "started": 0}')
    os.utime(out / "_lease.json", (0, 0))
    (out / ".tmp-_plan.json-1").write_text("{")
    assert score_batch(artifact, rows, out).rows == 20 and verify(out)["rows"] == 20


def test_scores_are_no_input(artifact, rows, tmp_path):
    out = tmp_path / "data" / "out"
    score_batch(artifact, rows, out)
    table(5).to_parquet(tmp_path / "data" / "more.parquet")
    for source in (out, f"{out}/*.parquet", tmp_path / "data", next(out.glob("part-*"))):
        with pytest.raises(DataError, match=r"data/out is the output of a scoring run.*--input"):
            score_batch(artifact, source, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    (tmp_path / "inbox").mkdir()
    table(5).to_parquet(tmp_path / "inbox" / "a.parquet")
    with pytest.raises(UsageError, match="lies in --input"):
        score_batch(artifact, tmp_path / "inbox", tmp_path / "inbox" / "out")


@pytest.mark.parametrize("where", ["/proc/scores", "rows.csv", "rows.csv/scores"])
def test_a_place_where_nothing_can_be_written_is_a_wrong_choice(artifact, rows, tmp_path, where):
    place = tmp_path / where
    with pytest.raises(UsageError, match=r"cannot write in .*(No such|Not a dir).*choose another --output"):
        score_batch(artifact, rows, place)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_read_only_places_are_a_wrong_choice(artifact, rows, records, tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(type(tmp_path), "mkdir", refuse)
        with pytest.raises(UsageError, match=f"cannot write in .*out .{os.strerror(number)}.; choose another --output"):
            score_batch(artifact, rows, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("serving.sinks.state.os.open", refuse)
        with pytest.raises(UsageError, match=f"cannot write .*lease .{os.strerror(number)}.; choose another --output"):
            run_stream(artifact, str(records), tmp_path / "s.db")
    assert not (tmp_path / "s.db").exists()


def test_what_sqlite_says_of_a_place_is_said_by_exit_code(tmp_path):
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t(a)")
    with pytest.raises(UsageError, match="readonly"), disk_errors(str(path)):
        sqlite3.connect(f"file:{path}?mode=ro", uri=True).execute("INSERT INTO t VALUES (1)")
    with pytest.raises(UsageError, match="unable to open"), disk_errors(str(tmp_path)):
        sqlite3.connect(tmp_path)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TemporaryError, match="locked"), disk_errors(str(path)):
        sqlite3.connect(path, timeout=0).execute("INSERT INTO t VALUES (1)")
    holder.close()
    with pytest.raises(sqlite3.OperationalError, match="no such table"), disk_errors(str(path)):
        sqlite3.connect(path).execute("SELECT * FROM nowhere")


class TinyDatabase(sqlite3.Connection):
    """SQLite with room for one page: its own 'database or disk is full'."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.execute("PRAGMA max_page_count = 1")


@pytest.mark.parametrize("name", ["s.db", "s.jsonl"])
def test_a_disk_that_is_full_when_a_stream_opens_is_temporary(artifact, records, tmp_path, monkeypatch, name):
    out, connect = tmp_path / "out", sqlite3.connect
    out.mkdir()
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=TinyDatabase))
    with pytest.raises(TemporaryError, match=r"no space left .*free some space and run again"):
        run_stream(artifact, str(records), out / name)
    assert not list(out.iterdir())


def test_a_file_of_somebody_is_never_cut_for_json_lines(artifact, records, tmp_path):
    before = records.read_bytes()
    with pytest.raises(UsageError, match="was not written by a stream"):
        run_stream(artifact, str(records), records)
    assert records.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [records.name]


def bad_inputs(folder):
    (folder / "plain.db").write_text("no database, but long enough to be one" * 40)
    with sqlite3.connect(folder / "columns.db") as db:
        db.execute("CREATE TABLE queue(id INTEGER PRIMARY KEY, payload TEXT)")
    (folder / "in.csv").write_text(HEADER + "1,2,true,a,2026-01-01\n")
    (folder / "semi.txt").write_text("\n" + HEADER.replace(",", ";") + "1;2;true;a;2026-01-01\n")
    table(5).to_parquet(folder / "in.parquet")
    (folder / "folder").mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "refusal", "words"),
    [
        ("sqlite:plain.db", DataError, "plain.db cannot be read as a SQLite queue .*name a database"),
        ("sqlite:columns.db", DataError, "has no column 'body'; create it as"),
        ("sqlite:folder", UsageError, "no queue"),
        ("absent.jsonl", UsageError, "no input"),
        ("folder", UsageError, "is a folder"),
        ("in.csv", DataError, "looks like CSV .*use `score`"),
        ("semi.txt", DataError, "looks like CSV .*use `score`"),
        ("in.parquet", DataError, "looks like CSV or Parquet"),
    ],
)
@pytest.mark.parametrize("output", ["s.db", "s.jsonl"])
def test_a_bad_input_of_a_stream_is_refused_before_there_is_an_output(
    artifact, tmp_path, name, refusal, words, output
):  # fmt: skip
    folder = bad_inputs(tmp_path)
    before = sorted(folder.iterdir())
    scheme, _, path = name.rpartition(":")
    with pytest.raises(refusal, match=words):
        run_stream(artifact, scheme + ":" * bool(scheme) + str(folder / path), folder / output)
    assert sorted(folder.iterdir()) == before


def test_one_broken_record_at_the_top_makes_no_csv(artifact, records, tmp_path, capsys):
    records.write_text('1, "cut": 2}\n' + records.read_text())
    assert run_stream(artifact, str(records), tmp_path / "s.db") == 0
    said = capsys.readouterr()
    assert "20 scored" in said.out and "1 dead letter:" in said.out and "warning" not in said.err


def test_a_run_that_scored_nothing_warns(artifact, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text('{"amount": 1}\n{}\n')
    assert run_stream(artifact, str(tmp_path / "in.jsonl"), tmp_path / "s.db") == 0
    assert "warning: every record was rejected; first reason: missing columns: 'count'" in capsys.readouterr().err


@pytest.mark.parametrize(("mark", "said"), [(";", "';'"), ("\t", "tabs"), ("|", r"'\|'")])
def test_other_separators_are_named(artifact, tmp_path, mark, said):
    path = tmp_path / "semi.csv"
    path.write_text(HEADER.replace(",", mark) * 100)
    with pytest.raises(DataError, match=f"looks separated by {said}: save it with commas") as refused:
        score_batch(artifact, path, tmp_path / "out")
    assert len(str(refused.value)) < 300


def test_long_lists_of_columns_are_cut(artifact):
    from serving.scorer import Scorer

    adapter = Scorer(load_artifact(artifact)).reader
    adapter.adapter.columns = [{**adapter.adapter.columns[0], "name": f"c{i}" * 50} for i in range(60)]
    with pytest.raises(DataError, match=r"60 columns are missing: .* and 50 more; the data has .* and 90 more") as long:
        adapter.check_columns([f"d{i}" for i in range(100)])
    assert len(str(long.value)) < 1000 and "and 50 more" in adapter.check_row({})
    adapter.adapter.columns = adapter.adapter.columns[:1]
    with pytest.raises(DataError, match="1 column is missing"):
        adapter.check_columns(["d"])


def test_a_registered_name_without_its_scheme_is_told_the_scheme():
    for name in ("biopsy", "biopsy@champion"):
        with pytest.raises(UsageError, match=r"registered model is models:/biopsy@champion$"):
            load_artifact(name)
    with pytest.raises(UsageError, match="export`$"):
        load_artifact("biopsy.onnx")


def test_a_failed_run_gives_way_to_the_mended_input(artifact, rows, tmp_path):
    good = rows.read_text()
    rows.write_text(good.replace("True", "perhaps", 1))
    for _ in range(2):
        with pytest.raises(DataError, match=r"rows.csv: column 'flag', row \d+: 'perhaps'"):
            score_batch(artifact, rows, tmp_path / "out", bad_rows="stop")
    rows.write_text(good)
    assert score_batch(artifact, rows, tmp_path / "out").rows == 20 and verify(tmp_path / "out")["rows"] == 20
    rows.write_text(good + good.splitlines()[1] + "\n")
    assert score_batch(artifact, rows, tmp_path / "out").rows == 21 and verify(tmp_path / "out")["rows"] == 21


def test_rows_are_counted_from_the_start_of_the_file(artifact, tmp_path):
    frame = table(90, 1)
    frame["kind"] = frame["flag"].map(str)
    frame["flag"] = ["perhaps" if i == 70 else "true" for i in range(90)]
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=30)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("serving.plan.ROWS_PER_UNIT", 30)
        patch.setattr("serving.inputs.parquet.ROWS", 10)
        with pytest.raises(DataError, match=r"x.parquet: column 'flag', row 70: 'perhaps'"):
            score_batch(artifact, tmp_path / "x.parquet", tmp_path / "out", bad_rows="stop")


@pytest.mark.parametrize("stopped", [False, True])
def test_a_false_discovery_rate_is_decided_anew_for_new_input(artifact, rows, tmp_path, monkeypatch, stopped):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    rows.rename(data / "a.csv")
    score_batch(artifact, data, out, fdr=0.4)
    table(30, 4).assign(amount=1e4, count=900).to_parquet(data / "odd.parquet")
    if stopped:  # when the old run is cleared, before the new plan is written
        with monkeypatch.context() as patch:
            patch.setattr("serving.adopt.write_checked", lambda *_, **__: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                score_batch(artifact, data, out, fdr=0.4, new_run=True)
        assert score_batch(artifact, data, out, fdr=0.4).rows == 50
    else:
        assert score_batch(artifact, data, out, fdr=0.4, new_run=True).rows == 50
    assert verify(out)["rows"] == 50
    score_batch(artifact, data, tmp_path / "fresh", fdr=0.4)
    chosen = [open_scores(folder)["fdr_selected"].to_pylist() for folder in (out, tmp_path / "fresh")]
    assert chosen[0] == chosen[1] and sum(chosen[0]) >= 30


def test_a_plan_that_cannot_be_read_is_replaced_on_request(artifact, rows, tmp_path):
    out = tmp_path / "out"
    score_batch(artifact, rows, out)
    (out / "_plan.json").write_text("{")
    with pytest.raises(DataError, match="--new-run"):
        score_batch(artifact, rows, out)
    assert score_batch(artifact, rows, out, new_run=True).units == 1 and verify(out)["rows"] == 20


def test_a_finished_run_says_that_nothing_was_left(artifact, rows, tmp_path, capsys):
    first = score_batch(artifact, rows, tmp_path / "out")
    assert "already complete" not in capsys.readouterr().err
    again = score_batch(artifact, rows, tmp_path / "out")
    said = capsys.readouterr()
    assert "already complete: nothing was left to do" in said.err and not said.out
    assert again.line() == first.line()


def test_one_is_singular(artifact, tmp_path):
    from serving.verify import line

    table(1).to_csv(tmp_path / "one.csv", index=False)
    summary = score_batch(artifact, tmp_path / "one.csv", tmp_path / "out", alpha=0.5)
    assert summary.line().startswith("1 row scored, ")
    assert line(verify(tmp_path / "out")) == "1 row in 1 part: each exactly once"
