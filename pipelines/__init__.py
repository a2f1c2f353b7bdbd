"""Flows, the MLflow adapter and the `ganlib` command."""

import os

# Every entry point passes here, before mlflow or prefect is imported. Models are data: no pickle is ever opened.
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
# stdout carries results alone: MLflow prints the addresses of runs there, where the registry is a server.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}.items():
    os.environ.setdefault(_name, _value)
