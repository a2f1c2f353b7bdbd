"""Files, folders, globs and URLs of every format give the same rows, whole or in ranges."""

import bz2
import gzip
import json
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving_data import table
from test_batch import run

from serving.batch import open_scores, score_batch
from serving.errors import DataError, UsageError
from serving.inputs import Reading, list_inputs, place_date
from serving.inputs.listing import partition_keys
from serving.verify import verify


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}
WRITE = {
    ".csv": lambda f: f.to_csv(index=False),
    ".tsv": lambda f: f.to_csv(index=False, sep="\t"),
    ".jsonl": lambda f: f.to_json(orient="records", lines=True, date_format="iso", double_precision=15),
}
TEXTS = [ending + packed for ending in WRITE for packed in PACK]


def write(frame, folder, ending):
    path = folder / f"rows{ending}"
    if ending == ".parquet":
        frame.to_parquet(path, row_group_size=700)
    else:
        text, _, packed = ending[1:].partition(".")
        path.write_bytes(PACK["." + packed if packed else ""](WRITE["." + text](frame).encode()))
    return path


def awkward(rows=5000):
    """Texts with separators, quotes, line breaks and nothing in them."""
    words = ["plain", 'say "x"', "a,b", "a\tb", "two\nlines", "two\r\nlines", "\n", "", "ä€😀", "nan", "007", '"']
    return pd.DataFrame({"n": np.arange(rows), "text": [words[i % len(words)] for i in range(rows)]})


def read(source, *arguments):
    return pa.concat_tables(source.tables(*arguments)).to_pandas()


@pytest.mark.parametrize("ending", [*TEXTS, ".parquet"])
def test_each_format_gives_its_rows_in_any_ranges(tmp_path, monkeypatch, ending):
    for module in ("delimited", "jsonlines", "parquet"):
        monkeypatch.setattr(f"serving.inputs.{module}.ROWS", 64)
    monkeypatch.setattr("serving.inputs.delimited._BLOCK", 2000)
    frame = awkward()
    (source,) = list_inputs(write(frame, tmp_path, ending))
    assert source.names() == ["n", "text"] and source.count() == 5000
    whole = read(source)
    assert whole["text"].tolist() == frame["text"].tolist()
    assert whole["n"].tolist() == (frame["n"] if ending == ".parquet" else frame["n"].astype(str)).tolist()
    reading = Reading()
    for start, stop in [(0, 700), (700, 777), (777, 2000), (3000, 3001), (10, 20), (20, None), (4999, 5000), (6, 6)]:
        pieces = list(reading.pieces(source, ["n"], start, stop))
        rows = np.concatenate([piece.rows() for piece in pieces]) if pieces else np.arange(0)
        found = [int(v) for piece in pieces for v in piece.table["n"].to_pylist()]
        assert rows.tolist() == found == list(range(start, 5000 if stop is None else stop))


@pytest.mark.parametrize("ending", [*TEXTS, ".parquet"])
def test_each_format_is_scored_alike(artifact, tmp_path, ending):
    frame = table(300, 5)
    source = write(frame, tmp_path, ending)
    score_batch(artifact, source, tmp_path / "out")
    score_batch(artifact, write(frame, tmp_path, ".parquet"), tmp_path / "same")
    scores, same = open_scores(tmp_path / "out"), open_scores(tmp_path / "same")
    np.testing.assert_allclose(scores["anomaly_score"], same["anomaly_score"], rtol=1e-5)
    assert scores["source"][0].as_py() == source.name and verify(tmp_path / "out")["rows"] == 300


def test_lines_that_break_keep_the_rows_of_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.inputs.delimited._BLOCK", 1000)
    monkeypatch.setattr("serving.inputs.delimited.ROWS", 7)
    rng = np.random.default_rng(0)
    bad = {0, 1, 1999, *map(int, rng.integers(0, 2000, 200))}
    lines = [f'{i},"x\n{i}"' if i not in bad else str(i) for i in range(2000)]
    (tmp_path / "x.csv").write_text("n,text\n" + "\n".join(lines) + "\n\n")
    (source,) = list_inputs(tmp_path / "x.csv")
    assert source.count() == 2000
    for start, stop in [(0, None), (1, 2), (500, 700), (1990, 2000)]:
        pieces = list(source.pieces(["n"], start, stop))
        end = 2000 if stop is None else stop
        assert {b.row for p in pieces for b in p.broken} == {b for b in bad if start <= b < end}
        assert all(int(b.raw) == b.row for p in pieces for b in p.broken)
        good = [i for i in range(start, end) if i not in bad]
        assert [int(v) for p in pieces for v in p.table["n"].to_pylist()] == good
        assert [int(v) for p in pieces for v in p.rows()] == good
    with pytest.raises(DataError, match="line 2: has 1 value, where the header has 2; fix it"):
        list(source.tables())


def test_json_values_are_written_as_categories_are(artifact, tmp_path):
    good = {"amount": 1, "count": 2, "flag": True, "kind": "a", "when": "2026-01-01"}
    lines = [
        good,
        good | {"kind": 3.0, "amount": "1.5"},
        good | {"amount": None, "extra": [1]},
        good | {"amount": True},
        good | {"kind": ["a"]},
        {k: v for k, v in good.items() if k != "count"},
        good | {"when": 5},
        good | {"kind": "\ud800"},
        5,
    ]
    text = "\n".join(map(json.dumps, lines)) + '\n\n{"cut": \n' + json.dumps(good).replace("1,", "NaN,", 1)
    (tmp_path / "x.jsonl").write_text(text)
    (source,) = list_inputs(tmp_path / "x.jsonl")
    assert source.names()[-1] == "extra" and source.count() == 11
    score_batch(artifact, tmp_path / "x.jsonl", tmp_path / "out", max_bad_share=1.0, keep=["kind"])
    assert open_scores(tmp_path / "out")["source_row"].to_pylist() == [0, 1, 2, 10]
    assert open_scores(tmp_path / "out")["kind"].to_pylist() == ["a", "3", "a", "a"]
    dead = [json.loads(line) for line in next((tmp_path / "out" / "_dead").iterdir()).open()]
    assert [(d["source_row"], d["column"]) for d in dead] == [
        (4, "kind"), (5, "count"), (7, "kind"), (8, ""), (9, ""), (3, "amount"), (6, "when")
    ]  # fmt: skip
    assert "missing column: 'count'" in dead[1]["reason"] and "not JSON" in dead[4]["reason"]


def test_units_are_small_and_each_process_reads_its_own(artifact, tmp_path, environment, monkeypatch):
    frame = pd.concat([table(600, seed) for seed in range(500)])
    frame.to_csv(tmp_path / "rows.csv.gz", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    arguments = ("score", "--model", artifact, "--workers", "2", "--json")
    found = {}
    for name in ("rows.csv.gz", "rows.parquet"):
        done = run(environment, *arguments, "--input", tmp_path / name, "--output", tmp_path / f"out-{name}")
        assert json.loads(done.stdout)["units"] == 3, done.stderr
        assert verify(tmp_path / f"out-{name}")["rows"] == 300_000
        found[name] = open_scores(tmp_path / f"out-{name}")["anomaly_score"].to_numpy()
    np.testing.assert_allclose(*found.values(), rtol=1e-5)


def test_files_are_counted_once(artifact, tmp_path, monkeypatch):
    table(50).to_csv(tmp_path / "x.csv", index=False)
    score_batch(artifact, tmp_path / "x.csv", tmp_path / "out")
    monkeypatch.setattr("serving.inputs.delimited.count", lambda _: 1 / 0)
    assert score_batch(artifact, tmp_path / "x.csv", tmp_path / "out").skipped == 1


def tree(folder):
    for day in ("2026-01-01", "2026-01-02"):
        for shift in ("early", "late"):
            place = folder / f"day={day}" / f"shift={shift}"
            place.mkdir(parents=True)
            table(10).drop(columns="kind").to_parquet(place / "part-0.parquet")
    (folder / "_temporary").mkdir()
    table(3).to_parquet(folder / "_temporary" / "x.parquet")
    table(3).to_parquet(folder / ".hidden.parquet")
    (folder / "_SUCCESS").write_bytes(b"")
    (folder / "notes.txt").write_text("no data")
    return folder


def test_partitions_are_columns(artifact, tmp_path):
    source = tree(tmp_path / "in")
    for path in source.rglob("part-0.parquet"):
        path.rename(path.with_name("rows.parquet"))
    with pytest.raises(DataError, match="1 column is missing: 'kind'"):
        score_batch(artifact, source, tmp_path / "out")
    for shift in ("a", "b"):
        for place in source.glob(f"day=*/shift={'early' if shift == 'a' else 'late'}"):
            place.rename(place.with_name(f"kind={shift}"))
    score_batch(artifact, source, tmp_path / "out", keep=["day", "kind"])
    scores = pd.read_parquet(tmp_path / "out")
    assert scores["day"].value_counts().to_dict() == {"2026-01-01": 20, "2026-01-02": 20}
    assert scores.groupby("kind")["source"].nunique().to_dict() == {"a": 2, "b": 2}
    one = list_inputs(source / "day=2026-01-02" / "kind=b")
    assert read(one[0], ["kind", "day", "count"]).iloc[0, :2].tolist() == ["b", "2026-01-02"]
    assert partition_keys("a=b%20c/=x/d=__HIVE_DEFAULT_PARTITION__/f=1.csv") == (("a", "b c"), ("d", None))


@pytest.mark.parametrize("ending", [".csv", ".jsonl.gz", ".parquet"])
def test_a_model_may_read_a_partition_key_in_every_format(artifact, tmp_path, ending):
    for kind in ("a", "b"):
        (tmp_path / "in" / f"kind={kind}").mkdir(parents=True)
        write(table(10).drop(columns="kind"), tmp_path / "in" / f"kind={kind}", ending)
    done = score_batch(artifact, tmp_path / "in", tmp_path / "out")
    assert (done.rows, done.dead) == (20, 0)


def test_a_column_of_the_file_wins_over_its_folder(tmp_path):
    place = tmp_path / "kind=folder"
    place.mkdir()
    table(3).to_parquet(place / "x.parquet")
    (source,) = list_inputs(tmp_path)
    assert source.names().count("kind") == 1 and set(read(source)["kind"]) <= {"a", "b", "c"}


def test_globs_and_dates(artifact, tmp_path, environment):
    for day in (1, 2):
        (tmp_path / f"in-2026-01-0{day}").mkdir()
        table(10 * day).to_csv(tmp_path / f"in-2026-01-0{day}" / "x.csv", index=False)
    names = [s.name for s in list_inputs(f"{tmp_path}/in-*/*.csv")]
    assert names == ["in-2026-01-01/x.csv", "in-2026-01-02/x.csv"]
    assert [s.name for s in list_inputs(f"{tmp_path}/**/x.csv")] == names
    assert [s.name for s in list_inputs(f"{tmp_path}/in-*")] == names
    with pytest.raises(UsageError, match="no file matches"):
        list_inputs(f"{tmp_path}/*.parquet")
    arguments = ("score", "--model", artifact, "--input", tmp_path / "in-{date}", "--output", tmp_path / "out-{date}")
    done = run(environment, *arguments, "--date", "2026-01-02")
    assert done.returncode == 0 and verify(tmp_path / "out-2026-01-02")["rows"] == 20
    assert run(environment, *arguments, "--date", "yesterday").returncode == 2
    assert run(environment, *arguments).returncode == 2  # nothing for today
    assert place_date("x", None) == "x" and len(place_date("{date}", None)) == 10


def test_names_with_the_signs_of_a_glob_are_names_if_they_exist(tmp_path):
    table(3).to_csv(tmp_path / "x[1].csv", index=False)
    assert [s.name for s in list_inputs(tmp_path / "x[1].csv")] == ["x[1].csv"]


@pytest.fixture
def store():
    """fsspec's store in memory, with a folder and a compressed file."""
    import fsspec

    fs = fsspec.filesystem("memory")
    frame = table(40, 3)
    fs.makedirs("/bucket/day=2026-01-01")
    with fs.open("/bucket/day=2026-01-01/a.parquet", "wb") as file:
        frame.to_parquet(file)
    fs.pipe("/bucket/b.csv.gz", gzip.compress(frame.to_csv(index=False).encode()))
    fs.pipe("/bucket/_manifest.json", b"{}")
    yield "memory://bucket"
    fs.rm("/bucket", recursive=True)


def test_urls_are_read_like_paths(artifact, store, tmp_path):
    assert [s.name for s in list_inputs(store)] == ["b.csv.gz", "day=2026-01-01/a.parquet"]
    assert [s.name for s in list_inputs(f"{store}/*.gz")] == ["b.csv.gz"]
    assert [s.name for s in list_inputs(f"{store}/b.csv.gz")] == ["b.csv.gz"]
    summary = score_batch(artifact, store, tmp_path / "out")
    scores = open_scores(tmp_path / "out").to_pandas().groupby("source")["anomaly_score"].apply(list)
    assert summary.rows == 80 and np.allclose(scores["b.csv.gz"], scores["day=2026-01-01/a.parquet"], rtol=1e-5)
    assert score_batch(artifact, store, tmp_path / "out").units == 0
    import fsspec

    fsspec.filesystem("memory").pipe("/bucket/b.csv.gz", gzip.compress(table(7).to_csv(index=False).encode()))
    again = score_batch(artifact, store, tmp_path / "out")
    assert (again.rows, again.units) == (47, 1)


def test_a_file_url_is_a_path(artifact, tmp_path):
    table(5).to_csv(tmp_path / "x.csv", index=False)
    assert score_batch(artifact, f"file://{tmp_path}/x.csv", tmp_path / "out").rows == 5


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("s3://bucket/x.parquet", r"s3:// needs an extra: pip install 'ganlib\[s3\]'"),
        ("gs://bucket/x.parquet", r"gs:// needs an extra: pip install 'ganlib\[gcs\]'"),
        ("nowhere://bucket/x", "nowhere://bucket/x: Protocol not known.*use a path, s3://, gs:// or file://"),
        ("memory://nothing/here.csv", "there is no input memory://nothing/here.csv"),
        ("memory://nothing/*.csv", "no file matches"),
    ],
)
def test_places_that_cannot_be_read_are_one_line(tmp_path, location, words, monkeypatch):
    import sys

    for name in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, name, None)  # not installed
    with pytest.raises(UsageError, match=words):
        list_inputs(location)


def test_without_fsspec_the_extra_is_named(artifact, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UsageError, match=r"memory:// needs an extra: pip install 'ganlib\[remote\]'"):
        list_inputs("memory://x")
    with pytest.raises(UsageError, match="--output memory://out is a URL"):
        score_batch(artifact, tmp_path, "memory://out")


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("x.xlsx", b"PK", UsageError, "does not have the name of a table; give a file ending in .parquet"),
        ("x.csv", b"a;b\n1;2\n", DataError, "looks separated by ';': save it with commas"),
        ("x.tsv", b"a,b\n1,2\n", DataError, "looks separated by commas: save it with tabs, or name it .csv"),
        ("x.csv", b'a,a\n"1",2\n', DataError, "twice: 'a'"),
        ("x.csv.zst", b"nonsense", DataError, "x.csv.zst cannot be read"),
        (
            "x.csv",
            b'amount,count,flag,kind,when\n1,2,true,a,\n1,2,true,"b,\n1,2,true,c,\n',
            DataError,
            "a quote in the row of line 3 is never closed",
        ),
        ("x.csv", b"amount,count,flag,kind,when\n1,2,true,\xff,\n", DataError, "is not UTF-8"),
        ("x.jsonl", b'{"amount": "\xff"}\n', DataError, "is not UTF-8"),
        ("x.parquet", b"PAR1 nonsense", DataError, "not a readable Parquet file"),
    ],
)
def test_files_that_cannot_be_read_are_one_line(artifact, tmp_path, name, content, error, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=words):
        score_batch(artifact, tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("part-*"))


def test_a_folder_of_other_files_is_rejected(tmp_path):
    (tmp_path / "x.xlsx").write_bytes(b"PK")
    with pytest.raises(DataError, match="holds no data file; data files end in"):
        list_inputs(tmp_path)


def test_a_file_that_changes_while_it_is_scored_is_found(artifact, tmp_path, monkeypatch):
    table(50).to_csv(tmp_path / "x.csv", index=False)
    monkeypatch.setattr("serving.inputs.delimited.count", lambda _: 60)
    with pytest.raises(DataError, match="was changed while it was scored"):
        score_batch(artifact, tmp_path / "x.csv", tmp_path / "out")


def test_progress_is_quiet_then_a_line_a_minute(capsys, monkeypatch):
    from serving import progress

    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.Progress(1000) as shown:
        for _ in range(100):
            now[0] += 1.5
            shown.advance(10)
    assert capsys.readouterr().err.splitlines() == ["400 of 1,000 rows scored (40%)", "800 of 1,000 rows scored (80%)"]


def test_wide_numbers_survive_text(tmp_path):
    values = [2**53 + 1, -(2**63), 0.1, 1e-320, 1.7e308]
    (tmp_path / "x.jsonl").write_text("\n".join(json.dumps({"n": v}) for v in values))
    read_back = read(list_inputs(tmp_path / "x.jsonl")[0])["n"].tolist()
    assert [type(v)(t) for v, t in zip(values, read_back, strict=True)] == values and math.isfinite(float(read_back[4]))
    pq.write_table(pa.table({"n": pa.array(values[:2])}), tmp_path / "x.parquet")
    assert read(list_inputs(tmp_path / "x.parquet")[0])["n"].tolist() == values[:2]
