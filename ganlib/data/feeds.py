"""Converts frames to feeds, the raw inputs of a sealed artifact, with one array per column (docs/artifact.md)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ganlib.data.frames import as_frame as as_frame
from ganlib.data.frames import check_names, close_names
from ganlib.data.schema import Schema
from ganlib.data.values import reading
from ganlib.errors import DataError
from serving.frame import FrameAdapter


def make_feeds(schema: Schema, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Raw feeds by input name for the feature columns and the group column; extra columns are ignored.

    Raises DataError for missing or repeated columns, with close matches, and for values that do not fit a column's
    kind, with the first bad row and value.
    """
    wanted = [c for c in schema.columns if c.role in ("feature", "group")]
    check_names(frame)
    if lacking := [c.name for c in wanted if c.name not in frame.columns]:
        spare = [n for n in frame.columns if n not in {c.name for c in wanted}] or list(frame.columns)
        hints = "; ".join(f"{name!r}: {close_names(name, spare)}" for name in lacking[:5])
        noun = "1 column is missing" if len(lacking) == 1 else f"{len(lacking)} columns are missing"
        raise DataError(f"{noun}: {hints}; rename the data's columns, or edit the schema")
    return reading(FrameAdapter(schema.to_dict()).feeds)(frame)
