"""The MLflow adapter: all that this package reads from and writes to a tracking server and model registry."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.connection import Connection, quoted, sqlite_file
from pipelines.errors import UsageError
from pipelines.files import placing
from pipelines.policies import registry_policy
from pipelines.relocation import Moved, moved, relocate
from serving.errors import IntegrityError

HEAL = "`ganlib doctor --fix` corrects the database"
_METRICS_PER_CALL = 900
_NOTE = "mlflow.note.content"


@dataclass(frozen=True)
class ModelVersion:
    """A registered version: name, number, run, tags, card, and time of creation (seconds since 1970)."""

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str]
    card: str = ""
    created: float = 0.0


@dataclass(frozen=True)
class Logged:
    """A sealed artifact as a logged model of a run; ``facts`` are the tags that identify it."""

    uri: str
    run_id: str
    model_id: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Measured:
    """The logged model and the data set that a run's metrics belong to."""

    model_id: str
    dataset: str
    digest: str


@dataclass(frozen=True)
class Resolved:
    """A local file of a registered version, with its sha-256, model name and version."""

    path: Path
    sha256: str
    name: str
    version: str


class Registry(Connection):
    """A tracking server and registry (``pipelines.connection``) as this package uses it.

    Raises UsageError if a model, version or alias does not exist (the message lists those that do), and RegistryDown if
    the server does not answer after retries.
    """

    def moved(self) -> Moved | None:
        """Whether the project was moved or copied since its artifacts were logged."""
        file, store = sqlite_file(self.uri), self.store
        return moved(file, store) if file is not None and store is not None else None

    def relocate(self) -> int:
        """Correct the paths of artifacts in a database that was moved; returns how many were wrong."""
        file, store = sqlite_file(self.uri), self.store
        if file is None or store is None or not file.is_file():
            return 0
        with self._locked(file):
            return relocate(file, store)

    def find_experiment(self, name: str) -> str | None:
        """Id of an experiment; None if it does not exist."""
        found = self._ask(lambda c: c.get_experiment_by_name(name))
        return None if found is None else found.experiment_id

    def experiment(self, name: str) -> str:
        """Id of an experiment, created if it does not exist; its artifacts are stored beside a SQLite database."""
        from mlflow.exceptions import MlflowException

        if (found := self.find_experiment(name)) is not None:
            return found
        remote = self.settings.artifacts if "://" in (self.settings.artifacts or "") else None
        location = remote if self.store is None else (self.store / name).as_uri()
        try:
            return self._ask(lambda c: c.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process has created it meanwhile
            return self.find_experiment(name) or ""

    @contextmanager
    def run(self, experiment: str, name: str) -> Iterator[Any]:
        """An active MLflow run, marked as failed if the block raises."""
        import mlflow

        self.client()
        if (found := self.moved()) is not None:
            raise UsageError(f"{found}; {HEAL}")
        with mlflow.start_run(experiment_id=self.experiment(experiment), run_name=name) as active:
            yield active

    # ---------------------------------------------------------------- writing
    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Parameters of a run, each cut at 500 characters."""
        from mlflow.entities import Param

        entities = [Param(_key(k), str(v)[:500]) for k, v in params.items()]
        for start in range(0, len(entities), 100):
            part = entities[start : start + 100]
            self._ask(partial(_log_batch, run_id=run_id, params=part))

    def log_metrics(
        self, run_id: str, curves: Mapping[str, list[float] | float], measured: Measured | None = None
    ) -> None:
        """Figures, or curves by epoch, in batches (one call a metric costs 30 times as much)."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        of = (measured.model_id, measured.dataset, measured.digest) if measured else ()
        metrics = [
            Metric(_key(key), float(value), now, step, *of)
            for key, values in curves.items()
            for step, value in enumerate(values if isinstance(values, list) else [values])
        ]
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            part = metrics[start : start + _METRICS_PER_CALL]
            self._ask(partial(_log_batch, run_id=run_id, metrics=part))

    def log_dataset(self, run_id: str, dataset: Mapping[str, str]) -> None:
        """Name, digest, source, schema and profile of the data that a run trained on; never a row of it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        used = DatasetInput(Dataset(**dataset), [InputTag("mlflow.data.context", "training")])
        self._ask(lambda c: c.log_inputs(run_id, [used]))

    def log_files(self, run_id: str, files: list[Path]) -> None:
        """Files beside a run."""
        for file in files:
            self._ask(partial(_log_file, run_id=run_id, file=file))

    def log_model(self, file: Path, back: Path | None = None) -> Logged:
        """Log a sealed artifact in the active run, verified first; raises IntegrityError.

        ``back`` is the other direction of a translator: a version holds both files.
        """
        import mlflow
        from pipelines.logged_model import log_model
        from serving.artifact import load_artifact

        self.client()
        artifact = load_artifact(file)
        other = None if back is None else load_artifact(back)
        info = log_model(mlflow, artifact, file, back)
        facts = {"artifact_sha256": artifact.sha256, "artifact_file": file.name, "task": artifact.kind}
        if back is not None and other is not None:
            facts |= {"back_sha256": other.sha256, "back_file": back.name}
        return Logged(info.model_uri, info.run_id, info.model_id, facts)

    def describe(self, logged: Logged, text: str) -> None:
        """Set what MLflow shows as the description of a run and of its logged model."""
        self._ask(lambda c: c.set_tag(logged.run_id, _NOTE, text))
        self._ask(lambda c: c.set_logged_model_tags(logged.model_id, {_NOTE: text}))

    def register(self, name: str, logged: Logged, tags: Mapping[str, str], card: str = "") -> ModelVersion:
        """Register a logged model with its tags and card; the new version is ``challenger``.

        Raises UsageError on a name that a registry URI cannot hold.
        """
        import mlflow

        check_name(name)
        client, facts = self.client(), {**logged.facts, **tags}
        about = "; ".join(f"`{alias}`: {meaning}" for alias, meaning in registry_policy()["aliases"].items())
        try:
            client.create_registered_model(name, description=f"{facts['task'].capitalize()} of ganlib. {about}.")
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # Created together with its tags: a version always has its sha-256.
        made = client.create_model_version(
            name, logged.uri, logged.run_id, tags=facts, description=card, model_id=logged.model_id
        )
        self.set_alias(name, "challenger", str(made.version))
        return self.version(name, str(made.version))

    def set_alias(self, name: str, alias: str, version: str | None) -> None:
        """Point an alias at a version; None removes it."""
        if version is None:
            self._ask(lambda c: c.delete_registered_model_alias(name, alias))
        else:
            self._ask(lambda c: c.set_registered_model_alias(name, alias, version))

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a version's tag."""
        self._ask(lambda c: c.set_model_version_tag(name, version, key, value))

    def set_card(self, name: str, version: str, card: str) -> None:
        """Set what MLflow shows as a version's description."""
        self._ask(lambda c: c.update_model_version(name, version, card))

    # ---------------------------------------------------------------- reading
    def names(self) -> list[str]:
        """Registered model names."""
        return sorted(m.name for m in self._pages(lambda c, **page: c.search_registered_models(**page)))

    def aliases(self, name: str) -> dict[str, str]:
        """Aliases of a model; raises UsageError naming the models that exist."""
        from mlflow.exceptions import MlflowException

        try:
            model = self._ask(lambda c: c.get_registered_model(name))
        except MlflowException as error:
            known = ", ".join(self.names()) or "none yet; train one with `ganlib train`"
            raise UsageError(f"no registered model is called {name!r}; registered: {known}") from error
        return {alias: str(version) for alias, version in model.aliases.items()}

    def version(self, name: str, version: str) -> ModelVersion:
        """One version; raises UsageError naming those that exist."""
        from mlflow.exceptions import MlflowException

        self.aliases(name)
        try:
            found = self._ask(lambda c: c.get_model_version(name, str(version)))
        except MlflowException as error:
            known = ", ".join(v.version for v in self.versions(name)) or "none"
            raise UsageError(f"model {name!r} has no version {version}; versions: {known}") from error
        return _version(found)

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model, oldest first."""
        self.aliases(name)
        found = [
            _version(v)
            for v in self._pages(lambda c, **page: c.search_model_versions(f"name = {quoted(name)}", **page))
        ]
        return sorted(found, key=lambda v: int(v.version))

    def by_alias(self, name: str, alias: str) -> ModelVersion:
        """The version an alias points at; raises UsageError naming the aliases that exist."""
        aliases = self.aliases(name)
        if alias not in aliases:
            known = ", ".join(f"{a} (version {v})" for a, v in sorted(aliases.items())) or "none"
            hint = f"; `ganlib promote {name}` makes a champion" if alias == "champion" else ""
            raise UsageError(f"model {name!r} has no alias {alias!r}; aliases: {known}{hint}")
        return self.version(name, aliases[alias])

    def find(self, uri: str) -> ModelVersion:
        """``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``."""
        match = re.fullmatch(r"models:/([^/@]+)(?:@([\w.-]+)|/(\d{1,18}))", uri)
        if match is None:
            raise UsageError(f"{uri!r} is neither models:/NAME@ALIAS nor models:/NAME/VERSION nor a .onnx file")
        name, alias, number = match.groups()
        check_name(name)
        return self.by_alias(name, alias) if alias else self.version(name, number)

    def fetch(self, run_id: str, names: list[str], folder: Path) -> list[Path]:
        """Local copies of those files that a run has; none if the run is not in this registry."""
        from mlflow.exceptions import MlflowException

        try:
            there = {file.path for file in self._ask(lambda c: c.list_artifacts(run_id))} if run_id else set()
        except MlflowException:
            return []
        wanted = [name for name in names if name in there]
        return [Path(self._ask(partial(_fetch, run_id=run_id, name=name, folder=folder))) for name in wanted]

    def resolve(self, uri: str, fresh: bool = False, to: str | None = None) -> Resolved:
        """A local copy of a registered artifact, downloaded once (``fresh``: again, to check what is stored).

        ``to`` is the domain to which a translator leads; None is that of its first file. Raises UsageError,
        RegistryDown, IntegrityError.
        """
        found = self.find(uri)
        sha256, file = self._identity(found, to)
        target = self._cache() / sha256[:16] / file
        if fresh or not (target.is_file() and sha256_of(target) == sha256):
            self._download(found, file, target, sha256)
        return Resolved(target, sha256, found.name, found.version)

    def holds(self, name: str, version: str) -> bool:
        """Whether the artifact store has the sealed file of a version."""
        import mlflow

        self.client()
        place = f"models:/{name}/{version}/artifacts"
        try:
            listed = self._retry(lambda: mlflow.artifacts.list_artifacts(place))
        except (mlflow.exceptions.MlflowException, OSError):
            return False
        return any(file.path.endswith(".onnx") for file in listed)

    def _identity(self, found: ModelVersion, to: str | None = None) -> tuple[str, str]:
        """(sha-256, file name) of a version's artifact: its tags, or what was logged with the model.

        A version that another tool copied may have lost its tags; the logged model holds both.
        """
        which = "back" if to is not None and found.tags.get("to", to) != to else "artifact"
        sha256, file = found.tags.get(f"{which}_sha256", ""), found.tags.get(f"{which}_file", "")
        if which == "back" and not (sha256 and file):
            raise UsageError(
                f"{found.name} version {found.version} translates to domain {found.tags['to']} only: its model learned "
                "no way back; train another one with the data sets exchanged"
            )
        if not sha256 or not file:
            from pipelines.logged_model import identity

            self.client()
            sha256, file = self._retry(lambda: identity(f"models:/{found.name}/{found.version}"))
        file = Path(file).name
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or not file.endswith(".onnx"):
            raise UsageError(
                f"{found.name} version {found.version} holds no sealed artifact of ganlib; "
                "`ganlib register FILE.onnx --name NAME` registers one"
            )
        return sha256, file

    def _download(self, found: ModelVersion, file: str, target: Path, sha256: str) -> None:
        import mlflow

        source = f"models:/{found.name}/{found.version}/artifacts/{file}"
        with placing(target, "choose another registry.cache"):
            target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            self.client()
            try:
                got = Path(self._retry(lambda: mlflow.artifacts.download_artifacts(source, dst_path=folder)))
            except mlflow.exceptions.MlflowException as error:
                if (gone := self.moved()) is not None:
                    raise UsageError(f"{gone}; {HEAL}") from error
                raise IntegrityError(
                    f"{found.name} version {found.version}: its artifact store does not hold {file}; restore it, or "
                    "register the model again"
                ) from error
            if (actual := sha256_of(got)) != sha256:
                raise IntegrityError(
                    f"{found.name} version {found.version}: the stored file has sha-256 {actual[:12]}…, its tag says "
                    f"{sha256[:12]}…; the artifact store was changed or damaged: register the model again"
                )
            got.replace(target)

    def _cache(self) -> Path:
        """Folder of downloads: as set, else beside a SQLite database, else in the user's cache."""
        if self.settings.cache:
            return Path(self.settings.cache)
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganlib"
        return self.folder / "cache" if self.folder else home


def _version(found: Any) -> ModelVersion:
    """A version as MLflow returns it."""
    made = (found.creation_timestamp or 0) / 1000
    return ModelVersion(
        found.name, str(found.version), found.run_id or "", dict(found.tags), found.description or "", made
    )


def _log_batch(client: Any, run_id: str, **entities: list[Any]) -> None:
    client.log_batch(run_id, **entities)


def _fetch(client: Any, run_id: str, name: str, folder: Path) -> str:
    return client.download_artifacts(run_id, name, str(folder))


def _log_file(client: Any, run_id: str, file: Path) -> None:
    client.log_artifact(run_id, str(file))


def _key(name: str) -> str:
    return re.sub(r"[^\w./ -]", "_", name)[:250]


def check_name(name: str) -> None:
    """Raise UsageError on names that a registry URI cannot hold."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise UsageError(f"a model name may hold letters, digits, '_', '-' and '.'; {name!r} does not fit")


def sha256_of(path: Path) -> str:
    """Hex sha-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
