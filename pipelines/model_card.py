"""What MLflow shows of a registered model, all taken from the sealed artifact: example, columns, pins."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from serving.artifact import Artifact

# Public packages that serving/ needs to score; MLflow adds itself.
RUNTIME = ("numpy", "onnx", "onnxruntime", "pandas", "pyarrow", "pydantic")
EXAMPLE_ROWS = 3
_WORD = "an example"


def runtime_pins() -> list[str]:
    """Exact versions of the packages that scoring needs."""
    return [f"{package}=={importlib.metadata.version(package)}" for package in RUNTIME]


def alpha_default(artifact: Artifact) -> float:
    """The alarm budget that scoring uses by default."""
    from serving.scorer import Scorer

    return float(Scorer(artifact).alpha)


def example_of(artifact: Artifact) -> pd.DataFrame | np.ndarray:
    """A few rows to call the model with, built from the golden rows, which are not training data.

    Rows without missing values are preferred. Text columns get an invented text, since golden rows hold only their
    features. Images and series are artificial ones.
    """
    import pandas as pd

    from serving.artifact import golden_feeds

    golden = artifact.metadata["golden"]
    if input_tensor(artifact):
        return golden_feeds(artifact)["x"][:EXAMPLE_ROWS]
    if artifact.kind == "augmenter":
        conditions = artifact.metadata["conditions"]
        name, values = ("condition", conditions) if conditions else ("row", list(range(EXAMPLE_ROWS)))
        return pd.DataFrame({name: list(values)[:EXAMPLE_ROWS]})
    wanted = _read_columns(artifact)
    columns = {c["name"]: golden["columns"][c["input"]] for c in wanted if c["kind"] != "text"}
    rows = range(len(next(iter(golden["columns"].values()))))
    unusual = {row: sum(_is_unusual(values[row]) for values in columns.values()) for row in rows}
    chosen = sorted(rows, key=lambda row: (unusual[row], row))[:EXAMPLE_ROWS]
    frame = {
        c["name"]: [_WORD] * len(chosen) if c["kind"] == "text"
        else _readable(c["kind"], [columns[c["name"]][row] for row in chosen])
        for c in wanted
    }  # fmt: skip
    return pd.DataFrame(frame).astype({name: object for name, kind in input_columns(artifact) if kind == "string"})


def _is_unusual(value: Any) -> bool:
    return value in (None, "", "inf", "-inf")


def _readable(kind: str, values: list[Any]) -> Any:
    """A golden column as a person would write it, in MLflow's type."""
    import pandas as pd

    if kind == "date":
        times = pd.to_datetime(pd.array([None if v is None else int(v) for v in values], dtype="Int64"), unit="us")
        return [None if t is pd.NaT else t.isoformat() for t in times]
    if kind == "boolean":
        return [None if v is None else bool(v) for v in values]
    if kind == "category":
        return [str(v) or None for v in values]
    return np.array([np.nan if v is None else float(v) for v in values])


def input_tensor(artifact: Artifact) -> tuple[str, tuple[int, ...]] | None:
    """(type, shape of one example) that a detector or translator of images or series reads; None for others."""
    if artifact.kind not in ("detector", "translator") or artifact.modality == "table":
        return None
    return artifact.layout.dtype, tuple(artifact.layout.shape)


def output_tensor(artifact: Artifact) -> tuple[str, tuple[int, ...]] | None:
    """(type, shape of one example) that an augmenter or translator of arrays returns; None for other artifacts."""
    from serving.artifact import array_output

    if artifact.kind not in ("augmenter", "translator") or artifact.modality == "table":
        return None
    if artifact.kind == "translator":
        result = artifact.metadata["result"]
        return result["dtype"], tuple(result["shape"])
    name, shape = array_output(artifact)
    return ("uint8" if name == "image" else "float32"), tuple(shape)


def schema_entry(artifact: Artifact) -> dict[str, Any]:
    """The inputs as MLflow's data set schema: columns, or a tensor."""
    if tensor := input_tensor(artifact):
        spec = {"dtype": tensor[0], "shape": [-1, *tensor[1]]}
        return {"mlflow_tensorspec": {"features": [{"type": "tensor", "tensor-spec": spec}], "targets": None}}
    columns = [{"name": n, "type": kind, "required": True} for n, kind in input_columns(artifact)]
    return {"mlflow_colspec": columns}


def column_kinds(artifact: Artifact) -> dict[str, str]:
    """The kind of each input: those of the schema, or that of the examples."""
    if artifact.modality != "table":
        return {"x": artifact.modality}
    return {c["name"]: c["kind"] for c in artifact.schema["columns"]}


def input_columns(artifact: Artifact) -> list[tuple[str, str]]:
    """(name, MLflow type) of each column that ``predict`` reads: numbers are double, all else is string.

    MLflow casts its input to these types before it calls the model. Casts to integers, booleans and times silently
    change values (3.7 to 3, null to false, 01.02. to 2 January); casts to double and string do not. The artifact's
    reader converts the strings, as it does for files.
    """
    if artifact.kind == "augmenter":
        return [("condition", "string")] if artifact.metadata["conditions"] else [("row", "long")]
    return [(c["name"], "double" if _plain_number(c) else "string") for c in _read_columns(artifact)]


def _read_columns(artifact: Artifact) -> list[dict[str, Any]]:
    """The schema's columns that a model reads; translators read no text and no groups."""
    columns = artifact.schema["columns"]
    if artifact.kind == "translator":
        return [c for c in columns if c["input"] in artifact.features]
    return [c for c in columns if c["role"] in ("feature", "group")]


def _plain_number(column: Mapping[str, Any]) -> bool:
    """Whether the column's text is a plain number, without currency, percent or thousands separators."""
    if column["kind"] not in ("number", "integer"):
        return False
    return not (layout := column.get("layout")) or re.fullmatch(r"\{:?[^{},%]*\}", layout) is not None


def output_columns(artifact: Artifact) -> list[tuple[str, str]]:
    """(name, MLflow type) of each column that ``predict`` always returns; ``explain`` adds others."""
    if artifact.kind == "detector":
        return [("anomaly_score", "float"), ("p_value", "float"), ("is_anomaly", "boolean")]
    types = {"date": "datetime", "boolean": "boolean", "category": "string"}
    if artifact.kind == "translator":
        made, columns = artifact.metadata["features_b"], artifact.metadata["schema_b"]["columns"]
    else:
        made, columns = artifact.metadata["golden"]["columns"], artifact.schema["columns"]
    return [(c["name"], types.get(c["kind"], "double")) for c in columns if c["input"] in made]
