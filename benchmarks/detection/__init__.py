"""Detectors of tables and their peers on the same splits: ``python -m benchmarks.detection run``, then ``report``."""
