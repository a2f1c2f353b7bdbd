"""Synthetic rows from a sealed augmenter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from serving.artifact import NO_DATE, Artifact
from serving.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

CHUNK = 4096


class Generator:
    """A sealed augmenter: a seed and conditions in, raw columns out.

    ``conditions`` are the classes it can make, empty where it knows none. Raises UsageError on a sealed detector.
    """

    def __init__(self, artifact: Artifact) -> None:
        if artifact.kind != "augmenter":
            raise UsageError(f"this artifact is a sealed {artifact.kind}, not an augmenter; choose another model")
        self.artifact, self.latent_dim = artifact, int(artifact.metadata["latent_dim"])
        self.conditions: list[str] = list(artifact.metadata["conditions"] or [])

    def generate(self, rows: int, conditions: Sequence[str] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """``rows`` values of each generated column, as the graph makes them; equal seeds give equal rows.

        ``conditions`` names the class of each row, where the augmenter knows classes. Raises UsageError on others.
        """
        noise = np.random.Generator(np.random.Philox(seed))
        feeds = {"z": noise.standard_normal((rows, self.latent_dim), dtype=np.float32)}
        if self.conditions:
            feeds["condition"] = self._conditions(rows, conditions)
        session = self.artifact.session
        names = [output.name for output in session.get_outputs()]
        parts = [
            session.run(names, {key: value[start : start + CHUNK] for key, value in feeds.items()})
            for start in range(0, max(rows, 1), CHUNK)
        ]
        whole = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
        return {c["name"]: whole[c["input"]] for c in self.artifact.schema["columns"] if c["input"] in whole}

    def frame(self, rows: int, conditions: Sequence[str] | None = None, seed: int = 0) -> pd.DataFrame:
        """The same as a DataFrame, missing values as pandas has them."""
        import pandas as pd

        kinds = {c["name"]: c["kind"] for c in self.artifact.schema["columns"]}
        made = self.generate(rows, conditions, seed)
        return pd.DataFrame({name: _as_pandas(kinds[name], values) for name, values in made.items()})

    def _conditions(self, rows: int, conditions: Sequence[str] | None) -> np.ndarray:
        known = ", ".join(self.conditions[:20])
        if conditions is None or len(conditions) != rows:
            raise UsageError(f"say the class of each of the {rows} rows; the classes are {known}")
        values = np.array([str(c) for c in conditions], dtype=object)
        if unknown := sorted(set(values) - set(self.conditions)):
            raise UsageError(f"there is no class {unknown[0]!r}; the classes are {known}")
        return values


def _as_pandas(kind: str, values: np.ndarray) -> object:
    """An output of the graph as pandas would hold the column; what is missing stands in docs/artifact.md."""
    import pandas as pd

    if kind == "date":
        stamps = pd.to_datetime(np.where(values == NO_DATE, 0, values), unit="us", utc=True)
        return pd.Series(stamps).mask(values == NO_DATE)
    if kind == "category":
        return pd.Series(values, dtype=object).mask(values == "")
    if kind == "boolean":
        return pd.array([None if np.isnan(v) else bool(v) for v in values], dtype="boolean")
    return values
