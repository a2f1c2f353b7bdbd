"""Sockets, connections, signals and draining of a service."""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.errors import UsageError
from serving.service.app import Service, build
from serving.service.settings import Settings, addresses

_BACKLOG = 1024
_NOT_HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 46\r\nConnection: close\r\n\r\n"
    b'{"error": "the request is not valid HTTP/1.1"}'
)
_IN_USE = (errno.EADDRINUSE, errno.EACCES, errno.EADDRNOTAVAIL)


def bound(settings: Settings) -> socket.socket:
    """A listening socket; raises UsageError if the address cannot be used."""
    family, kind, proto, _, address = addresses(settings.host, settings.port)[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        if error.errno not in _IN_USE:
            raise
        why = {errno.EADDRINUSE: "is in use", errno.EACCES: "needs more rights"}.get(error.errno or 0, "is not here")
        raise UsageError(
            f"port {settings.port} of {settings.host} {why}; stop what uses it, or give another --port"
        ) from error
    return sock


def url(sock: socket.socket) -> str:
    """The address of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Connection(H11Protocol):
    """A connection. Clients that send the head of a request or read its answer too slowly are disconnected."""

    settings: ClassVar[Settings]
    most: ClassVar[int] = 1000
    _due: float | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Expect a request, unless so many connections are open that files might run out."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
            return
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        else:
            self._due = None

    def _expect_head(self) -> None:
        """Close the connection unless a whole head arrives in time, counted from its first byte."""
        now = self.loop.time()
        self._due = self._due or now + self.settings.head_seconds
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self._due - now, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection, and drop what the client does not read."""
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def pause_writing(self) -> None:
        """Limit the time in which the client reads nothing of its answer."""
        super().pause_writing()
        self._stalled = self.loop.call_later(self.settings.answer_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again, or the connection is lost."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, unless an answer is under way."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_NOT_HTTP)
        self.transport.close()


def _connections() -> int:
    """The number of connections that leaves some open files for models and logs."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 10_000 if soft == resource.RLIM_INFINITY else max(16, min(10_000, soft - 128))


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        yield


@contextmanager
def _signals(note: Callable[[int], None]) -> Iterator[None]:
    """Call ``note`` in the event loop on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()

    def arrived(number: int, _: FrameType | None) -> None:
        loop.call_soon_threadsafe(note, number)

    previous = {number: signal.signal(number, arrived) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


async def run(service: Service, sock: socket.socket, started: Callable[[], None], signals: bool = True) -> int | None:
    """Serve until a signal arrives; returns its number. Without ``signals``, serve until cancelled.

    Models are opened while the service is live but not ready; ``started`` is called once all are warm. After a signal,
    readiness turns false, requests are answered for ``drain_delay`` seconds, then running ones are finished. A second
    signal ends the service at once. Raises what opening a model raises.
    """
    settings = service.settings
    limited = type("Limited", (Connection,), {"settings": settings, "most": _connections()})
    config = uvicorn.Config(
        build(service), http=limited, ws="none", lifespan="off", loop="asyncio", log_config=None,
        log_level="critical", access_log=False, proxy_headers=False, server_header=False, backlog=_BACKLOG,
        timeout_keep_alive=settings.idle_seconds, timeout_graceful_shutdown=settings.drain_seconds,
        h11_max_incomplete_event_size=1 << 16,
    )  # fmt: skip
    server = _Server(config)
    caught: list[int] = []
    stop = asyncio.Event()

    def note(number: int) -> None:
        if caught:
            server.force_exit = True
        caught.append(number)
        stop.set()

    with _signals(note) if signals else nullcontext():
        serving: asyncio.Task[Any] = asyncio.create_task(server.serve(sockets=[sock]))
        models = asyncio.create_task(_models(service, started))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({models, stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
            service.draining = True
            if caught:
                await _lull(service, server)
        finally:
            models.cancel()
            stopping.cancel()
            server.should_exit = True
            await serving
            for one in service.models.values():
                one.batcher.close()
            with suppress(asyncio.CancelledError):
                await models
    return caught[0] if caught else None


async def _models(service: Service, started: Callable[[], None]) -> None:
    """Open the models, then follow their sources."""
    for one in service.models.values():
        await one.start()
    started()
    await asyncio.gather(*(one.follow() for one in service.models.values()))


async def _lull(service: Service, server: uvicorn.Server) -> None:
    """Answer what still arrives for a while, with closed connections, so that clients and balancers move on."""
    end = asyncio.get_running_loop().time() + service.settings.drain_delay
    while asyncio.get_running_loop().time() < end and not server.force_exit:
        await asyncio.sleep(0.02)
