"""Models of the gradient of the log-density."""
