"""A model that is loaded, warmed, and swapped between batches while requests arrive."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from serving.artifact import golden_feeds, load_artifact
from serving.errors import DataError, ServingError
from serving.events import Events
from serving.model_source import Current, ModelSource
from serving.readers import Feeds
from serving.scorer import ScoreBatch, Scorer
from serving.service.batching import Batcher
from serving.service.inputs import Inputs, inputs_of
from serving.service.metrics import Metrics
from serving.service.query import Query
from serving.service.rejected import Rejected, busy, rejection
from serving.service.settings import Settings
from serving.wording import shown

CHECK_EVERY = 5.0
T = TypeVar("T")
log = logging.getLogger("serving")


@dataclass(frozen=True)
class Loaded:
    """One version of a model, ready to score."""

    scorer: Scorer
    inputs: Inputs
    version: str
    identity: tuple[Any, ...]


@dataclass(frozen=True)
class Scored:
    """The scores of a request, and the version that gave them."""

    scores: ScoreBatch
    loaded: Loaded


class Served:
    """A model under its name. It scores once ``start`` has loaded and warmed it."""

    def __init__(self, name: str, source: ModelSource, settings: Settings, metrics: Metrics, events: Events) -> None:
        self.name, self.source, self.alpha, self.metrics, self.events = name, source, settings.alpha, metrics, events
        self.loaded: Loaded | None = None
        self._warned = ""
        self.batcher = Batcher(self._run, self._capacity, settings.max_wait, settings.max_queue)
        metrics.follow(name, lambda: len(self.batcher))

    @property
    def current(self) -> Loaded:
        """The loaded version; raises Rejected (503) while it is being opened."""
        if self.loaded is None:
            raise busy(f"model {self.name!r} is being opened; try again later", 1)
        return self.loaded

    # ---------------------------------------------------------------- versions
    async def start(self) -> None:
        """Load and warm the model; raises what opening it raises."""
        self._use(await _beside(lambda: self._opened(None)))

    async def follow(self) -> None:
        """Swap the model whenever its source names another, for ever; keep it while the source cannot be read."""
        while True:
            await asyncio.sleep(CHECK_EVERY)
            await self.refresh()

    async def refresh(self) -> None:
        """Load another version if the source names one; if that fails, log a warning and keep the old one."""
        try:
            known = self.current.identity
            loaded = await _beside(lambda: self._opened(known))
        except Exception as error:
            why = shown(f"{self.said()} was not swapped and keeps scoring: {error}")
            if why != self._warned:
                self.events.say("warning", why, model=self.name)
            self._warned = why
            return
        self._warned = ""
        if loaded is not None:
            self._use(loaded)
            self.events.say("model", f"now scoring with {self.said()}", model=self.name, version=loaded.version)

    def said(self) -> str:
        """Name and version as text."""
        version = self.loaded.version if self.loaded else ""
        return f"{self.name} version {version}" if version else self.name

    def _use(self, loaded: Loaded | None) -> None:
        assert loaded is not None
        self.loaded = loaded
        self.metrics.uses(self.name, loaded.version, loaded.scorer.artifact.sha256, loaded.scorer.alpha)

    def _opened(self, known: tuple[Any, ...] | None) -> Loaded | None:
        """The version that the source names, warmed; None if it is ``known``."""
        current = self.source.current()
        identity = identity_of(current)
        if identity == known:
            return None
        scorer = Scorer(load_artifact(current[0], current[1]), self.alpha)
        warm(scorer)
        return Loaded(scorer, inputs_of(scorer), current[3], identity)

    # ---------------------------------------------------------------- scoring
    def _capacity(self) -> int:
        return self.current.scorer.batch()

    async def score(self, query: Query) -> Scored:
        """The scores of a request; raises Rejected for what does not fit the model or this moment."""
        scored: Scored = await self.batcher.score(query)
        self.metrics.scored(
            self.name, len(scored.scores.p_value), int(scored.scores.is_anomaly.sum()), query.alpha is None
        )
        return scored

    def _run(self, queries: Sequence[Query]) -> list[Scored | Exception]:
        """Score a batch of requests of one key; each gets its scores, or the error of its own rows."""
        loaded = self.current
        results: list[Any] = [_fed(loaded.inputs, query) for query in queries]
        good = [place for place, one in enumerate(results) if not isinstance(one, Exception)]
        if good:
            together = [results[place] for place in good]
            scored = _scores(loaded, [queries[place] for place in good], together)
            for place, result in zip(good, scored, strict=True):
                results[place] = result
        self.metrics.batch(self.name, sum(queries[place].rows for place in good))
        return results


async def _beside(work: Callable[[], T]) -> T:
    """The result of work in a daemon thread: a registry that does not answer must not keep the process from ending."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(settle: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            settle(value)

    def body() -> None:
        settle: Callable[[Any], None]
        value: Any
        try:
            settle, value = done.set_result, work()
        except Exception as error:
            settle, value = done.set_exception, error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(finish, settle, value)

    threading.Thread(target=body, daemon=True).start()
    return await done


def identity_of(current: Current) -> tuple[Any, ...]:
    """What differs between two versions of a model."""
    return (str(current[0]), *current[1:])


def warm(scorer: Scorer) -> None:
    """Run the golden rows, one and all, so that the first request pays for no lazy initialisation."""
    feeds = golden_feeds(scorer.artifact)
    scorer.score_feeds({name: values[:1] for name, values in feeds.items()})
    scorer.score_feeds(feeds)


def _fed(inputs: Inputs, query: Query) -> Feeds | Exception:
    """The feeds of a request, or why it has none."""
    try:
        return inputs.feeds(query.columns)
    except ServingError as error:
        return rejection(error)
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: Exception) -> Rejected:
    log.error("a request failed: %s: %s", type(error).__name__, error)
    return Rejected(500, f"unexpected {type(error).__name__}; the log of the service has the details")


def _scores(loaded: Loaded, queries: Sequence[Query], feeds: Sequence[Feeds]) -> list[Scored | Exception]:
    """The scores of each request from one call; if that fails, from a call for each."""
    alpha, explain = queries[0].key
    try:
        scorer = loaded.scorer if alpha is None else Scorer(loaded.scorer.artifact, alpha)
        # In whole steps, so that no request changes the rounding of another.
        whole = [
            scorer.whole_steps(one, explain) if query.rows else one for query, one in zip(queries, feeds, strict=True)
        ]
        joined = whole[0] if len(whole) == 1 else {n: np.concatenate([one[n] for one in whole]) for n in whole[0]}
        scores = scorer.score_feeds(joined, explain)
    except Exception as error:
        if len(queries) > 1:
            return [_scores(loaded, [query], [one])[0] for query, one in zip(queries, feeds, strict=True)]
        return [rejection(error) if isinstance(error, ServingError) else _unexpected(error)]
    starts = np.cumsum([0, *(len(next(iter(one.values()))) for one in whole)]).tolist()
    parts = [_part(scores, start, start + query.rows) for query, start in zip(queries, starts[:-1], strict=True)]
    return [_result(loaded, scorer, query, part) for query, part in zip(queries, parts, strict=True)]


def _part(whole: ScoreBatch, start: int, stop: int) -> ScoreBatch:
    columns = (whole.anomaly_score, whole.p_value, whole.is_anomaly, whole.contributions, None, whole.map)
    return ScoreBatch(*(None if one is None else one[start:stop] for one in columns))  # type: ignore[arg-type]


def _result(loaded: Loaded, scorer: Scorer, query: Query, scores: ScoreBatch) -> Scored | Exception:
    finite = np.isfinite(scores.anomaly_score)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        why = "the model gives no finite score for it"
        return Rejected(400, f"row {row}: {why}", row=row, reason=why)
    if not query.explain:
        return Scored(scores, loaded)
    try:
        return Scored(scorer.with_reasons(scores, loaded.inputs.data(query.columns)), loaded)
    except DataError as error:
        return rejection(error)
