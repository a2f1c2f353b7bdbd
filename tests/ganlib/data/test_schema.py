"""What is inferred, what is stored of the data, and what a person may do to the file."""

import copy
import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ganlib.data.encoder import TableEncoder
from ganlib.data.inference import infer_schema
from ganlib.data.schema import Column, Schema
from ganlib.errors import ConfigError, DataError

NOISE = np.random.default_rng(0).normal(size=120)


def infer(values, **options):
    return infer_schema(pd.DataFrame({"c": values, "noise": NOISE[: len(values)]}), **options).column("c")


@pytest.mark.parametrize(
    ("values", "kind", "role"),
    [
        ([1, 2, 3] * 20, "integer", "feature"),
        ([1.0, 2.0, np.nan] * 20, "integer", "feature"),
        ([1.5, np.inf, -np.inf] * 20, "number", "feature"),
        (["1.5", "2", "NA"] * 20, "number", "feature"),
        (["01234", "04567", "0999"] * 20, "category", "feature"),
        (["2026-01-31", None, "2026-02-28T10:00:00+02:00"] * 20, "date", "feature"),
        (["2026-01-31", "2026-02-31", "2026-03-01"] * 20, "category", "feature"),
        ([dt.date(2026, 1, 1), None, dt.date(2026, 5, 1)] * 20, "date", "feature"),
        ([Decimal("1.5"), Decimal("2"), None] * 20, "number", "feature"),
        (["true", "False", None] * 20, "boolean", "feature"),
        (pd.Categorical([3, 1, 2] * 20), "category", "feature"),
        (pd.Categorical(range(120)), "integer", "dropped"),
        (pd.to_timedelta([1, 2, 3] * 20, unit="h"), "number", "feature"),
        ([None] * 60, "number", "dropped"),
        (["", " ", "nan"] * 20, "number", "dropped"),
        ([np.inf] * 60, "number", "dropped"),
        ([[1], [2], [3]] * 20, "text", "dropped"),
        ([f"a{i:03d}" for i in range(120)], "text", "id"),
        ([f"the {i} words of row {i * i}" for i in range(120)], "text", "feature"),
        (np.arange(120) * 7, "integer", "dropped"),
        (np.arange(120) * 7.0, "integer", "dropped"),
    ],
)
def test_kind_and_role(values, kind, role):
    column = infer(values)
    assert (column.kind, column.role) == (kind, role)
    assert role == "feature" or column.note


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("id", "id"),
        ("user_id", "id"),
        ("orderID", "id"),
        ("Unnamed: 0", "id"),
        ("paid", "feature"),
        ("width", "feature"),
    ],
)
def test_whole_numbers_that_all_differ_go_by_their_name(name, role):
    frame = pd.DataFrame({name: np.random.default_rng(0).permutation(60), "noise": NOISE[:60]})
    assert infer_schema(frame).column(name).role == role


def test_a_counter_stays_where_nothing_else_is_left():
    assert infer_schema(pd.DataFrame({"id": range(30)})).column("id").role == "feature"


def test_the_category_limit_moves():
    words = [f"w{i % 30}" for i in range(120)]
    assert infer(words).kind == "category"
    column = infer(words, max_categories=20)
    assert column.kind == "text" and column.buckets == 32 and "30 different values" in column.note
    with pytest.raises(ConfigError, match="max_categories"):
        infer(words, max_categories=1)


def test_constants_are_kept_with_a_note_and_exact_bounds():
    column = infer([1234.5678] * 60)
    assert column.role == "feature" and column.note == "constant"
    assert column.minimum == column.maximum == 1234.5678


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ([-12345.6, 0.0, 98765.4], -12400, 98800),
        ([17, 500, 999], 17, 999),
        ([1001, 54321, 2], 2, 54400),
        ([5.6789] * 5 + [7.0, 123.456], 5.6789, 124),
        ([1e-9 * 1.2345, 1.0, 2.0], 1.23e-9, 2.0),
    ],
)
def test_bounds_are_rounded_outward_unless_rows_share_them(values, low, high):
    column = infer(values)
    assert (column.minimum, column.maximum) == (pytest.approx(low, rel=1e-12), pytest.approx(high, rel=1e-12))


def test_nothing_rare_is_stored_anywhere():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "c": ["common"] * 196 + ["secret-word"] * 4,
            "n": np.append(rng.normal(50_000, 100, 199), 87654.321),
            "i": np.append(rng.integers(10_000, 20_000, 199), 7654321),
            "d": [*pd.date_range("2026-01-01", periods=199, freq="h"), pd.Timestamp("2031-07-08 09:10:11.121314")],
            "t": [*(f"the pump {i} failed" for i in range(199)), "secret-word of mine"],
            "k": [f"secret-{i:03d}" for i in range(200)],
            "o": pd.Categorical(
                ["x", "y"] * 98 + ["secret-word"] * 4, categories=["x", "secret-word", "y"], ordered=True
            ),
        }
    )
    schema = infer_schema(frame)
    for generation in (False, True):
        stored = str(TableEncoder(schema, generation).fit(frame).to_dict())
        for canary in ("secret", "87654.3", "7654321", str(pd.Timestamp("2031-07-08 09:10:11.121314").value // 1000)):
            assert canary not in stored
        for name in ("n", "i"):
            assert not any(repr(float(v)) in stored for v in frame[name])


def test_a_label_keeps_few_values_but_not_many():
    frame = pd.DataFrame({"y": ["a", "b"] * 28 + ["once"] * 4, "x": NOISE[:60]})
    assert infer_schema(frame, label="y").column("y").categories == ("a", "b", "once")
    column = infer_schema(frame.assign(y=np.arange(60) + 1000), label="y", max_categories=10).column("y")
    assert column.categories == () and "60 different values" in column.note


def test_ordered_levels_keep_their_order():
    values = pd.Categorical(["low", "mid", "high"] * 20, categories=["low", "mid", "high"], ordered=True)
    assert infer(values).categories == ("low", "mid", "high")


def test_time_zones_are_kept_by_name():
    stamps = pd.date_range("2026-01-01", periods=60, freq="7h")
    assert infer(stamps.tz_localize("Asia/Tokyo")).timezone == "Asia/Tokyo"
    assert infer(stamps.tz_localize(dt.timezone(dt.timedelta(hours=2)))).timezone == "+02:00"
    assert infer(stamps).timezone is None
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        infer(stamps, timezone="Mars/Olympus")


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (pd.DataFrame({"a": []}), {}, "0 rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, "come twice: a"),
        (pd.DataFrame([[1, 2]], columns=["a", ""]), {}, "column 1 .* has no name"),
        (pd.DataFrame({"a": [None, None]}), {}, "no column can serve.*every value is missing"),
        (pd.DataFrame({"label": [1, 2], "a": [1, 2]}), {"label": "lable"}, "no column 'lable'.*'label'"),
        (pd.DataFrame({"a": [1 + 2j, 3j]}), {}, "'a' holds complex numbers"),
        (pd.DataFrame(np.ones((2, 1)), columns=pd.MultiIndex.from_tuples([("a", "b")])), {}, "several levels"),
    ],
)
def test_unusable_frames_are_refused(frame, options, words):
    with pytest.raises(DataError, match=words):
        infer_schema(frame, **options)


# ------------------------------------------------------------------------------------------------ the file
def test_the_file_round_trips_and_explains_itself(table, tmp_path):
    schema = infer_schema(table, label="word", group="colour", timezone="Europe/Paris")
    schema.save(tmp_path / "schema.yaml")
    assert Schema.load(tmp_path / "schema.yaml") == schema
    assert Schema.from_dict(schema.to_dict()) == schema
    text = (tmp_path / "schema.yaml").read_text()
    assert text.startswith("# Table schema") and "quantiles: [" in text
    assert list(tmp_path.iterdir()) == [tmp_path / "schema.yaml"]
    with pytest.raises(ConfigError, match="cannot be written"):
        schema.save(tmp_path / "nowhere" / "schema.yaml")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda d: d.update(version=9), "version 9, newer than version 2"),
        (lambda d: d.pop("version"), "version None"),
        (lambda d: d.update(colums=[]), "unknown keys: colums"),
        (lambda d: d.update(columns=[]), "lists no columns"),
        (lambda d: d.update(timezone="Berlin"), "no time zone 'Berlin'"),
        (lambda d: d.update(label="amount"), "label: 'amount'"),
        (lambda d: d["columns"].append(copy.deepcopy(d["columns"][0])), "columns twice: amount"),
        (lambda d: d["columns"].append("amount"), "not a mapping"),
        (lambda d: d["columns"][0].update(kinds="number"), "'amount': unknown keys kinds"),
        (lambda d: d["columns"][0].pop("kind"), "'amount' lacks kind"),
        (lambda d: d["columns"][0].update(kind="float"), "kind 'float' is none of number"),
        (lambda d: d["columns"][0].update(role="target"), "role 'target' is none of feature"),
        (lambda d: d["columns"][0].update(missing="maybe"), "missing must be true or false, not 'maybe'"),
        (lambda d: d["columns"][0].update(minimum="1e5"), "minimum must be a number or null, not '1e5'"),
        (lambda d: d["columns"][0].update(minimum=5, maximum=4), "minimum 5 lies above maximum 4"),
        (lambda d: d["columns"][0].update(quantiles=[1, "x"]), "quantiles must be numbers, not 'x'"),
        (lambda d: d["columns"][1].update(kind="category"), "'count': a category needs `categories`"),
        (lambda d: d["columns"][5].update(categories=[True]), "put quotes around"),
        (lambda d: d["columns"][5].update(categories=["a", "a"]), "categories come twice: a"),
        (lambda d: d["columns"][5].update(categories=["", "a"]), "an empty string is a missing value"),
        (lambda d: [d["columns"][i].update(role="group") for i in (1, 5)], "2 columns have the role group"),
    ],
)
def test_a_broken_edit_is_named(table, tmp_path, edit, words):
    infer_schema(table).save(tmp_path / "schema.yaml")
    values = yaml.safe_load((tmp_path / "schema.yaml").read_text())
    edit(values)
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=words) as caught:
        Schema.load(tmp_path / "schema.yaml")
    assert caught.value.exit_code == 2 and "schema.yaml" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"- a\n- b\n", b"a: [1\n", b"\xff\xfe"])
def test_a_file_that_is_no_schema(tmp_path, content):
    (tmp_path / "s.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"s\.yaml"):
        Schema.load(tmp_path / "s.yaml")
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        Schema.load(tmp_path / "none.yaml")


def test_names_of_graph_inputs_never_clash():
    names = ["alpha", "explain", "anomaly_score", "p_value", "is_anomaly", "contributions", "z", "condition", "x"]
    inputs = [Column(name, "number").input for name in names]
    assert inputs == [*(f"column:{n}" for n in names[:-1]), "x"]
    with pytest.raises(ConfigError, match="inputs twice"):
        Schema((Column("alpha", "number"), Column("column:alpha", "number")))


def test_a_reviewed_schema_overrides_the_data(table):
    schema = infer_schema(table).with_column("count", kind="category", categories=("1", "2", "3"), rare=True)
    schema = schema.with_column("day", role="dropped", note="not wanted")
    encoder = TableEncoder(schema).fit(table)
    code = next(c for c in encoder.codes if c.column == "count")
    assert (code.kind, code.width) == ("category", 5) and "day" not in {c.column for c in encoder.codes}
    row = encoder.transform(table.assign(count=2).iloc[:1])[0]
    assert row[code.start : code.start + 5].tolist() == [0, 1, 0, 0, 0]


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(words, st.lists(words, unique=True))
@settings(max_examples=50)
def test_any_name_and_category_is_read_back_as_it_was(tmp_path_factory, name, categories):
    """Line breaks, escapes, words that YAML reads as something else."""
    path = tmp_path_factory.getbasetemp() / "odd-schema.yaml"
    schema = Schema((Column(name, "category", dtype="object", categories=tuple(categories)),))
    schema.save(path)
    assert Schema.load(path).columns == schema.columns
