"""Why one row: the right row, its place among normal rows, parts that add up, and what is unusual about each value."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from serving_data import table

from serving.artifact import load_artifact
from serving.errors import DataError, UsageError
from serving.explain import explain
from serving.explained import Explanation, Part, report
from serving.scorer import Scorer
from serving.table.usual import remark, usual


@pytest.fixture
def source(tmp_path):
    """A CSV of normal rows; row 17 is far out, row 3 has an unseen category, row 5 a value that cannot be read."""
    frame = table(60, 4)
    frame[["count", "kind", "flag"]] = frame[["count", "kind", "flag"]].astype(object)
    frame.loc[17, "amount"], frame.loc[3, "kind"], frame.loc[5, "count"] = 1e5, "zebra", "many"
    frame.loc[8, "flag"] = None
    frame.to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path / "rows.csv"


def parts_of(explanation):
    return {part.column: part for part in explanation.parts}


# ---------------------------------------------------------------- rows
def test_a_row_is_explained_as_it_is_scored(artifact, source):
    (found,) = explain(artifact, source, rows=["17"])
    scored = Scorer(load_artifact(artifact)).score(pd.read_csv(source).drop(index=5)[16:17], explain=True)
    assert found.source == "rows.csv" and found.source_row == 17 and found.is_anomaly
    assert found.anomaly_score == pytest.approx(float(scored.anomaly_score[0]), rel=1e-5)
    assert found.p_value == pytest.approx(float(scored.p_value[0]), rel=1e-5)
    assert sum(part.contribution for part in found.parts) == pytest.approx(found.anomaly_score, rel=1e-4)
    assert sum(part.share for part in found.parts) == pytest.approx(1)
    shares = [part.share for part in found.parts]
    assert shares == sorted(shares, reverse=True) and len(shares) == 5
    first = found.parts[0]
    assert first.column == "amount" and first.value == "100000.0" and first.remark.startswith("above the maximum, ")
    assert "median" in first.usual and "; missing in 1" in first.usual
    assert found.verdict() == f"'amount' has {100 * first.share:.0f} % of the score." and first.share > 0.5


def test_missing_and_unseen_values_are_named(artifact, source):
    unseen, missing, usual_row = explain(artifact, source, rows=["3", "8", "9", "3"])
    assert parts_of(unseen)["kind"].cell() == "zebra (unseen in training)"
    assert parts_of(unseen)["kind"].usual == "a or b or c"
    assert parts_of(missing)["flag"].cell() == "missing (never missing in training)"
    assert parts_of(usual_row)["amount"].cell() == "missing"  # as in one of nine training rows
    assert parts_of(usual_row)["when"].usual == "its place in the day and week counts"
    assert parts_of(usual_row)["flag"].usual in ("true or false", "True or False")
    assert not usual_row.is_anomaly and "not anomalous" in usual_row.verdict()


def test_without_rows_the_most_anomalous_ones_are_explained(artifact, source, capsys):
    found = explain(artifact, source, worst=3)
    err = capsys.readouterr().err
    assert "1 row cannot be scored" in err and "row 5: column 'count': 'many'" in err
    scores = Scorer(load_artifact(artifact)).score(pd.read_csv(source).drop(index=5))
    rows = np.delete(np.arange(60), 5)
    best = sorted(zip(scores.p_value, -scores.anomaly_score, rows, strict=True))[:3]
    assert [e.source_row for e in found] == [row for _, _, row in best] and 17 in [e.source_row for e in found]
    assert len(explain(artifact, source)) == 5 and len(explain(artifact, source, worst=100)) == 59


def test_rows_of_several_files_are_named_by_file(artifact, tmp_path):
    for name in "ab":
        table(20, ord(name)).to_parquet(tmp_path / f"{name}.parquet")
    (found,) = explain(artifact, tmp_path, rows=["b.parquet:7"])
    (alone,) = explain(artifact, tmp_path / "b.parquet", rows=["7"])
    assert found.to_dict() == alone.to_dict() and found.source == "b.parquet"
    assert {e.source for e in explain(artifact, tmp_path, worst=40)} == {"a.parquet", "b.parquet"}
    with pytest.raises(UsageError, match="give FILE:7"):
        explain(artifact, tmp_path, rows=["7"])


def test_a_record_is_explained_by_itself(artifact):
    record = {"amount": 1e5, "count": 3, "flag": True, "kind": "new", "when": "2026-01-03T00:00:00Z", "more": 1}
    (found,) = explain(artifact, record=json.dumps(record))
    assert found.source_row is None and found.title().startswith("record: anomaly")
    assert parts_of(found)["kind"].remark == "unseen in training"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"rows": ["60"]}, UsageError, "has 60 rows, 0 to 59"),
        ({"rows": ["-1"]}, UsageError, "position from 0"),
        ({"rows": ["1.5"]}, UsageError, "position from 0"),
        ({"rows": ["²"]}, UsageError, "position from 0"),
        ({"rows": ["other.csv:1"]}, UsageError, "no file 'other.csv'"),
        ({"rows": ["5"]}, DataError, "row 5: column 'count': 'many' is not a number"),
        ({"rows": ["1"], "worst": 2}, UsageError, "one of them"),
        ({"worst": 0}, UsageError, "at least 1"),
        ({"record": "{}"}, UsageError, "not both"),
        ({"alpha": 2.0}, UsageError, "alpha"),
        ({"input": None}, UsageError, "not both"),
        ({"input": None, "record": "{"}, UsageError, "not JSON"),
        ({"input": None, "record": "[1]"}, DataError, "not an object"),
        ({"input": None, "record": "{}"}, DataError, "missing columns"),
        ({"input": None, "record": "{}", "rows": ["1"]}, UsageError, "by itself"),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_line(artifact, source, given, error, said):
    with pytest.raises(error, match=said) as found:
        explain(artifact, **{"input": source, **given})
    assert "\n" not in str(found.value)


def test_tables_without_rows_or_columns(artifact, tmp_path):
    table(3).head(0).to_csv(tmp_path / "none.csv", index=False)
    table(3).drop(columns="kind").to_csv(tmp_path / "lacks.csv", index=False)
    with pytest.raises(DataError, match="no rows to explain"):
        explain(artifact, tmp_path / "none.csv")
    with pytest.raises(UsageError, match="has 0 rows"):
        explain(artifact, tmp_path / "none.csv", rows=["0"])
    with pytest.raises(DataError, match="1 column is missing: 'kind'"):
        explain(artifact, tmp_path / "lacks.csv")


def test_images_series_and_generators_have_no_columns(detectors, files, tmp_path):
    for kind, (_, path) in detectors.items():
        with pytest.raises(UsageError, match=f"this detector reads {'images' if kind == 'image' else 'series'}"):
            explain(path, tmp_path / "x.npz")
    with pytest.raises(UsageError, match="not a detector"):
        explain(files / "images.onnx", tmp_path / "x.npz")


# ---------------------------------------------------------------- groups and wide tables
def test_a_group_is_compared_with_its_own_rows(tmp_path):
    from ganlib.detect import VAEDetector
    from ganlib.export import seal

    seal(VAEDetector(steps=20, group="kind", alpha=0.05).fit(table(2400)), tmp_path / "d.onnx")
    frame = table(30, 1)
    frame.loc[2, "kind"] = "z"
    frame.to_parquet(tmp_path / "rows.parquet")
    first, other = explain(tmp_path / "d.onnx", tmp_path / "rows.parquet", rows=["0", "2"])
    groups = load_artifact(tmp_path / "d.onnx").calibration
    assert first.group == frame["kind"][0] and first.normal_rows == groups["groups"][first.group]["n"]
    assert f"of group {first.group!r}" in first.position()
    assert other.group is None and other.normal_rows == groups["n"] > first.normal_rows


@pytest.mark.parametrize("width", [140, 400])
def test_wide_tables_show_the_largest_parts_and_sum_the_others(tmp_path, capsys, width):
    from ganlib.detect import VAEDetector
    from ganlib.export import seal

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(500, 3)) @ rng.normal(size=(3, width)) + rng.normal(size=(500, width)) * 0.3)
    frame.columns = [f"c{i}" for i in range(width)]
    seal(VAEDetector(steps=20, alpha=0.05).fit(frame), tmp_path / "d.onnx")
    frame.loc[0, "c77"], frame.loc[1, "c78"] = 500.0, None
    frame.to_parquet(tmp_path / "rows.parquet")
    found, lacks = explain(tmp_path / "d.onnx", tmp_path / "rows.parquet", rows=["0", "1"])
    assert lacks.parts[0].column == "c78" and lacks.parts[0].value is None
    assert found.parts[0].column == "c77" and found.parts[0].share > 0.5 and len(found.parts) == width
    report([found])
    out = capsys.readouterr().out
    assert "c77" in out and f"{width - len(found.shown())} other columns" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_a_value_unlike_all_training_rows_is_shown_whatever_its_share():
    parts = [Part(f"c{i}", "1", "", "", s, s) for i, s in enumerate([0.6, 0.397, 0.001, 0.001])]
    parts.append(Part("c4", None, "", "never missing in training", 0.001, 0.001))
    explanation = replace(made([1.0]), parts=tuple(parts))
    assert [part.column for part in explanation.shown()] == ["c0", "c1", "c4"]


# ---------------------------------------------------------------- words
def made(shares, anomaly=True, p=0.004, at_least=1, score=3.0):
    parts = tuple(Part(f"c{i}", "1", "", "", score * s, s) for i, s in enumerate(shares))
    return Explanation("x.csv", 0, score, p, anomaly, 0.01, 400, at_least, None, parts)


@pytest.mark.parametrize(
    ("explanation", "said"),
    [
        (made([0.7, 0.3]), "'c0' has 70 % of the score."),
        (made([1.0]), "'c0' has 100 % of the score."),
        (
            made([0.55, 0.4, 0.05]),
            "'c0' and 'c1' have 55 % and 40 % of the score: if they contradict each other, either",
        ),
        (
            made([0.45, 0.4, 0.15]),
            "'c0' and 'c1' have 45 % and 40 % of the score: if they contradict each other, either",
        ),
        (made([0.3, 0.3, 0.2, 0.2]), "largest share, of 'c0', is 30 %, and half of the score takes 2 columns"),
        (made([0.7, 0.3], anomaly=False), "The row is not anomalous"),
        (made([0.0, 0.0], anomaly=False), "No column adds to the score."),
    ],
)
def test_the_verdict(explanation, said):
    assert said in explanation.verdict()


@pytest.mark.parametrize(
    ("explanation", "said"),
    [
        (made([1.0]), "1 of 400 held-out normal rows has at least this score"),
        (made([1.0], p=0.5, at_least=200), "200 of 400 held-out normal rows have at least this score"),
        (made([1.0], p=1 / 401, at_least=0), "p-value 0.00249: none of 400 held-out normal rows has a score this high"),
        (made([1.0], p=1e-4, at_least=0), "p-value 0.0001 by a fitted tail: none of 400"),
    ],
)
def test_the_place_among_normal_rows(explanation, said):
    assert said in explanation.position()


def column(kind, **more):
    known = {"name": "a", "kind": kind, "missing": False, "rare": False, "categories": None, "quantiles": [],
             "minimum": None, "maximum": None, "layout": None, "timezone": None}  # fmt: skip
    return known | more


NUMBER = column("number", quantiles=[1, 2, 3.5, 8, 9], minimum=1.0, maximum=9.0)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (NUMBER, "2 to 8, median 3.5"),
        (NUMBER | {"layout": "${:,.2f}"}, "$2.00 to $8.00, median $3.50"),
        (column("number", layout="%H:%M:%S", quantiles=[0, 60, 90, 3600, 9000]),
         "00:01:00 to 01:00:00, median 00:01:30"),
        (column("integer", quantiles=[0, 4, 4, 4, 9]), "4"),
        (column("number"), ""),
        (column("text"), ""),
        (column("boolean", layout="Y|N"), "Y or N"),
        (column("category", categories=list("abcde")), "a, b, c or 2 others"),
        (column("date", quantiles=[0, 86_400_000_000, 1.73e14, 3e14, 1e15]),
         "1970-01-02 to 1979-07-05, median 1975-06-26"),
        (column("date", clock="recurring", cycles=["day", "week"]), "its place in the day and week counts"),
        (column("date", clock="recurring", cycles=[], gap_from="start"), "; its time since 'start' counts"),
    ],
)  # fmt: skip
def test_what_is_usual(schema, said):
    assert usual(schema, "UTC") == said
    assert usual(schema, "UTC", 0.0001) == said and usual(schema, "UTC", 0.12).endswith("missing in 12 %")


@pytest.mark.parametrize(
    ("schema", "fed", "said"),
    [
        (NUMBER, 9.0, ""),
        (NUMBER, 9.5, "above the maximum, 9"),
        (NUMBER, -1.0, "below the minimum, 1"),
        (NUMBER, np.nan, "never missing in training"),
        (NUMBER | {"missing": True}, np.nan, ""),
        (NUMBER, np.inf, "not finite: read as missing"),
        (column("boolean"), np.nan, "never missing in training"),
        (column("category", categories=["x"]), "x", ""),
        (column("category", categories=["x"]), "y", "unseen in training"),
        (column("category", categories=["x"], rare=True), "y", "rare or unseen in training"),
        (column("category", categories=["x"]), "", "never missing in training"),
        (column("date"), np.iinfo(np.int64).min, "never missing in training"),
        (column("date", minimum=86_400_000_000, maximum=1.73e14), 0, "below the minimum, 1970-01-02"),
        (column("date", minimum=86_400_000_000, maximum=1.73e14, clock="recurring"), 0, ""),
        (column("text"), np.zeros(3), ""),
    ],
)
def test_what_is_unusual_about_a_value(schema, fed, said):
    assert remark(schema, fed, "UTC") == said


# ---------------------------------------------------------------- the command
def test_the_command_needs_no_training_stack(artifact, source, environment):
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'sklearn', 'pandas', 'mlflow', 'ganlib'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from serving.__main__ import main\n"
        "sys.exit(main())"
    )

    def run(*arguments):
        command = [sys.executable, "-c", code, "explain", "--model", str(artifact), *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    done = run("--input", source, "--row", 17, "--row", 9)
    assert done.returncode == 0, done.stderr
    assert "rows.csv, row 17: anomaly" in done.stdout and "rows.csv, row 9: no anomaly" in done.stdout
    found = json.loads(run("--input", source, "--row", 17, "--json").stdout)
    assert found[0]["parts"][0]["column"] == "amount" and len(found[0]["sentences"]) == 2
    done = run("--input", source, "--row", 99)
    assert done.returncode == 2 and "error: --row 99: " in done.stderr and "Traceback" not in done.stderr, done.stderr
    done = run("--input", source, "--row", 5)
    assert done.returncode == 4 and "Traceback" not in done.stderr, done.stderr
