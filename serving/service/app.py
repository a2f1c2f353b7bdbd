"""The routes of a service."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from serving.service import invocations, pages, v2
from serving.service.body import BINARY, JSON, Bodies
from serving.service.gate import Gate, as_json, failed, rejected, unmatched
from serving.service.metrics import TYPE, Metrics
from serving.service.rejected import Rejected, bad
from serving.service.served import Loaded, Served
from serving.service.settings import Settings
from serving.wording import listed

# Larger bodies and answers of more rows are read and written in a thread, so that the event loop answers meanwhile.
_INLINE, _FEW = 1 << 16, 1000
T = TypeVar("T")


class Service:
    """The models of a service, and how far it is: starting, ready or draining."""

    def __init__(self, models: list[Served], settings: Settings, metrics: Metrics) -> None:
        self.models, self.settings, self.metrics = {one.name: one for one in models}, settings, metrics
        self.bodies = Bodies(settings)
        self.draining, self.answered = False, 0

    @property
    def ready(self) -> bool:
        """Whether every model is warm and requests are welcome."""
        return not self.draining and all(one.loaded is not None for one in self.models.values())

    def known(self, name: str | None, route: str) -> str:
        """The model of a request, for metrics; empty for unknown ones, which would grow without bound."""
        if name is None and route == "invocations" and len(self.models) == 1:
            return next(iter(self.models))
        return name if name in self.models else ""

    # ---------------------------------------------------------------- which model
    def model(self, request: Request) -> Served:
        """The model that a path names, else the only one; raises Rejected."""
        name = request.path_params.get("model")
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise bad(f"this service has several models; use /invocations/NAME with one of {listed(list(self.models))}")
        if name not in self.models:
            raise Rejected(404, f"there is no model {name[:100]!r}; this service has {listed(list(self.models))}")
        return self.models[name]

    def loaded(self, request: Request) -> Loaded:
        """The current version of a path's model; raises Rejected if the path names another."""
        served = self.model(request)
        version, loaded = request.path_params.get("version"), served.current
        if version is not None and version != loaded.version:
            has = f"the current one is {loaded.version!r}" if loaded.version else "it has no versions"
            raise Rejected(404, f"model {served.name!r} has no version {version[:40]!r} here; {has}")
        return loaded

    # ---------------------------------------------------------------- scoring
    async def infer(self, request: Request) -> Response:
        """Score by the v2 protocol."""
        loaded, served = self.loaded(request), self.model(request)
        header, most = request.headers.get(v2.HEADER), self.settings.max_rows
        async with self.bodies.read(request, (JSON, BINARY)) as body:
            wanted = await _aside(len(body) > _INLINE, lambda: v2.read(body, header, most, loaded.inputs.example))
            v2.check_outputs(wanted, loaded.scorer)
            scored = await served.score(wanted.query)
        scorer, version = scored.loaded.scorer, scored.loaded.version
        v2.check_outputs(wanted, scorer)  # again: the model may have been swapped
        text, size = await _aside(
            wanted.query.rows > _FEW, lambda: v2.answer(wanted, scored.scores, scorer, served.name, version)
        )
        headers = {} if size is None else {v2.HEADER: size}
        return Response(text, 200, headers, JSON if size is None else BINARY)

    async def invocations(self, request: Request) -> Response:
        """Score in MLflow's conventions."""
        served = self.model(request)
        names, most = served.current.inputs.names, self.settings.max_rows
        async with self.bodies.read(request, (JSON,)) as body:
            query = await _aside(len(body) > _INLINE, lambda: invocations.read(body, names, most))
            scored = await served.score(query)
        return Response(
            await _aside(query.rows > _FEW, lambda: invocations.answer(scored.scores, scored.loaded.scorer)),
            200,
            {},
            JSON,
        )

    # ---------------------------------------------------------------- questions
    async def live(self, _: Request) -> Response:
        """Whether the process answers."""
        return as_json({"live": True})

    async def readiness(self, _: Request) -> Response:
        """Whether requests are welcome."""
        return as_json({"ready": self.ready}, 200 if self.ready else 503)

    async def server(self, _: Request) -> Response:
        """What this server is."""
        return as_json({"name": "ganlib", "version": version(), "extensions": ["binary_tensor_data"]})

    async def metadata(self, request: Request) -> Response:
        """Inputs and outputs of a model."""
        return as_json(described(self.model(request).name, self.loaded(request)))

    async def model_readiness(self, request: Request) -> Response:
        """Whether a model is warm."""
        served = self.model(request)
        if served.loaded is not None:
            self.loaded(request)
        ready = served.loaded is not None and not self.draining
        return as_json({"name": served.name, "ready": ready}, 200 if ready else 503)

    async def index(self, _: Request) -> Response:
        """The models."""
        models = [
            described(name, one.loaded) if one.loaded else {"name": name, "ready": False}
            for name, one in self.models.items()
        ]
        return as_json({"name": "ganlib", "version": version(), "models": models})

    async def measured(self, _: Request) -> Response:
        """Metrics for Prometheus."""
        return Response(self.metrics.text(), 200, {}, TYPE)

    async def openapi(self, _: Request) -> Response:
        """The routes as OpenAPI."""
        return as_json(pages.openapi(version()))

    async def docs(self, _: Request) -> Response:
        """The routes and models as a page."""
        models = [(name, one.loaded) for name, one in self.models.items() if one.loaded]
        return HTMLResponse(pages.docs([(described(name, held), held.inputs.sample) for name, held in models]))


async def _aside(large: bool, work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work) if large else work()


def version() -> str:
    """The version of ganlib."""
    try:
        return importlib.metadata.version("ganlib")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def described(name: str, loaded: Loaded) -> dict[str, Any]:
    """The metadata of a model by the v2 protocol."""
    artifact = loaded.scorer.artifact
    return {
        "name": name,
        "versions": [loaded.version] if loaded.version else [],
        "platform": "ganlib",
        "inputs": [port.said() for port in loaded.inputs.ports],
        "outputs": [port.said() for port in v2.outputs_of(loaded.scorer)],
        "properties": {"alpha": f"{loaded.scorer.alpha:g}", "sha256": artifact.sha256, "modality": artifact.modality},
    }


def build(service: Service) -> Gate:
    """The ASGI application of a service."""
    one, versioned = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    get: list[tuple[str, Any]] = [
        ("/", service.index), ("/docs", service.docs), ("/openapi.json", service.openapi),
        ("/metrics", service.measured), ("/v2", service.server), ("/v2/health/live", service.live),
        ("/v2/health/ready", service.readiness),
        ("/ping", service.readiness), ("/health", service.readiness),
        (one, service.metadata), (versioned, service.metadata),
        (f"{one}/ready", service.model_readiness), (f"{versioned}/ready", service.model_readiness),
    ]  # fmt: skip
    post: list[tuple[str, Any]] = [
        (f"{one}/infer", service.infer), (f"{versioned}/infer", service.infer),
        ("/invocations", service.invocations), ("/invocations/{model}", service.invocations),
    ]  # fmt: skip
    routes = [Route(path, endpoint) for path, endpoint in get]
    routes += [Route(path, endpoint, methods=["POST"]) for path, endpoint in post]
    handlers: Any = {Rejected: rejected, HTTPException: unmatched, Exception: failed}
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Gate(app, service.settings, service.metrics, service)
