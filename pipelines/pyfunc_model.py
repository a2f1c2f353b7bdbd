"""The MLflow model around a sealed artifact: models from code, no pickle, no torch (logged by ``pipelines.registry``).

This file travels with the artifact and a copy of ``serving/``; it may import those, mlflow and pandas, nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from mlflow.pyfunc import PythonModel

import mlflow

NO_DATE = np.iinfo(np.int64).min


class SealedModel(PythonModel):
    """A detector scores rows, an augmenter makes them: one row out per row in, with the same index."""

    def load_context(self, context: Any) -> None:
        """Open and verify the artifact; raises serving's IntegrityError on any doubt."""
        from serving.artifact import load_artifact

        self.artifact = load_artifact(context.artifacts["onnx"], (context.model_config or {}).get("artifact_sha256"))

    # MLflow warns at each load about a type hint on the input that is not one of its own.
    def predict(self, context: Any, model_input, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ANN001
        """Detectors: anomaly_score, p_value, is_anomaly, and contribution.<feature> columns where ``explain``.

        ``alpha`` is the alarm budget. Augmenters: the generated columns, drawn with ``seed``; of the input, only the
        column ``condition`` is read. Raises serving's DataError on data against the schema, UsageError on an alpha
        that the calibration does not support.
        """
        frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
        params = params or {}
        if self.artifact.kind == "augmenter":
            return self._generate(frame, int(params.get("seed", 0)))
        return self._score(frame, params)

    def _score(self, frame: pd.DataFrame, params: dict[str, Any]) -> pd.DataFrame:
        from serving.scorer import Scorer

        scores = Scorer(self.artifact, params.get("alpha")).score(frame, explain=bool(params.get("explain", False)))
        out = {"anomaly_score": scores.anomaly_score, "p_value": scores.p_value, "is_anomaly": scores.is_anomaly}
        if scores.contributions is not None:
            for position, feature in enumerate(self.artifact.features):
                out[f"contribution.{feature}"] = scores.contributions[:, position]
        return pd.DataFrame(out, index=frame.index)

    def _generate(self, frame: pd.DataFrame, seed: int) -> pd.DataFrame:
        session, metadata = self.artifact.session, self.artifact.metadata
        noise = np.random.Generator(np.random.Philox(seed))
        feeds = {"z": noise.standard_normal((len(frame), int(metadata["latent_dim"])), dtype=np.float32)}
        if "condition" in {i.name for i in session.get_inputs()}:
            feeds["condition"] = _conditions(frame, metadata["conditions"])
        names = [output.name for output in session.get_outputs()]
        columns = dict(zip(names, session.run(names, feeds), strict=True))
        made = {c["name"]: _plain(c["kind"], columns[c["input"]]) for c in metadata["schema"]["columns"]
                if c["input"] in columns}  # fmt: skip
        return pd.DataFrame(made).set_axis(frame.index)


def _conditions(frame: pd.DataFrame, known: list[str]) -> np.ndarray:
    from serving.errors import DataError

    if "condition" not in frame.columns:
        raise DataError(f"the column 'condition' is missing; it names the class of each row, one of {known[:20]}")
    values = frame["condition"].astype(str).to_numpy(dtype=object)
    if unknown := sorted(set(values) - set(known)):
        raise DataError(f"there is no class {unknown[0]!r}; the classes are {', '.join(known[:20])}")
    return values


def _plain(kind: str, values: np.ndarray) -> Any:
    """An output of the graph as pandas would hold the column; missing as docs/artifact.md has it."""
    if kind == "date":
        stamps = pd.to_datetime(np.where(values == NO_DATE, 0, values), unit="us", utc=True)
        return pd.Series(stamps).mask(values == NO_DATE)
    if kind == "category":
        return pd.Series(values, dtype=object).mask(values == "")
    if kind == "boolean":
        return pd.array([None if np.isnan(v) else bool(v) for v in values], dtype="boolean")
    return values


mlflow.models.set_model(SealedModel())
