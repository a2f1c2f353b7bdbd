"""Metrics of detectors, generators and augmenters."""
