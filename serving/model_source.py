"""Sources of the model for a running scorer: an artifact file, or a pointer file that a deployment replaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Protocol

from serving.errors import UsageError

Current = tuple[Path, str | None, str, str]


class ModelSource(Protocol):
    """``current()`` is (artifact file, sha-256 or None, model name, model version); it may change between calls."""

    def current(self) -> Current:
        """The model to score with."""


class FileSource:
    """One artifact file."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def current(self) -> Current:
        """The file."""
        return self.path, None, self.path.stem, ""


class PointerSource:
    """A JSON file ``{"path", "sha256", "name", "version"}``; replace it atomically to swap the model."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def current(self) -> Current:
        """The model that the pointer names; paths are relative to the pointer file."""
        try:
            value = json.loads(self.path.read_text(encoding="utf-8"))
            target = self.path.parent / value["path"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"model pointer {self.path} cannot be read ({error}); it holds path, sha256, name, version"
            ) from error
        return target, value.get("sha256"), str(value.get("name", target.stem)), str(value.get("version", ""))
