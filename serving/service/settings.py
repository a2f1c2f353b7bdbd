"""Options of a service, checked before it starts."""

from __future__ import annotations

import hmac
import ipaddress
import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import UsageError
from serving.secrets import remember

TOKEN = "GANLIB_TOKEN"
SHORTEST = 16


@dataclass(frozen=True)
class Settings:
    """Address, limits and token of a service.

    ``max_wait`` is in seconds; ``max_body`` in bytes; ``max_queue`` counts requests of one model. Raises UsageError for
    values out of range, and for an address other than loopback without a token.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    alpha: float | None = None
    max_rows: int = 10_000
    max_body: int = 16 << 20
    max_wait: float = 0.002
    max_queue: int = 256
    token: str | None = field(default=None, repr=False)
    # Seconds: to send a request's head and its body, to go on reading the answer, and between requests.
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    answer_seconds: float = 30.0
    idle_seconds: int = 30
    # Seconds: how long requests are still accepted after SIGTERM, and how long running ones may take.
    drain_delay: float = 1.0
    drain_seconds: int = 20

    def __post_init__(self) -> None:
        _within("--port", self.port, 0, 65535)
        _within("--max-rows-per-request", self.max_rows, 1, 10_000_000)
        _within("--max-body", self.max_body, 1024, 1 << 30)
        _within("--max-wait-ms", self.max_wait * 1000, 0, 1000)
        _within("--max-queue", self.max_queue, 1, 100_000)
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host} accepts other machines, so a token is needed: give --token-file, or the "
                f"environment variable {TOKEN}, or leave --host out"
            )

    def allows(self, authorization: str | None) -> bool:
        """Whether the header ``Authorization`` holds the token; compared in constant time."""
        if self.token is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self.token.encode())
        return same and scheme.lower() == "bearer"


def _within(option: str, value: float, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{option} must be from {least:,} to {most:,}, not {value:g}")


def is_loopback(host: str) -> bool:
    """Whether a host name or address reaches this machine only; raises UsageError if it cannot be resolved."""
    return all(ipaddress.ip_address(str(found[4][0]).partition("%")[0]).is_loopback for found in addresses(host, 0))


def addresses(host: str, port: int) -> list[tuple]:  # type: ignore[type-arg]
    """The addresses of a host; raises UsageError if there are none."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host!r} is no address of this machine ({error}); give one, such as 127.0.0.1") from (
            error
        )


def read_token(path: Path | None) -> str | None:
    """The token of a file, else of the environment variable GANLIB_TOKEN, else None.

    Raises UsageError if it cannot be read, is too short, or holds other than printable ASCII characters without spaces.
    """
    source, text = f"the environment variable {TOKEN}", os.environ.get(TOKEN)
    if path is not None:
        source = f"--token-file {path}"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{source} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
    if text is None:
        return None
    token = text.strip()
    remember(token)
    if len(token) < SHORTEST:
        raise UsageError(f"{source} holds {len(token)} characters; a token needs at least {SHORTEST}")
    if not all("!" <= character <= "~" for character in token):
        raise UsageError(f"{source} holds spaces or characters other than ASCII; a token has none")
    return token
