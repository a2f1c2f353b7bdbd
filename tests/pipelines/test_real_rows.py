"""Real rows leave as they came: byte for byte from CSV, value for value with their types from Parquet."""

import csv
import gzip
import io
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ganlib.data.read import read_table
from ganlib.errors import DataError
from pipelines.real_rows import check_real_rows, write_augmented
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


def written(location, output, rows=2):
    """The table of a location with one generated row a real one below it, written beside its files."""
    real = read_table(location)
    made = real.iloc[:rows]
    table = pd.concat([real, made], ignore_index=True).assign(**{MARK: [False] * len(real) + [True] * len(made)})
    inputs = list_inputs(location)
    check_real_rows(inputs, output)
    write_augmented(table, MARK, inputs, output)
    return real


_VALUE = st.text(alphabet='ab" ,\t\n\r;', max_size=4)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.tuples(_VALUE, _VALUE), min_size=1, max_size=5), end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]), stray=st.sampled_from(["x", 'a"b', '5"', "'"]),
)  # fmt: skip
def test_any_text_is_copied_record_by_record(tmp_path_factory, rows, end, quoting, stray):
    """Each record of each file leaves as its bytes, however values are quoted; unquoted ones may hold quotes."""
    assume(quoting == csv.QUOTE_ALL or not any("\r" in value for row in rows for value in row))
    folder = tmp_path_factory.mktemp("copied")
    for name, separator in (("x.csv", ","), ("x.tsv", "\t")):
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows([("a", "b"), *rows])
        (folder / name).write_bytes((text.getvalue() + f"{stray}{separator}1").encode())
        real = written(folder / name, folder / f"out-{name}")
        back = read_table(folder / f"out-{name}")
        pd.testing.assert_frame_equal(back.drop(columns=MARK).iloc[: len(real)], real)
        assert back[MARK].tolist() == ["False"] * len(real) + ["True"] * (len(back) - len(real))
        records = (folder / f"out-{name}").read_bytes()
        assert f"{stray}{separator}1{separator}False".encode() in records and len(back) == len(real) + min(2, len(real))


def test_several_files_and_their_folders_leave_one_after_another(tmp_path):
    first, second = b"\xef\xbb\xbfzip,n\n00501, 3\n", gzip.compress(b'zip,n\r\n"07030","x"')
    for day, name, body in (("1", "x.csv", first), ("2", "x.csv.gz", second)):
        folder = tmp_path / "in" / f"day={day}" / "place=a,b"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(body)
    written(tmp_path / "in", tmp_path / "out.csv", rows=1)
    assert (tmp_path / "out.csv").read_bytes() == (
        b"\xef\xbb\xbfzip,n,day,place,_synthetic\n"
        b'00501, 3,1,"a,b",False\n"07030","x",2,"a,b",False\n00501, 3,1,"a,b",True\n'
    )
    written(f"{tmp_path}/in/*/*/x.csv", tmp_path / "one.csv", rows=1)
    assert (tmp_path / "one.csv").read_bytes().count(b"\n") == 3


def test_text_in_another_form_leaves_with_the_same_values(tmp_path):
    records = ('{"zip": "00501", "n": 1.50, "ok": true}', '{"zip": "a,b", "n": null, "ok": false}')
    (tmp_path / "j.jsonl").write_text("\n".join(records))
    (tmp_path / "t.tsv").write_text("zip\tn\tok\n00501\t1.50\ttrue\na,b\t\tfalse\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.csv").write_text("zip,n,ok\n00501,1.50,true\n")
    (tmp_path / "in" / "2.csv").write_text('n,ok,zip\n,false,"a,b"\n')
    for name, number in (("j.jsonl", "1.5"), ("t.tsv", "1.50"), ("in", "1.50")):
        written(tmp_path / name, tmp_path / "out.csv", rows=1)
        text = (tmp_path / "out.csv").read_text()
        assert text == (
            f'zip,n,ok,_synthetic\n00501,{number},true,False\n"a,b",,false,False\n00501,{number},true,True\n'
        )
    written(tmp_path / "t.tsv", tmp_path / "out.tsv", rows=1)
    assert (tmp_path / "out.tsv").read_text().splitlines()[1] == "00501\t1.50\ttrue\tFalse"


def test_parquet_files_leave_with_their_types_and_their_folders(tmp_path):
    for at, kind in ((1, pa.int16()), (2, pa.int32())):
        (tmp_path / "in" / f"day={at}").mkdir(parents=True)
        table = pa.table({"n": pa.array([at, None], kind), "d": pa.array([Decimal("1.50")] * 2)})
        pq.write_table(table, tmp_path / "in" / f"day={at}" / "x.parquet")
    written(tmp_path / "in", tmp_path / "out.parquet", rows=1)
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.schema.field("n").type == pa.int32() and out["n"].to_pylist() == [1, None, 2, None, 1]
    assert out["day"].to_pylist() == ["1", "1", "2", "2", "1"] and out["d"].type == pa.decimal128(3, 2)


def test_an_index_without_a_name_stays_and_generated_rows_have_none(tmp_path):
    pd.DataFrame({"n": [1, 2, 3]}, index=[7, 8, 9]).to_parquet(tmp_path / "in.parquet")
    written(tmp_path / "in.parquet", tmp_path / "out.parquet", rows=1)
    out = pq.read_table(tmp_path / "out.parquet")
    assert out["n"].to_pylist() == [1, 2, 3, 1] and out["__index_level_0__"].to_pylist() == [7, 8, 9, None]


def test_files_that_have_no_common_types_are_refused_for_parquet_alone(tmp_path):
    (tmp_path / "1.csv").write_text("n\n1\n")
    pq.write_table(pa.table({"n": [2]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match="Parquet and text.*write --output as .csv"):
        check_real_rows(list_inputs(tmp_path), tmp_path / "out.parquet")
    written(tmp_path, tmp_path.parent / "mixed.csv", rows=1)
    assert (tmp_path.parent / "mixed.csv").read_text() == "n,_synthetic\n1,False\n2,False\n1,True\n"
    (tmp_path / "1.csv").unlink()
    pq.write_table(pa.table({"n": ["x"]}), tmp_path / "3.parquet")
    with pytest.raises(DataError, match="differ in the types of their columns .*n.*make the types alike"):
        check_real_rows(list_inputs(tmp_path), tmp_path / "out.parquet")
