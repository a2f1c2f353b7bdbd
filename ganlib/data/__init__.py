"""Data as the models see it: specifications, table schemas and encoders, batches, toys."""
