"""Request bodies, within limits of size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from serving.service.rejected import Rejected, bad, busy
from serving.service.settings import Settings

JSON = "application/json"
BINARY = "application/octet-stream"
_TOGETHER = 256 << 20
_DISCARDED = 64 << 20


class Gone(Exception):
    """The client closed the connection before its request was whole."""


class Bodies:
    """Reads bodies. All that are held at once share a limit, so that many large requests cannot fill the memory."""

    def __init__(self, settings: Settings) -> None:
        self.most, self.seconds = settings.max_body, settings.body_seconds
        self.together = max(_TOGETHER, 4 * settings.max_body)
        self.held = 0

    @asynccontextmanager
    async def read(self, request: Request, types: tuple[str, ...]) -> AsyncIterator[bytes]:
        """The body of a request, counted until the block ends.

        Raises Rejected for another content type, a coding, or a body that is too large or too slow, and Gone.
        """
        _check_type(request, types)
        if self._declared(request) > self.most and "expect" in request.headers:
            raise self._too_large()
        parts: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(self.seconds):
                    await self._fill(request, parts)
            except TimeoutError as error:
                raise Rejected(408, f"the body did not arrive within {self.seconds:g} s", _CLOSE) from error
            yield b"".join(parts)
        finally:
            self.held -= sum(map(len, parts))

    def _declared(self, request: Request) -> int:
        given = request.headers.get("content-length", "0")
        if not (given.isascii() and given.isdigit()):
            raise bad("Content-Length is not a number")
        return int(given) if len(given) < 16 else 1 << 50

    async def _fill(self, request: Request, parts: list[bytes]) -> None:
        """Read the body into ``parts``. The rest of a larger one is discarded, so that the client reads the answer."""
        size = 0
        async for part in _parts(request):
            size += len(part)
            if size <= self.most:
                parts.append(part)
                self.held += len(part)
            if self.held > self.together:
                raise busy("too many large requests are being read; try again later", 1)
            if size > self.most + _DISCARDED:
                break
        if size > self.most:
            raise self._too_large()

    def _too_large(self) -> Rejected:
        return Rejected(413, f"the body is larger than {self.most:,} bytes; send several requests", _CLOSE)


_CLOSE = {"Connection": "close"}


async def _parts(request: Request) -> AsyncIterator[bytes]:
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


def _check_type(request: Request, types: tuple[str, ...]) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given and given not in types:
        raise Rejected(415, f"the content type is {given[:60]!r}; send {' or '.join(types)}")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise Rejected(415, f"the content coding is {coding[:60]!r}; send the body without compression")
