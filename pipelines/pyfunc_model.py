"""The MLflow model around a sealed artifact: models from code, no pickle, no torch (logged by ``pipelines.registry``).

This file travels with the artifact and a copy of ``serving/``; it may import those, mlflow and pandas, nothing else.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from mlflow.pyfunc import PythonModel

import mlflow


class SealedModel(PythonModel):
    """A detector scores rows, an augmenter generates and a translator translates them: one row out per row in."""

    def load_context(self, context: Any) -> None:
        """Open and verify the artifact; raises serving's IntegrityError if it is damaged."""
        from serving.artifact import load_artifact

        self.artifact = load_artifact(context.artifacts["onnx"], (context.model_config or {}).get("artifact_sha256"))

    # MLflow accepts this type hint without adding checks or advice.
    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
        """Detectors: anomaly_score, p_value, is_anomaly; with ``explain`` contribution.<feature> or map, and reasons.

        ``alpha`` is the alarm budget. Augmenters: the generated columns, sampled with ``seed``; only the input
        column ``condition`` is read. Translators: the counterparts in the domain of their first file. Detectors and
        translators of images and series read an array ``(n, ...)``; their augmenters and translators return one.
        Raises serving's DataError on data that does not fit the schema, UsageError on an alpha that the calibration
        does not support.
        """
        params = params or {}
        if self.artifact.kind == "translator":
            from serving.translator import Translator

            return Translator(self.artifact).translate(model_input)
        if self.artifact.kind == "detector" and self.artifact.modality != "table":
            return self._score(model_input, params)
        frame = model_input if isinstance(model_input, pd.DataFrame) else pd.DataFrame(model_input)
        if self.artifact.kind == "augmenter":
            return self._generate(frame, int(params.get("seed", 0)))
        return self._score(frame, params)

    def _score(self, frame: Any, params: dict[str, Any]) -> pd.DataFrame:
        from serving.scorer import Scorer

        scores = Scorer(self.artifact, params.get("alpha")).score(frame, explain=bool(params.get("explain", False)))
        out: dict[str, Any] = {
            "anomaly_score": scores.anomaly_score,
            "p_value": scores.p_value,
            "is_anomaly": scores.is_anomaly,
        }
        if scores.contributions is not None:
            for position, feature in enumerate(self.artifact.features):
                out[f"contribution.{feature}"] = scores.contributions[:, position]
        if scores.map is not None:
            out["map"] = scores.map.tolist()
        if scores.top_reasons is not None:
            out["top_reasons"] = scores.top_reasons.to_pylist()
        return pd.DataFrame(out, index=getattr(frame, "index", None))

    def _generate(self, frame: pd.DataFrame, seed: int) -> Any:
        from serving.errors import DataError
        from serving.generator import Generator

        generator = Generator(self.artifact)
        if generator.conditions and "condition" not in frame.columns:
            known = generator.conditions[:20]
            raise DataError(f"the column 'condition' is missing; it names the class of each row, one of {known}")
        conditions = frame["condition"].astype(str).tolist() if generator.conditions else None
        if self.artifact.modality != "table":
            return generator.sample(len(frame), conditions, seed)
        return generator.frame(len(frame), conditions, seed).set_axis(frame.index)


mlflow.models.set_model(SealedModel())
