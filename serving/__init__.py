"""Scoring with onnxruntime. Imports no torch, scikit-learn, mlflow or prefect (docs/architecture.md)."""
