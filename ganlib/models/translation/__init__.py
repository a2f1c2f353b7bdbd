"""Translation between domains."""
