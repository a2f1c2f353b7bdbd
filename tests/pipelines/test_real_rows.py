"""Real rows leave as they came: byte for byte from CSV, value for value with their types from Parquet."""

from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ganlib.data.read import read_table
from pipelines.real_rows import write_augmented
from serving.inputs import list_inputs

MARK = "_synthetic"
BODIES = {
    "plain": b"zip,n\n00501,3\n07030,\n",
    "Windows": b"zip,n\r\n00501,3\r\n07030,\r\n",
    "byte order mark": b"\xef\xbb\xbfzip,n\n00501,3\n07030,\n",
    "no last line end": b"zip,n\n00501,3\n07030,TRUE",
    "line end in quotes": b'zip,n\n"a\nb","1, ""2"""\n07030,NA\n',
    "Windows line end in quotes": b'zip,n\r\n"a\r\nb",1.50\r\n07030,n/a\r\n',
    "carriage return in quotes": b'zip,n\n"a\rb",1\n07030,2\n',
    "blank lines": b"zip,n\n\n00501,3\n\n07030,4\n",
    "spaces and quotes": b'zip,n\n" 00501 ", 3\n"07030","x"\n',
}


def augmented(path):
    real = read_table(path)
    made = real.iloc[:1].assign(zip="00000")
    both = pd.concat([real, made], ignore_index=True)
    return both.assign(**{MARK: [False] * len(real) + [True]}), real


@pytest.mark.parametrize("name", list(BODIES))
def test_records_of_a_csv_are_copied_byte_for_byte(tmp_path, name):
    source, output = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(BODIES[name])
    table, real = augmented(source)
    write_augmented(table, MARK, list_inputs(source), output)
    end = b"\r\n" if b"\r\n" in BODIES[name] else b"\n"
    header, *records = BODIES[name].replace(b"\n\n", b"\n").rstrip(b"\r\n").split(end)
    if "in quotes" in name:  # the first record goes over a line end
        records = BODIES[name].rstrip(b"\r\n").split(end, 1)[1].rsplit(end, 1)
    expected = [header + b",_synthetic", *(record + b",False" for record in records)]
    assert output.read_bytes().startswith(end.join(expected) + end)
    back = read_table(output)
    assert back[MARK].tolist() == ["False"] * len(real) + ["True"]
    assert back.drop(columns=MARK).iloc[: len(real)].equals(real) and back["zip"].iloc[-1] == "00000"


def test_parquet_keeps_every_type(tmp_path):
    real = pa.table({
        "small": pa.array([1, None, 3], pa.int8()), "exact": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
        "when": pa.array([1, 2, None], pa.timestamp("ms", "Asia/Tokyo")), "raw": pa.array([b"a", b"b", None]),
        "word": pa.array(["x", "y", "x"]).dictionary_encode(), "big": pa.array([2**62, 1, None], pa.uint64()),
        "took": pa.array([5, None, 7], pa.duration("s")), "day": pa.array([1, 2, 3], pa.date32()),
    })  # fmt: skip
    pq.write_table(real, tmp_path / "in.parquet")
    frame = read_table(tmp_path / "in.parquet")
    table = pd.concat([frame, frame.iloc[:1]], ignore_index=True).assign(**{MARK: [False] * 3 + [True]})
    write_augmented(table, MARK, list_inputs(tmp_path / "in.parquet"), tmp_path / "out.parquet")
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.drop_columns([MARK]).slice(0, 3).equals(real) and out.schema.field("big").type == pa.uint64()
    assert out[MARK].to_pylist() == [False] * 3 + [True] and out["word"][3].as_py() == "x"


def test_csv_to_parquet_types_plain_numbers_and_truths_alone(tmp_path):
    rows = "".join(f"{i},{i / 4},0{i % 7},{'TRUE' if i % 2 else 'FALSE'},NA,{2**60 + i}\n" for i in range(60))
    (tmp_path / "in.csv").write_text("n,x,zip,ok,country,account\n" + rows)
    real = read_table(tmp_path / "in.csv")
    write_augmented(real.assign(**{MARK: False}), MARK, list_inputs(tmp_path / "in.csv"), tmp_path / "out.parquet")
    out = pd.read_parquet(tmp_path / "out.parquet")
    assert out["x"].tolist() == [i / 4 for i in range(60)] and out["ok"].tolist()[:2] == [False, True]
    assert out["zip"].tolist() == real["zip"].tolist() and set(out["country"]) == {"NA"}
    assert out["n"].tolist() == list(range(60)) and out["account"].astype(str).tolist() == real["account"].tolist()
