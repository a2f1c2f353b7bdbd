"""Flows, the MLflow adapter and the `ganlib` command."""
