"""Baselines: maximum-likelihood densities, printed beside the figures of other models."""
