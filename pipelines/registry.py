"""The MLflow adapter: the one file that talks to the tracking server and the model registry."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.errors import RegistryDown, UsageError, cannot_write
from pipelines.files import placing
from pipelines.model_card import alpha_default, example_of, output_columns, runtime_pins
from pipelines.settings import RegistrySettings, load_settings, reveal
from serving.errors import IntegrityError
from serving.secrets import without_secrets
from serving.wording import counted

if TYPE_CHECKING:
    from serving.artifact import Artifact

TRAINING, LEDGER = "ganlib-training", "ganlib-promotions"
ALIASES = ("challenger", "champion", "previous")
_FATAL = {  # answers, not troubles: asking again gives the same
    "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND", "ENDPOINT_NOT_FOUND", "BAD_REQUEST",
    "RESOURCE_ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
}  # fmt: skip
_METRICS_PER_CALL = 900
log = logging.getLogger("ganlib.pipelines")
Result = TypeVar("Result")


@dataclass(frozen=True)
class ModelVersion:
    """A registered version: its name, number, run, and tags."""

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Resolved:
    """A local file of a registered version and what identifies it."""

    path: Path
    sha256: str
    name: str
    version: str


class Registry:
    """A tracking server and registry at ``uri`` (default: the settings', MLFLOW_TRACKING_URI, or SQLite under runs/).

    Nothing is opened before the first question. A SQLite database is migrated once, under a lock: two processes that
    open a new one at once would break each other. Raises UsageError on what does not exist, naming what does, and
    RegistryDown where nobody answers after retries.
    """

    def __init__(self, uri: str | None = None, settings: RegistrySettings | None = None) -> None:
        self.settings = settings or load_settings().registry
        self.uri = _absolute(uri or self.settings.uri())
        self._client: Any = None

    # ---------------------------------------------------------------- connection
    def client(self) -> Any:
        """An MlflowClient; this registry is MLflow's current one from here on."""
        import mlflow

        if not hasattr(mlflow, "MlflowClient"):
            raise UsageError('mlflow is not installed; pip install "ganlib[pipelines]"')
        if self._client is None:
            self._log_in()
            self._client = self._prepare(mlflow)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        return self._client

    def _log_in(self) -> None:
        """Hand MLflow its credentials, limits and silence."""
        for package in ("mlflow", "alembic"):
            logging.getLogger(package).setLevel(logging.ERROR)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(self.settings.timeout))
        given = {"USERNAME": self.settings.username}
        given |= {n.upper(): s.get_secret_value() for n in ("password", "token")
                  if (s := reveal(getattr(self.settings, n)))}  # fmt: skip
        os.environ.update({f"MLFLOW_TRACKING_{name}": value for name, value in given.items() if value})

    def _prepare(self, mlflow: Any) -> Any:
        if re.match(r"(file:|\.{0,2}/|\w:\\)", self.uri) or "://" not in self.uri:
            raise UsageError(f"the registry {self.uri!r} is a folder; give a database (sqlite:///FILE) or a server")
        try:
            if self.folder is None:
                return self._retry(lambda: _opened(mlflow, self.uri))
            from filelock import FileLock

            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{_sqlite_file(self.uri)}.lock", timeout=120):
                return _opened(mlflow, self.uri)
        except (RegistryDown, UsageError):
            raise
        except Exception as error:  # alembic, SQLAlchemy and the file system raise their own kinds
            if isinstance(error, OSError) and error.filename and (file := _sqlite_file(self.uri)):
                raise cannot_write(file, error, "choose another --tracking") from error
            raise RegistryDown(f"the registry {masked(self.uri)} cannot be opened: {_short(error)}") from error

    @property
    def folder(self) -> Path | None:
        """Folder of a SQLite database; None for servers."""
        file = _sqlite_file(self.uri)
        return None if file is None else file.parent

    def experiment(self, name: str) -> str:
        """Id of an experiment, made where it is not there; artifacts lie beside a SQLite database."""
        from mlflow.exceptions import MlflowException

        if (found := self._ask(lambda c: c.get_experiment_by_name(name))) is not None:
            return found.experiment_id
        store = self.settings.artifacts or (self.folder / "mlartifacts" if self.folder else None)
        location = str(store) if store is not None and "://" in str(store) else None
        if store is not None and location is None:
            location = (Path(store).resolve() / name).as_uri()
        try:
            return self._ask(lambda c: c.create_experiment(name, artifact_location=location))
        except MlflowException:  # another process was quicker
            return self._ask(lambda c: c.get_experiment_by_name(name)).experiment_id

    @contextmanager
    def run(self, experiment: str, name: str) -> Iterator[Any]:
        """An active MLflow run; failed where the block raises."""
        import mlflow

        self.client()
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

    def log_metrics(self, run_id: str, curves: Mapping[str, list[float] | float]) -> None:
        """Figures, or curves by epoch, in batches (one call a metric costs 30 times as much)."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [
            Metric(_key(key), float(value), now, step)
            for key, values in curves.items()
            for step, value in enumerate(values if isinstance(values, list) else [values])
        ]
        for start in range(0, len(metrics), _METRICS_PER_CALL):
            part = metrics[start : start + _METRICS_PER_CALL]
            self._ask(partial(_log_batch, run_id=run_id, metrics=part))

    def log_files(self, run_id: str, files: list[Path]) -> None:
        """Files beside a run."""
        for file in files:
            self._ask(partial(_log_file, run_id=run_id, file=file))

    def register(self, name: str, file: Path, tags: Mapping[str, str]) -> ModelVersion:
        """Log a sealed artifact in the active run and register it with its tags; the new version is ``challenger``.

        The file is verified first; signature and input example come from its schema and golden rows, never from data.
        Raises IntegrityError, UsageError on a name that a registry URI cannot hold.
        """
        import mlflow
        from serving.artifact import load_artifact

        check_name(name)
        client, artifact = self.client(), load_artifact(file)
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # MLflow's advice on type hints, which its models may lack
            info = self._log_model(mlflow, artifact, file, Path(folder))
        facts = {"artifact_sha256": artifact.sha256, "artifact_file": file.name, "task": artifact.kind} | dict(tags)
        try:
            client.create_registered_model(name)
        except mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # Tags come with the version, so that nobody ever meets one without its sha-256.
        made = client.create_model_version(name, info.model_uri, info.run_id, tags=facts, model_id=info.model_id)
        self.set_alias(name, "challenger", str(made.version))
        return self.version(name, str(made.version))

    def _log_model(self, mlflow: Any, artifact: Artifact, file: Path, folder: Path) -> Any:
        here, example = Path(__file__).resolve(), example_of(artifact)
        params: dict[str, Any] = {"seed": 0}
        if artifact.kind == "detector":
            params = {"alpha": alpha_default(artifact), "explain": False}
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(here.with_name("pyfunc_model.py")),
            artifacts={"onnx": str(file)},
            code_paths=[str(_code_copy(here.parents[1] / "serving", folder))],
            pip_requirements=[*runtime_pins(), f"mlflow=={importlib.metadata.version('mlflow')}"],
            signature=_signature(artifact, example, params),
            input_example=(example, params),
            model_config={"artifact_sha256": artifact.sha256},
            metadata={"columns": {c["name"]: c["kind"] for c in artifact.schema["columns"]}},
        )

    def set_alias(self, name: str, alias: str, version: str | None) -> None:
        """Point an alias at a version; None takes it away."""
        if version is None:
            self._ask(lambda c: c.delete_registered_model_alias(name, alias))
        else:
            self._ask(lambda c: c.set_registered_model_alias(name, alias, version))

    def tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a version's tag."""
        self._ask(lambda c: c.set_model_version_tag(name, version, key, value))

    # ---------------------------------------------------------------- reading
    def names(self) -> list[str]:
        """Registered model names."""
        return sorted(m.name for m in self._ask(lambda c: c.search_registered_models()))

    def aliases(self, name: str) -> dict[str, str]:
        """Aliases of a model; raises UsageError naming the models that exist."""
        from mlflow.exceptions import MlflowException

        check_name(name)
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
            numbers = sorted(int(v.version) for v in self._ask(lambda c: c.search_model_versions(f"name = '{name}'")))
            known = ", ".join(map(str, numbers)) or "none"
            raise UsageError(f"model {name!r} has no version {version}; versions: {known}") from error
        return ModelVersion(name, str(found.version), found.run_id or "", dict(found.tags))

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
        return self.by_alias(name, alias) if alias else self.version(name, number)

    def resolve(self, uri: str, fresh: bool = False) -> Resolved:
        """A local copy of a registered artifact, downloaded once (``fresh``: again, to check what is stored).

        Raises UsageError, RegistryDown, IntegrityError.
        """
        found = self.find(uri)
        sha256, file = found.tags.get("artifact_sha256", ""), Path(found.tags.get("artifact_file", "")).name
        if not re.fullmatch(r"[0-9a-f]{64}", sha256) or not file.endswith(".onnx"):
            raise UsageError(f"{uri} holds no sealed artifact; it was not registered by ganlib")
        target = self._cache() / sha256[:16] / file
        if fresh or not (target.is_file() and sha256_of(target) == sha256):
            self._download(found, file, target, sha256)
        return Resolved(target, sha256, found.name, found.version)

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
        """Where downloads lie: as set, else beside a SQLite database, else in the user's cache."""
        if self.settings.cache:
            return Path(self.settings.cache)
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ganlib"
        return self.folder / "cache" if self.folder else home

    def _ask(self, question: Callable[[Any], Result]) -> Result:
        client = self.client()
        return self._retry(lambda: question(client))

    def _retry(self, attempt: Callable[[], Result]) -> Result:
        """Repeat on trouble with growing pauses; raises RegistryDown after the last."""
        from mlflow.exceptions import MlflowException

        last: Exception | None = None
        for number in range(self.settings.retries):
            if number:
                time.sleep(min(0.25 * 2**number, 4.0))
            try:
                return attempt()
            except MlflowException as error:
                if error.error_code in _FATAL:
                    raise
                last = error
            except OSError as error:  # requests' connection errors are OSErrors
                last = error
        raise RegistryDown(
            f"the registry {masked(self.uri)} did not answer {counted(self.settings.retries, 'time')}: {_short(last)}"
        ) from last


class RegistrySource:
    """A model source (``serving.model_source.ModelSource``) that follows an alias, asking at most ``every`` seconds.

    Once a model is known, a registry that is down does not stop the scorer: it goes on with that model and says so.
    """

    def __init__(self, registry: Registry, uri: str, every: float = 5.0) -> None:
        self.registry, self.uri, self.every = registry, uri, every
        self._last: Resolved | None = None
        self._asked = 0.0

    def current(self) -> tuple[Path, str, str, str]:
        """(path, sha256, name, version) that the alias points at; each file is downloaded only once."""
        if self._last is None or time.monotonic() - self._asked >= self.every:
            try:
                self._last = self.registry.resolve(self.uri)
            except RegistryDown as error:
                if self._last is None:
                    raise
                log.warning("%s; going on with %s version %s", error, self._last.name, self._last.version)
            self._asked = time.monotonic()
        return self._last.path, self._last.sha256, self._last.name, self._last.version


def _log_batch(client: Any, run_id: str, **entities: list[Any]) -> None:
    client.log_batch(run_id, **entities)


def _log_file(client: Any, run_id: str, file: Path) -> None:
    client.log_artifact(run_id, str(file))


def _opened(mlflow: Any, uri: str) -> Any:
    client = mlflow.MlflowClient(uri, uri)
    client.search_experiments(max_results=1)
    return client


def _code_copy(source: Path, folder: Path) -> Path:
    """serving/ without compiled files, as it travels with the model."""
    import shutil

    return Path(shutil.copytree(source, folder / "serving", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")))


def _signature(artifact: Artifact, example: Any, params: Mapping[str, Any]) -> Any:
    """Columns by name, results by type, ``alpha`` and ``explain`` (or ``seed``) as parameters.

    Inputs are of any type: MLflow's own check refuses int64 where it expects double, categories where it expects
    strings, and times with a zone. The artifact's adapter takes these and names what it cannot take. The kinds stand in
    the model's metadata.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType

    inputs = Schema([ColSpec(AnyType(), str(name)) for name in example.columns])
    outputs = Schema([ColSpec(kind, name, required) for name, kind, required in output_columns(artifact)])
    kinds = {bool: "boolean", float: "double", int: "long"}
    return ModelSignature(inputs, outputs, ParamSchema([ParamSpec(n, kinds[type(v)], v) for n, v in params.items()]))


def _absolute(uri: str) -> str:
    """A SQLite URI that still holds in another working directory."""
    file = _sqlite_file(uri)
    return uri if file is None else f"sqlite:///{file}"


def _sqlite_file(uri: str) -> Path | None:
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).expanduser().resolve()


def masked(uri: str) -> str:
    """A URI without its password."""
    return without_secrets(uri)


def _short(error: Exception | None) -> str:
    return masked(" ".join(str(error).split()))[:240] or type(error).__name__


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
