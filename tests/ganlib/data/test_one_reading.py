"""One reading of data: a value means the same in a frame, in Parquet and in CSV, and comes back as what it was."""

import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib import CVAEAugmenter
from ganlib.data.feeds import make_feeds
from ganlib.data.inference import infer_schema
from ganlib.data.read import read_table
from ganlib.errors import DataError
from serving.frame import FrameAdapter
from serving.inputs import list_inputs
from tests.ganlib.data.kinds import KINDS, NO_PARQUET, ROWS

FINE = ("milliseconds", "nanoseconds", "times", "times in a zone", "arrow timestamp")


def served(path, schema):
    """Feeds as batch scoring reads them from a file."""
    adapter = FrameAdapter(schema.to_dict())
    (found,) = list_inputs(str(path))
    return adapter.feeds(pa.concat_tables(found.tables(adapter.names)))


def same(one, other):
    assert one.keys() == other.keys()
    for name, values in one.items():
        if values.dtype.kind == "f":
            np.testing.assert_array_equal(values, other[name], err_msg=name)
        else:
            assert values.tolist() == other[name].tolist(), name


@pytest.mark.parametrize("role", ["feature", "group"])
@pytest.mark.parametrize("kind", list(KINDS))
def test_files_are_read_as_frames_are(tmp_path, kind, role):
    frame = pd.DataFrame({"c": KINDS[kind], "noise": np.random.default_rng(0).normal(size=ROWS)})
    schema = infer_schema(frame, group="c" if role == "group" else None, for_generation=True)
    feeds = make_feeds(schema, frame)
    assert (feeds["c"] != "").any() if feeds["c"].dtype == object else np.isfinite(feeds["c"].astype(float)).any()
    frame.to_csv(tmp_path / "t.csv", index=False)
    same(feeds, served(tmp_path / "t.csv", schema))
    same(feeds, make_feeds(schema, read_table(tmp_path / "t.csv")))
    if kind not in NO_PARQUET:
        frame.to_parquet(tmp_path / "t.parquet")
        same(feeds, served(tmp_path / "t.parquet", schema))
        same(feeds, make_feeds(schema, read_table(tmp_path / "t.parquet")))


@pytest.mark.parametrize("kind", list(KINDS))
def test_what_is_learned_from_text_reads_the_frame(tmp_path, kind):
    """A schema that was inferred from the CSV reads the typed frame as it reads the CSV."""
    frame = pd.DataFrame({"c": KINDS[kind], "noise": np.random.default_rng(0).normal(size=ROWS)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    text = read_table(tmp_path / "t.csv")
    schema = infer_schema(text, for_generation=True)
    same(make_feeds(schema, text), served(tmp_path / "t.csv", schema))
    typed = infer_schema(frame, for_generation=True)
    if schema.column("c").kind == typed.column("c").kind != "category":
        same(make_feeds(schema, text), make_feeds(schema, frame))


_WORDS = st.sampled_from(
    ["NA", "n/a", "TRUE", "01", "1", "1.0", "", "null", "None", "x y", " NA ", "2026-01-02", "é", None]
)


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(_WORDS, min_size=8, max_size=30), numbers=st.lists(st.floats(allow_nan=True), min_size=8, max_size=8)
)
def test_any_words_are_read_alike(tmp_path_factory, words, numbers):
    folder = tmp_path_factory.mktemp("words")
    frame = pd.DataFrame({"c": pd.Series(words * 6, dtype=object), "v": np.resize(numbers, len(words) * 6)})
    frame["w"] = np.arange(len(frame)) % 5
    for group in (None, "c"):
        schema = infer_schema(frame, group=group, for_generation=True)
        feeds = make_feeds(schema, frame)
        frame.to_csv(folder / "t.csv", index=False)
        pq.write_table(pa.Table.from_pandas(frame), folder / "t.parquet")
        same(feeds, served(folder / "t.csv", schema))
        same(feeds, served(folder / "t.parquet", schema))


@pytest.mark.parametrize("kind", list(KINDS))
def test_generated_values_are_what_the_column_holds(kind):
    series = KINDS[kind]
    frame = pd.DataFrame({"c": series, "noise": np.random.default_rng(0).normal(size=ROWS)})
    made = CVAEAugmenter(steps=10).fit(frame, [0] * 80 + [1] * 40).sample(60)["c"]
    assert made.dtype == series.dtype
    present, real = made.dropna(), series.dropna()
    assert len(present) and {type(v) for v in present} <= {type(v) for v in real}
    assert made.notna().all() or series.isna().any() or kind == "numbers as words"
    if kind in ("quarters", "two decimals"):
        unit = {"quarters": 4, "two decimals": 100}[kind]
        assert np.allclose(present * unit, np.round(present * unit), atol=1e-9)
    elif infer_schema(frame, for_generation=True).column("c").kind == "category":
        assert set(present) <= set(real)
    elif real.map(lambda v: isinstance(v, str)).all():
        shape = real.str.replace(r"[\d,]+", "9", regex=True)
        present = present.str.removeprefix("-")
        assert set(present.str.replace(r"[\d,]+", "9", regex=True)) <= set(shape)


def test_a_sealed_augmenter_speaks_as_the_estimator_does(tmp_path):
    from ganlib.export import seal
    from serving.artifact import load_artifact
    from serving.generator import Generator

    usable = {name: series for name, series in KINDS.items() if name != "Enum"}
    frame = pd.DataFrame(usable)
    # generate() is the graph alone; what keeps relations is tested with them.
    schema = dataclasses.replace(infer_schema(frame, for_generation=True), constraints=())
    augmenter = CVAEAugmenter(steps=10, schema=schema).fit(frame, [0] * 80 + [1] * 40)
    seal(augmenter, tmp_path / "a.onnx")
    generator = Generator(load_artifact(tmp_path / "a.onnx"))
    conditions = ["0", "1"] * 30
    z = np.random.Generator(np.random.Philox(7)).standard_normal((60, generator.latent_dim), dtype=np.float32)
    ours, sealed = augmenter.generate(z, [0, 1] * 30), generator.frame(60, conditions, seed=7)
    assert list(sealed.columns) == list(ours.columns)
    for name in ours.columns:
        assert sealed[name].dtype == ours[name].dtype, name
        if pd.api.types.is_numeric_dtype(ours[name].dtype):
            np.testing.assert_allclose(sealed[name].astype(float), ours[name].astype(float), rtol=1e-3, atol=1e-3)
        else:
            one, other = ([str(v) for v in made[name]] for made in (sealed, ours))
            if name in FINE:  # float32 rounds seconds away
                gap = pd.to_datetime(pd.Series(one)) - pd.to_datetime(pd.Series(other))
                assert gap.abs().max() < pd.Timedelta("5s"), name
            else:  # a float32 may fall on either side of half a minute, once
                assert sum(a != b for a, b in zip(one, other, strict=True)) <= 1, name


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_whole_numbers_that_floats_run_together_are_rejected_by_name(dtype):
    ends = np.iinfo(dtype).max - np.random.default_rng(0).integers(0, 50, ROWS).astype(dtype)
    frame = pd.DataFrame({"account": ends, "v": np.arange(ROWS) % 7})
    with pytest.raises(DataError, match=r"'account' holds whole numbers beyond 2\^53"):
        infer_schema(frame)
    frame["account"] = np.iinfo(dtype).max - np.arange(ROWS).astype(dtype)
    assert infer_schema(frame).column("account").role != "feature"


def test_values_that_are_written_alike_are_rejected_by_name():
    frame = pd.DataFrame({"c": pd.Series([1, "1", "x"] * 40, dtype=object), "v": range(120)})
    with pytest.raises(DataError, match="'c' holds 1 and '1', different values that are written alike"):
        infer_schema(frame)


def test_the_missing_words_are_the_schemas(tmp_path):
    frame = pd.DataFrame({"c": ["gone", "1", "2", "3"] * 30, "k": ["NA", "a", "b", "c"] * 30, "v": np.arange(120) % 9})
    schema = infer_schema(frame)
    assert schema.column("k").not_missing == ("NA",) and "NA" in schema.column("k").note
    changed = dataclasses.replace(schema, missing_words=(*schema.missing_words, "Gone")).with_column(
        "k", not_missing=()
    )
    changed.save(tmp_path / "schema.yaml")
    loaded = type(schema).load(tmp_path / "schema.yaml")
    assert loaded == changed
    assert (make_feeds(loaded, frame)["k"] == "").mean() == 0.25 and (
        make_feeds(loaded, frame)["c"] == ""
    ).mean() == 0.25


def test_rare_words_are_drawn_from_the_real_rows_and_listed_only_where_public(tmp_path):
    from ganlib.export import seal
    from serving.artifact import load_artifact
    from serving.generator import Generator

    letters = list("abcdefghijklmnopqrst")
    frame = pd.DataFrame({"city": letters * 3, "v": np.random.default_rng(0).normal(size=60)})
    augmenter = CVAEAugmenter(steps=10).fit(frame, [0] * 40 + [1] * 20)
    made = augmenter.sample(200)["city"]
    assert made.notna().all() and set(made) <= set(letters) and made.nunique() > 10
    with pytest.warns(UserWarning, match="left missing by the sealed generator, in city"):
        seal(augmenter, tmp_path / "a.onnx")
    assert Generator(load_artifact(tmp_path / "a.onnx")).frame(20, ["0"] * 20)["city"].isna().all()
    listed = infer_schema(frame, for_generation=True).with_column("city", public=True)
    augmenter = CVAEAugmenter(steps=10, schema=listed).fit(frame, [0] * 40 + [1] * 20)
    seal(augmenter, tmp_path / "b.onnx")
    assert set(Generator(load_artifact(tmp_path / "b.onnx")).frame(50, ["0"] * 50)["city"]) <= set(letters)


def test_rare_words_keep_the_classes_that_hold_them():
    frame = pd.DataFrame({"city": list("abcdefgh") * 4 + list("uvwxyz") * 3, "v": np.arange(50) % 7})
    labels = [0] * 32 + [1] * 18
    made = CVAEAugmenter(steps=10).fit(frame, labels).sample(conditions={0: 100, 1: 100})
    last = made[made.columns[-1]]
    assert set(made["city"][last == 0]) <= set("abcdefgh") and set(made["city"][last == 1]) <= set("uvwxyz")


@pytest.mark.parametrize("bounds", [{"minimum": 5.0, "maximum": None}, {"minimum": None, "maximum": 6.0}])
def test_each_bound_holds_alone_in_estimator_and_sealed_file(tmp_path, bounds):
    from ganlib.export import seal
    from serving.artifact import load_artifact
    from serving.generator import Generator

    frame = pd.DataFrame({"v": np.random.default_rng(0).normal(5.5, 2, 200), "w": ["a", "b"] * 100})
    schema = infer_schema(frame, for_generation=True).with_column("v", **bounds)
    augmenter = CVAEAugmenter(steps=20, schema=schema).fit(frame, [0, 1] * 100)
    seal(augmenter, tmp_path / "a.onnx")
    sealed = Generator(load_artifact(tmp_path / "a.onnx")).frame(300, ["0", "1"] * 150)
    for made in (augmenter.sample(300)["v"], sealed["v"]):
        assert made.min() >= (bounds["minimum"] or -99) and made.max() <= (bounds["maximum"] or 99)
        assert made.min() < 5 or made.max() > 6, "the other side is free"


def test_tables_of_other_libraries_are_given_back_as_such():
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=120), "k": ["NA", "ZA"] * 60, "i": pa.array([1, 2, None] * 40, pa.int64())}
    given, labels = pa.table(values), [0] * 90 + [1] * 30
    rows, classes = CVAEAugmenter(steps=10).fit_resample(given, labels)
    assert isinstance(rows, pa.Table) and rows.slice(0, 120).equals(given) and len(rows) == len(classes) == 180
    assert set(rows["k"].to_pylist()) == {"NA", "ZA"} and rows.schema.field("i").type == pa.int64()
    made = CVAEAugmenter(steps=10).fit(given, labels).sample(5)
    assert isinstance(made, pa.Table) and len(made) == 5
    marked = CVAEAugmenter(steps=10).augment(given.append_column("y", pa.array(labels)), "y")
    assert isinstance(marked, pa.Table) and marked["_synthetic"].to_pylist() == [False] * 120 + [True] * 60
