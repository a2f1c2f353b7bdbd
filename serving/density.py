"""Log-densities of rows by a sealed density."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.artifact import Artifact
from serving.errors import UsageError, ValueRefused
from serving.readers import reader_of

# Positions in messages are of rows from 0, as in tables.
_NO_DENSITY = "is missing or infinite and has no density; fill it or drop its row"


class Density:
    """A sealed density. Raises UsageError if the argument is not a loaded one."""

    def __init__(self, artifact: Artifact) -> None:
        if not isinstance(artifact, Artifact):
            raise UsageError(
                f"a loaded artifact is needed, load_artifact(path) from serving.artifact; not {artifact!r}"
            )
        if artifact.kind != "density":
            raise UsageError(f"this artifact is a sealed {artifact.kind}, not a density; choose another model")
        self.artifact, self.reader = artifact, reader_of(artifact)

    def log_prob(self, data: Any) -> np.ndarray:
        """Log-densities in nats, float32 ``(n,)``, in the units of the data.

        ``data`` are a table, a frame or records; for images and series also an array ``(n, ...)``. Raises DataError or
        ValueRefused for rows that do not fit, and for missing or infinite values.
        """
        feeds = self.reader.feeds(data)
        for name, values in feeds.items():
            if values.dtype.kind == "f" and not (whole := np.isfinite(values)).all():
                raise ValueRefused(name, int(np.argwhere(~whole)[0][0]), _NO_DENSITY)
        rows = len(next(iter(feeds.values())))
        starts = range(0, rows, self.artifact.rows)
        chunks = ({n: v[start : start + self.artifact.rows] for n, v in feeds.items()} for start in starts)
        parts = [self.artifact.run(["log_prob"], chunk)[0] for chunk in chunks]
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def score(self, data: Any) -> float:
        """The mean log-density."""
        return float(self.log_prob(data).mean(dtype=np.float64))
