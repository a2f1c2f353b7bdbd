"""Calibration of scores to p-values: split-conformal, with a Pareto tail."""

from ganlib.calibrate.conformal import Calibration, Table
from ganlib.calibrate.tail import ParetoTail

__all__ = ["Calibration", "ParetoTail", "Table"]
