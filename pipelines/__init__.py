"""Flows, the MLflow adapter and the `ganlib` command."""

import os

# Runs before mlflow or prefect is imported. Pickles are never opened.
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
# Only results go to stdout; with a server as registry, MLflow would print the addresses of runs there.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}.items():
    os.environ.setdefault(_name, _value)
