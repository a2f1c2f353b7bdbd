"""The command: rows that satisfy a condition, rare ranges of a numeric target, and groups that stay together."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused


@pytest.fixture
def visits(home):
    rng = np.random.default_rng(0)
    n = 160
    frame = pd.DataFrame({
        "country": rng.choice(["FR", "DE", "New York"], n, p=[0.25, 0.45, 0.3]),
        "age": rng.integers(18, 90, n),
        "patient": np.repeat(np.arange(32), 5),
    })  # fmt: skip
    frame["dose"] = np.exp(frame["age"] / 30 + 0.3 * rng.normal(size=n)).round(2)
    frame["kind"] = np.where(frame["age"] + 20 * rng.normal(size=n) > 80, "rare", "usual")
    frame.to_csv("visits.csv", index=False)
    return frame


GIVEN = ("--data", "visits.csv", "--model", "gaussian", "--output", "more.csv")


def written(frame):
    """The generated rows; the real ones are first and unchanged."""
    whole = pd.read_csv("more.csv")
    real = whole[~whole["_synthetic"]].drop(columns="_synthetic")
    pd.testing.assert_frame_equal(real.astype(frame.dtypes), frame)
    return whole[whole["_synthetic"]]


def test_every_generated_row_satisfies_the_condition(ganlib, visits):
    code, out, err = ganlib("augment", *GIVEN, "--where", "country in (FR, 'New York')", "--where", "age >= 40",
                            "--rows", 21)  # fmt: skip
    made = written(visits)
    assert code == 0 and "160 real rows and 21 synthetic" in out, err
    held = int((visits["country"].isin(["FR", "New York"]) & (visits["age"] >= 40)).sum())
    assert f"{held} real rows satisfy country in (FR, 'New York') and age >= 40" in err
    assert len(made) == 21 and set(made["country"]) <= {"FR", "New York"} and made["age"].min() >= 40


def test_classes_are_balanced_among_the_rows_that_satisfy_it(ganlib, visits):
    counts = visits.loc[visits["country"] == "FR", "kind"].value_counts()
    Path("job.yaml").write_text("data: {label: kind}\naugment: {where: ['country = FR'], gate: 'off'}\n")
    code, out, _ = ganlib("augment", *GIVEN, "--config", "job.yaml", "--dry-run")
    assert code == 0 and "where: country = FR" in out and f"synthetic rows: {counts['usual'] - counts['rare']}" in out
    code, out, _ = ganlib("augment", *GIVEN, "--config", "job.yaml", "--json")
    assert code == 0 and json.loads(out)["classes"] == {"rare": counts["usual"] - counts["rare"]}
    assert set(written(visits)["country"]) == {"FR"}


def test_the_gate_measures_the_rows_that_satisfy_the_condition(ganlib, visits):
    Path("job.yaml").write_text("augment: {repeats: 2}\n")
    given = (*GIVEN, "--label", "kind", "--where", "country != FR", "--gate", "report", "--config", "job.yaml")
    code, out, err = ganlib("augment", *given, "--json")
    done = json.loads(out)
    assert code == 0 and "held-out real rows that satisfy the condition" in done["measure"], err
    assert set(written(visits)["country"]) == {"DE", "New York"}
    page = Path("more.report.html").read_text()
    assert "--where &#x27;country != FR&#x27;" in page and "that satisfy the condition" in page


def test_a_numeric_label_is_generated_within_its_rare_ranges(ganlib, visits):
    Path("job.yaml").write_text("augment: {repeats: 2}\n")
    given = (*GIVEN, "--label", "dose", "--drop", "kind", "--group", "patient", "--config", "job.yaml")
    code, out, err = ganlib("augment", *given, "--dry-run")
    ranges = {line.split(":")[0] for line in out.split("classes: ")[1].splitlines()[0].strip("{}").split(", ")}
    assert code == 0 and len(ranges) > 3 and "'dose below" in out, err
    code, out, err = ganlib("augment", *given, "--gate", "report", "--json")
    done, made = json.loads(out), written(visits)
    assert code == 0 and "is a numeric target, in" in err and "--target classes" in err, err
    assert sum(done["classes"].values()) == len(made) > 0 and all(name.startswith("dose ") for name in done["classes"])
    assert "macro skill" in done["measure"] and "SMOTER rows added" in [row[0] for row in done["lift"]]
    assert made["dose"].between(visits["dose"].min(), visits["dose"].max()).all()
    # The group is no feature: it is missing in generated rows.
    assert made["patient"].isna().all() and made["kind"].isna().all()
    page = Path("more.report.html").read_text()
    assert "Generated rows by range" in page and "gain in macro AUPRC" not in page and "--group patient" in page


def test_a_schema_file_may_name_the_numeric_target_its_label(ganlib, visits):
    code, _, err = ganlib(
        "data", "describe", "visits.csv", "--label", "dose", "--task", "augmenter", "--write", "s.yaml"
    )
    assert code == 0, err
    code, _, err = ganlib("augment", *GIVEN, "--label", "dose", "--schema", "s.yaml", "--rows", 12, "--gate", "off",
                          "--where", "dose > 5 and country = FR")  # fmt: skip
    made = written(visits)
    assert code == 0 and len(made) == 12 and (made["dose"] > 5).all() and set(made["country"]) == {"FR"}, err


def test_rows_of_one_group_are_never_on_both_sides(ganlib, visits, monkeypatch):
    from ganlib.augment import lift

    sides, judged = [], lift.judge_split

    def watched(real, made, test, label, *rest):
        assert "patient" not in real.columns
        sides.append((set(real["row"]), set(test["row"])))
        return judged(real, made, test, label, *rest)

    monkeypatch.setattr(lift, "judge_split", watched)
    table = visits.assign(row=np.random.default_rng(0).permutation(len(visits)) * 1.5)
    table.to_csv("visits.csv", index=False)
    Path("job.yaml").write_text("augment: {repeats: 3}\n")
    code, _, err = ganlib("augment", *GIVEN, "--label", "kind", "--group", "patient", "--gate", "report", "--config",
                          "job.yaml")  # fmt: skip
    patients = dict(zip(table["row"].astype(str), table["patient"], strict=True))
    assert code == 0 and len(sides) == 3, err
    for learned, held in sides:
        assert not {patients[row] for row in learned} & {patients[row] for row in held}
    assert written(table)["patient"].isna().all()


CASES = {
    "unknown column": (("--where", "contry = FR", "--rows", 5), 4, ("no column 'contry'", "'country'")),
    "unknown category": (("--where", "country = XX", "--rows", 5), 4, ("no row has 'XX'", "'DE', 'FR', 'New York'")),
    "no row": (("--where", "age > 200", "--rows", 5), 4, ("no row satisfies", "'age > 200'")),
    "a few rows": (("--where", "country = FR and age > 88", "--rows", 5), 4, ("satisf", "4 real rows are needed")),
    "unreadable": (("--where", "age >", "--rows", 5), 2, ("a value is expected at the end",)),
    "no rows given": (("--where", "age > 20"), 2, ("--label COLUMN, or --rows N",)),
    "dropped": (("--where", "age > 20", "--rows", 5, "--drop", "age"), 4, ("'age' has the role dropped",)),
    "grouped": (("--where", "patient = 3", "--rows", 5, "--group", "patient"), 4, ("'patient' has the role id",)),
    "no such group": (("--label", "kind", "--group", "patent"), 4, ("no group column 'patent'", "'patient'")),
    "label as group": (("--label", "kind", "--group", "kind"), 2, ("both the label and the group",)),
    "no class there": (("--label", "kind", "--where", "kind = rare", "--class", "usual"), 2, ("the classes are rare",)),
    "balanced there": (("--label", "kind", "--where", "kind = rare"), 4, ("no rows are missing", "--rows N")),
    "no numbers": (("--label", "kind", "--target", "numeric"), 4, ("'kind' holds no numbers",)),
    "no target": (("--label", "kind", "--target", "number"), 2, ("augment.target",)),
    "numbers as classes": (("--label", "dose", "--target", "classes"), 4, ("none has 4 rows or more",)),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_generated_is_one_message_before_training(ganlib, visits, monkeypatch, case):
    from ganlib.augment.base import BaseAugmenter

    options, code, words = CASES[case]
    monkeypatch.setattr(BaseAugmenter, "_fit", lambda *_: pytest.fail("something was fitted"))
    refused(ganlib("augment", *GIVEN, *options), code, *words)
    assert not os.path.exists("more.csv")


def test_conditions_are_for_tables(ganlib, home):
    np.savez("x.npz", x=np.random.default_rng(0).integers(0, 255, (20, 8, 8), dtype=np.uint8), kind=["a", "b"] * 10)
    given = ("augment", "--data", "x.npz", "--label", "kind", "--output", "y.npz", "--rows", 4)
    refused(ganlib(*given, "--where", "kind = a"), 2, "--where is for tables")
    refused(ganlib(*given, "--target", "numeric"), 2, "--target numeric is for tables")


def test_a_sealed_model_samples_until_enough_rows_satisfy_it(ganlib, visits):
    given = ("--data", "visits.csv", "--label", "kind", "--drop", "patient")
    code, _, err = ganlib("train", "--name", "visits", "--task", "augmenter", "--model", "gaussian", *given)
    assert code == 0, err
    sealed = ("augment", *given[:4], "--model", "models:/visits@challenger", "--output", "more.csv")
    code, out, err = ganlib(*sealed, "--class", "rare", "--rows", 30, "--where", "country = FR and age > 50", "--json")
    made = written(visits)
    assert code == 0 and json.loads(out)["classes"] == {"rare": 30}, err
    assert set(made["country"]) == {"FR"} and (made["age"] > 50).all() and set(made["kind"]) == {"rare"}
    os.remove("more.csv")
    refused(ganlib(*sealed, "--rows", 30, "--where", "age = 19 and country = FR and dose < 1.2"), 4,
            "generated rows of", "satisfy age = 19")  # fmt: skip
    refused(ganlib(*sealed, "--rows", 3, "--where", "patient = 3"), 4, "patient")
    assert not os.path.exists("more.csv")
