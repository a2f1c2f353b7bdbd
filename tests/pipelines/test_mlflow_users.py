"""What people meet who know MLflow and not this project: types, formats, evaluation, figures, data sets, cards."""

import io
import json

import httpx
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import scoring_server
from servers import service

import mlflow
from ganlib.data.read import read_table
from ganlib.detect import VAEDetector
from ganlib.export import seal
from pipelines.card import card
from pipelines.copying import register_file
from pipelines.model_card import input_columns
from pipelines.registry import Registry
from serving.artifact import load_artifact
from serving.scorer import Scorer


def every_kind(rows, seed=0):
    """Columns that a cast could change: truths and whole numbers with gaps, days first, currency, words like NA."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2026-01-01", periods=rows, freq="31h")
    frame = pd.DataFrame(
        {
            "number": rng.normal(5, 2, rows).round(3),
            "whole": rng.integers(10, 60, rows).astype(object),
            "truth": rng.choice(["true", "false"], rows).astype(object),
            "word": rng.choice(["open", "shut", "half"], rows).astype(object),
            "code": rng.choice(["007", "042", "100"], rows).astype(object),
            "day": days.strftime("%d.%m.%Y").astype(object),
            "price": [f"${value:,.2f}" for value in rng.uniform(10, 3000, rows)],
        }
    )
    for place, name in enumerate(("number", "whole", "truth", "word", "price")):
        frame.loc[frame.index[place::9], name] = None
    return frame


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """A registry with one model of every kind of column, the model, and rows to score."""
    folder = tmp_path_factory.mktemp("kinds")
    every_kind(300).to_csv(folder / "data.csv", index=False)
    detector = VAEDetector(steps=20, alpha=0.1).fit(read_table(folder / "data.csv"))
    seal(detector, folder / "kinds.onnx")
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    register_file(registry, folder / "kinds.onnx", "kinds")
    registry.client()
    every_kind(40, seed=1).to_csv(folder / "new.csv", index=False)
    return registry, load_artifact(folder / "kinds.onnx"), folder / "new.csv"


@pytest.fixture
def model(kinds):
    kinds[0].client()
    return mlflow.pyfunc.load_model("models:/kinds@challenger")


def test_inputs_are_typed_so_that_no_cast_changes_a_value(kinds, model):
    typed = {column.name: column.type.name for column in model.metadata.signature.inputs}
    plain = {name for name, kind in typed.items() if kind == "double"}
    assert plain == {"number", "whole"} and set(typed.values()) == {"double", "string"}
    assert typed == dict(input_columns(kinds[1]))


def requests(text):
    """The same rows as MLflow's server is sent them."""
    words = pd.read_csv(io.StringIO(text), dtype=object, keep_default_na=False)
    frame = words.replace("", None)
    for name in ("number", "whole"):
        frame[name] = [None if value is None else float(value) for value in frame[name]]
    frame["truth"] = [None if value is None else value == "true" for value in frame["truth"]]
    split = {"columns": list(frame.columns), "data": frame.to_numpy(dtype=object).tolist()}
    return {
        "csv": (text, "text/csv"),
        "split": (json.dumps({"dataframe_split": split}), "application/json"),
        "records": (json.dumps({"dataframe_records": frame.to_dict("records")}), "application/json"),
    }


@pytest.mark.parametrize("form", ["csv", "split", "records"])
def test_each_format_of_a_request_scores_as_the_file_does(kinds, model, form):
    _, artifact, file = kinds
    expected = Scorer(artifact).score(read_table(file)).anomaly_score
    assert len(np.unique(expected)) > 30
    answer = scoring_server.invocations(*requests(file.read_text())[form], model, model.metadata.get_input_schema())
    assert answer.status == 200, answer.response
    rows = json.loads(answer.response)["predictions"]
    np.testing.assert_allclose([row["anomaly_score"] for row in rows], expected, rtol=1e-6)


@pytest.mark.parametrize("form", ["split", "records"])
def test_the_answer_is_the_one_that_mlflow_s_server_gives(kinds, model, form, tmp_path):
    """The same request, with and without explanations: equal records from both servers, and the scores of the file."""
    registry, artifact, file = kinds
    rows, _ = requests(file.read_text())[form]
    expected = Scorer(artifact).score(read_table(file)).anomaly_score
    with service(tmp_path, registry.uri, "models:/kinds@challenger") as (_, address, _log):
        for params in ({}, {"explain": True, "alpha": 0.3}):
            body = json.dumps({**json.loads(rows), "params": params}).replace("NaN", "null")
            schema = model.metadata.get_input_schema()
            theirs = scoring_server.invocations(body, "application/json", model, schema)
            assert theirs.status == 200, theirs.response
            ours = httpx.post(f"{address}/invocations", content=body, headers={"Content-Type": "application/json"})
            assert ours.status_code == 200, ours.text
            wanted, got = json.loads(theirs.response)["predictions"], ours.json()["predictions"]
            assert [list(row) for row in got] == [list(row) for row in wanted]
            for name in wanted[0]:
                left, right = [row[name] for row in got], [row[name] for row in wanted]
                if name in ("is_anomaly", "top_reasons"):
                    assert left == [None if value != value else value for value in right]  # MLflow writes NaN
                else:
                    np.testing.assert_allclose(left, right, rtol=1e-6)
            np.testing.assert_allclose([row["anomaly_score"] for row in got], expected, rtol=1e-6)


def test_a_frame_cast_as_the_card_says_scores_as_the_file_does(kinds, model):
    registry, artifact, file = kinds
    frame = pd.read_csv(file, dtype={"code": str})
    frame["truth"] = frame["truth"].astype("boolean")
    frame["whole"] = frame["whole"].astype("Int64")
    frame["word"] = frame["word"].astype("category")
    expected = Scorer(artifact).score(read_table(file)).anomaly_score
    scope = {"mlflow": mlflow, "frame": frame}
    code = registry.by_alias("kinds", "challenger").card.split("```python\n")[1].split("```")[0]
    exec(code.replace("@champion", "@challenger").replace("\nmodel.predict", "\nanswer = model.predict"), scope)
    answer = scope["answer"]
    assert len(model.predict(model.input_example)) == 3
    np.testing.assert_allclose(answer["anomaly_score"], expected, rtol=1e-6)


def test_words_that_a_csv_reader_takes_for_missing_are_named_on_the_card(kinds):
    artifact = load_artifact(kinds[2].with_name("kinds.onnx"))
    assert "send JSON" not in card(artifact, "kinds", {})
    column = next(c for c in artifact.schema["columns"] if c["name"] == "word")
    column["categories"] = ["NA", "half", 'a "quoted", word', "None"]
    assert "reads 'NA', 'None' as missing" in card(artifact, "kinds", {})


def test_a_model_is_evaluated_by_the_documented_recipe(registry, template):
    registry.client()
    labelled = pd.read_csv(template / "data.csv")
    model = mlflow.pyfunc.load_model("models:/demo@challenger")
    types = model.metadata.get_input_schema()
    with registry.run("evaluation", "demo"):
        found = mlflow.models.evaluate(
            lambda rows: model.predict(rows)["is_anomaly"].astype(int),
            data=labelled.astype(dict(zip(types.input_names(), types.pandas_types(), strict=True))),
            targets="fault",
            model_type="classifier",
            evaluator_config={"log_explainer": False},
        )
    alarms = model.unwrap_python_model().predict(None, labelled)["is_anomaly"]
    assert found.metrics["true_positives"] == int((alarms & (labelled["fault"] == 1)).sum()) > 0


def test_a_training_run_shows_its_data_and_the_model_only_its_own_figures(ganlib, home, registry):
    from pipeline_data import sensor_table

    sensor_table(120).to_csv("data.csv", index=False)
    (home / "job.yaml").write_text("model: {candidates: [vae, reconstruction_vae]}\ntraining: {steps: 5}\n")
    given = ("--data", "data.csv", "--label", "fault", "--alpha", 0.2, "--config", "job.yaml")
    code, out, err = ganlib("train", "--name", "two", *given, "--json")
    assert code == 0, err
    trained = json.loads(out)
    client, (loser,) = registry.client(), {"vae", "reconstruction_vae"} - {trained["model"]}
    run, version = client.get_run(trained["run_id"]), registry.version("two", "1")
    (output,) = run.outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    figures = {metric.key for metric in logged.metrics}
    assert f"validation/{trained['model']}" in figures and f"test/{trained['model']}/auroc" in figures
    assert not {key for key in figures if f"/{loser}" in f"/{key}" or "PCA" in key}, figures
    assert {f"validation/{loser}", "validation/PCA"} <= set(run.data.metrics)
    assert logged.params["training.steps"] == "5" and {m.dataset_name for m in logged.metrics} == {"data.csv"}
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, json.loads(used.dataset.profile)["num_rows"]) == ("data.csv", 120)
    assert run.data.params["fingerprint"].startswith(used.dataset.digest)
    pictures = {file.path for file in client.list_artifacts(trained["run_id"])}
    assert {"curves.png", "calibration.png"} <= pictures
    for text in (version.card, run.data.tags["mlflow.note.content"], logged.tags["mlflow.note.content"]):
        assert "### Quality" in text and "path=calibration.png" in text and "`data.csv`" in text
    assert "challenger" in client.get_registered_model("two").description
