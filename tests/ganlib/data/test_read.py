"""Each way a file can be broken has its message and exit code."""

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


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.tsv", "t.parquet", "t.pq"])
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
    with pytest.raises(DataError, match=r"3\.csv and .*1\.parquet differ in their columns: c, d"):
        read_table(tmp_path)


def test_a_folder_is_its_parquet_and_csv_files_and_nothing_else(tmp_path, frame):
    for name in ("notes.txt", "t.tsv", "t.xlsx", "old.pq"):
        (tmp_path / name).write_text("no table, or none of this one\n")
    with pytest.raises(DataError, match=r"holds no \.parquet or \.csv file"):
        read_table(tmp_path)
    frame.to_csv(tmp_path / "1.csv", index=False)
    assert as_numbers(read_table(tmp_path)["a"]).tolist() == [1, 2, 3]


def test_long_lists_say_how_many_more(tmp_path):
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text(",".join(["a", *(f"c{i:02}" for i in range(13))]) + "\n" + "1," * 13 + "1\n")
    with pytest.raises(DataError, match="c09 and 3 more; make them alike"):
        read_table(tmp_path)


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_recognised(tmp_path, frame, separator):
    frame.to_csv(tmp_path / "t.csv", index=False, sep=separator, decimal=",")
    with pytest.raises(DataError, match=r"looks separated by .*save it with commas") as caught:
        read_table(tmp_path / "t.csv")
    assert repr(separator) in str(caught.value)


def test_one_column_may_be_called_anything(tmp_path):
    (tmp_path / "t.csv").write_text("speed; m/s\n1\n2\n")
    assert read_table(tmp_path / "t.csv").columns.tolist() == ["speed; m/s"]


BROKEN = {
    "empty": ("t.csv", b"", "is empty"),
    "blank lines": ("t.csv", b"\n\n", "is empty|no rows"),
    "header only": ("t.csv", b"a,b\n", "a header but no rows"),
    "columns twice": ("t.csv", b"a,b,a\n1,2,3\n", "unique; these come twice: a"),
    "too many values in one row": ("t.csv", b"a,b\n1,2\n3,4\n1,2,3\n", r"line 4"),
    "too many values in all rows": ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "more values than the header"),
    "latin-1": ("t.csv", b"a,b\n1,caf\xe9\n", r"byte 9 \(0xe9, line 2\).*iconv"),
    "latin-1 in the header": ("t.csv", b"caf\xe9,b\n1,2\n", r"byte 3 \(0xe9, line 1\)"),
    "cut in a character": ("t.csv", b"a,b\n1,caf\xc3", r"byte 9 \(0xc3, line 2\)"),
    "utf-16": ("t.csv", "a,b\n1,2\n".encode("utf-16"), r"byte 0 \(0xff"),
    "open quote": ("t.csv", b'a,b\n1,"x\n', "cannot be read as CSV"),
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
    with pytest.raises(DataError, match="come twice: a"):
        read_table(tmp_path / "t.parquet")
    frame.iloc[:0].to_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match="no rows"):
        read_table(tmp_path / "t.parquet")


def test_paths_that_do_not_fit(tmp_path, frame):
    frame.to_csv(tmp_path / "data.csv")
    for path, words in (("dta.csv", r"no data file .*did you mean 'data\.csv'"), ("x/y.csv", "no data file")):
        with pytest.raises(ConfigError, match=words) as caught:
            read_table(tmp_path / path)
        assert caught.value.exit_code == 2
    for far in ("absent.csv", "outgoing.csv", "a.csv"):
        with pytest.raises(ConfigError, match="check the path"):
            read_table(tmp_path / far)
    with pytest.raises(ConfigError, match=r"did you mean 'data\.csv'"):
        read_table(tmp_path / "data.parquet")
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"give a file ending in \.csv"):
        read_table(tmp_path / "t.xlsx")
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no .parquet or .csv"):
        read_table(tmp_path / "none")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path, frame):
    frame.to_csv(tmp_path / "t.csv")
    (tmp_path / "t.csv").chmod(0)
    with pytest.raises(ConfigError, match="may not be read"):
        read_table(tmp_path / "t.csv")


def test_an_absent_label_names_close_columns(frame):
    frame = frame.rename(columns={"b": "Diagnosis"})
    assert need_column(frame, "a").tolist() == [1, 2, 3]
    with pytest.raises(DataError, match="no label column 'diagnossis'; did you mean 'Diagnosis'"):
        need_column(frame, "diagnossis")
    with pytest.raises(DataError, match="no group column 'site'; the columns are 'a', 'Diagnosis', 'c'"):
        need_column(frame, "site", "group")
