"""Each format in each kind of location gives the same table in training, and the same feeds in scoring."""

import bz2
import gzip
import json

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.feeds import make_feeds
from ganlib.data.inference import infer_schema
from ganlib.data.read import read_table
from ganlib.errors import ConfigError, DependencyError
from ganlib.export import fingerprint
from serving.frame import FrameAdapter
from serving.inputs import list_inputs
from tests.ganlib.data.kinds import KINDS
from tests.ganlib.data.test_one_reading import NO_PARQUET, same

ROWS = 60


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(data)
    return sink.getvalue().to_pybytes()


def parquet(frame):
    sink = pa.BufferOutputStream()
    frame.to_parquet(sink, index=False, row_group_size=7)
    return sink.getvalue().to_pybytes()


def lines(frame):
    records = ({k: None if v != v else v for k, v in row.items()} for row in frame.to_dict("records"))
    return "".join(json.dumps(record) + "\n" for record in records).encode()


PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}
TEXT = {
    ".csv": lambda f: f.to_csv(index=False).encode(),
    ".tsv": lambda f: f.to_csv(index=False, sep="\t", lineterminator="\r\n").encode(),
    ".jsonl": lines,
}
FORMATS = [*(ending + packed for ending in TEXT for packed in PACK), ".parquet"]


def awkward():
    """Text as files hold it: separators, quotes, line breaks, codes, missing words, nothing."""
    words = ["plain", 'say "x"', "a,b", "a\tb", "two\nlines", "ä€😀", "NA", "007", '"', " n/a ", "1.50", None]
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "text": pd.Series([words[i % len(words)] for i in range(ROWS)], dtype="str"),
            "amount": pd.Series([f"{v:.2f}" for v in rng.normal(size=ROWS)], dtype="str"),
            "shift": pd.Series(np.repeat(["early", "late"], ROWS // 2), dtype="str"),
        }
    )


def content(frame, ending):
    text, _, packed = ending[1:].partition(".")
    return parquet(frame) if text == "parquet" else PACK["." + packed if packed else ""](TEXT["." + text](frame))


def place(frame, folder, ending, form):
    """The frame as files of a format in one kind of location."""
    if form in ("file", "file URL"):
        (folder / f"rows{ending}").write_bytes(content(frame, ending))
        return str(folder / f"rows{ending}") if form == "file" else f"file://{folder}/rows{ending}"
    parts = dict(tuple(frame.groupby("shift")))
    if form == "store":
        fs = fsspec.filesystem("memory")
        for name, part in parts.items():
            fs.pipe(f"/{folder.name}/{name}{ending}", content(part, ending))
        return f"memory://{folder.name}"
    for name, part in parts.items():
        inside = folder / (f"shift={name}" if form == "partitions" else "deep")
        inside.mkdir(exist_ok=True)
        rows = part.drop(columns="shift") if form == "partitions" else part
        (inside / f"{name}{ending}").write_bytes(content(rows, ending))
    (folder / "_SUCCESS").write_bytes(b"")
    return f"{folder}/d*/*{ending}" if form == "glob" else str(folder)


def served(location, schema):
    """Feeds as batch scoring reads them."""
    adapter = FrameAdapter(schema.to_dict())
    tables = [t for source in list_inputs(location) for t in source.tables(adapter.names)]
    return adapter.feeds(pa.concat_tables(tables))


@pytest.mark.parametrize("form", ["file", "file URL", "folder", "glob", "partitions", "store"])
@pytest.mark.parametrize("ending", FORMATS)
def test_each_format_and_location_gives_the_same_table_and_feeds(tmp_path, ending, form):
    frame = awkward()
    location = place(frame, tmp_path, ending, form)
    read = read_table(location)
    pd.testing.assert_frame_equal(read, frame)
    assert fingerprint(read) == fingerprint(frame)
    schema = infer_schema(frame, for_generation=True)
    same(make_feeds(schema, frame), served(location, schema))


def test_a_date_in_the_location_is_filled_in(tmp_path):
    (tmp_path / "2026-01-02").mkdir()
    awkward().to_csv(tmp_path / "2026-01-02" / "rows.csv.gz", index=False)
    assert len(read_table(f"{tmp_path}/{{date}}", "2026-01-02")) == ROWS
    with pytest.raises(ConfigError, match="there is no input .*2026-01-03; did you mean '2026-01-02'"):
        read_table(f"{tmp_path}/{{date}}", "2026-01-03")


def test_the_home_folder_is_meant_by_its_sign(tmp_path, monkeypatch):
    awkward().to_csv(tmp_path / "rows.csv", index=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read_table("~/rows.csv")) == ROWS and list_inputs("~/rows.csv")[0].path == f"{tmp_path}/rows.csv"


# pandas itself cannot read its own "arrow dictionary".
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (*NO_PARQUET, "arrow dictionary", "UUID")])
def test_parquet_comes_as_pandas_reads_it(tmp_path, kind):
    frame = pd.DataFrame({"c": KINDS[kind], "n": range(len(KINDS[kind]))})
    (tmp_path / "day=2026-01-01").mkdir()
    path = tmp_path / "day=2026-01-01" / "t.parquet"
    frame.to_parquet(path, row_group_size=7)
    with path.open("rb") as file:
        expected = pd.read_parquet(file)
    read = read_table(path)
    pd.testing.assert_frame_equal(read.drop(columns="day"), expected)
    assert set(read["day"]) == {"2026-01-01"} and read.columns[-1] == "day"


JSON = [kind for kind, values in KINDS.items() if values.map(lambda v: isinstance(v, str | int | float)).all()]


@pytest.mark.parametrize("kind", JSON)
def test_json_values_give_the_feeds_of_the_frame(tmp_path, kind):
    frame = pd.DataFrame({"c": KINDS[kind].astype(object), "n": range(len(KINDS[kind]))})
    (tmp_path / "t.jsonl").write_bytes(lines(frame))
    schema = infer_schema(pd.DataFrame({"c": KINDS[kind], "n": frame["n"]}), for_generation=True)
    feeds = make_feeds(schema, pd.DataFrame({"c": KINDS[kind], "n": frame["n"]}))
    same(feeds, make_feeds(schema, read_table(tmp_path / "t.jsonl")))
    same(feeds, served(str(tmp_path / "t.jsonl"), schema))


def test_an_index_with_a_name_is_a_column_and_one_without_is_none(tmp_path):
    frame = pd.DataFrame({"v": [1.5, 2.5, 3.5]}, index=pd.Index(["x", "y", "z"], name="ticket"))
    frame.to_parquet(tmp_path / "named.parquet")
    frame.rename_axis(None).to_parquet(tmp_path / "bare.parquet")
    named = read_table(tmp_path / "named.parquet")
    assert named["ticket"].tolist() == ["x", "y", "z"] and named.index.tolist() == [0, 1, 2]
    assert read_table(tmp_path / "bare.parquet").columns.tolist() == ["v"]


def test_columns_without_a_name_have_one_by_their_position(tmp_path):
    frame = pd.DataFrame({"a": ["x", "y"]})
    frame.to_csv(tmp_path / "t.csv")
    (tmp_path / "two.csv").write_text("\n,a,\n1,x,2\n3,y,4\n")
    assert read_table(tmp_path / "t.csv").columns.tolist() == ["Unnamed: 0", "a"]
    two = read_table(tmp_path / "two.csv")
    assert two.to_dict("list") == {"Unnamed: 0": ["1", "3"], "a": ["x", "y"], "Unnamed: 2": ["2", "4"]}


_FIELD = st.text(alphabet='ab",\t\n\r x', max_size=4)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(_FIELD, _FIELD), min_size=1, max_size=6), end=st.sampled_from(["\n", "\r\n"]))
def test_any_text_comes_back_letter_by_letter(tmp_path_factory, rows, end):
    folder = tmp_path_factory.mktemp("text")
    frame = pd.DataFrame([("start", "start"), *rows], columns=["a", "b"])
    expected = [[None if v == "" else v for v in row] for row in frame.to_numpy().tolist()]
    for name, separator in (("t.csv", ","), ("t.tsv", "\t")):
        frame.to_csv(folder / name, index=False, sep=separator, lineterminator=end, quoting=1)
        read = read_table(folder / name).astype(object)
        assert read.where(read.notna(), None).to_numpy().tolist() == expected


def test_a_store_that_does_not_answer_is_down(monkeypatch):
    def down(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "isfile", down)
    with pytest.raises(DependencyError, match=r"memory://x/y.csv cannot be listed \(no route\); try again") as caught:
        read_table("memory://x/y.csv")
    assert caught.value.exit_code == 5


def test_a_folder_that_cannot_be_listed_and_a_link_to_nothing_are_errors(tmp_path, monkeypatch):
    import os

    from ganlib.errors import DataError

    awkward().to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.csv").symlink_to(tmp_path / "gone.csv")
    with pytest.raises(DataError, match=r"b\.csv cannot be read \(No such file"):
        read_table(tmp_path)
    (tmp_path / "b.csv").unlink()
    for name in ("sub", "_temporary"):  # one of them is passed over
        (tmp_path / name).mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith(("sub", "_temporary")):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"sub cannot be listed \(Permission denied\)"):
        read_table(tmp_path)
    (tmp_path / "sub").rmdir()
    assert len(read_table(tmp_path)) == ROWS


def test_files_of_several_formats_are_one_table(tmp_path):
    frame = awkward()
    for at, ending in enumerate((".csv", ".parquet", ".jsonl.gz")):
        (tmp_path / f"{at}{ending}").write_bytes(content(frame.iloc[at * 20 : at * 20 + 20], ending))
    pd.testing.assert_frame_equal(read_table(tmp_path), frame)
    assert pq.read_schema(tmp_path / "1.parquet").names == list(frame.columns)
