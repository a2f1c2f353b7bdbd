"""``ganlib serve``, from its options to its exit code."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.errors import UsageError
from serving.events import Events
from serving.model_source import FileSource, ModelSource, PointerSource
from serving.service.settings import Settings, read_token
from serving.wording import counted

_NEEDED = ("starlette", "uvicorn", "prometheus_client")


def run_service(
    models: Sequence[ModelSource | str | Path],
    *,
    token_file: Path | None = None,
    log_format: str = "text",
    **given: Any,
) -> int:
    """Serve models by HTTP until SIGTERM (exit code 0) or SIGINT (130).

    ``models`` are sources, artifact files or pointer files; ``given`` are fields of ``Settings``. Raises UsageError for
    invalid options, equal names and an address in use, and what opening a model raises.
    """
    for module in _NEEDED:
        if importlib.util.find_spec(module) is None:
            raise UsageError(f'`ganlib serve` needs {module}; pip install "ganlib[serve]"')
    settings = Settings(**given, token=read_token(token_file))
    if not models:
        raise UsageError("no model is given; add --model models:/NAME@champion, FILE.onnx or POINTER.json")
    events = Events(log_format)
    named = [(source.current()[2], source) for source in map(source_of, models)]
    names = [name for name, _ in named]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two models are named {twice!r}; give each model once, or rename a file")
    return _serve(named, settings, events)


def source_of(model: ModelSource | str | Path) -> ModelSource:
    """The source of a file or pointer file; a source unchanged."""
    if not isinstance(model, str | Path):
        return model
    return PointerSource(model) if str(model).endswith(".json") else FileSource(model)


def _serve(named: Sequence[tuple[str, ModelSource]], settings: Settings, events: Events) -> int:
    from serving.service.app import Service
    from serving.service.listen import bound, run, url
    from serving.service.metrics import Metrics
    from serving.service.served import Served

    metrics = Metrics()
    served = [Served(name, source, settings, metrics, events) for name, source in named]
    service = Service(served, settings, metrics)
    with bound(settings) as sock:
        place = url(sock)

        def started() -> None:
            versions = {one.name: one.current.version for one in served}
            events.say("start", f"{', '.join(one.said() for one in served)} at {place}", url=place, models=versions)

        number = asyncio.run(run(service, sock, started))
    code = 0 if number == signal.SIGTERM else 128 + signal.SIGINT if number == signal.SIGINT else 1
    answered = counted(service.answered, "request")
    events.say("end", f"{answered} answered", answered=service.answered, signal=number)
    return code
