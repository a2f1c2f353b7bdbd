"""The audit of synthetic rows, by generators whose faults are known."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from ganlib import Audit, audit
from ganlib.augment.canaries import plant_canaries
from ganlib.data.inference import infer_schema
from ganlib.errors import ConfigError, DataError


def people(rows, seed):
    """Mixed types, missing values and a constant column; pay follows age."""
    rng = np.random.default_rng(seed)
    age = rng.normal(50, 10, rows)
    frame = pd.DataFrame(
        {
            "age": age,
            "pay": 2 * age + rng.normal(0, 5, rows),
            "kids": rng.poisson(1.5, rows),
            "town": rng.choice(list("ABC"), rows, p=[0.5, 0.3, 0.2]),
            "born": pd.Timestamp("2000-01-01") + pd.to_timedelta(rng.integers(0, 5000, rows), "D"),
            "member": rng.random(rows) < 0.3,
            "unit": "cm",
        }
    )
    frame.loc[rng.random(rows) < 0.1, "pay"] = np.nan
    return frame


REAL, HOLDOUT, FRESH = people(400, 0), people(300, 1), people(400, 2)


@pytest.fixture(scope="module")
def honest():
    return audit(REAL, FRESH, HOLDOUT)


def value(found, name):
    return found[name].value


def shapes(found):
    return {column.name: column.shape for column in found.columns}


# ---------------------------------------------------------------- generators with known faults
def test_rows_of_the_same_distribution_have_no_faults(honest):
    assert not honest.leaks and not honest.flaws
    assert honest.verdict == (
        "Privacy, beside 300 held-out rows: no sign that rows were repeated. "
        "Fidelity of 300 rows: no clear difference from real rows."
    )
    assert value(honest, "copies") == 0 and value(honest, "near_share") == pytest.approx(0.05, abs=0.04)
    assert value(honest, "membership") == pytest.approx(0.5, abs=0.1)
    assert value(honest, "two_sample") == pytest.approx(0.5, abs=0.1)
    assert honest["near_share"].usual == pytest.approx(0.05, abs=0.005)
    assert min(shapes(honest).values()) > 0.85 and shapes(honest)["unit"] == 1
    assert honest.rows == {
        "real": 400, "synthetic": 400, "holdout": 300, "searched real": 400, "searched synthetic": 400,
        "searched holdout": 300, "compared": 300,
    }  # fmt: skip


def test_a_memoriser_is_found_though_it_looks_real():
    found = audit(REAL, REAL.sample(frac=1, random_state=0), HOLDOUT)
    assert value(found, "copies") == value(found, "near_share") == value(found, "membership_found_1") == 1
    assert value(found, "membership") == 1 and value(found, "membership_relative") == 1
    assert "100.0% of the rows equal a training row (0.0% of held-out rows)" in found.leaks[0] and not found.flaws
    assert value(found, "near_distance") == 0 < found["near_distance"].usual


def test_a_jittered_memoriser_copies_nothing_and_is_found():
    rng = np.random.default_rng(0)
    found = audit(REAL, REAL.assign(age=REAL["age"] + 0.05 * rng.normal(size=400), pay=REAL["pay"] + 0.01), HOLDOUT)
    assert value(found, "copies") == 0 and value(found, "near_share") > 0.95 and value(found, "membership") > 0.95
    assert len(found.leaks) >= 3 and "worrying" in found.verdict


def test_a_few_copies_are_found():
    found = audit(REAL, pd.concat([FRESH, REAL[:40]]), HOLDOUT)
    assert value(found, "copies") == pytest.approx(40 / 440) and "9.1% of the rows equal" in found.leaks[0]


def test_a_shifted_column_lowers_its_shape_only(honest):
    found = audit(REAL, FRESH.assign(age=FRESH["age"] + 10), HOLDOUT)
    assert shapes(found)["age"] < 0.7 and not found.leaks
    assert {n: s for n, s in shapes(found).items() if n != "age"} == {
        n: s for n, s in shapes(honest).items() if n != "age"
    }
    assert [flaw for flaw in found.flaws if flaw.startswith("other shapes")] == [
        f"other shapes: 'age' ({shapes(found)['age']:.2f}; training rows: {found.columns[0].usual_shape:.2f})"
    ]
    assert value(found, "trends") == pytest.approx(value(honest, "trends")) and "relations" not in found.verdict


def test_shuffled_columns_keep_their_shapes_and_lose_their_relation(honest):
    rng = np.random.default_rng(0)
    found = audit(REAL, FRESH.apply(lambda column: column.to_numpy()[rng.permutation(400)]), HOLDOUT)
    assert value(found, "shapes") == pytest.approx(value(honest, "shapes"), abs=0.03)
    worst = found.pairs[0]
    assert {worst.first, worst.second} == {"age", "pay"} and worst.similarity < 0.65 and worst.usual > 0.95
    assert any("other relations of columns: 'age' with 'pay'" in flaw for flaw in found.flaws)


def test_missing_values_levels_and_bounds():
    made = FRESH.assign(
        pay=np.where(np.arange(400) % 2, FRESH["pay"], np.nan),
        kids=FRESH["kids"].clip(upper=5).where(FRESH.index > 80, 900),
        town=FRESH["town"].where(FRESH.index > 100, "Z"),
    )  # fmt: skip
    found = audit(REAL, made, HOLDOUT)
    columns = {column.name: column for column in found.columns}
    assert columns["pay"].missing > 0.5 and columns["pay"].usual_missing < 0.2
    assert columns["kids"].invalid == pytest.approx(81 / 400) and columns["town"].invalid == pytest.approx(101 / 400)
    assert "other shares of missing values: 'pay'" in found.verdict
    assert "values that the schema does not allow: 'town' (25.2%; held-out rows: 0.0%), 'kids'" in found.verdict


def test_constraints_are_those_of_the_schema():
    real, holdout, made = (f[["age", "kids"]].round(1).assign(total=lambda g: g["age"] + g["kids"])
                           for f in (REAL, HOLDOUT, FRESH))  # fmt: skip
    schema = infer_schema(real, for_generation=True)
    assert any("total" in rule.columns for rule in schema.constraints)
    broken = audit(real, made.assign(total=made["total"] + (made.index < 100)), holdout, schema=schema)
    rule = next(rule for rule in broken.rules if "total" in rule.rule)
    assert (rule.broken, rule.usual_broken) == (0.25, 0) and "broken constraints" in broken.verdict
    assert all(rule.broken == 0 for rule in audit(real, made, holdout, schema=schema).rules if "total" in rule.rule)


# ---------------------------------------------------------------- classes
def test_classes_are_compared_with_their_like():
    def labelled(frame, share, seed):
        kind = np.where(np.random.default_rng(seed).random(len(frame)) < share, "rare", "usual")
        return frame.assign(age=frame["age"] + 30 * (kind == "rare"), kind=kind)

    real, holdout, made = labelled(REAL, 0.2, 0), labelled(HOLDOUT, 0.2, 1), labelled(FRESH, 1.0, 2)
    made["age"] = made["age"].clip(upper=real["age"].max())
    plain, found = audit(real, made, holdout), audit(real, made, holdout, label="kind")
    assert shapes(plain)["age"] < 0.4 and shapes(found)["age"] > 0.75 and shapes(found)["kind"] is None
    assert not found.flaws and plain.flaws
    rare = [int((frame["kind"] == "rare").sum()) for frame in (real, holdout)]
    assert found.rows["compared"] == min(rare) and found["classes"].value < 0.3 < 0.9 < found["classes"].usual


def test_a_class_without_held_out_rows_is_searched_for_copies_only():
    real = REAL.assign(kind=["x"] * 399 + ["one"])
    made = pd.concat([FRESH.assign(kind="x"), real[-1:]])
    found = audit(real, made, HOLDOUT.assign(kind="x"), label="kind")
    assert value(found, "copies") == 1 / 401
    assert any("1 synthetic row of classes without" in note and "'one'" in note for note in found.notes)
    with pytest.raises(DataError, match="no class is in all of"):
        audit(REAL.assign(kind="x"), FRESH.assign(kind="y"), HOLDOUT.assign(kind="x"), label="kind")


# ---------------------------------------------------------------- input
def test_only_marked_rows_of_an_augmented_table_count(honest):
    both = pd.concat([REAL.assign(_synthetic=False), FRESH.assign(_synthetic=True)])
    assert audit(REAL, both, HOLDOUT) == honest
    as_text = both.astype({"_synthetic": str})
    assert audit(REAL, as_text, HOLDOUT).figures == honest.figures
    with pytest.raises(DataError, match="_synthetic of synthetic marks no row as true"):
        audit(REAL, REAL.assign(_synthetic=False), HOLDOUT)
    with pytest.raises(DataError, match="'maybe'"):
        audit(REAL, FRESH.assign(_synthetic="maybe"), HOLDOUT)


WRONG = {
    "no rows": ((REAL, FRESH[:0], HOLDOUT), "synthetic has 0 rows"),
    "a column lacks": ((REAL, FRESH.drop(columns="age"), HOLDOUT), "synthetic lacks the columns 'age'"),
    "a column more": ((REAL, FRESH, HOLDOUT.assign(z=1)), "holdout has columns that real lacks, 'z'"),
    "held-out rows are training rows": ((REAL, FRESH, REAL.sample(frac=1)), "100% of the holdout rows equal"),
    "part of the training rows": ((REAL, FRESH, REAL[:50]), "hold out real rows"),
    "synthetic rows are the held-out ones": ((REAL, HOLDOUT, HOLDOUT), "hold the same rows"),
    "another type": ((REAL, FRESH.assign(age="old"), HOLDOUT), "column 'age'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_tables_are_named(case):
    frames, words = WRONG[case]
    with pytest.raises(DataError, match=words):
        audit(*frames)


def test_equal_rows_of_a_table_of_few_values_are_no_leak():
    def coins(seed):
        return pd.DataFrame(np.random.default_rng(seed).integers(0, 2, (200, 3)).astype(str), columns=list("abc"))

    found = audit(coins(0), coins(1), coins(2))
    assert value(found, "copies") == found["copies"].usual == 1 and not found.leaks


def test_a_label_that_is_not_there_and_labels_that_differ():
    with pytest.raises(DataError, match="no label column 'kind'"):
        audit(REAL, FRESH, HOLDOUT, label="kind")
    schema = infer_schema(REAL, "town", for_generation=True)
    with pytest.raises(DataError, match="the label is 'kids', but 'town'"):
        audit(REAL, FRESH, HOLDOUT, label="kids", schema=schema)


def test_a_schema_file_and_identifiers(tmp_path, honest):
    infer_schema(REAL, for_generation=True, drop=["unit"]).save(tmp_path / "s.yaml")
    found = audit(REAL, FRESH.drop(columns="unit"), HOLDOUT, schema=tmp_path / "s.yaml")
    assert "unit" not in shapes(found) and any("'unit'" in note for note in found.notes)
    assert value(found, "near_share") == value(honest, "near_share")


def test_few_rows_and_a_column_that_was_not_generated():
    found = audit(REAL[:30], FRESH[:8].assign(pay=np.nan), HOLDOUT[:3])
    assert [note.split(":")[0] for note in found.notes[1:3]] == ["3 held-out rows", "3 comparable rows"]
    assert {"copies", "near_share", "shapes"} <= {figure.name for figure in found.figures}
    assert shapes(found)["pay"] == 0 and "missing in all synthetic rows" in found.notes[0]


def test_a_verdict_on_few_rows_says_how_little_they_show(honest):
    few = audit(REAL, FRESH, HOLDOUT[:49])
    assert few.few and few.verdict.endswith("So few rows show only strong faults.")
    assert not honest.few and not audit(REAL, FRESH, HOLDOUT[:50]).few


def test_large_tables_are_sampled_and_said(monkeypatch, honest):
    for name, most in (("audit.QUERIES", 100), ("audit.COMPARED", 80), ("compared.JUDGED", 40), ("compared.PAIRED", 4)):
        monkeypatch.setattr(f"ganlib.augment.{name}", most)
    found = audit(REAL, pd.concat([FRESH, REAL[:10]]), HOLDOUT)
    assert found.rows["compared"] == 80 and found.rows["searched holdout"] == 100
    assert value(found, "copies") == 10 / 410, "copies are searched among all rows"
    assert {"pairs are compared of 4 of 7 columns", "columns are compared on 80 rows of each table"} < set(found.notes)
    assert audit(REAL, pd.concat([FRESH, REAL[:10]]), HOLDOUT) == found
    assert audit(REAL, pd.concat([FRESH, REAL[:10]]), HOLDOUT, seed=1) != found


def test_the_result_as_json_holds_no_values_of_the_data(honest):
    text = json.dumps(honest.to_dict())
    assert "near_share" in text and "'A'" not in text and '"A"' not in text and "bars" not in text
    assert {column.name for column in honest.columns} == set(REAL.columns)
    assert all(sum(c.bars.real) == pytest.approx(1) and sum(c.bars.synthetic) == pytest.approx(1)
               for c in honest.columns)  # fmt: skip
    assert isinstance(honest, Audit) and dataclasses.is_dataclass(honest)


def test_numbers_without_a_range():
    rng = np.random.default_rng(0)
    real, made, held = (
        pd.DataFrame({"flat": 3.0, "huge": rng.choice([1e308, -1e308], 60), "some": rng.normal(size=60)})
        for _ in range(3)
    )
    columns = {column.name: column for column in audit(real, made, held).columns}
    assert columns["flat"].shape == 1 and columns["flat"].bars.real == (1.0,)
    assert columns["huge"].shape > 0.7 and columns["huge"].bars.real == ()


# ---------------------------------------------------------------- canaries
def test_canaries_of_a_memoriser_are_found_and_of_an_honest_generator_not():
    trial = plant_canaries(REAL, seed=0)
    assert len(trial.frame) == 500 and len(trial.planted) == len(trial.absent) == 10
    assert list(trial.frame.dtypes) == list(REAL.dtypes)
    memory = trial.test(trial.frame.sample(400, replace=True, random_state=0))
    assert memory.auroc > 0.95 and memory.p_value < 0.001 and memory.planted == 0
    fair = [plant_canaries(REAL, seed=seed).test(FRESH).p_value for seed in range(12)]
    assert min(fair) > 0.001 and 0.2 < np.mean(fair) < 0.8


def test_too_few_combinations_and_counts():
    with pytest.raises(DataError, match="too few combinations"):
        plant_canaries(pd.DataFrame({"a": list("xy") * 10, "b": list("xxyy") * 5}), 3)
    with pytest.raises(ConfigError, match="count must be"):
        plant_canaries(REAL, 0)
