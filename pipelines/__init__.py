"""Flows, the MLflow adapter and the `ganlib` command."""

import os

# Every entry point passes here, before mlflow or prefect is imported. Models are data: no pickle is ever opened.
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}.items():
    os.environ.setdefault(_name, _value)
