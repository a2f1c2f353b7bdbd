"""Executors for the units of a run: this process or several on this machine, and by name those of other files."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from serving.errors import ServingError, TemporaryError
from serving.plan import Unit
from serving.scorer import Scorer
from serving.units import BatchJob, UnitScorer


class Executor(Protocol):
    """Scores units. Its arguments are plain data, so that it can send them to any machine that can write the folder."""

    def run(self, job: BatchJob, units: Sequence[Unit]) -> Generator[Unit, None, None]:
        """Yield each unit once it is committed, in any order; raises the first error of a unit and stops."""


@dataclass(frozen=True)
class InTurn:
    """Scores units one after another in this process, with an open scorer."""

    scorer: Scorer

    def run(self, job: BatchJob, units: Sequence[Unit]) -> Generator[Unit, None, None]:
        """As ``Executor.run``."""
        yield from UnitScorer(job, self.scorer).score(units)


@dataclass(frozen=True)
class Processes:
    """Scores units in up to ``workers`` local processes, each with its own scorer; they end with this process."""

    workers: int

    def run(self, job: BatchJob, units: Sequence[Unit]) -> Generator[Unit, None, None]:
        """As ``Executor.run``; raises TemporaryError if a process was killed. Its commits are kept."""
        context = multiprocessing.get_context("spawn")
        waiting = iter(units)
        crew: dict[Connection, BaseProcess] = {}
        busy: dict[Connection, Unit] = {}
        try:
            for _, unit in zip(range(self.workers), waiting, strict=False):
                ours, theirs = context.Pipe()
                process: BaseProcess = context.Process(target=_work, args=(job, theirs, os.getpid()), daemon=True)
                process.start()
                theirs.close()
                crew[ours] = process
                _send(ours, unit)
                busy[ours] = unit
            while busy:
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    done = busy.pop(connection)
                    _outcome(connection)
                    if (unit_next := next(waiting, None)) is not None:
                        _send(connection, unit_next)
                        busy[connection] = unit_next
                    yield done
        finally:
            # A busy process commits its unit, then finds the connection closed and ends.
            for connection in crew:
                connection.close()
            for process in crew.values():
                process.join()


def _local(scorer: Scorer, workers: int | None) -> Executor:
    return Processes(workers) if workers and workers > 1 else InTurn(scorer)


def _ray(_: Scorer, workers: int | None) -> Executor:
    from serving.ray_actors import RayActors

    return RayActors(workers)


# How --executor names them; each is made of the open scorer and the number of workers, None if it was not given.
EXECUTORS: dict[str, Callable[[Scorer, int | None], Executor]] = {"local": _local, "ray": _ray}


def _send(connection: Connection, unit: Unit) -> None:
    try:
        connection.send(unit)
    except OSError as error:
        raise _killed() from error


def _outcome(connection: Connection) -> None:
    """Raise the error of a unit in this process."""
    try:
        error = connection.recv()
    except (EOFError, OSError) as broken:
        raise _killed() from broken
    if error is not None:
        raise error


def _killed() -> TemporaryError:
    return TemporaryError("a scoring process was killed (out of memory?); run the same command again")


class UnitWorker:
    """Scores single units of a job in this process. The scorer is opened for the first one and kept."""

    def __init__(self, job: BatchJob) -> None:
        self.job = job
        self._scorer: UnitScorer | None = None

    def score(self, unit: Unit) -> Exception | None:
        """Score and commit a unit; returns the error, in a form that can be sent to another process."""
        try:
            self._scorer = self._scorer or UnitScorer(self.job, self.job.source.open())
            for _ in self._scorer.score([unit]):
                pass
        except Exception as raised:
            return _sendable(raised)
        return None


def _work(job: BatchJob, connection: Connection, parent: int) -> None:
    """The main function of a worker process: score units as they arrive; ignores Ctrl-C and ends with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    worker = UnitWorker(job)
    while (unit := _received(connection)) is not None:
        error = worker.score(unit)
        try:
            connection.send(error)
        except OSError:
            return


def _received(connection: Connection) -> Unit | None:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _sendable(error: Exception) -> Exception:
    """An error that can be sent to the parent; errors of other libraries are sent as text."""
    if not isinstance(error, ServingError) and type(error).__module__ != "builtins":
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note("".join(traceback.format_exception(error)))
    return error


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
