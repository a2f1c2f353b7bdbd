"""Units of a run on Ray actors: on this machine, or on those of a cluster (docs/delivery.md, "Several machines")."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serving.errors import DependencyError, TemporaryError, UsageError
from serving.layout import COMMITS, note
from serving.plan import Unit
from serving.units import BatchJob
from serving.wording import counted, say
from serving.workers import UnitWorker

LOST = 3  # actors that a unit may lose before the run ends
ALIVE = 30.0  # seconds between messages while no actor has started
GRACE = 30.0  # seconds in which actors may commit their units after an error
ATTEMPTS, CONNECT = 3, 3.0  # tries to reach the cluster, and seconds for each
_LOCAL_STORE = 128 << 20  # bytes of shared memory: jobs and units are small
_LOCAL_NODE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@dataclass(frozen=True)
class RayActors:
    """Scores units in Ray actors of one CPU each, with an onnxruntime session each.

    ``RAY_ADDRESS`` names the cluster; without it, Ray starts on this machine and ends with the run. ``workers``: the
    number of actors; None means one for each CPU of the cluster. Each actor holds one unit at a time. An actor that is
    lost is replaced, and its unit is scored again unless it was committed.
    """

    workers: int | None = None

    def run(self, job: BatchJob, units: Sequence[Unit]) -> Generator[Unit, None, None]:
        """As ``Executor.run``.

        Raises UsageError if Ray is not installed, or if a required GPU or the output folder is missing on a machine;
        DependencyError if the cluster does not answer; TemporaryError if a unit loses three actors.
        """
        if not units:
            return
        with _cluster(self.workers) as ray:
            crew = _Crew(ray, _portable(job), job, _actors(ray, self.workers, job.source.require_gpu, len(units)))
            try:
                yield from crew.run(units)
            finally:
                crew.end()


class _Actor(UnitWorker):
    """Scores units in a process of the cluster."""

    def score(self, unit: Unit) -> Exception | None:
        """As ``UnitWorker.score``."""
        if not self.job.folder.is_dir():
            return UsageError(
                f"{socket.gethostname()} has no folder {self.job.folder.absolute()}: with actors on several machines, "
                "--output and local inputs must be on a file system that all of them share"
            )
        return super().score(unit)


@dataclass
class _Crew:
    """The actors of a run. ``busy`` maps the future of a unit to its actor and the unit; ``lost`` counts by unit."""

    ray: Any
    held: Any
    job: BatchJob
    size: int
    busy: dict[Any, tuple[Any, Unit]] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    actors: list[Any] = field(default_factory=list)
    started: bool = False

    def run(self, units: Sequence[Unit]) -> Iterator[Unit]:
        """Yield each unit once it is committed."""
        waiting = iter(units)
        for unit in (unit for _, unit in zip(range(self.size), waiting, strict=False)):
            self._give(self._actor(), unit)
        while self.busy:
            for future in self._ready():
                actor, unit = self.busy.pop(future)
                try:
                    error = self.ray.get(future)
                except self.ray.exceptions.RayError as gone:
                    self._replace(actor, unit, gone)
                    continue
                if error is not None and not self._committed_before(unit, error):
                    raise error
                if (following := next(waiting, None)) is not None:
                    self._give(actor, following)
                yield unit

    def _actor(self) -> Any:
        gpus = 1 if self.job.source.require_gpu else 0
        made = self.ray.remote(_Actor).options(num_cpus=1, num_gpus=gpus, max_restarts=0)
        self.actors.append(actor := made.remote(self.held))
        return actor

    def _give(self, actor: Any, unit: Unit) -> None:
        self.busy[actor.score.remote(unit)] = actor, unit

    def _ready(self) -> list[Any]:
        """The futures that are done; says so if none of the actors could start."""
        while True:
            ready, _ = self.ray.wait(list(self.busy), num_returns=1, timeout=ALIVE)
            if ready:
                self.started = True
                return ready
            if not self.started:
                free = self.ray.available_resources().get("CPU", 0)
                say(f"waiting for {counted(self.size, 'Ray actor')}; the cluster has {free:g} free CPUs")

    def _replace(self, actor: Any, unit: Unit, gone: Exception) -> None:
        """Give a lost actor's unit to a new one. A committed unit is given too: it is found committed there."""
        self.lost[unit.id] = self.lost.get(unit.id, 0) + 1
        where = f"rows {unit.start_row:,} to {unit.start_row + unit.rows - 1:,} of {unit.source}"
        if self.lost[unit.id] >= LOST:
            raise TemporaryError(
                f"{LOST} Ray actors were lost while they scored {where} (out of memory?); run the same command again"
            ) from gone
        say(f"warning: a Ray actor was lost; another one scores {where}")
        with suppress(Exception):
            self.ray.kill(actor)
        self.actors.remove(actor)
        self._give(self._actor(), unit)

    def _committed_before(self, unit: Unit, error: Exception) -> bool:
        """Whether an actor that was given up committed the unit, so that the commit of its successor failed."""
        committed = unit.id in self.lost and note(self.job.folder / COMMITS, unit.id).is_file()
        if committed and isinstance(error, TemporaryError):
            self.job.claim.check()
            return True
        return False

    def end(self) -> None:
        """End the actors; those that are scoring may commit their unit first."""
        with suppress(Exception):
            self.ray.wait(list(self.busy), num_returns=len(self.busy), timeout=GRACE) if self.busy else None
        for actor in self.actors:
            with suppress(Exception):
                self.ray.kill(actor)


def _portable(job: BatchJob) -> Any:
    """The job with the bytes of its artifact, in Ray's object store, so that no machine needs the file."""
    import ray

    model = job.source.model
    data = model if isinstance(model, bytes) else Path(model).read_bytes()
    return ray.put(replace(job, source=replace(job.source, model=data)))


def _actors(ray: Any, workers: int | None, require_gpu: bool, units: int) -> int:
    """How many actors to start; raises UsageError if GPUs are required and the cluster has none."""
    resources = ray.cluster_resources()
    if require_gpu and not resources.get("GPU"):
        raise UsageError("a GPU is required, but the Ray cluster has none; add a node with one, or omit --require-gpu")
    return min(units, workers or max(1, int(resources.get("GPU" if require_gpu else "CPU", 1))))


@contextmanager
def _cluster(workers: int | None) -> Iterator[Any]:
    """Ray, connected to a cluster for the block. A connection that the process already has is used and kept."""
    try:
        import ray
    except ImportError as error:
        raise UsageError("--executor ray needs an extra: pip install 'ganlib[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"address": address}
    if address and address != "local":
        _check_reachable(address)
    else:
        options = {"num_cpus": workers, "object_store_memory": _LOCAL_STORE, "include_dashboard": False}
        for name, value in _LOCAL_NODE.items():
            os.environ.setdefault(name, value)
    try:
        ray.init(**options, logging_level=logging.ERROR, log_to_driver=False, ignore_reinit_error=True)
    except Exception as error:  # a cluster that is gone, of another version, or without room raises many types
        raise _unreachable(address, error) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise DependencyError if nothing listens at HOST:PORT; Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return
    for attempt in range(ATTEMPTS):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()
            return
        except (OSError, OverflowError) as error:
            if attempt == ATTEMPTS - 1:
                raise _unreachable(address, error) from error
            time.sleep(1)


def _unreachable(address: str | None, error: Exception) -> DependencyError:
    where = f"the Ray cluster at {address}" if address else "Ray on this machine"
    text = " ".join(str(error).split())[:200]
    return DependencyError(f"{where} cannot be reached: {text}; check RAY_ADDRESS, and `ray status` there")
