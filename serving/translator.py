"""Rows, images or series of one domain from those of another, by a sealed translator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from serving.artifact import Artifact
from serving.errors import UsageError
from serving.frame import FrameAdapter
from serving.opening import kinds
from serving.opening.kinds.table_translator import TRANSLATED
from serving.readers.example import ExampleReader

if TYPE_CHECKING:
    import pandas as pd


class Translator:
    """One direction of a sealed translator.

    ``to`` is the domain that it leads to, "a" or "b", and ``result`` how its images or series are laid out, None for
    tables. Raises UsageError if the argument is not a loaded translator.
    """

    def __init__(self, artifact: Artifact) -> None:
        if not isinstance(artifact, Artifact):
            raise UsageError(
                f"a loaded artifact is needed, load_artifact(path) from serving.artifact; not {artifact!r}"
            )
        checked = artifact.checked
        if not isinstance(checked, kinds.Translator | kinds.TableTranslator):
            raise UsageError(f"this artifact is a sealed {artifact.kind}, not a translator; choose another model")
        self.artifact, self.to = artifact, checked.to
        self._way = _Arrays(artifact, checked) if isinstance(checked, kinds.Translator) else _Rows(artifact, checked)
        self.result = checked.written if isinstance(checked, kinds.Translator) else None

    def translate(self, data: Any) -> Any:
        """The counterparts of examples, in the axes, type and units of the array that the other domain was fitted on.

        ``data`` are an array ``(n, ...)``, or a table or records with the examples in column ``x``. For tables: a frame
        of the other domain's columns, with the row numbers of ``data`` if it is a frame. Raises DataError or
        ValueRefused for examples that do not fit.
        """
        return self._way.translate(data)


class _Arrays:
    """Images or series."""

    def __init__(self, artifact: Artifact, checked: kinds.Translator) -> None:
        self.artifact, self.result = artifact, checked.written
        self.reader = ExampleReader(artifact.layout)

    def translate(self, data: Any) -> np.ndarray:
        x = self.reader.feeds(data)["x"]
        made = [
            self.artifact.run(["y"], {"x": x[start : start + self.artifact.rows]})[0]
            for start in range(0, len(x), self.artifact.rows)
        ]
        return np.concatenate(made) if made else np.empty((0, *self.result.shape), self.result.dtype)


class _Rows:
    """Rows of a table."""

    def __init__(self, artifact: Artifact, checked: kinds.TableTranslator) -> None:
        self.artifact, schema, names = artifact, artifact.schema, {c.input for c in checked.taken}
        taken = [c for c in schema["columns"] if c["input"] in names]
        self.adapter, self.schema = FrameAdapter({**schema, "columns": taken}), artifact.metadata["schema_b"]
        given = {c.input for c in checked.given}
        self.columns = [c for c in self.schema["columns"] if c["input"] in given]

    def translate(self, data: Any) -> pd.DataFrame:
        import pandas as pd

        from serving.table.decode import decode

        feeds = self.adapter.feeds(data)
        rows, size = len(next(iter(feeds.values()))), self.artifact.rows
        names = [TRANSLATED + c["input"] for c in self.columns]
        parts = [
            self.artifact.run(names, {key: value[start : start + size] for key, value in feeds.items()})
            for start in range(0, max(rows, 1), size)
        ]
        whole = [np.concatenate(values) for values in zip(*parts, strict=True)]
        zone = self.schema["timezone"]
        made = {c["name"]: decode(c, values, zone) for c, values in zip(self.columns, whole, strict=True)}
        frame = pd.DataFrame(made)
        return frame.set_axis(data.index) if isinstance(data, pd.DataFrame) else frame
