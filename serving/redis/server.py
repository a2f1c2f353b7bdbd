"""Redis servers: addresses, connections, and errors as this package's types (docs/delivery.md, "Redis")."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import TimeoutError as NoAnswer
from redis.retry import Retry

from serving.errors import DataError, DependencyError, TemporaryError, UsageError
from serving.secrets import remember, without_secrets
from serving.wording import say

ATTEMPTS, FIRST_WAIT, LONGEST_WAIT = 5, 0.25, 15.0  # waits in seconds; each is twice the one before
TIMEOUT = 10.0  # seconds to wait for a connection or an answer
SHAPE = "redis://[USER@]HOST:PORT/DB/KEY (rediss:// for TLS; the password in REDIS_PASSWORD)"
FIELD = "record"


class Unreachable(DependencyError):
    """The server does not answer now; a later attempt may succeed."""


@dataclass(frozen=True)
class Address:
    """A key of a Redis server. ``field`` is the field of an entry that holds the record."""

    scheme: str
    host: str
    port: int
    db: int
    key: bytes
    shown_key: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    field: str = FIELD

    @property
    def server(self) -> str:
        """Host and port, for messages."""
        return f"redis at {self.host}:{self.port}"

    @property
    def place(self) -> str:
        """Host, port, database and key, which identify the key."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}/{self.db}/{self.shown_key}"

    @property
    def name(self) -> str:
        """The URL without user, password and options."""
        return f"{self.scheme}://{self.place}"


def parse(scheme: str, location: str, options: tuple[str, ...] = ("field",)) -> Address:
    """The address of a URL; ``location`` is what follows ``scheme://``.

    A password that is not in the URL is read from the environment variable REDIS_PASSWORD. Raises UsageError, without
    the URL in its message, since a malformed URL may show its password anywhere.
    """
    try:
        parts = urlsplit(f"{scheme}://{location}")
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    db, _, key = parts.path.removeprefix("/").partition("/")
    if not host or not re.fullmatch(r"[0-9]{1,9}", db) or not key or "@" in key or parts.fragment:
        raise UsageError(
            f"a {scheme}: URL has the form {SHAPE}; write / ? # @ : in a password, and ? # @ in a key, percent-encoded"
        )
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    for option, value in given.items():
        if option not in options or not value:
            allowed = f"; known: {', '.join(f'?{name}=NAME' for name in options)}" if options else "; it takes none"
            raise UsageError(f"{scheme}://{host}…/{key}: option {option!r} is unknown or empty{allowed}")
    password = unquote(parts.password) if parts.password else os.environ.get("REDIS_PASSWORD") or None
    if password:
        remember(password)
    user = unquote(parts.username) if parts.username else None
    return Address(
        scheme, host, port or 6379, int(db), unquote_to_bytes(key), key, user, password, given.get("field", FIELD)
    )


def client(address: Address, timeout: float = TIMEOUT) -> Any:
    """A client that does not retry by itself; connects at its first command."""
    return redis.Redis(
        host=address.host, port=address.port, db=address.db, username=address.user, password=address.password,
        ssl=address.scheme == "rediss", socket_timeout=timeout, socket_connect_timeout=timeout, protocol=2,
        retry=Retry(NoBackoff(), 0), client_name="ganlib",
    )  # fmt: skip


def connected(address: Address) -> Any:
    """A client of a server that answers; raises DependencyError after bounded retries."""
    made = client(address)
    for attempt in range(ATTEMPTS):
        try:
            with answers(address):
                check_version(address, made)
            return made
        except Unreachable:
            if attempt == ATTEMPTS - 1:
                made.close()
                raise
            time.sleep(FIRST_WAIT * 2**attempt)
        except BaseException:
            made.close()
            raise
    raise AssertionError


def check_version(address: Address, made: Any) -> None:
    """Raise UsageError for servers before 7.0, whose streams do not count what was ever added."""
    version = str(made.info("server").get("redis_version", ""))
    if int((re.match(r"\d+", version) or ["0"])[0]) < 7:
        raise UsageError(f"{address.server} is version {version}; streams need Redis 7.0 or later")


@contextmanager
def answers(address: Address) -> Iterator[None]:
    """Convert the errors of Redis to this package's types, each with one clear message."""
    try:
        yield
    except AuthenticationError as error:
        raise UsageError(
            f"{address.server} rejects user and password ({_text(error)}); set REDIS_PASSWORD, and the user in the URL"
        ) from error
    except BusyLoadingError as error:
        raise Unreachable(f"{address.server} is still loading its data; run again once it is ready") from error
    except (NoConnection, NoAnswer) as error:
        raise Unreachable(
            f"{address.server} does not answer ({_text(error)}); start it, or correct host and port"
        ) from error
    except OutOfMemoryError as error:
        raise TemporaryError(
            f"{address.server} has reached its maxmemory; free memory there, then run again"
        ) from error
    except NoPermissionError as error:
        raise UsageError(f"{address.server} denies a command ({_text(error)}); extend the user's ACL") from error
    except ReadOnlyError as error:
        raise UsageError(f"{address.server} is a read-only replica; name the primary") from error
    except MovedError as error:
        raise UsageError(f"{address.server} is a node of a cluster, and another holds {address.shown_key}") from error
    except ResponseError as error:
        raise _of_response(address, error) from error
    except RedisError as error:
        raise DependencyError(f"{address.server}: {type(error).__name__}: {_text(error)}") from error


def _of_response(address: Address, error: ResponseError) -> Exception:
    text = _text(error)
    if text.startswith("WRONGTYPE"):
        return DataError(f"{address.name} is a key of another type; name a stream, or another key")
    if "DB index is out of range" in text:
        return UsageError(f"{address.server} has no database {address.db}; correct the number in the URL")
    if "can't run this command" in text:
        return UsageError(f"{address.server} denies a command of a script ({text}); extend the user's ACL")
    if text.startswith(("NOGROUP", "no such key")):
        return DataError(f"{address.name} or its consumer group was deleted; restore it, or choose another output key")
    if text.startswith("MISCONF"):
        return TemporaryError(f"{address.server} cannot write to its disk and rejects writes; free space there")
    return DependencyError(f"{address.server} answers: {text}")


def _text(error: Exception) -> str:
    return without_secrets(" ".join(str(error).split()))[:200]


class Outage:
    """Spaces the attempts to reach a server that stopped answering; one warning when it is down, one when it is back.

    Without ``follow``, the error is raised again after ``ATTEMPTS``.
    """

    def __init__(self, follow: bool) -> None:
        self.follow = follow
        self._failed, self._again = 0, 0.0

    @property
    def now(self) -> bool:
        """Whether the last attempt failed."""
        return self._failed > 0

    def waiting(self) -> bool:
        """Whether the next attempt is not due yet."""
        return self.now and time.monotonic() < self._again

    def add(self, error: Unreachable) -> None:
        """Note a failed attempt."""
        self._failed += 1
        if not self.follow and self._failed >= ATTEMPTS:
            raise error
        if self._failed == 1:
            say(f"warning: {error}; trying again, with waits of up to {LONGEST_WAIT:.0f} seconds")
        self._again = time.monotonic() + min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._failed - 1, 10))

    def end(self, address: Address) -> None:
        """Note an answer."""
        if self.now:
            say(f"warning: {address.server} answers again")
        self._failed = 0


__all__ = ["Address", "Outage", "Unreachable", "answers", "client", "connected", "parse"]
