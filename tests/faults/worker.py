"""One scoring process under faults: what a soak's forked children run."""

import errno
import json
import os
import sys
import time
import traceback


def note_points(path):
    """Write down the last crash point passed, and how many, so that a kill at a random time can be placed."""
    import serving.crash

    passed, plain = [0], serving.crash.crash_point

    def crash_point(name):
        passed[0] += 1
        with open(path, "w") as file:
            file.write(f"{name} {passed[0]}")
        plain(name)

    for module in list(sys.modules.values()):
        if getattr(module, "crash_point", None) is plain:
            module.crash_point = crash_point


def shift_clock(seconds):
    """A wall clock that is wrong by so much."""
    wrong, plain = seconds, time.time
    time.time = lambda: plain() + wrong
    from serving.lease import Lease
    from serving.sources.growing_file import GrowingFile

    Lease.__init__.__kwdefaults__["clock"] = time.time
    GrowingFile.__init__.__defaults__ = (time.time,)


def fill_disk(after):
    """Each fsync but the first ``after`` finds the disk full; SQLite may not grow beyond a few more pages."""
    import sqlite3

    done, plain, connect = [0], os.fsync, sqlite3.connect

    def fsync(descriptor):
        done[0] += 1
        if done[0] > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(descriptor)

    os.fsync = fsync

    class Limited(sqlite3.Connection):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            pages = self.execute("PRAGMA page_count").fetchone()[0]
            self.execute(f"PRAGMA max_page_count = {pages + 2 + after}")

    sqlite3.connect = lambda *a, **k: connect(*a, **{"factory": Limited, **k})


def run(log, point_file, crash, clock, disk, job, arguments):
    """Score once; exits as the command would."""
    log = open(log, "a", buffering=1)  # noqa: SIM115
    os.dup2(log.fileno(), 1), os.dup2(log.fileno(), 2)
    os.environ.pop("GANLIB_CRASH_AT", None)
    if crash:
        os.environ["GANLIB_CRASH_AT"] = crash
    from serving.cli_support import run_cli

    note_points(point_file)
    if clock:
        shift_clock(clock)
    if disk is not None:
        fill_disk(disk)
    try:
        code = run_cli(lambda: {"stream": stream, "batch": batch}[job](**arguments))
    except BaseException:
        traceback.print_exc()
        code = 1
    os._exit(code)


def stream(artifact, source, output, text=None, **options):
    """``run_stream``; ``text`` is what stdin holds."""
    from serving.stream import run_stream

    if text is not None:
        reader, writer = os.pipe()
        if not os.fork():
            os.close(reader)
            try:
                os.write(writer, text.encode())
            finally:
                os._exit(0)
        os.close(writer)
        os.dup2(reader, 0)
        sys.stdin = open(0)  # noqa: SIM115
    return run_stream(artifact, source, output, **options)


def batch(artifact, source, output, **options):
    """``score_batch`` in units of 50 rows."""
    import serving.plan
    from serving.batch import score_batch

    serving.plan.ROWS_PER_UNIT = 50
    print(json.dumps(score_batch(artifact, source, output, **options).to_dict()))
    return 0
