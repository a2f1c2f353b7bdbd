"""Models for anomaly detection."""
