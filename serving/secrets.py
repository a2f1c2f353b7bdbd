"""Masks passwords and tokens in all text that leaves the program.

Masked are the password and token positions of URLs, and every value that was registered as a secret.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

MASK = "***"
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s'\"<>]*)", re.IGNORECASE)
# A password in a database's URL may hold a slash; in any other the first slash ends the host.
_DATABASES = ("postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "redis", "rediss")
_TOKEN = re.compile(
    r"([?&;](?:password|passwd|pwd|(?:access_|auth_)?token|api_?key|secret|sig|signature|x-[a-z]+-"
    r"(?:signature|credential|security-token))=)[^&;\s'\"<>]+",
    re.IGNORECASE,
)
_SHORTEST = 4  # masking shorter values would hide ordinary words
_known: set[str] = set()


def remember(value: str) -> None:
    """Mask this value from now on; for a URL, mask only its password."""
    parts = _passwords(value) if "://" in value else [value]
    _known.update(part for part in parts if len(part) >= _SHORTEST)


def without_secrets(text: str) -> str:
    """``text`` with registered values, and passwords and tokens in URLs, replaced by ``***``."""
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, MASK)
    return _TOKEN.sub(rf"\1{MASK}", _URL.sub(_masked, text))


def holds_secret(url: str) -> bool:
    """Whether a URL holds a password or a token. A user name alone counts only for ``http`` and ``https``."""
    scheme, mark, rest = url.partition("://")
    user = _userinfo(scheme, rest) if mark else ""
    return ":" in user or bool(user and _is_web(scheme)) or bool(mark and _TOKEN.search(rest))


def _userinfo(scheme: str, rest: str) -> str:
    """The user information before the host."""
    host = rest.partition("/")[0]
    open_end = ":" in host and scheme.lower().partition("+")[0] in _DATABASES
    return (rest if open_end else host).rpartition("@")[0]


def _is_web(scheme: str) -> bool:
    return scheme.lower() in ("http", "https")


def _masked(url: re.Match[str]) -> str:
    scheme, rest = url.groups()
    user = _userinfo(scheme, rest)
    return f"{scheme}://{MASK}{rest.removeprefix(user)}" if user else url.group()


def _passwords(value: str) -> list[str]:
    scheme, mark, rest = value.partition("://")
    user, _, password = _userinfo(scheme, rest).partition(":") if mark else ("", "", "")
    token = user if mark and _is_web(scheme) and not password else password
    return [token, unquote(token)]
