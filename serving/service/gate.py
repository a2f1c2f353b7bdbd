"""What holds for every request: token, errors as JSON, metrics, and closed connections while the service drains."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.service.body import JSON, Gone
from serving.service.metrics import Metrics
from serving.service.rejected import Rejected
from serving.service.settings import Settings

if TYPE_CHECKING:
    from serving.service.app import Service

OPEN = ("/v2/health/live", "/v2/health/ready", "/ping", "/health")
_GONE = 499  # for metrics: the client went away before its request was whole
log = logging.getLogger("serving")


class Gate:
    """The outermost ASGI application of a service."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, service: Service) -> None:
        self.app, self.settings, self.metrics, self.service = app, settings, metrics, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, codes = time.perf_counter(), [0]
        try:
            await self._answer(scope, receive, self._sender(send, codes))
        except Gone:
            codes[0] = _GONE
        except Exception as error:
            log.error("a request failed: %s: %s", type(error).__name__, error)
            codes[0] = codes[0] or 500
        finally:
            self.service.answered += codes[0] not in (0, _GONE)
            route = getattr(scope.get("endpoint"), "__name__", "none")
            model = self.service.known(scope.get("path_params", {}).get("model"), route)
            self.metrics.answered(model, route, codes[0], time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = Headers(scope=scope).get("authorization")
        if scope["path"] in OPEN or self.settings.allows(token):
            await self.app(scope, receive, send)
            return
        why = "the token is missing or wrong; send the header Authorization: Bearer TOKEN"
        await rejected(None, Rejected(401, why, {"WWW-Authenticate": "Bearer"}))(scope, receive, send)

    def _sender(self, send: Send, codes: list[int]) -> Callable[[Message], Any]:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                codes[0] = message["status"]
                if self.service.draining:
                    MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        return sending


def as_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(json.dumps(value), status, headers, JSON)


def rejected(_: Request | None, error: Exception) -> Response:
    """The answer for a rejected request."""
    assert isinstance(error, Rejected)
    return as_json(error.body(), error.status, error.headers)


def unmatched(request: Request, error: Exception) -> Response:
    """The answer for an unknown path or a wrong method."""
    assert isinstance(error, HTTPException)
    allowed = dict(error.headers or {}).get("Allow", "another method")
    said = {
        404: f"there is nothing at {request.url.path[:200]!r}; GET / lists the models, GET /docs the routes",
        405: f"{request.method[:20]} is not allowed here; use {allowed}",
    }
    why = said.get(error.status_code, str(error.detail))
    return rejected(request, Rejected(error.status_code, why, dict(error.headers or {})))


def failed(_: Request, error: Exception) -> Response:
    """The answer for a defect; the gate logs it."""
    return as_json({"error": f"unexpected {type(error).__name__}; the log of the service has the details"}, 500)
