"""The registered model where only mlflow and the logged pins are: no ganlib, no pipelines, no torch, another folder."""

import json
import os
import subprocess
import venv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pipeline_data import sensor_table

from serving.artifact import load_artifact
from serving.scorer import Scorer

ROOT = Path(__file__).resolve().parents[2]

# Stands in for a fresh environment: this project and the training stack cannot be imported, wherever they lie.
FENCE = """
import sys
ROOT = {root!r}
BLOCKED = {{"ganlib", "pipelines", "torch", "sklearn", "scipy", "prefect", "imblearn", "matplotlib", "onnxscript"}}
class Fence:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in repr(f).lower()]
sys.path[:] = [p for p in sys.path if p not in ("", ROOT)]
sys.meta_path.insert(0, Fence())
"""

CONSUMER = """
import json, sys
import pandas as pd
import mlflow.pyfunc
pickles = []
sys.addaudithook(lambda event, args: pickles.append(args) if event == "pickle.find_class" else None)
mlflow.set_tracking_uri({uri!r})
model = mlflow.pyfunc.load_model("models:/demo@champion")
frame = pd.read_parquet({data!r})
schema = model.metadata.get_input_schema()
frame = frame.astype(dict(zip(schema.input_names(), schema.pandas_types())))
plain = model.predict(frame)
explained = model.predict(frame, params={{"alpha": 0.2, "explain": True}})
example = model.predict(model.input_example)
import serving
print(json.dumps({{
    "pickles": len(pickles), "serving": serving.__file__,
    "project": sorted(m for m in sys.modules if m.partition(".")[0] in ("ganlib", "pipelines", "torch", "sklearn")),
    "index": plain.index.tolist(), "columns": list(plain.columns), "explained": list(explained.columns),
    "scores": plain["anomaly_score"].astype(float).tolist(), "p": plain["p_value"].astype(float).tolist(),
    "alarms": explained["is_anomaly"].tolist(), "kinds": [str(k) for k in plain.dtypes], "example": len(example),
}}))
"""


@pytest.fixture
def consumed(registry, tmp_path):
    """Rows of awkward types for the champion of a registry."""
    registry.set_alias("demo", "champion", "1")
    frame = sensor_table(40, seed=5).assign(operator="ann").drop(columns="fault")
    frame = frame[frame.columns[::-1]].assign(extra=1)
    frame["count"] = frame["count"].astype("Int64").mask(frame["count"] < 5)
    frame["valve"] = frame["valve"].astype("category")
    frame["when"] = frame["when"].dt.tz_convert("Europe/Berlin")
    frame.index = np.arange(100, 140)
    frame.to_parquet(tmp_path / "rows.parquet")
    return registry, frame, tmp_path


def check(consumed, answer):
    registry, frame, _ = consumed
    artifact = load_artifact(registry.resolve("models:/demo/1").path)
    expected, at_fifth = Scorer(artifact).score(frame), Scorer(artifact, 0.2).score(frame)
    assert answer["index"] == frame.index.tolist()
    assert answer["columns"] == ["anomaly_score", "p_value", "is_anomaly"]
    assert answer["explained"][3:] == [*(f"contribution.{name}" for name in artifact.features), "top_reasons"]
    np.testing.assert_allclose(answer["scores"], expected.anomaly_score, rtol=1e-6)
    np.testing.assert_allclose(answer["p"], expected.p_value, rtol=1e-6)
    assert answer["alarms"] == at_fifth.is_anomaly.tolist() and any(answer["alarms"])
    assert answer["kinds"] == ["float32", "float32", "bool"] and answer["example"] == 3
    assert answer["pickles"] == 0 and answer["project"] == []


def test_load_by_alias_behind_a_fence(consumed, run_python):
    registry, _, folder = consumed
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    code = FENCE.format(root=str(ROOT)) + CONSUMER.format(uri=registry.uri, data=str(folder / "rows.parquet"))
    done = run_python(code, elsewhere, isolated=True)
    assert done.returncode == 0, done.stderr[-1500:]
    assert "Warning" not in done.stderr, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert not answer["serving"].startswith(str(ROOT))
    check(consumed, answer)


def test_the_fence_holds(run_python, tmp_path):
    for name in ("ganlib", "torch", "pipelines", "serving"):
        done = run_python(FENCE.format(root=str(ROOT)) + f"import {name}", tmp_path, isolated=True)
        assert "ModuleNotFoundError" in done.stderr, name


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_load_by_alias_in_a_new_environment(consumed):
    """A real one: made here, holding the pins that were logged with the model and nothing else."""
    registry, _, folder = consumed
    import mlflow

    registry.client()
    pins = mlflow.pyfunc.get_model_dependencies("models:/demo@champion")
    venv.create(folder / "env", with_pip=True)
    python = folder / "env/bin/python"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", pins], check=True, timeout=1000)
    freeze = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "ganlib", "prefect"} & {line.partition("==")[0] for line in freeze.splitlines()}
    code = CONSUMER.format(uri=registry.uri, data=str(folder / "rows.parquet"))
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([python, "-P", "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    check(consumed, json.loads(done.stdout.splitlines()[-1]))


def test_any_frame_that_scoring_takes_is_taken(registry):
    """MLflow's own checks, which unwrapping leaves out, refuse whole numbers for a number, 0 and 1 for a boolean."""
    import mlflow

    registry.client()
    model = mlflow.pyfunc.load_model("models:/demo/1")
    row = {"flow": 5, "pressure": 10, "count": 3.0, "valve": "open", "active": 1, "operator": None}
    frame = pd.DataFrame([row | {"when": "2026-02-01T10:00:00"}] * 2, index=["a", "b"])
    with pytest.raises(mlflow.exceptions.MlflowException, match="int64 to float64"):
        model.predict(frame)
    with pytest.raises(mlflow.exceptions.MlflowException, match="pressure"):
        model.predict(frame.drop(columns="pressure"))
    scorer = model.unwrap_python_model()
    assert scorer.predict(None, frame).index.tolist() == ["a", "b"]
    with pytest.raises(Exception, match="pressure"):
        scorer.predict(None, frame.drop(columns="pressure"))
    with pytest.raises(Exception, match="alpha_min"):
        scorer.predict(None, frame, {"alpha": 1e-6})
    assert scorer.predict(None, frame.iloc[:0]).shape == (0, 3)


def test_no_training_value_in_the_input_example(registry, template):
    import mlflow

    registry.client()
    example = mlflow.pyfunc.load_model("models:/demo/1").input_example
    real = pd.read_csv(template / "data.csv")
    assert not set(example["flow"].dropna()) & set(real["flow"]) and not set(example["pressure"]) & set(
        real["pressure"]
    )
