"""The units of a run, scored here one after another or by several processes of this machine."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.artifact import load_artifact
from serving.errors import TemporaryError
from serving.inputs import Reading
from serving.plan import Unit
from serving.scorer import Scorer
from serving.units import Job, score_units

_job: Job | None = None
_reading = Reading()


@dataclass(frozen=True)
class Source:
    """What a process needs to open the same scorer: the artifact, its sha-256 and the alarm budget."""

    model: str | Path | bytes
    sha256: str
    alpha: float


def in_turn(job: Job, units: Sequence[Unit]) -> Generator[Unit, None, None]:
    """Score the units in this process; yields each when it is committed."""
    yield from score_units(job, units, Reading())


def in_processes(source: Source, job: Job, units: Sequence[Unit], workers: int) -> Generator[Unit, None, None]:
    """Score the units in up to ``workers`` processes; yields each when it is committed.

    What a unit raises is raised here, and units that nobody has begun are left. Raises TemporaryError where a process
    was killed; what it had committed stays.
    """
    sent = dataclasses.replace(job, scorer=None)  # type: ignore[arg-type]
    pool = ProcessPoolExecutor(
        min(workers, max(1, len(units))), multiprocessing.get_context("spawn"), _open, (source, sent, os.getpid())
    )
    try:
        tasks = {pool.submit(_score, unit): unit for unit in units}
        for task in as_completed(tasks):
            task.result()
            yield tasks[task]
    except BrokenProcessPool as error:
        raise TemporaryError("a scoring process was killed (out of memory?); run the same command again") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _open(source: Source, job: Job, parent: int) -> None:
    """In a new process: open the artifact once, leave Ctrl-C to the parent, and end when the parent has."""
    global _job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    scorer = Scorer(load_artifact(source.model, source.sha256), source.alpha)
    _job = dataclasses.replace(job, scorer=scorer)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _score(unit: Unit) -> Any:
    assert _job is not None
    for _ in score_units(_job, [unit], _reading):
        pass
