"""A job's data, whatever its kind: what steps ask of a table, of images and of series.

``read_data`` chooses the reader once; the steps call it and never ask what the data are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from pipelines.errors import UsageError
from pipelines.sections import DataSettings

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.readers.generation import Generation
    from pipelines.rows import Labels
    from pipelines.settings import Settings
    from serving.windows import Windows


@dataclass(frozen=True)
class Learned:
    """What was found while learning about the training rows: findings, and differences from a schema file.

    ``level`` is that of ``DetectorData``.
    """

    findings: Sequence[Mapping[str, Any]] = ()
    differences: Sequence[str] = ()
    level: str = ""


class Contrast(NamedTuple):
    """Rows followed by as many altered ones, for data without known anomalies; the measure in words."""

    both: Any
    altered: np.ndarray
    measure: str


class JobData(Protocol):
    """The data of a job.

    ``columns`` holds what a label may be; ``fingerprint`` is the sha-256 of the content. A ``part`` is what estimators
    and artifacts read. ``noun`` is what one of its rows is called.
    """

    modality: str
    columns: pd.DataFrame
    fingerprint: str
    noun: str

    @property
    def runs(self) -> np.ndarray | None:
        """What each row belongs to that a split keeps whole ``(n,)``; None if rows are independent."""

    @property
    def levelled(self) -> np.ndarray | None:
        """The key of each row ``(n,)`` if rows are read relative to its level, so that all keys train; else None."""

    @property
    def windows(self) -> Windows | None:
        """How rows of a table became these series, for the sealed file; None for other data."""

    def labels(self) -> Labels:
        """Known anomalies and rows without a label; raises what ``read_labels`` raises."""

    def __len__(self) -> int:
        """Number of rows or examples."""

    def content(self, with_label: bool = False) -> pd.DataFrame:
        """What rows are split by; equal content stays together. Raises DataError if all rows are alike."""

    def part(self, rows: Sequence[int]) -> Any:
        """These rows without their label."""

    def learn(self, fit: Sequence[int], anomalous: np.ndarray | None, folder: Path) -> Learned:
        """Learn what describes the data from the training rows, for a detector; ``anomalous`` marks known anomalies.

        For a generator, ``anomalous`` is None. What is learned is saved in the job's folder.
        """

    def read_by(self, model: Windows | None, rows: Sequence[int], x: Any) -> Any:
        """Examples ``x`` made from these rows, once or several times over, as the sealed ``model`` reads them."""

    def recall(self, folder: Path) -> None:
        """Take up what ``learn`` saved in a job's folder and ``part`` needs, if anything."""

    def facts(self) -> dict[str, Any]:
        """What a dry run says of the data, one line each."""

    def described(self, folder: Path, findings: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The columns as training reads them, for a dry run."""

    def parameters(self, folder: Path) -> dict[str, Any]:
        """Constructor parameters of the estimators for this data."""

    def contrast(self, part: Any, folder: Path, seed: int) -> Contrast:
        """Rows, and the same rows with broken dependence."""

    def baselines(self, fit: Any, judged: Any, folder: Path, seed: int) -> dict[str, np.ndarray]:
        """Scores ``(n,)`` of simple detectors on the rows judged; ``PCA`` is among them."""

    def privacy(self, file: Path, fit: Sequence[int]) -> str:
        """``passed``, or what a sealed file reveals of its training rows."""

    def labelled(self, rows: Sequence[int]) -> tuple[Any, Any]:
        """Rows and their classes, as an augmenter is fitted on them."""

    def generation(self, settings: Settings, output: Path) -> Generation:
        """How the data is augmented."""

    def beside(self, other: JobData) -> JobData:
        """This data as one of two domains: without requests that name columns of the ``other`` only."""

    def drawn(self, augmenter: Any, folder: Path) -> None:
        """Draw what an augmenter generates as PNG files in the folder; nothing of data that are no images."""

    def lift(self, augmenter: Any, fit: Sequence[int], test: Sequence[int]) -> dict[str, float]:
        """Each arm's figure on the held-out rows (``ganlib.augment.lift``); empty if it cannot be measured."""


def read_data(settings: DataSettings) -> JobData:
    """The data that the settings name, read once in a process as long as its files do not change.

    Raises ConfigError, DataError, DependencyError as ``ganlib.data.read`` does, UsageError on settings that do not fit
    the kind of data.
    """
    from ganlib.data.read import files_of

    path = str(settings.path)
    stamp = tuple(source.identity() for source in files_of(path))
    build, content, mark = _read(path, _way(settings), stamp)
    return build(settings, content, mark)  # type: ignore[no-any-return]


def read_domains(data: DataSettings) -> tuple[JobData, JobData]:
    """The data of a translator's domains a and b.

    The label, ``drop`` and ``ids`` name columns of either table. Raises UsageError if one domain is not named,
    DataError if both hold different kinds of data, and what ``read_data`` raises.
    """
    from ganlib.errors import DataError

    if not data.path or not data.path_b:
        raise UsageError("a translator learns from two data sets: give --data A and --data-b B")
    a = read_data(data)
    b = read_data(data.model_copy(update={"path": data.path_b, "schema_file": data.schema_file_b}))
    if a.modality != b.modality:
        words = {"table": "a table", "image": "images"}
        held = [words.get(domain.modality, "series") for domain in (a, b)]
        raise DataError(
            f"{data.path} holds {held[0]}, and {data.path_b} {held[1]}; give both in one kind, or say --modality if "
            "arrays were read as the wrong one"
        )
    return a.beside(b), b.beside(a)


def check_real(found: JobData, settings: DataSettings) -> None:
    """Raise DataError if the data mark generated rows: held-out rows have to be real."""
    from ganlib.data.frames import MARK
    from ganlib.errors import DataError
    from pipelines.schemas import unused_columns

    if MARK in found.columns and settings.label != MARK and MARK not in unused_columns(settings, found.columns):
        raise DataError(
            f"{settings.path} marks generated rows by {MARK}, and figures on them would be too good: give the real "
            f"rows alone. To treat all rows as real, give --drop {MARK}, or remove the mark from arrays and images"
        )


def kind_of(settings: DataSettings) -> Any:
    """The module that reads the data: of tables, of windows of a table, or of images and series."""
    from ganlib.data.read import holds_examples
    from pipelines.readers import arrays, table, windows

    if settings.time is not None:
        return windows
    return arrays if settings.modality is not None or holds_examples(str(settings.path)) else table


def _way(settings: DataSettings) -> Any:
    """What the module's ``opened`` takes beside the path: the windows, or the modality."""
    from pipelines.readers.windows import Framing

    return Framing.of(settings) or settings.modality


@lru_cache(maxsize=2)  # a translator has two data sets
def _read(path: str, way: Any, stamp: tuple[Any, ...]) -> tuple[Any, Any, str]:
    """(reader, content, fingerprint)."""
    from pipelines.readers import windows

    modality = None if isinstance(way, windows.Framing) else way
    kind = windows if modality is not way else kind_of(DataSettings(path=path, modality=modality))
    content, mark = kind.opened(path, way)
    return kind.DATA, content, mark
