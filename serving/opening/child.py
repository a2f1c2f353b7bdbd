"""A file that nobody vouches for is opened in a process of its own first, where it can take or break nothing else.

The process has limits of processor time and memory where the host has them (``resource``: not on Windows, where a
clock stands in for the first and nothing for the second). One that was killed or crashed is a refusal.
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
_SLOW = 10  # a busy machine's seconds to one of its processor
_passed: set[tuple[str, Limits]] = set()


def try_out(data: bytes, sha256: str, limits: Limits) -> None:
    """Open the file in a child once; raises IntegrityError as it was refused there, TemporaryError without a child."""
    if (sha256, limits) in _passed:
        return
    command = [sys.executable, "-I", "-c", _CODE, json.dumps(sys.path), json.dumps(dataclasses.asdict(limits))]
    quiet = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, env=quiet, timeout=_SLOW * limits.seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise IntegrityError(f"opening it took more than {_SLOW * limits.seconds} s; refused ({_TRUST})") from None
    except OSError as error:
        raise TemporaryError(f"cannot start a process to open a file in ({error}); {_TRUST} or try again") from error
    if done.returncode:
        raise IntegrityError(f"opening it {_ended(done, limits)}; refused ({_TRUST})")
    if refusal := json.loads(done.stdout):
        raise IntegrityError(refusal)
    passed(sha256, limits)


def passed(sha256: str, limits: Limits) -> None:
    """Note that a file has been opened under these limits."""
    _passed.add((sha256, limits))


def _ended(done: subprocess.CompletedProcess[bytes], limits: Limits) -> str:
    import signal

    if done.returncode in (-getattr(signal, "SIGXCPU", 0), -getattr(signal, "SIGKILL", 0)):
        return f"took more than {limits.seconds} seconds of processor time, or was killed"
    words = done.stderr.decode(errors="replace").split("\n")
    return f"ended a process ({done.returncode}: {' '.join(words)[-200:].strip()})"


def main() -> None:
    """In the child: the file on stdin, its refusal or nothing as JSON on stdout."""
    from serving.opening.whole import examine

    limits = Limits(**json.loads(sys.argv[2]))
    data = sys.stdin.buffer.read()
    _bound(limits, len(data))
    try:
        examine(data, limits)
        refusal = ""
    except IntegrityError as error:
        refusal = str(error)
    except MemoryError:
        refusal = f"opening it takes more than {limits.memory:,} bytes of memory; refused ({_TRUST})"
    print(json.dumps(refusal))


def _bound(limits: Limits, size: int) -> None:
    """Processor time, memory, no file written and no core left, for this process."""
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
    """Bytes of address space in use now."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 8 << 30
