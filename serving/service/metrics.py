"""Counts of a service in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The metrics of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        to: dict[str, Any] = {"registry": self.registry}
        one = ["model"]
        self.requests = Counter("ganlib_requests", "Answered requests.", ["model", "route", "code"], **to)
        self.seconds = Histogram(
            "ganlib_request_seconds", "Time from the head of a request to the end of its answer.",
            ["model", "route"], buckets=_SECONDS, **to,
        )  # fmt: skip
        self.rows = Counter("ganlib_rows", "Scored rows.", one, **to)
        self.anomalies = Counter("ganlib_anomalies", "Rows that were flagged.", one, **to)
        self.alarm_share = Gauge(
            "ganlib_alarm_share", "Share of the rows flagged since the model was loaded.", one, **to
        )
        self.alarm_budget = Gauge("ganlib_alarm_budget", "Alarm budget (alpha) of the service.", one, **to)
        self.batches = Histogram("ganlib_batch_rows", "Rows of each call of the session.", one, buckets=_ROWS, **to)
        self.queue = Gauge("ganlib_queue_requests", "Requests that wait.", one, **to)
        self.info = Gauge("ganlib_model_info", "1 for the version in use.", ["model", "version", "sha256"], **to)
        self._since: dict[str, tuple[int, int]] = {}
        self._used: dict[str, tuple[str, str, str]] = {}

    def text(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self.registry)

    def follow(self, model: str, waiting: Callable[[], int]) -> None:
        """Report the queue of a model."""
        self.queue.labels(model).set_function(waiting)

    def uses(self, model: str, version: str, sha256: str, alpha: float) -> None:
        """A model scores with this version from now on."""
        if before := self._used.get(model):
            self.info.remove(*before)
        self._used[model], self._since[model] = (model, version, sha256), (0, 0)
        self.info.labels(model, version, sha256).set(1)
        self.alarm_budget.labels(model).set(alpha)
        self.alarm_share.labels(model).set(0)

    def answered(self, model: str, route: str, code: int, seconds: float) -> None:
        """A request was answered."""
        self.requests.labels(model, route, str(code)).inc()
        self.seconds.labels(model, route).observe(seconds)

    def scored(self, model: str, rows: int, anomalies: int, usual: bool) -> None:
        """Rows were scored; those at another alarm budget than the ``usual`` one do not count for the alarm share."""
        self.rows.labels(model).inc(rows)
        self.anomalies.labels(model).inc(anomalies)
        if not usual:
            return
        before = self._since.get(model, (0, 0))
        rows, anomalies = before[0] + rows, before[1] + anomalies
        self._since[model] = rows, anomalies
        self.alarm_share.labels(model).set(anomalies / rows if rows else 0.0)

    def batch(self, model: str, rows: int) -> None:
        """The session was called once."""
        self.batches.labels(model).observe(rows)
