"""ganlib audit: what it prints and writes, and which files it rejects."""

import json

import numpy as np
import pandas as pd
import pytest
from pipeline_data import refused

from pipelines.markup import DOUBTFUL, GOOD

GIVEN = ("audit", "--real", "train.csv", "--synthetic", "more.csv", "--holdout", "test.csv")


def table(rows, seed):
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows).round(3)
    frame = pd.DataFrame({"size": size, "mass": (2 * size + rng.normal(size=rows)).round(3)})
    return frame.assign(note=rng.choice(["<b>bold</b>", "$x$", "plain"], rows), kind=rng.choice(["x", "y"], rows))


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("train", 0), ("test", 1)):
        table(200, seed).to_csv(f"{name}.csv", index=False)
    both = [table(200, 0).assign(_synthetic=False), table(200, 2).assign(_synthetic=True)]
    pd.concat(both).to_csv("more.csv", index=False)
    return tmp_path


def test_a_page_and_a_table(ganlib, files):
    code, out, err = ganlib(*GIVEN, "--label", "kind", "--report", "audit.html")
    assert code == 0 and "no sign that rows were repeated" in out and "no clear difference from real rows" in out, err
    assert "membership attack, AUROC (chance: 0.5)" in out and "report: audit.html" in out
    assert "as many of each class" in err
    page = (files / "audit.html").read_text()
    assert len(page) < 2_000_000 and page.count("data:image/png") == 1
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "<b>bold</b>" not in page and "more.csv" in page
    for words in ("Privacy", "Fidelity", "Columns side by side", "A sample", "10 synthetic rows, chosen at random"):
        assert words in page
    assert GOOD in page
    # Same rows, same page.
    assert ganlib(*GIVEN, "--label", "kind", "--report", "again.html")[0] == 0
    assert (files / "again.html").read_text() == page


def test_a_page_on_few_rows_is_not_green(ganlib, files):
    pd.read_csv("test.csv")[:20].to_csv("test.csv", index=False)
    code, out, err = ganlib(*GIVEN, "--report", "audit.html")
    assert code == 0 and "So few rows show only strong faults" in out, err
    page = (files / "audit.html").read_text()
    assert DOUBTFUL in page and GOOD not in page


def test_json_names_a_memoriser_and_the_exit_code_is_0(ganlib, files):
    table(200, 0).to_csv("more.csv", index=False)
    code, out, err = ganlib(*GIVEN, "--json")
    done = json.loads(out)
    assert code == 0 and done["figures"]["copies"] == {
        "value": 1.0, "usual": 0.0, "title": "rows equal to a training row"
    }, err  # fmt: skip
    assert done["leaks"] and not done["flaws"] and "bold" not in out


def test_columns_are_left_out_by_option_and_by_schema(ganlib, files):
    _, out, _ = ganlib(*GIVEN, "--drop", "mass", "--json")
    done = json.loads(out)
    assert [c["name"] for c in done["columns"]] == ["size", "note", "kind"] and "'mass'" in done["notes"][0]
    ganlib("data", "describe", "train.csv", "--task", "augmenter", "--drop", "mass", "--write", "s.yaml")
    _, out, err = ganlib(*GIVEN, "--schema", "s.yaml", "--json")
    assert json.loads(out)["columns"] == done["columns"], err


WRONG = {
    "no holdout": (GIVEN[:5], 2, ("--holdout is missing", "did not learn from")),
    "no such file": ((*GIVEN[:6], "absent.csv"), 2, ("absent.csv",)),
    "holdout is the training rows": ((*GIVEN[:6], "train.csv"), 4, ("100% of the holdout rows equal a training row",)),
    "columns differ": ((*GIVEN[:6], "less.csv"), 4, ("holdout lacks the columns 'mass'",)),
    "an empty file": ((*GIVEN[:6], "empty.csv"), 4, ("empty.csv is empty",)),
    "a header alone": ((*GIVEN[:6], "bare.csv"), 4, ("bare.csv holds a header but no rows",)),
    "no such label": ((*GIVEN, "--label", "kid"), 4, ("no label column 'kid'", "'kind'")),
    "no synthetic row": ((*GIVEN[:4], "real.csv", *GIVEN[5:]), 4, ("marks no row as true",)),
    "a page that is the input": ((*GIVEN, "--report", "train.csv"), 2, ("must end in",)),
    "a folder that is not there": ((*GIVEN, "--report", "no/a.html"), 2, ("there is no folder no",)),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_named(ganlib, files, case):
    table(50, 3).drop(columns="mass").to_csv("less.csv", index=False)
    table(200, 0).assign(_synthetic=False).to_csv("real.csv", index=False)
    (files / "empty.csv").write_text("")
    (files / "bare.csv").write_text("size,mass,note,kind\n")
    arguments, code, words = WRONG[case]
    refused(ganlib(*arguments), code, *words)


@pytest.mark.parametrize("option", ["schema", "drop", "id", "both", "none"])
def test_rows_of_a_split_are_audited_whatever_columns_are_left_out(ganlib, files, option):
    from ganlib.augment.lift import Example, Lift
    from pipelines.auditing import audit_of
    from pipelines.schemas import unused_columns
    from pipelines.steps import settings_of

    write = ("data", "describe", "train.csv", "--task", "augmenter", "--drop", "mass", "--label", "kind")
    assert ganlib(*write, "--write", "s.yaml")[0] == 0
    given = {"schema": {"data.schema_file": "s.yaml"}, "drop": {"data.drop": ["mass"]}, "id": {"data.ids": ["mass"]}}
    given["both"] = given["schema"] | {"data.drop": ["size"]}
    settings = settings_of("train.csv", label="kind", overrides=given.get(option, {}))
    frames = [table(200, seed).drop(columns=unused_columns(settings.data, table(200, seed))) for seed in (0, 2, 1)]
    found = audit_of(Lift({"none": [0.0]}, 0.3, example=Example(*frames)), settings)
    assert not isinstance(found, str), found
    assert ("size" in {column.name for column in found.columns}) == (option != "both")
    assert ("mass" in {column.name for column in found.columns}) == (option == "none")
    same = Example(frames[0], frames[1], frames[0])
    assert "hold out real rows" in audit_of(Lift({"none": [0.0]}, 0.3, example=same), settings)
    assert "not those with numeric targets" in audit_of(Lift({"none": [0.0]}, 0.3), settings)
