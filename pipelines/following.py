"""Models that jobs take from the registry: resolved by alias, checked against the ledger, with the time of scoring."""

from __future__ import annotations

import logging
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import RegistryDown, UsageError
from pipelines.ledger import Ledger
from pipelines.references import in_registry
from pipelines.registry import Registry, Resolved
from pipelines.sections import RegistrySettings

if TYPE_CHECKING:
    from serving.artifact import Artifact

LAST_SCORED = "last_scored"
NOTE_EVERY = 3600.0
log = logging.getLogger("ganlib.pipelines")


def located(registry: Registry | None, settings: RegistrySettings, model: str, to: str | None = None) -> Resolved:
    """The file behind ``models:/…`` (``registry`` None opens the one of the settings), or a file itself.

    A file has no version and no sha-256 to compare with. ``to`` is the domain to which a translator leads. Raises what
    ``Registry.resolve`` raises.
    """
    if not in_registry(model):
        return Resolved(Path(model), "", Path(model).stem, "")
    return (registry or Registry(settings=settings)).resolve(model, to=to)


def check_direction(artifact: Artifact, to: str | None, model: str) -> None:
    """Raise UsageError unless an artifact is a translator that leads to domain ``to``; None accepts all."""
    if to is None:
        return
    if artifact.kind != "translator":
        raise UsageError(f"{model} is a sealed {artifact.kind}, which leads to no domain: leave --to out")
    if artifact.metadata["to"] != to:
        raise UsageError(
            f"{model} leads to domain {artifact.metadata['to']}, not {to}: name the file of the other direction; of a "
            "registered model, `ganlib export --to` writes it"
        )


def followed(registry: Registry, uri: str, to: str | None = None) -> Resolved:
    """The artifact that a job uses; warns if it is ``champion`` but not according to the ledger."""
    found = registry.resolve(uri, to=to)
    _warn_of_doubt(registry, uri, found)
    return found


def _warn_of_doubt(registry: Registry, uri: str, found: Resolved) -> None:
    if not uri.endswith("@champion"):
        return
    try:
        doubt = Ledger(registry, found.name).doubt()
    except Exception as error:  # scoring needs read access to models only, not to the ledger
        log.warning("the ledger of %r was not read: %s", found.name, " ".join(str(error).split())[:200])
        return
    if doubt:
        warnings.warn(doubt, stacklevel=3)


def note_scored(registry: Registry, found: Resolved) -> None:
    """Record when a version last scored, for `ganlib list`; if the registry rejects it, log a warning."""
    try:
        registry.tag(found.name, found.version, LAST_SCORED, datetime.now(UTC).isoformat(timespec="seconds"))
    except Exception as error:  # the scores are written already; read access to models is enough to score
        log.warning("the registry did not record the time of scoring: %s", " ".join(str(error).split())[:200])


class RegistrySource:
    """A model source (``serving.model_source.ModelSource``) that follows an alias, resolved every ``every`` seconds.

    If the registry goes down later, the scorer continues with the last model and logs a warning.
    """

    def __init__(self, registry: Registry, uri: str, every: float = 5.0) -> None:
        self.registry, self.uri, self.every = registry, uri, every
        self._last: Resolved | None = None
        self._checked = self._noted = 0.0

    def current(self) -> tuple[Path, str, str, str]:
        """(path, sha256, name, version) that the alias points at; each file is downloaded only once."""
        if self._last is None or time.monotonic() - self._checked >= self.every:
            try:
                self._ask()
            except RegistryDown as error:
                if self._last is None:
                    raise
                log.warning("%s; continuing with %s version %s", error, self._last.name, self._last.version)
            self._checked = time.monotonic()
        assert self._last is not None
        return self._last.path, self._last.sha256, self._last.name, self._last.version

    def _ask(self) -> None:
        """Resolve the alias; a new version is checked against the ledger."""
        before, self._last = self._last, self.registry.resolve(self.uri)
        new = before is None or before.version != self._last.version
        if new:
            _warn_of_doubt(self.registry, self.uri, self._last)
        if new or time.monotonic() - self._noted >= NOTE_EVERY:
            note_scored(self.registry, self._last)
            self._noted = time.monotonic()
