"""Scoring on onnxruntime: no torch, scikit-learn, mlflow or prefect here (docs/architecture.md)."""
