"""What a registered model tells its readers, all taken from the sealed artifact: example, outputs, pins."""

from __future__ import annotations

import importlib.metadata
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
    """The alarm budget that scoring uses where nobody names one."""
    from serving.scorer import Scorer

    return float(Scorer(artifact).alpha)


def example_of(artifact: Artifact) -> pd.DataFrame:
    """A few rows to call the model with, made from the golden rows: nobody's data.

    Rows without missing values are preferred; text columns, whose golden rows hold features, get a made-up text.
    """
    import pandas as pd

    golden = artifact.metadata["golden"]
    if artifact.kind == "augmenter":
        conditions = artifact.metadata["conditions"]
        name, values = ("condition", conditions) if conditions else ("row", list(range(EXAMPLE_ROWS)))
        return pd.DataFrame({name: list(values)[:EXAMPLE_ROWS]})
    wanted = [c for c in artifact.schema["columns"] if c["role"] in ("feature", "group")]
    columns = {c["name"]: golden["columns"][c["input"]] for c in wanted if c["kind"] != "text"}
    rows = range(len(golden["anomaly_score"]))
    odd = {row: sum(_odd(values[row]) for values in columns.values()) for row in rows}
    chosen = sorted(rows, key=lambda row: (odd[row], row))[:EXAMPLE_ROWS]
    frame = {
        c["name"]: [_WORD] * len(chosen) if c["kind"] == "text"
        else _readable(c["kind"], [columns[c["name"]][row] for row in chosen])
        for c in wanted
    }  # fmt: skip
    return pd.DataFrame(frame)


def _odd(value: Any) -> bool:
    return value in (None, "", "inf", "-inf")


def _readable(kind: str, values: list[Any]) -> Any:
    """A golden column as a person would write it."""
    import pandas as pd

    if kind == "date":
        return pd.to_datetime(pd.array([None if v is None else int(v) for v in values], dtype="Int64"), unit="us")
    if kind == "boolean":
        return [None if v is None else bool(v) for v in values]
    if kind == "category":
        return [str(v) or None for v in values]
    if kind == "integer" and not any(_odd(v) for v in values):
        return [int(v) for v in values]
    return np.array([np.nan if v is None else float(v) for v in values])


def output_columns(artifact: Artifact) -> list[tuple[str, str, bool]]:
    """(name, MLflow type, always there) of each column that ``predict`` returns."""
    if artifact.kind == "detector":
        known = [("anomaly_score", "float", True), ("p_value", "float", True), ("is_anomaly", "boolean", True)]
        parts = [(f"contribution.{feature}", "float", False) for feature in artifact.features]
        return [*known, *parts, ("top_reasons", "string", False)]
    types = {"date": "datetime", "boolean": "boolean", "category": "string"}
    made = artifact.metadata["golden"]["columns"]
    columns = [c for c in artifact.schema["columns"] if c["input"] in made]
    return [(c["name"], types.get(c["kind"], "double"), True) for c in columns]
