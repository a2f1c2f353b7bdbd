"""Read, verify and open a sealed artifact (docs/artifact.md, "Identity")."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import IntegrityError, ServingError, UsageError
from serving.opening import child
from serving.opening.entries import FORMAT_VERSION
from serving.opening.kinds import SealedModel
from serving.opening.scan import Limits
from serving.opening.session import run
from serving.opening.whole import examine
from serving.table.examples import Layout
from serving.windows import Windows, windows_of

__all__ = ["FORMAT_VERSION", "Artifact", "Limits", "array_output", "golden_feeds", "load_artifact"]
log = logging.getLogger("serving")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Artifact:
    """A verified artifact and its open session; ``integrity`` is ``sha256`` or ``self-test``.

    ``rows`` is the batch size of the session, and ``explained_rows`` its batch size with contributions. Both are
    chosen to stay within the limits that the artifact was opened with.
    """

    sha256: str
    integrity: str
    metadata: dict[str, Any]
    session: Any = field(repr=False)
    checked: SealedModel = field(repr=False)
    rows: int
    explained_rows: int

    @property
    def kind(self) -> str:
        """detector, augmenter, encoder or translator (``serving.opening.kinds``)."""
        return self.metadata["kind"]

    @property
    def modality(self) -> str:
        """table, image, series or points."""
        return self.metadata.get("modality", "table")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, channels first; raises UsageError for tables."""
        if self.modality == "table":
            raise UsageError(f"this {self.kind} is for tables; see its schema")
        return tuple(self.metadata["shape"])

    @property
    def layout(self) -> Layout:
        """How a detector or translator of images or series takes an example; raises UsageError for other artifacts."""
        if self.checked.layout is None:
            raise UsageError(f"this {self.kind} of modality {self.modality!r} does not take raw images or series")
        return self.checked.layout

    @property
    def windows(self) -> Windows | None:
        """How rows of a table become the series that a detector reads; None if it reads finished arrays only."""
        return windows_of(self.metadata)

    @property
    def schema(self) -> dict[str, Any]:
        """The table schema; raises UsageError for other modalities."""
        if self.modality != "table":
            raise UsageError(f"this {self.kind} is for data of modality {self.modality!r}, which have no table schema")
        return self.metadata["schema"]

    @property
    def relations(self) -> list[dict[str, Any]]:
        """The relations that generated rows satisfy; empty in files of earlier releases."""
        return self.metadata.get("constraints") or []

    @property
    def features(self) -> list[str]:
        """Input names in the order of contributions."""
        return self.metadata["features"]

    @property
    def explanation(self) -> str:
        """The output that ``explain`` adds: contributions, map, or empty if there is none."""
        return self.checked.explanation

    @property
    def explained_shape(self) -> tuple[int, ...]:
        """The shape of one row's explanation."""
        return self.checked.ports()[1][self.explanation][1] or ()

    @property
    def calibration(self) -> dict[str, Any]:
        """The calibration: number of rows, ``alpha_min``, tail and groups."""
        return self.metadata["calibration"]

    def run(self, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Run the session once and return the named outputs.

        Raises DataError if the feeds do not match the graph's inputs, TemporaryError if memory runs out, and
        IntegrityError if the graph fails.
        """
        return run(self.session, names, feeds)


def load_artifact(
    source: str | Path | bytes, sha256: str | None = None, limits: Limits | None = None, require_gpu: bool = False
) -> Artifact:
    """Verify and open an artifact.

    ``sha256`` is the hash that a registry or pointer file holds. Without it, the file is first opened in a separate
    process with resource limits (``serving.opening.child``), once per process and file.

    Raises:
    - UsageError if the file does not exist, or if a required GPU provider is missing;
    - IntegrityError if a check fails: size, hash, external data, unsupported operators, a newer format, metadata that
      does not fit the graph, a row that costs too much, or golden rows that disagree;
    - TemporaryError if the separate process cannot be started.
    """
    limits = limits or Limits()
    data, name, beside = _read(source, limits)
    expected = _expected(sha256, beside)
    actual = hashlib.sha256(data).hexdigest()
    if expected is not None and actual != expected:
        raise IntegrityError(f"{name}: sha-256 is {actual[:12]}…, expected {expected[:12]}…; fetch the file again")
    with _named(name):
        if sha256 is None:
            child.try_out(data, actual, limits)
        opened = examine(data, limits, require_gpu)
    if not expected:
        log.info("%s: integrity=self-test (no sha-256 given)", name)
    integrity = "sha256" if expected else "self-test"
    return Artifact(
        actual, integrity, opened.metadata, opened.session, opened.checked, opened.rows, opened.explained_rows
    )  # fmt: skip


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Prefix error messages with the file's name."""
    try:
        yield
    except ServingError as error:
        raise type(error)(f"{name}: {error}") from error


def _expected(given: str | None, beside: str | None) -> str | None:
    """The expected sha-256; raises UsageError if the given one is malformed."""
    if given is None:
        return beside
    if not _SHA256.fullmatch(given.strip().lower()):
        raise UsageError(f"{given!r} is no sha-256: give 64 hexadecimal digits")
    return given.strip().lower()


def _read(source: str | Path | bytes, limits: Limits) -> tuple[bytes, str, str | None]:
    """The bytes, the name for messages, and the hash in FILE.sha256."""
    if isinstance(source, bytes):
        data, name, beside = source, "artifact", None
    else:
        path = Path(source)
        if not path.is_file():
            raise UsageError(f"there is no artifact {path}; export one with `ganlib export`{_registered(path)}")
        try:
            with path.open("rb") as file:
                data, name = file.read(limits.file_bytes + 1), str(path)
            beside = _beside(path.with_name(path.name + ".sha256"))
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > limits.file_bytes:
        raise IntegrityError(f"{name}: larger than {limits.file_bytes:,} bytes, the limit; check the file")
    return data, name, beside


def _beside(path: Path) -> str | None:
    """The hash in a file written by sha256sum; None if the file is missing or empty."""
    if not path.is_file():
        return None
    words = path.read_bytes()[:1024].decode("utf-8", errors="replace").lower().split()
    if words and not _SHA256.fullmatch(words[0]):
        raise IntegrityError(f"{path}: does not begin with a sha-256; fetch it again, or remove it")
    return words[0] if words else None


def _registered(path: Path) -> str:
    """A hint for a registered model name that was given as a file."""
    if path.suffix in (".onnx", ".json") or path.exists():
        return ""
    name = path.name if "@" in path.name else f"{path.name}@champion"
    return f"; a registered model is models:/{name}"


def golden_feeds(artifact: Artifact) -> dict[str, np.ndarray]:
    """The golden rows of a detector or translator as feeds; raises UsageError for other kinds of artifact."""
    if artifact.kind not in ("detector", "translator"):
        raise UsageError(f"this artifact is a sealed {artifact.kind}, not a detector; choose another model")
    return artifact.checked.golden_feeds()


def array_output(artifact: Artifact) -> tuple[str, tuple[int, ...]]:
    """The output's name and the shape of one example in it.

    The output holds codes, image bytes with channels last, or float values in the model's own shape.
    """
    names = [output.name for output in artifact.session.get_outputs()]
    if artifact.kind == "encoder":
        return "z", (int(artifact.metadata["latent_dim"]),)
    if "image" in names and len(artifact.shape) == 3:
        channels, height, width = artifact.shape
        return "image", (height, width, channels)
    return "x", artifact.shape
