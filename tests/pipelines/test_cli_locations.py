"""--data of train, describe and augment is what --input of score is: every format, glob, URL and date."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused, sensor_table

TRAIN = ("train", "--name", "pump", "--model", "vae", "--label", "fault", "--dry-run", "--json", "--data")
DESCRIBE = ("data", "describe", "--label", "fault", "--json")
AUGMENT = ("augment", "--label", "fault", "--gate", "off", "--steps", 3, "--rows", 5)
DAY = ("--date", "2026-01-02")


@pytest.fixture
def places(home):
    """One table as gzip, JSON lines, files of a glob, a folder of a date and partitions."""
    frame = sensor_table(120)
    frame.to_csv("data.csv", index=False)
    text = pd.read_csv("data.csv", dtype=str, keep_default_na=False, na_values=[""])
    Path("data.csv.gz").write_bytes(gzip.compress(Path("data.csv").read_bytes()))
    text.to_json("data.jsonl", orient="records", lines=True)
    for name, part in (("a", text.iloc[:60]), ("b", text.iloc[60:])):
        Path("in/2026-01-02").mkdir(parents=True, exist_ok=True)
        part.to_csv(f"in/2026-01-02/{name}.csv", index=False)
        Path(f"parts/half={name}").mkdir(parents=True)
        part.to_csv(f"parts/half={name}/rows.tsv.gz", index=False, sep="\t")
    return home


LOCATIONS = {
    "gzip": ("data.csv.gz",), "JSON lines": ("data.jsonl",), "glob": ("in/*/?.csv",), "URL": ("file://{home}/data.csv",),
    "date": ("in/{date}", *DAY), "partitions": ("parts",),
}  # fmt: skip


@pytest.mark.parametrize("name", list(LOCATIONS))
def test_every_verb_reads_every_location(ganlib, places, name):
    where, *day = LOCATIONS[name]
    where = where.replace("{home}", str(places))
    code, out, err = ganlib(*TRAIN, where, *day)
    plan = json.loads(out)
    assert code == 0 and plan["rows"] == 120 and "20 known anomalies" in plan["rule"], err
    expected = json.loads(ganlib(*TRAIN, "data.csv")[1])
    kinds = {c["column"]: (c["kind"], c["role"]) for c in plan["columns"]}
    assert kinds.items() >= {c["column"]: (c["kind"], c["role"]) for c in expected["columns"]}.items()
    assert ("half" in kinds) == (name == "partitions")
    code, out, err = ganlib(*DESCRIBE, where, *day)
    assert code == 0 and json.loads(out)["rows"] == 120, err
    code, out, err = ganlib(*AUGMENT, "--data", where, "--output", "more.csv", *day)
    made = pd.read_csv("more.csv", dtype=str, keep_default_na=False)
    assert code == 0 and len(made) == 125, err
    real = pd.read_csv("data.csv", dtype=str, keep_default_na=False)
    assert made.iloc[:120][real.columns].equals(real)
    if name in ("gzip", "glob", "URL", "date"):  # as bytes, whatever they were packed in
        lines = Path("data.csv").read_text().splitlines()
        assert Path("more.csv").read_text().splitlines()[1:121] == [f"{line},False" for line in lines[1:]]


def test_a_date_stands_in_output_and_settings_too(ganlib, places):
    Path("job.yaml").write_text("data: {path: 'in/{date}', date: 2026-01-02, label: fault}\n")
    code, _, err = ganlib("augment", "--config", "job.yaml", "--gate", "off", "--steps", 3, "--rows", 5,
                          "--output", "more-{date}.tsv")  # fmt: skip
    assert code == 0 and len(pd.read_csv("more-2026-01-02.tsv", sep="\t")) == 125, err
    code, out, err = ganlib("data", "describe", "--config", "job.yaml", "--write", "s.yaml")
    assert code == 0 and "--data in/2026-01-02 --schema s.yaml" in out, err
    refused(ganlib("data", "describe", "--config", "job.yaml", "--date", "tomorrow"), 2, "'tomorrow' is no day")
    refused(ganlib(*TRAIN, "in/{date}"), 2, "there is no input in/", "did you mean '2026-01-02'")


def test_what_is_trained_from_one_format_scores_another(ganlib, places):
    code, out, err = ganlib("train", "--name", "pump", "--model", "vae", "--label", "fault", "--steps", 20, "--json",
                            "--data", "data.jsonl")  # fmt: skip
    assert code == 0, err
    model, alarms = json.loads(out)["artifact"], []
    for at, where in enumerate(("data.jsonl", "data.csv.gz", "in/*/*.csv", "parts")):
        code, out, err = ganlib("score", "--model", model, "--input", where, "--output", f"out{at}", "--json")
        assert code == 0 and json.loads(out)["rows"] == 120, err
        parts = [pd.read_parquet(path) for path in sorted(Path(f"out{at}").glob("part-*"))]
        alarms.append(pd.concat(parts)["anomaly_score"].to_numpy())
    for other in alarms[1:]:
        np.testing.assert_array_equal(alarms[0], other)


def _write(name, content):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


WRONG = {
    "absent": (lambda: "dta.csv.gz", 2, ("there is no input dta.csv.gz", "did you mean 'data.csv'")),
    "no match": (lambda: "in/*.parquet", 2, ("no file matches in/*.parquet",)),
    "no table": (lambda: _write("x.xlsx", "PK"), 2, ("does not have the name of a table", ".jsonl")),
    "no data": (lambda: _write("none/x.xlsx", "PK")[:4], 4, ("none holds no data file",)),
    "no extra": (lambda: "s3://bucket/x.csv", 2, ("s3:// needs an extra: pip install 'ganlib[s3]'",)),
    "separator": (lambda: _write("x.csv", "a;fault\n1;2\n"), 4, ("x.csv looks separated by ';'", "commas")),
    "names": (lambda: _write("x.csv", "a,fault,a\n1,0,2\n"), 4, ("x.csv: column names must be unique", "'a'")),
    "short row": (lambda: _write("x.csv", "a,fault\n1,0\n2\n"), 4, ("x.csv, line 3: has 1 value",)),
    "open quote": (lambda: _write("x.csv", 'a,fault\n1,"0\n2,1\n'), 4, ("x.csv: a quote in the row of line 2",)),
    "latin-1": (lambda: _write("x.tsv", b"a\tfault\nK\xf6ln\t0\n"), 4, ("x.tsv is not UTF-8: byte 9", "line 2")),
    "empty": (lambda: _write("x.jsonl", ""), 4, ("x.jsonl is empty",)),
    "no JSON": (lambda: _write("x.jsonl", '{"a": 1, "fault": 0}\n{"a"\n'), 4, ("x.jsonl, line 2: is not JSON",)),
    "differing": (
        lambda: _write("d/1.csv", "a,fault\n1,0\n") and _write("d/2.jsonl", '{"a": 1, "falt": 0}')[:1],
        4, ("d/2.jsonl and d/1.csv differ in their columns: 'falt', 'fault'",),
    ),
    "cut": (lambda: _write("x.csv.gz", gzip.compress(b"a,fault\n" + b"1,0\n" * 99)[:-9]), 4, ("x.csv.gz cannot be",)),
    "broken": (lambda: _write("x.parquet", "PAR1 nonsense"), 4, ("x.parquet is not a readable Parquet file",)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_data_is_one_line_in_every_verb(ganlib, places, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "s3fs", None)  # not installed
    make, code, words = WRONG[name]
    where = make()
    before = sorted(places.rglob("*"))
    refused(ganlib(*TRAIN, where), code, *words)
    refused(ganlib(*DESCRIBE, where), code, *words)
    refused(ganlib(*AUGMENT, "--data", where, "--output", "more.csv"), code, *words)
    assert sorted(places.rglob("*")) == before


def test_the_output_is_never_what_is_read(ganlib, places):
    before = {path: path.read_bytes() for path in places.rglob("*.csv")}
    for where, output, words in [
        ("in/*/?.csv", "in/2026-01-02/a.csv", "is the input"),
        ("in/*/?.csv", "in/2026-01-02/c.csv", "would be read as data by in/*/?.csv"),
        ("in/**/*.csv", "in/more.csv", "would be read as data"),
        ("i?", "in/2026-01-02/more.csv", "lies in the folder that is read"),
        (f"file://{places}/data.csv", "data.csv", "is the input"),
        (f"file://{places}/in", "in/more.csv", "lies in the folder"),
        ("data.csv", "s3://bucket/more.csv", "a path on this machine, not a URL"),
    ]:
        refused(ganlib(*AUGMENT, "--data", where, "--output", output), 2, words)
    assert {path: path.read_bytes() for path in places.rglob("*.csv")} == before
    assert ganlib(*AUGMENT, "--data", "in/*/?.csv", "--output", "in/more.csv")[0] == 0


def test_real_rows_that_changed_while_the_model_learned_are_not_written(ganlib, places, monkeypatch):
    from pipelines.steps import augmentation

    learn = augmentation._augmenter

    def changing(*arguments, **options):
        with Path("in/2026-01-02/b.csv").open("a") as file:
            file.write("\n")
        return learn(*arguments, **options)

    monkeypatch.setattr(augmentation, "_augmenter", changing)
    refused(ganlib(*AUGMENT, "--data", "in/2026-01-02", "--output", "more.csv"), 4, "changed while the job ran")
    assert not Path("more.csv").exists()
