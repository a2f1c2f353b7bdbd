"""Losses as plain functions of tensors: means over the batch, so that values do not depend on its size."""
