"""Opens an untrusted file in a separate process first, which contains crashes and excessive resource use.

The process has limits on processor time and memory, set with ``resource``. Without that module (on Windows) only a
timeout applies. If the process crashes or is killed, the file is rejected.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys

from serving.errors import IntegrityError, TemporaryError
from serving.opening.scan import Limits

log = logging.getLogger("serving")
_CODE = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from serving.opening.child import main; main()"
_TRUST = "give the sha-256 of a file that you trust"
_SLOW = 10  # wall-clock seconds allowed per second of processor time
_passed: set[tuple[str, Limits]] = set()


def try_out(data: bytes, sha256: str, limits: Limits) -> None:
    """Open the file once in a child process.

    Raises IntegrityError if the file was rejected there, and TemporaryError if the process cannot be started.
    """
    if (sha256, limits) in _passed:
        return
    command = [sys.executable, "-I", "-c", _CODE, json.dumps(sys.path), json.dumps(dataclasses.asdict(limits))]
    quiet = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, env=quiet, timeout=_SLOW * limits.seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise IntegrityError(f"opening it took more than {_SLOW * limits.seconds} s; rejected ({_TRUST})") from None
    except OSError as error:
        raise TemporaryError(f"cannot start a process to open a file in ({error}); {_TRUST} or try again") from error
    if done.returncode:
        raise IntegrityError(f"opening it {_ended(done, limits)}; rejected ({_TRUST})")
    if reason := json.loads(done.stdout):
        raise IntegrityError(reason)
    passed(sha256, limits)


def passed(sha256: str, limits: Limits) -> None:
    """Record that a file was opened within these limits."""
    _passed.add((sha256, limits))


def _ended(done: subprocess.CompletedProcess[bytes], limits: Limits) -> str:
    import signal

    if done.returncode in (-getattr(signal, "SIGXCPU", 0), -getattr(signal, "SIGKILL", 0)):
        return f"took more than {limits.seconds} seconds of processor time, or was killed"
    words = done.stderr.decode(errors="replace").split("\n")
    return f"ended a process ({done.returncode}: {' '.join(words)[-200:].strip()})"


def main() -> None:
    """Main function of the child: reads the file from stdin, prints the error or an empty string as JSON."""
    from serving.opening.whole import examine

    limits = Limits(**json.loads(sys.argv[2]))
    data = sys.stdin.buffer.read()
    _bound(limits, len(data))
    try:
        examine(data, limits)
        reason = ""
    except IntegrityError as error:
        reason = str(error)
    except MemoryError:
        reason = f"opening it takes more than {limits.memory:,} bytes of memory; rejected ({_TRUST})"
    print(json.dumps(reason))


def _bound(limits: Limits, size: int) -> None:
    """Limit processor time and memory of this process, and forbid written files and core dumps."""
    try:
        import resource
    except ImportError:
        return
    import numpy, onnx, onnxruntime  # noqa: E401, F401, I001

    caps = {
        resource.RLIMIT_CPU: limits.seconds,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_AS: _mapped() + limits.memory + 6 * size,
    }
    for kind, most in caps.items():
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (allowed, hard))
        except (ValueError, OSError) as error:
            log.debug("no limit %s here: %s", kind, error)


def _mapped() -> int:
    """Bytes of address space currently in use."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 8 << 30
