"""Laws of every kind of relation: whatever values come in, all rows keep it, and little else changes.

Generated rows are stood in for by the real columns, shuffled or spread, so that nothing has to be trained.
"""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relation_cases import CASES, ROWS, rng_of, sensors, whole

from ganlib.augment.constraints import check_written, keeper_of
from ganlib.data.constraints import Combination, Line, Order, Sum, fields_of, table_of
from ganlib.data.inference import infer_schema
from ganlib.data.inverse import to_series
from ganlib.errors import DataError
from serving.errors import DataError as ServingDataError
from serving.table.relations import KINDS, Keeper, unsealed
from serving.table.values import NO_DATE


def schema_of(case, frame):
    return replace(infer_schema(frame, for_generation=True), constraints=(case.relation,))


def keeper_for(case, frame):
    schema, codes = schema_of(case, frame), (np.arange(len(frame)) % 3 == 0).astype(np.int64)
    return schema, keeper_of(schema, frame, codes), codes


def values_of(schema, frame):
    return table_of(schema, frame, [c.name for c in schema.features]).columns


def shuffled(schema, frame, rows, rng, width=0.0):
    """Columns of the real rows in an order of their own, moved by a share of their range, within their bounds."""
    out = {}
    for column in schema.features:
        values = values_of(schema, frame)[column.name][rng.integers(0, len(frame), rows)]
        if width and column.kind in ("number", "integer", "date"):
            low, high = column.bounds
            lacks = values == NO_DATE if column.kind == "date" else np.isnan(values)
            moved = np.clip(values + rng.normal(0, width * (high - low), rows), low, high)
            values = np.where(lacks, values, moved).astype(values.dtype)
        out[column.name] = values
    return out


@pytest.mark.parametrize("name", CASES)
def test_each_relation_is_found_and_alone(name):
    case = CASES[name]
    if case.given:
        pytest.skip("written by a person, not found")
    found = infer_schema(case.frame(), for_generation=True).constraints
    assert case.relation in found, [c.describe() for c in found]
    computed = [c.target for c in found if c.target]
    assert len(found) == len(set(found)) == case.found
    assert len(computed) == len(set(computed))


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("lacking", [0.0, 0.15])
@pytest.mark.parametrize("name", CASES)
def test_every_row_keeps_it_in_memory_and_sealed(name, lacking, sealed):
    case = CASES[name]
    frame = case.frame(lacking=lacking)
    schema, keeper, codes = keeper_for(case, frame)
    if sealed:
        entries, left_out = keeper.sealed()
        assert not left_out
        fields = fields_of(schema.columns, schema.timezone)
        keeper = Keeper(unsealed(json.loads(json.dumps(entries, allow_nan=False)), fields, 2), fields)
    rng = rng_of(1)
    wanted = rng.integers(0, 2, 200)
    made = shuffled(schema, frame, 200, rng, 0.05)

    kept, report = keeper.keep(made, wanted, lambda c: shuffled(schema, frame, len(c), rng, 0.05), rng)
    assert not any(rows.any() for rows in keeper.broken(kept).values())
    written = pd.DataFrame({c.name: to_series(c, kept[c.name], schema.timezone) for c in schema.features})
    check_written(keeper, schema, written)
    read = values_of(schema, written)
    for column in schema.features:
        assert kept[column.name].dtype == made[column.name].dtype
        if column.kind in ("number", "integer", "date") and column.name in keeper.fields:
            np.testing.assert_array_equal(read[column.name], kept[column.name])
            present = read[column.name][table_of(schema, written, [column.name]).present([column.name])]
            assert (present >= column.bounds[0]).all() and (present <= column.bounds[1]).all()
    for counts in report.values():
        assert counts["broken"] == counts["redrawn"] + counts["repaired"]
    if not isinstance(case.relation, Line):
        assert report[case.relation.describe()]["broken"] > 0


@pytest.mark.parametrize("name", CASES)
def test_columns_keep_their_distributions(name):
    """The computed columns alone are wrong: what comes back has the means and the distributions of the real rows."""
    from scipy.stats import ks_2samp

    case = CASES[name]
    frame = case.frame()
    schema, keeper, codes = keeper_for(case, frame)
    rng = rng_of(2)

    def drawn(count):
        rows = rng.permutation(np.resize(np.arange(ROWS), count))
        real = {n: v[rows] for n, v in values_of(schema, frame).items()}
        broken = {c.target or c.columns[-1] for c in schema.constraints}
        # A third of the rows hold another row's value there.
        where = rng.random(count) < 1 / 3
        return {n: np.where(where, rng.permutation(v), v) if n in broken else v for n, v in real.items()}

    kept, _ = keeper.keep(drawn(2000), np.zeros(2000, dtype=np.int64), lambda c: drawn(len(c)), rng)
    for column in schema.features:
        if column.kind in ("number", "integer", "date"):
            field_ = fields_of((column,), schema.timezone)[column.name]
            real, got = (field_.numbers(v) for v in (values_of(schema, frame)[column.name], kept[column.name]))
            assert abs(got.mean() - real.mean()) <= 0.05 * max(abs(real.mean()), real.std()), column.name
            assert ks_2samp(real, got).statistic <= 0.1, column.name


@pytest.mark.parametrize("name", CASES)
def test_what_a_file_holds_reads_back(name):
    case = CASES[name]
    schema = schema_of(case, case.frame())
    assert type(schema).from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    assert KINDS[case.relation.kind] is type(case.relation)


@pytest.mark.parametrize("lacking", [0.0, 0.1])
def test_a_correlation_of_999_comes_back(lacking):
    case = CASES["line"]
    frame = case.frame(lacking=lacking)
    real = frame["inside"].corr(frame["outside"])
    schema, keeper, _ = keeper_for(case, frame)
    rng = rng_of(3)
    made = shuffled(schema, frame, 3000, rng)
    kept, _ = keeper.keep(made, np.zeros(3000, dtype=np.int64), lambda c: shuffled(schema, frame, len(c), rng), rng)
    assert abs(pd.Series(made["inside"]).corr(pd.Series(made["outside"]))) < 0.1
    assert pd.Series(kept["inside"]).corr(pd.Series(kept["outside"])) == pytest.approx(real, abs=0.005)
    assert real > 0.998


def test_a_class_that_leaves_the_line_keeps_its_distance():
    rng = rng_of(0)
    frame = pd.DataFrame(sensors(rng))
    codes = (np.arange(ROWS) % 20 == 0).astype(np.int64)
    frame.loc[codes == 1, "outside"] += 2.5
    schema = replace(infer_schema(frame, for_generation=True), constraints=(Line(("outside", "inside")),))
    keeper = keeper_of(schema, frame, codes)
    wanted = np.repeat([0, 1], 500)
    kept, _ = keeper.keep(
        shuffled(schema, frame, 1000, rng), wanted, lambda c: shuffled(schema, frame, len(c), rng), rng
    )
    gap = kept["outside"] - (1.8 * kept["inside"] + 32)
    assert gap[:500].mean() == pytest.approx(0, abs=0.25)
    assert gap[500:].mean() == pytest.approx(2.5, abs=0.5)


def test_repaired_combinations_are_those_of_the_class():
    rng = rng_of(0)
    city = np.where(np.arange(ROWS) % 2 == 0, whole(rng, 0, 4), whole(rng, 4, 8))
    frame = pd.DataFrame({"city": city + 100, "country": city % 4 + 10})
    schema = replace(infer_schema(frame, for_generation=True), constraints=(Combination(("city", "country")),))
    codes = (np.arange(ROWS) % 2).astype(np.int64)
    keeper = keeper_of(schema, frame, codes)
    wanted = np.repeat([0, 1], 100)
    # No country fits: which city comes back is up to the repair, and is one of the class.
    lost = {"city": np.where(wanted == 0, 107.0, 100.0), "country": np.full(200, 11.0)}
    kept, _ = keeper.keep(lost, wanted, lambda c: {n: np.resize(v, len(c)) for n, v in lost.items()}, rng)
    assert set(kept["city"][:100]) <= {100, 101, 102, 103} and set(kept["city"][100:]) <= {104, 105, 106, 107}


def test_what_no_row_can_keep_is_an_error_with_counts():
    case = CASES["sum of whole numbers"]
    frame = case.frame()
    schema = infer_schema(frame, for_generation=True).with_column("total", minimum=1000, maximum=2000)
    keeper = keeper_of(schema, frame, None)
    rng = rng_of(0)
    with pytest.raises(ServingDataError, match=r"'total = p \+ q' in 50 of 50 generated rows") as error:
        keeper.keep(
            shuffled(schema, frame, 50, rng), np.zeros(50, int), lambda c: shuffled(schema, frame, len(c), rng), rng
        )
    assert error.value.exit_code == 4


def test_a_sum_beyond_its_bounds_moves_its_parts():
    case = CASES["sum of whole numbers"]
    frame = case.frame()
    schema = infer_schema(frame, for_generation=True).with_column("total", maximum=70)
    keeper = keeper_of(schema, frame, None)
    made = {"p": np.full(40, 50.0), "q": np.full(40, 45.0), "total": np.full(40, 60.0), "other": np.zeros(40)}
    same = {n: v[:1] for n, v in made.items()}
    kept, report = keeper.keep(
        made, np.zeros(40, int), lambda c: {n: np.repeat(v, len(c)) for n, v in same.items()}, rng_of(0)
    )
    assert (kept["p"] + kept["q"] == kept["total"]).all() and (kept["total"] == 70).all()
    assert report == {"total = p + q": {"broken": 40, "redrawn": 0, "repaired": 40}}


@pytest.mark.parametrize("relation", [Order(("gross", "limit")), Order(("limit", "gross"), strict=True)])
def test_an_order_of_two_totals_moves_what_they_are_computed_from(relation):
    rng = rng_of(0)
    net, tax, base, more = (whole(rng, 0, 60) for _ in range(4))
    frame = pd.DataFrame({"net": net, "tax": tax, "base": base, "more": more})
    frame = frame.assign(gross=net + tax, limit=base + more)
    sums = Sum(("gross", "net", "tax")), Sum(("limit", "base", "more"))
    schema = replace(infer_schema(frame, for_generation=True), constraints=(*sums, relation))
    with pytest.warns(UserWarning, match="is broken by"):
        keeper = keeper_of(schema, frame, None)
    # No row keeps the order as it comes, nor does any that is sampled again.
    low, high = relation.columns
    worst = {"gross": ("net", "tax"), "limit": ("base", "more")}
    ends = {n: 55.0 for n in worst[low]} | {n: 5.0 for n in worst[high]}
    made = {c.name: np.full(50, ends.get(c.name, 0.0)) for c in schema.features}
    kept, report = keeper.keep(
        made, np.zeros(50, int), lambda c: {n: np.resize(v, len(c)) for n, v in made.items()}, rng
    )
    assert not any(rows.any() for rows in keeper.broken(kept).values())
    assert (kept["net"] + kept["tax"] == kept["gross"]).all() and (kept["base"] + kept["more"] == kept["limit"]).all()
    assert report["gross = net + tax"]["repaired"] == 50


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(CASES)), st.integers(0, 40))
def test_any_rows_any_number_of_them(seed, name, rows):
    case = CASES[name]
    frame = case.frame(lacking=0.1)
    schema, keeper, _ = keeper_for(case, frame)
    rng = rng_of(seed)
    made, wanted = shuffled(schema, frame, rows, rng, rng.uniform(0, 0.3)), rng.integers(0, 2, rows)
    kept, report = keeper.keep(made, wanted, lambda c: shuffled(schema, frame, len(c), rng, 0.1), rng)
    assert set(report) == {c.describe() for c in schema.constraints}
    assert {n: len(v) for n, v in kept.items()} == dict.fromkeys(made, rows)
    if rows:
        assert not any(broken.any() for broken in keeper.broken(kept).values())


def test_training_rows_that_break_a_constraint_are_counted():
    frame = CASES["sum of cents"].frame()
    schema = infer_schema(frame, for_generation=True)
    frame.loc[:4, "total"] += 1
    with pytest.warns(UserWarning, match=r"'total = p \+ q' is broken by 5 of 300 training rows"):
        keeper_of(schema, frame, None)
    frame["total"] = frame["total"] + 1
    with pytest.raises(DataError, match=r"'total = p \+ q' is broken by 300 of 300 training rows"):
        keeper_of(schema, frame, None)
    with pytest.raises(DataError, match="needs rows with both values"):
        line = replace(infer_schema(CASES["line"].frame(), for_generation=True))
        keeper_of(line, CASES["line"].frame().assign(inside=np.nan), None)
