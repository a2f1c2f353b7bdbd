"""One worker at a time: a lease file with holder and heartbeat."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, Self

from serving.errors import TemporaryError
from serving.files import write_json

HEARTBEAT = 10.0
STALE = 60.0


class Lease:
    """Hold ``path`` inside the ``with``; raises TemporaryError (exit 75) when another holds it longer than ``wait``.

    A holder that is dead on this host, or whose heartbeat is a minute old, is taken over.
    """

    def __init__(self, path: Path, wait: float = 0.0) -> None:
        self.path, self.wait = path, wait
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self.wait
        while not write_json(self.path, self._holder(), exclusive=True):
            holder = self._read()
            if holder is not None and not _alive(holder, self.path):
                self.path.unlink(missing_ok=True)
            elif time.monotonic() >= deadline:
                who = f"process {holder['pid']} on {holder['host']}" if holder else "another worker"
                raise TemporaryError(
                    f"{self.path.parent} is being written by {who}; wait for it (--wait SECONDS), or stop it"
                )
            else:
                time.sleep(0.2)
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise TemporaryError where another holds it by now."""

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT):
            if self.path.exists():
                os.utime(self.path)

    def _holder(self) -> dict[str, Any]:
        return {"host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}

    def _read(self) -> dict[str, Any] | None:
        try:
            return json.loads(self.path.read_text())
        except (OSError, ValueError):
            return None


def _alive(holder: dict[str, Any], path: Path) -> bool:
    if holder["host"] == socket.gethostname():
        try:
            os.kill(int(holder["pid"]), 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return int(holder["pid"]) != os.getpid()
    try:
        return time.time() - path.stat().st_mtime < STALE
    except FileNotFoundError:
        return False
