"""Reading what is to be translated, and writing its counterparts marked as synthetic: tables, images and series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipelines.errors import UsageError
from pipelines.files import written
from pipelines.formulas import checked
from pipelines.readers import arrays, table
from pipelines.readers.array_rows import joined, write_folder
from pipelines.real_rows import write_augmented
from serving.inputs.images import EXAMPLE, NAME
from serving.translator import Translator

if TYPE_CHECKING:
    import pandas as pd

    from serving.artifact import Artifact

Report = Callable[[str], None]


class Translations(Protocol):
    """The counterparts of a place's rows or examples."""

    @property
    def to(self) -> str:
        """The domain that they belong to."""

    def __len__(self) -> int:
        """Number of rows or examples."""

    def write(self, report: Report) -> None:
        """Translate, and write the output, complete or not at all."""


def translations(
    artifact: Artifact, path: str, output: Path, ids: Sequence[str] = (), spreadsheet_safe: bool = False
) -> Translations:
    """What a translator makes of a place; ``ids`` are columns of a table to keep.

    Raises UsageError if the output cannot hold it, ConfigError and DataError if the place cannot be read.
    """
    if artifact.modality == "table":
        return TableTranslations(artifact, path, output, ids, spreadsheet_safe)
    return ExampleTranslations(artifact, path, output)


class TableTranslations:
    """Rows of a table, with the columns that identify them."""

    def __init__(self, artifact: Artifact, path: str, output: Path, ids: Sequence[str], spreadsheet_safe: bool) -> None:
        from ganlib.data.read import need_column, read_table

        table.check_output(output, path)
        self.model, self.output, self.safe = Translator(artifact), output, spreadsheet_safe
        self.to = self.model.to
        self.frame, self.ids = read_table(path), list(ids)
        for name in self.ids:
            need_column(self.frame, name, "identifier")

    def __len__(self) -> int:
        return len(self.frame)

    def write(self, report: Report) -> None:
        """Write the identifiers, the translated columns and the mark."""
        from ganlib.data.frames import MARK

        made: pd.DataFrame = self.model.translate(self.frame)
        kept = [name for name in self.ids if name not in made.columns]
        rows: Any = self.frame[kept].reset_index(drop=True).join(made.reset_index(drop=True)).assign(**{MARK: True})
        write_augmented(checked(rows, MARK, self.output, self.safe, report), MARK, [], self.output)


class ExampleTranslations:
    """Images or series; columns beside them are kept, and image files keep their names."""

    def __init__(self, artifact: Artifact, path: str, output: Path) -> None:
        from ganlib.data.read import read_examples

        arrays.check_output(output, path)
        self.model, self.output = Translator(artifact), output
        assert self.model.result is not None  # an artifact of arrays
        self.to, self.result = self.model.to, self.model.result
        if output.suffix.lower() != ".npz" and (self.result.modality != "image" or self.result.dtype != "uint8"):
            raise UsageError(
                f"the output {output} would be a folder of PNG files, which hold images of bytes, not "
                f"{self.result.modality} data of type {self.result.dtype}; end it in .npz"
            )
        self.columns = read_examples(path, modality=artifact.modality)
        self.x = self.columns.pop(EXAMPLE)

    def __len__(self) -> int:
        return len(self.x)

    def write(self, report: Report) -> None:
        """Write the .npz file or the folder."""
        from ganlib.data.frames import MARK

        made, marks = self.model.translate(self.x), np.ones(len(self.x), dtype=bool)
        if self.output.suffix.lower() == ".npz":
            kept = {name: joined(values, values[:0]) for name, values in self.columns.items()}
            with written(self.output) as temporary, temporary.open("wb") as file:
                arrays_by_name: Any = {**kept, EXAMPLE: made, MARK: marks}
                np.savez(file, **arrays_by_name)
        else:
            write_folder(self._pictures(made), marks, self._names(), self.output)

    def _pictures(self, made: np.ndarray) -> np.ndarray:
        """Images as files hold them: ``(n, h, w)`` if grey, else ``(n, h, w, 3)``."""
        last = made.transpose(0, 2, 3, 1) if self.result.channels == "first" else made
        return last[..., 0] if last.ndim == 4 and last.shape[3] == 1 else last

    def _names(self) -> list[str]:
        """``synthetic-NAME.png`` beside the source's place, with a number if names are equal or missing."""
        given = self.columns.get(NAME)
        names = [""] * len(self) if given is None else [str(PurePosixPath(str(name)).with_suffix("")) for name in given]
        unique = len(set(names)) == len(names) and not any(".." in PurePosixPath(name).parts for name in names)
        if not unique:
            return [f"synthetic-{number:06d}.png" for number in range(len(names))]
        places = map(PurePosixPath, names)
        return [str(place.with_name(f"synthetic-{place.name}.png")).lstrip("/") for place in places]
