"""Logging a sealed artifact in MLflow (signature, example, code, pins), and identifying it if its tags are lost."""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.model_card import (
    alpha_default,
    column_kinds,
    example_of,
    input_columns,
    input_tensor,
    output_columns,
    output_tensor,
    runtime_pins,
)

if TYPE_CHECKING:
    from serving.artifact import Artifact


def log_model(mlflow: Any, artifact: Artifact, file: Path, back: Path | None = None) -> Any:
    """Log the model in the active run; signature and example come from its schema and golden rows, never from data."""
    here, example = Path(__file__).resolve(), example_of(artifact)
    params: dict[str, Any] = {"seed": 0} if artifact.kind == "augmenter" else {}
    if artifact.kind == "detector":
        params = {"alpha": alpha_default(artifact)} | ({"explain": False} if artifact.explanation else {})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # MLflow's advice on type hints, which its models may lack
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(here.with_name("pyfunc_model.py")),
            artifacts={"onnx": str(file)} | ({} if back is None else {"back": str(back)}),
            code_paths=[str(_code_copy(here.parents[1] / "serving", Path(folder)))],
            pip_requirements=[*runtime_pins(), f"mlflow=={importlib.metadata.version('mlflow')}"],
            signature=_signature(artifact, params),
            input_example=(example, params) if params else example,
            model_config={"artifact_sha256": artifact.sha256},
            metadata={"columns": column_kinds(artifact)},
        )


def identity(uri: str) -> tuple[str, str]:
    """(sha-256, file name) of the artifact in a logged model; empty for another kind of model."""
    import yaml

    import mlflow

    # MLflow's reader looks up the logged model by an id that only the registry of origin knows.
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(mlflow.artifacts.download_artifacts(f"{uri}/MLmodel", dst_path=folder))
            flavor = yaml.safe_load(file.read_text(encoding="utf-8"))["flavors"]["python_function"]
            return str(flavor["config"]["artifact_sha256"]), str(flavor["artifacts"]["onnx"]["path"])
    except (mlflow.exceptions.MlflowException, OSError, yaml.YAMLError, KeyError, TypeError):
        return "", ""


def _code_copy(source: Path, folder: Path) -> Path:
    """serving/ without compiled files, as it travels with the model."""
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    return Path(shutil.copytree(source, folder / "serving", ignore=ignored))


def _signature(artifact: Artifact, params: Mapping[str, Any]) -> Any:
    """Columns by name and type, or a tensor, results by type, ``alpha`` and ``explain`` (or ``seed``) as parameters."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    def schema(tensor: tuple[str, tuple[int, ...]] | None, columns: Callable[[Artifact], list[tuple[str, str]]]) -> Any:
        if tensor is not None:
            return Schema([TensorSpec(np.dtype(tensor[0]), (-1, *tensor[1]))])
        return Schema([ColSpec(kind, name) for name, kind in columns(artifact)])

    inputs = schema(input_tensor(artifact), input_columns)
    outputs = schema(output_tensor(artifact), output_columns)
    kinds = {bool: "boolean", float: "double", int: "long"}
    specs = [ParamSpec(name, kinds[type(value)], value) for name, value in params.items()]
    # Translators have no parameters.
    return ModelSignature(inputs, outputs, **({"params": ParamSchema(specs)} if specs else {}))
