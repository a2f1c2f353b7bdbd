"""data describe, the table of a dry run, and what --schema, --drop and --id do to training and augmenting."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pipeline_data import refused, sensor_table

from ganlib.data.schema import Schema


def odd_table(rows=240):
    """Sensors beside a clock, a counter, an identifier, a constant and a leak."""
    rng = np.random.default_rng(1)
    frame = sensor_table(rows)
    frame["row"] = np.arange(rows)
    frame["site"] = "a [red]site[/red]"
    frame["ticket"] = [f"secret-{i:06d}" for i in rng.permutation(rows)]
    frame["alarm_code"] = frame["fault"] * 7.0
    frame["empty"] = None
    return frame


@pytest.fixture
def data(home):
    odd_table().to_csv("data.csv", index=False)
    return home


def test_every_column_is_listed_within_eighty_columns(ganlib, data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = ganlib("data", "describe", "data.csv", "--label", "fault", "--drop", "count", "--id", "row")
    assert code == 0 and max(len(line) for line in out.splitlines() if "next:" not in line) <= 80, err
    roles = {line.split()[0]: line.split()[2] for line in out.splitlines() if len(line.split()) > 4}
    expected = dict.fromkeys(("flow", "pressure", "valve", "active", "when", "site", "alarm_code"), "feature")
    expected |= {"count": "dropped", "row": "id", "ticket": "id", "empty": "dropped", "fault": "label"}
    assert {k: v for k, v in roles.items() if k in expected} == expected
    assert "secret-" in out and "[red]" in out


def test_notes_stand_whole_below_the_table(ganlib, data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = ganlib("data", "describe", "data.csv", "--label", "fault")
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("alarm_code: "))
    note = " ".join(" ".join(lines[first : first + 3]).split())
    assert "alone it separates known anomalies from other rows (AUROC 1.000)" in note


def test_the_file_holds_all_values_of_the_label(ganlib, data):
    """Normal rows alone are read for the features; the label has more values than theirs."""
    assert ganlib("data", "describe", "data.csv", "--label", "fault", "--write", "s.yaml")[0] == 0
    column = Schema.load("s.yaml").column("fault")
    assert column.categories == ("0", "1") and column.note == "" and column.role == "label"


def test_words_that_are_values_are_named_at_training(ganlib, home):
    sensor_table(240).assign(country=["NA", "ZA", "BW"] * 80).to_csv("data.csv", index=False)
    code, _, err = ganlib("train", "--name", "pump", "--data", "data.csv", "--model", "vae", "--steps", 5)
    assert code == 0 and err.count("column 'country' (word): NA read as a value, not as missing; kept.") == 1
    assert "`not_missing: []` in a schema file" in err


@pytest.mark.parametrize("chosen", [(), ("--drop", "pressure"), ("--id", "count")])
def test_each_split_of_the_lift_infers_its_own_schema(ganlib, data, monkeypatch, chosen):
    """A schema of all rows would hold the bounds of the held-out rows."""
    from ganlib.augment import lift
    from ganlib.errors import DataError

    seen = []

    def measured(augmenter, table, *_, **__):
        seen.append((augmenter.schema, set(table.columns)))
        raise DataError("enough")

    monkeypatch.setattr(lift, "measure_lift", measured)
    code, _, err = ganlib("augment", "--data", "data.csv", "--label", "valve", "--steps", 5, "--rows", 9, *chosen,
                          "--output", "more.csv")  # fmt: skip
    assert code == 4 and "enough; `--gate report`" in err
    assert seen == [(None, set(odd_table().columns) - set(chosen[1:]))]


def test_neither_json_nor_file_holds_examples(ganlib, data):
    given = ("data", "describe", "data.csv", "--label", "fault", "--write", "s.yaml")
    code, out, _ = ganlib(*given, "--json")
    done = json.loads(out)
    assert code == 0 and "secret-" not in out + Path("s.yaml").read_text()
    assert {c["column"] for c in done["columns"]} == set(odd_table().columns) and "240 rows" in done["rule"]
    kinds = {f["column"]: (f["kind"], f["done"]) for f in done["findings"] if f["kind"] != "constant"}
    assert ("site", "constant", "kept") in {(f["column"], f["kind"], f["done"]) for f in done["findings"]}
    assert kinds["row"] == ("counter", "dropped") and kinds["alarm_code"] == ("leak", "kept")
    assert kinds["ticket"] == ("identifier", "not used")
    assert kinds["when"] == ("clock", "read by the time of day and week") and kinds["empty"] == ("empty", "dropped")
    text = Path("s.yaml").read_text()
    assert "# counter: grows from row to row" in text and Schema.load("s.yaml").label == "fault"
    refused(ganlib(*given), 2, "s.yaml exists already", "--force")
    assert Path("s.yaml").read_text() == text
    assert ganlib(*given, "--force")[0] == 0


def test_a_written_schema_trains_and_the_dry_run_shows_the_same_table(ganlib, data, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    ganlib("data", "describe", "data.csv", "--label", "fault", "--write", "s.yaml")
    values = yaml.safe_load(Path("s.yaml").read_text())
    for column in values["columns"]:
        if column["name"] in ("alarm_code", "count"):
            column["role"] = "dropped"
    Path("s.yaml").write_text(yaml.safe_dump(values))
    # The label comes from the file.
    given = ("train", "--name", "pump", "--data", "data.csv", "--schema", "s.yaml", "--id", "valve", "--model", "vae")
    code, out, _ = ganlib(*given, "--dry-run")
    assert code == 0 and "20 known anomalies" in out and "identifier on" in out and "alarm_code" in out
    code, out, _ = ganlib(*given, "--dry-run", "--json")
    columns = {c["column"]: c["role"] for c in json.loads(out)["columns"]}
    assert code == 0 and "secret-" not in out
    assert (columns["valve"], columns["count"], columns["fault"]) == ("id", "dropped", "label")
    code, out, err = ganlib(*given, "--steps", 20, "--alpha", "0.05", "--json")
    trained = json.loads(out)
    assert code == 0 and trained["rule"].startswith("fault = '0'"), err
    assert {f["column"] for f in trained["extra"]["findings"]} >= {"row", "when", "ticket"}
    assert "column 'when' (clock): a running clock" in err and "column 'row' (counter)" in err
    from serving.artifact import load_artifact

    features = load_artifact(trained["artifact"]).metadata["features"]
    assert features == ["flow", "pressure", "active", "when", "site"]
    new = odd_table().drop(columns=["fault", "alarm_code", "count", "valve", "ticket", "row", "empty"])
    new.to_csv("new.csv", index=False)
    assert ganlib("score", "--model", trained["artifact"], "--input", "new.csv", "--output", "out")[0] == 0


def test_beyond_ten_findings_are_counted(ganlib, home):
    frame = sensor_table(240).drop(columns="when").assign(**{f"c{i:02d}": float(i) for i in range(14)})
    frame.to_csv("data.csv", index=False)
    code, _, err = ganlib("train", "--name", "pump", "--data", "data.csv", "--model", "vae", "--steps", 5)
    assert code == 0 and err.count("(constant)") == 10 and "and 4 more findings: `ganlib data describe`" in err


def written(**changes):
    """A schema file of data.csv with keys of columns changed."""
    from ganlib.data.inference import infer_schema

    values = infer_schema(pd.read_csv("data.csv"), "fault").to_dict()
    for column in values["columns"]:
        column.update(changes.get(column["name"], {}))
    Path("s.yaml").write_text(yaml.safe_dump({k: v for k, v in values.items() if k not in ("label", "group")}))


GIVEN = ("--data", "data.csv", "--schema", "s.yaml")
REFUSED = {
    "absent file": (None, GIVEN, 2, ("s.yaml cannot be read",)),
    "other label": ({}, (*GIVEN, "--label", "active"), 2, ("'active'", "'fault' in schema file s.yaml")),
    "renamed column": ({"flow": {"name": "flows"}}, GIVEN, 4, ("1 column that the data lacks", "did you mean 'flow'")),
    "nothing left": (
        {n: {"role": "dropped"} for n in odd_table().columns if n != "fault"}, GIVEN, 4, ("leaves no column",)
    ),
    "dropped and id": ({}, (*GIVEN, "--drop", "flow", "--id", "flow"), 2, ("'flow' is both",)),
    "no such column": ({}, (*GIVEN, "--drop", "flows"), 4, ("no column 'flows' to drop", "'flow'")),
    "dropped label": ({}, (*GIVEN, "--drop", "fault"), 2, ("'fault' is the label",)),
    "no cycles": ({"when": {"cycles": []}}, GIVEN, 2, ("'when': clock: recurring needs cycles",)),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
@pytest.mark.parametrize("verb", ["train", "describe"])
def test_a_schema_against_the_data_is_one_line(ganlib, data, name, verb):
    changes, given, code, words = REFUSED[name]
    if changes is not None:
        written(**changes)
    before = ("train", "--name", "x", "--model", "vae") if verb == "train" else ("data", "describe")
    given = given if verb == "train" else given[1:]
    refused(ganlib(*before, *given), code, *words)


def test_what_schema_and_data_do_not_share_is_said(ganlib, data):
    written()
    frame = pd.read_csv("data.csv").drop(columns=["empty", "row"]).assign(extra=1, more=2)
    frame.to_csv("data.csv", index=False)
    said = ("2 columns of the data are not in the schema and not used: 'extra', 'more'",
            "2 unused columns of the schema are not in the data: 'row', 'empty'")  # fmt: skip
    _, out, err = ganlib("data", "describe", *GIVEN[1:])
    assert all(f"warning: {text}" in err for text in said) and "unused" in out
    _, out, _ = ganlib("train", "--name", "x", *GIVEN, "--dry-run")
    assert all(text in out for text in said)


def test_a_label_that_the_schema_takes_for_a_feature_is_the_label(ganlib, data):
    written(fault={"role": "feature", "kind": "integer", "categories": None})
    code, out, _ = ganlib("train", "--name", "x", *GIVEN, "--label", "fault", "--dry-run", "--json")
    assert code == 0 and {c["column"]: c["role"] for c in json.loads(out)["columns"]}["fault"] == "label"


@pytest.mark.parametrize("way", ["drop", "schema"])
def test_an_augmenter_leaves_the_same_columns_out(ganlib, data, way):
    given = ("--data", "data.csv", "--label", "valve", "--steps", 5)
    chosen = ("--drop", "pressure", "--id", "count")
    Path("quick.yaml").write_text("augment: {repeats: 2}\n")
    if way == "schema":
        describe = ("data", "describe", "data.csv", "--label", "valve", "--task", "augmenter", "--write", "s.yaml")
        assert ganlib(*describe, *chosen)[0] == 0
        chosen = ("--schema", "s.yaml")
    code, out, err = ganlib("augment", *given, *chosen, "--rows", 30, "--output", "more.csv", "--gate", "off")
    made = pd.read_csv("more.csv").query("_synthetic")
    assert code == 0 and len(made) == 30, err
    assert made[["pressure", "count"]].isna().all().all() and made[["flow", "when", "fault"]].notna().any().all()
    code, out, err = ganlib("train", "--name", "more", "--task", "augmenter", "--model", "cvae_gan", *given, *chosen)
    assert code == 0 and "on one split" in err, err
    code, out, err = ganlib("augment", *given, *chosen, "--output", "judged.csv", "--config", "quick.yaml",
                              "--gate", "report")  # fmt: skip
    assert code == 0 and "real rows alone" in out, err
    code, out, _ = ganlib("train", "--name", "more", "--task", "augmenter", "--model", "cvae_gan", *given, *chosen,
                          "--dry-run", "--json")  # fmt: skip
    roles = {c["column"]: c["role"] for c in json.loads(out)["columns"]}
    assert (roles["pressure"], roles["count"], roles["when"]) == ("dropped", "id", "feature")


def test_a_constraint_on_the_label_is_named_where_it_is_left_out(tmp_path):
    from ganlib.data.constraints import Combination
    from ganlib.data.inference import infer_schema
    from pipelines.schemas import schema_of
    from pipelines.settings import DataSettings

    frame = pd.DataFrame({"a": ["x", "y", "z"] * 30, "kind": ["u", "v", "v"] * 30, "n": np.arange(90) % 7})
    schema = dataclasses.replace(infer_schema(frame), constraints=(Combination(("a", "kind")),))
    schema.save(tmp_path / "s.yaml")
    data = DataSettings(schema_file=str(tmp_path / "s.yaml"), label="kind")
    with pytest.warns(UserWarning, match="constraints on the label are not kept.*a.*kind"):
        assert schema_of(data, frame, for_generation=True).constraints == ()


def test_a_dropped_column_takes_the_constraints_found_of_it_along(tmp_path):
    from ganlib.data.inference import infer_schema
    from pipelines.schemas import schema_of
    from pipelines.settings import DataSettings

    p, q = (np.random.default_rng(seed).integers(0, 50, 120) for seed in (0, 1))
    frame = pd.DataFrame({"p": p, "q": q, "total": p + q, "kind": ["u", "v"] * 60})
    schema = infer_schema(frame, for_generation=True)
    assert [c.describe() for c in schema.constraints] == ["total = p + q"]
    schema.save(tmp_path / "s.yaml")
    for left_out in ({"drop": ["q"]}, {"ids": ["total"]}):
        for file in ({"schema_file": str(tmp_path / "s.yaml")}, {}):
            left = schema_of(DataSettings(**left_out, **file), frame, for_generation=True)
            assert left.constraints == ()


def test_a_sealed_augmenter_keeps_relations_and_says_what_it_repaired(ganlib, home):
    p, q = (np.random.default_rng(seed).integers(0, 50, 200) for seed in (0, 1))
    frame = pd.DataFrame({"p": p, "q": q, "total": p + q, "kind": ["u", "u", "u", "v"] * 50})
    frame.to_csv("sums.csv", index=False)
    given = ("--data", "sums.csv", "--label", "kind")
    code, _, err = ganlib("train", "--name", "sums", "--task", "augmenter", "--model", "cvae", *given, "--steps", 5)
    assert code == 0, err
    code, out, err = ganlib(
        "augment", *given, "--model", "models:/sums@challenger", "--rows", 60, "--output", "more.csv"
    )
    assert code == 0 and "constraint total = p + q: " in out and "repaired" in out, out + err
    made = pd.read_csv("more.csv").query("_synthetic")
    assert len(made) == 60 and (made["p"] + made["q"] == made["total"]).all()
