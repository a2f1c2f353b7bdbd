"""Whatever the type of a column, it is read alike from memory, from Parquet and from CSV, or refused by its name."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.content import row_hash
from ganlib.data.feeds import make_feeds
from ganlib.data.inference import infer_schema
from ganlib.data.read import read_table
from ganlib.errors import DataError
from serving.errors import DataError as ReadingError
from serving.frame import FrameAdapter
from tests.ganlib.data.dtypes_drawn import MAKERS, columns
from tests.ganlib.data.test_one_reading import same, served

REFUSED = ("complex", "half characters", "beyond floats")
NO_FILE = ("half characters", "lists", "complex")
NO_CSV = ("period Y",)  # a year alone is a number
ONE_ZONE = ("datetime objects in two zones",)  # Parquet gives all of them one zone: as levels they differ


def written(frame, folder):
    """The files that can hold the frame."""
    frame.to_csv(folder / "t.csv", index=False)
    files = [folder / "t.csv"]
    try:
        frame.to_parquet(folder / "t.parquet")
    except (pa.ArrowException, TypeError, ValueError):  # a type that Parquet lacks
        return files
    return [*files, folder / "t.parquet"]


@pytest.mark.parametrize("name", list(MAKERS))
def test_a_column_of_any_type_is_read_alike_from_every_file(tmp_path, name):
    @settings(max_examples=4, deadline=None)
    @given(series=columns(name), role=st.sampled_from(["feature", "group"]))
    def law(series, role):
        frame = pd.DataFrame({"c": series, "noise": np.arange(len(series)) % 7 / 3})
        try:
            schema = infer_schema(frame, group="c" if role == "group" else None, for_generation=True)
            feeds = make_feeds(schema, frame)
        except DataError as error:
            assert "'c'" in str(error), error
            assert name in REFUSED or (name == "lists" and role == "group"), error
            return
        if name in NO_FILE or (name in ONE_ZONE and role == "group"):
            return
        hashes = row_hash(frame)
        for file in written(frame, tmp_path)[name in NO_CSV :]:
            again = read_table(file)
            same(feeds, make_feeds(schema, again))
            same(feeds, served(file, schema))
            assert (row_hash(again) == hashes).all()

    law()


HOST = """
import sys

class NoPandas:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            raise ImportError(name)

sys.meta_path.insert(0, NoPandas())
import pyarrow.parquet as pq
from serving.frame import FrameAdapter
columns = [{"name": n, "input": n, "kind": k, "role": "feature"} for n, k in (("month", "date"), ("part", "category"))]
feeds = FrameAdapter({"timezone": "UTC", "missing_words": [""], "columns": columns}).feeds(pq.read_table(sys.argv[1]))
print(feeds["month"].tolist(), feeds["part"].tolist())
"""


def test_a_host_without_pandas_reads_what_pandas_adds_to_parquet(tmp_path):
    """There, periods and intervals look like numbers and pairs."""
    frame = pd.DataFrame({"month": pd.PeriodIndex(["2026-01", "1969-12"], freq="M")})
    frame["part"] = pd.arrays.IntervalArray.from_tuples([(0.0, 1.5), None])
    frame.to_parquet(tmp_path / "t.parquet")
    out = subprocess.run([sys.executable, "-c", HOST, tmp_path / "t.parquet"], capture_output=True, text=True)
    stamps = [1_767_225_600_000_000, -2_678_400_000_000]
    assert out.stdout.strip() == f"{stamps} {['(0.0, 1.5]', '']}", out.stderr


def test_periods_that_have_no_calendar_are_refused_by_name(tmp_path):
    frame = pd.DataFrame({"week": pd.PeriodIndex(["2026-01-05"], freq="W-SUN")})
    frame.to_parquet(tmp_path / "t.parquet")
    column = {"name": "week", "input": "week", "kind": "date", "role": "feature"}
    adapter = FrameAdapter({"timezone": "UTC", "missing_words": [""], "columns": [column]})
    with pytest.raises(ReadingError, match="column 'week' holds periods of frequency 'W-SUN'"):
        adapter.feeds(pq.read_table(tmp_path / "t.parquet"))
    assert adapter.feeds(frame)["week"] == 1_767_571_200_000_000


def test_every_type_is_drawn_with_values():
    for name, make in MAKERS.items():
        series = make([1, 2, 3, 5, 8] * 5)
        assert series.notna().any() or name == "arrow null", name
