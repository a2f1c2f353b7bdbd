"""The connection to MLflow: opens a tracking server or database, and retries calls that may succeed later."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipelines.errors import RegistryDown, UsageError, cannot_write
from pipelines.references import reveal
from pipelines.settings import RegistrySettings, load_settings
from serving.secrets import without_secrets
from serving.wording import counted

_FATAL = {  # final answers: retrying gives the same
    "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND", "ENDPOINT_NOT_FOUND", "BAD_REQUEST",
    "RESOURCE_ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED",
}  # fmt: skip
Result = TypeVar("Result")


class Connection:
    """A tracking server and registry at ``uri`` (default: the settings', MLFLOW_TRACKING_URI, or SQLite under runs/).

    It opens on the first call. A SQLite database is migrated once, under a lock, since two concurrent migrations would
    corrupt it. Raises RegistryDown if the server does not answer after retries.
    """

    def __init__(self, uri: str | None = None, settings: RegistrySettings | None = None) -> None:
        self.settings = settings or load_settings().registry
        self.uri = _absolute(uri or self.settings.uri())
        self._client: Any = None

    def client(self) -> Any:
        """An MlflowClient; also makes this registry MLflow's current one."""
        import mlflow

        if not hasattr(mlflow, "MlflowClient"):
            raise UsageError('mlflow is not installed; pip install "ganlib[pipelines]"')
        if self._client is None:
            self._log_in()
            self._client = self._prepare(mlflow)
        with _environment_kept():
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_registry_uri(self.uri)
        return self._client

    def _log_in(self) -> None:
        """Set MLflow's credentials, timeouts and log level."""
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
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked(sqlite_file(self.uri)):
                return _opened(mlflow, self.uri)
        except (RegistryDown, UsageError):
            raise
        except Exception as error:  # alembic, SQLAlchemy and the file system raise their own kinds
            if isinstance(error, OSError) and error.filename and (file := sqlite_file(self.uri)):
                raise cannot_write(file, error, "choose another --tracking") from error
            raise RegistryDown(f"the registry {masked(self.uri)} cannot be opened: {_short(error)}") from error

    @staticmethod
    def _locked(file: Path | None) -> Any:
        from filelock import FileLock

        return FileLock(f"{file}.lock", timeout=120)

    @property
    def folder(self) -> Path | None:
        """Folder of a SQLite database; None for servers."""
        file = sqlite_file(self.uri)
        return None if file is None else file.parent

    @property
    def store(self) -> Path | None:
        """Folder in which new artifacts of a SQLite database are kept; None for servers and remote stores."""
        chosen = self.settings.artifacts
        if self.folder is None or "://" in (chosen or ""):
            return None
        return Path(chosen).resolve() if chosen else self.folder / "mlartifacts"

    def _pages(self, search: Callable[..., Any]) -> list[Any]:
        """All results of a search that answers in pages."""
        found: list[Any] = []
        token: str | None = None
        while True:
            page = self._ask(partial(search, page_token=token))
            found += page
            if not (token := page.token):
                return found

    def _ask(self, question: Callable[[Any], Result]) -> Result:
        client = self.client()
        return self._retry(lambda: question(client))

    def _retry(self, attempt: Callable[[], Result]) -> Result:
        """Retry failed calls with growing pauses; raises RegistryDown after the last."""
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


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Restore MLFLOW_TRACKING_URI, which MLflow sets and other settings would read."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        yield
    finally:
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


def _opened(mlflow: Any, uri: str) -> Any:
    client = mlflow.MlflowClient(uri, uri)
    client.search_experiments(max_results=1)
    return client


def _absolute(uri: str) -> str:
    """A SQLite URI with an absolute path; raises UsageError if no URI can name the file."""
    file = sqlite_file(uri)
    if "?" in str(file or ""):
        raise UsageError(f"the database {file} cannot be opened: a folder above it has a ? in its name; rename it")
    return uri if file is None else f"sqlite:///{file}"


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite database; None for other URIs."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).expanduser().resolve()


def quoted(text: str) -> str:
    """Text quoted for a filter of MLflow, which has no escapes."""
    return f'"{text}"' if "'" in text else f"'{text}'"


def masked(uri: str) -> str:
    """A URI without its password."""
    return without_secrets(uri)


def _short(error: Exception | None) -> str:
    return masked(" ".join(str(error).split()))[:240] or type(error).__name__
