"""Each way a file can be broken has its message and exit code."""

import gzip
import os

import numpy as np
import pandas as pd
import pytest

from ganlib.data.read import need_column, read_table
from ganlib.data.values import as_numbers
from ganlib.errors import ConfigError, DataError


@pytest.fixture
def frame():
    return pd.DataFrame({"a": [1, 2, 3], "b": ["x", "é,y", None], "c": [0.5, np.nan, 1e12]})


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.txt", "t.tsv", "t.parquet", "t.pq"])
def test_tables_are_read(tmp_path, frame, name):
    path = tmp_path / name
    if name.endswith(("parquet", "pq")):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    read = read_table(str(path))
    assert read.columns.tolist() == ["a", "b", "c"] and read["b"].isna().tolist() == [False, False, True]
    assert as_numbers(read["a"]).tolist() == [1, 2, 3] and read["b"][1] == "é,y" and float(read["c"][2]) == 1e12


def test_a_byte_order_mark_is_no_part_of_the_name(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert read_table(tmp_path / "t.csv").columns.tolist() == ["a", "b"]


def test_a_folder_is_one_table_in_name_order(tmp_path, frame):
    frame.iloc[2:].to_csv(tmp_path / "2.csv", index=False)
    frame.iloc[:2].to_parquet(tmp_path / "1.parquet")
    for hidden in ("_temporary", ".git"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "x.csv").write_text("other\n1\n")
    assert as_numbers(read_table(tmp_path)["a"]).tolist() == [1, 2, 3]
    (tmp_path / "3.csv").write_text("a,b,d\n1,2,3\n")
    with pytest.raises(DataError, match=r"3\.csv and .*1\.parquet differ in their columns: 'c', 'd'"):
        read_table(tmp_path)


def test_a_folder_is_its_data_files_and_nothing_else(tmp_path, frame):
    for name in ("notes.txt", "t.xlsx", "README"):
        (tmp_path / name).write_text("no table, or none of this one\n")
    with pytest.raises(DataError, match=r"holds no data file; data files end in \.parquet, \.csv"):
        read_table(tmp_path)
    frame.to_csv(tmp_path / "1.csv", index=False)
    assert as_numbers(read_table(tmp_path)["a"]).tolist() == [1, 2, 3]


def test_files_without_rows_are_named_and_add_none(tmp_path, frame):
    frame.to_csv(tmp_path / "1.csv", index=False)
    frame.iloc[:0].to_csv(tmp_path / "2.csv", index=False)
    (tmp_path / "3.csv.gz").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"no rows in '2\.csv', '3\.csv\.gz' of "):
        assert len(read_table(tmp_path)) == 3
    (tmp_path / "1.csv").unlink()
    with pytest.raises(DataError, match="holds a header but no rows"):
        read_table(tmp_path)
    (tmp_path / "2.csv").write_text("a,b\n")
    frame.to_csv(tmp_path / "1.csv", index=False)
    with pytest.raises(DataError, match="differ in their columns: 'c'"):
        read_table(tmp_path)


def test_long_lists_say_how_many_more(tmp_path):
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text(",".join(["a", *(f"c{i:02}" for i in range(13))]) + "\n" + "1," * 13 + "1\n")
    with pytest.raises(DataError, match="'c09' and 3 more; make them alike"):
        read_table(tmp_path)


@pytest.mark.parametrize(("separator", "said"), [(";", "';'"), ("\t", "tabs"), ("|", r"'\|'")])
def test_another_separator_is_recognised(tmp_path, frame, separator, said):
    (tmp_path / "day=1").mkdir()
    for path in (tmp_path / "t.csv", tmp_path / "day=1" / "t.csv"):
        frame.to_csv(path, index=False, sep=separator, decimal=",")
        with pytest.raises(DataError, match=f"looks separated by {said}: save it with commas"):
            read_table(path)


def test_one_column_may_be_called_anything(tmp_path):
    (tmp_path / "t.csv").write_text("speed; m/s\n1\n2\n")
    assert read_table(tmp_path / "t.csv").columns.tolist() == ["speed; m/s"]


BROKEN = {
    "empty": ("t.csv", b"", "is empty"),
    "blank lines": ("t.csv", b"\n\n", "is empty|no rows"),
    "header only": ("t.csv", b"a,b\n", "a header but no rows"),
    "columns twice": ("t.csv", b"a,b,a\n1,2,3\n", "unique; these come twice: 'a'"),
    "too many values in one row": ("t.csv", b"a,b\n1,2\n3,4\n1,2,3\n", r"line 4: has 3 values.*; fix it"),
    "too many values in all rows": ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "line 2: has 3 values, where the header has 2"),
    "too few values": ("t.csv", b'a,b\n"1\n2",2\n\n3\n', r"line 5: has 1 value, where the header has 2"),
    "latin-1": ("t.csv", b"a,b\n1,caf\xe9\n", r"byte 9 \(0xe9, line 2\).*iconv"),
    "latin-1 in the header": ("t.csv", b"caf\xe9,b\n1,2\n", r"byte 3 \(0xe9, line 1\)"),
    "cut in a character": ("t.csv", b"a,b\n1,caf\xc3", r"byte 9 \(0xc3, line 2\)"),
    "utf-16": ("t.csv", "a,b\n1,2\n".encode("utf-16"), r"byte 0 \(0xff"),
    "open quote": ("t.csv", b'a,b\n1,"x\n', "a quote in the row of line 2 is never closed"),
    "open quote before many rows": ("t.tsv", b'a\tb\n1\t2\n1\t"x\n' + b"1\t2\n" * 9, "line 3 is never closed"),
    "open quote before a block": ("t.csv", b'a,b\n1,"x\n' + b"1,2\n" * 1_100_000, "quote that is never closed"),
    "no JSON": ("t.jsonl", b'{"a": 1}\n\n{"a": \n', "line 3: is not JSON"),
    "no object": ("t.jsonl", b'{"a": 1}\n[1]\n', "line 2: is not an object but list"),
    "a list in JSON": ("t.jsonl", b'{"a": 1}\n{"a": [1]}\n', "line 2: column 'a' is a list"),
    "a key less": ("t.jsonl", b'{"a": 1, "b": 2}\n{"a": 1}\n', "line 2: missing column: 'b'"),
    "latin-1 in JSON": ("t.jsonl", b'{"a": "caf\xe9"}\n', r"byte 10 \(0xe9, line 1\).*iconv"),
    "latin-1 inside gzip": ("t.csv.gz", gzip.compress(b"a,b\n1,caf\xe9\n"), r"byte 9 \(0xe9, line 2\).*iconv"),
    "no gzip": ("t.csv.gz", b"a,b\n1,2\n", "cannot be read"),
    "a cut gzip": ("t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 999)[:-9], "cannot be read"),
    "no Parquet": ("t.parquet", b"PAR1 and then nothing", "not a readable Parquet file"),
    "empty Parquet": ("t.parquet", b"", "is empty"),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_file_is_named(tmp_path, case):
    name, content, words = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_table(tmp_path / name)
    assert caught.value.exit_code == 4 and name in str(caught.value) and "\n" not in str(caught.value)


def test_the_byte_offset_counts_from_the_start_of_the_file(tmp_path):
    head = b"a,b\n" + b"1,\xc3\xa9\n" * 300_000
    (tmp_path / "t.csv").write_bytes(head + b"1,\xe9\n")
    with pytest.raises(DataError, match=rf"byte {len(head) + 2} \(0xe9, line 300002\)"):
        read_table(tmp_path / "t.csv")


def test_a_cut_parquet_file(tmp_path, frame):
    frame.to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    for cut in (content[: len(content) // 2], content[:40] + b"\0" * 60 + content[100:]):
        (tmp_path / "t.parquet").write_bytes(cut)
        with pytest.raises(DataError, match=r"t\.parquet is not a readable Parquet file"):
            read_table(tmp_path / "t.parquet")


def test_parquet_columns_twice_and_no_rows(tmp_path, frame):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="come twice: 'a'"):
        read_table(tmp_path / "t.parquet")
    frame.iloc[:0].to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="no rows"):
        read_table(tmp_path / "t.parquet")


def test_paths_that_do_not_fit(tmp_path, frame):
    frame.to_csv(tmp_path / "data.csv")
    for path, words in (("dta.csv", r"no input .*did you mean 'data\.csv'"), ("x/y.csv", "no input .*check the path")):
        with pytest.raises(ConfigError, match=words) as caught:
            read_table(tmp_path / path)
        assert caught.value.exit_code == 2
    for far in ("absent.csv", "outgoing.csv", "a.csv"):
        with pytest.raises(ConfigError, match="check the path"):
            read_table(tmp_path / far)
    for near in ("data.parquet", "data.csv.gz", "dat.jsonl"):
        with pytest.raises(ConfigError, match=r"did you mean 'data\.csv'"):
            read_table(tmp_path / near)
    with pytest.raises(ConfigError, match="no file matches .*check the pattern"):
        read_table(tmp_path / "*.parquet")
    with pytest.raises(ConfigError, match="'tomorrow' is no day; write it as YYYY-MM-DD"):
        read_table(tmp_path / "{date}.csv", "tomorrow")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"give a file ending in \.parquet, \.csv"):
        read_table(tmp_path / "t.xlsx")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no data file"):
        read_table(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path, frame):
    frame.to_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv").chmod(0)
    with pytest.raises(DataError, match="cannot be read .*fix its permissions"):
        read_table(tmp_path / "t.csv")


def test_an_absent_label_names_close_columns(frame):
    frame = frame.rename(columns={"b": "Diagnosis"})
    assert need_column(frame, "a").tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="no label column 'diagnossis'; did you mean 'Diagnosis'"):
        need_column(frame, "diagnossis")
    with pytest.raises(DataError, match="no group column 'site'; the columns are 'a', 'Diagnosis', 'c'"):
        need_column(frame, "site", "group")
