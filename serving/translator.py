"""Images or series of one domain from those of another, by a sealed translator."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.artifact import Artifact
from serving.errors import UsageError
from serving.opening import kinds
from serving.readers.example import ExampleReader


class Translator:
    """One direction of a sealed translator.

    ``to`` is the domain that it leads to, "a" or "b", and ``result`` how its examples are laid out. Raises UsageError
    if the argument is not a loaded translator.
    """

    def __init__(self, artifact: Artifact) -> None:
        if not isinstance(artifact, Artifact):
            raise UsageError(
                f"a loaded artifact is needed, load_artifact(path) from serving.artifact; not {artifact!r}"
            )
        if not isinstance(artifact.checked, kinds.Translator):
            raise UsageError(f"this artifact is a sealed {artifact.kind}, not a translator; choose another model")
        self.artifact, self.to = artifact, artifact.checked.to
        self.reader, self.result = ExampleReader(artifact.layout), artifact.checked.written

    def translate(self, data: Any) -> np.ndarray:
        """The counterparts of examples, in the axes, type and units of the array that the other domain was fitted on.

        ``data`` are an array ``(n, ...)``, or a table or records with the examples in column ``x``. Raises DataError or
        ValueRefused for examples that do not fit.
        """
        x = self.reader.feeds(data)["x"]
        made = [
            self.artifact.run(["y"], {"x": x[start : start + self.artifact.rows]})[0]
            for start in range(0, len(x), self.artifact.rows)
        ]
        return np.concatenate(made) if made else np.empty((0, *self.result.shape), self.result.dtype)
