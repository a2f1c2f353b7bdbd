"""Metrics with known answers."""
