"""Models made for anomaly detection."""
