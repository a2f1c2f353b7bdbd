"""Density estimators: the log-density of examples in their own units, and samples."""

from ganlib.density.density import Density, as_density

__all__ = ["Density", "as_density"]
