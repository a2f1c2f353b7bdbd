"""Opens and runs onnxruntime sessions, and converts their errors to this package's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.errors import DataError, IntegrityError, ServingError, TemporaryError, UsageError

_MEMORY = ("bad allocation", "bad_alloc", "Failed to allocate", "out of memory")


def open_session(data: bytes, require_gpu: bool) -> Any:
    """Open a single-threaded session; raises UsageError without a required GPU, IntegrityError if opening fails."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    gpu = "CUDAExecutionProvider" in ort.get_available_providers()
    if require_gpu and not gpu:
        raise UsageError("a GPU is required, but onnxruntime has no CUDA provider here; see docs/install.md")
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"] if gpu else ["CPUExecutionProvider"]
    try:
        return ort.InferenceSession(data, options, providers=providers)
    except Exception as error:  # onnxruntime raises its own types for each kind of damage
        raise IntegrityError(f"onnxruntime cannot open the graph ({str(error)[:200]})") from error


def run(session: Any, names: Sequence[str], feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Run the session and return the named outputs.

    Raises DataError if the feeds do not match the graph's inputs, TemporaryError if memory runs out, and
    IntegrityError if the graph itself fails.
    """
    check_feeds(session, feeds)
    try:
        return session.run(list(names), dict(feeds))
    except Exception as error:  # onnxruntime raises its own types for each kind of failure
        raise _typed(error, max((len(v) for v in feeds.values() if v.ndim), default=0)) from error


def _typed(error: Exception, rows: int) -> ServingError:
    text = " ".join(str(error).split())[:200]
    if isinstance(error, MemoryError) or any(word in text for word in _MEMORY):
        return TemporaryError(f"memory ran out while the model ran on {rows:,} rows ({text}); free some and run again")
    if isinstance(error, TypeError | ValueError) or type(error).__name__ == "InvalidArgument":
        return DataError(f"the model cannot run on these {rows:,} rows ({text}); check them against its schema")
    return IntegrityError(f"the model's graph fails on these {rows:,} rows ({text}); seal the model again")


_NUMPY = {
    "tensor(string)": "OU",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


def check_strings(feeds: Mapping[str, np.ndarray]) -> None:
    """Raise DataError if an object array holds a value that is not a string; onnxruntime would convert it silently."""
    for name, value in feeds.items():
        if isinstance(value, np.ndarray) and value.dtype == object:
            row = next((i for i, v in enumerate(value.flat) if not isinstance(v, str)), None)
            if row is not None:
                raise DataError(f"{name!r} is fed with {value.flat[row]!r} in row {row}, where the model takes strings")


def check_feeds(session: Any, feeds: Mapping[str, np.ndarray]) -> None:
    """Raise DataError for a feed that is missing, unknown, of a wrong type or shape, or of a different length."""
    wanted = {i.name: i for i in session.get_inputs()}
    known = wanted.keys() | {i.name for i in session.get_overridable_initializers()}
    if lacking := wanted.keys() - feeds.keys():
        raise DataError(f"the model needs the input {sorted(lacking)[0]!r}, which is missing from the feeds")
    if unknown := feeds.keys() - known:
        raise DataError(f"the model has no input {sorted(unknown)[0]!r}; feed {', '.join(map(repr, wanted))}")
    rows = None
    for name, port in wanted.items():
        value, kind = feeds[name], _NUMPY.get(port.type, "")
        if not isinstance(value, np.ndarray) or (value.dtype.kind not in kind if kind == "OU" else value.dtype != kind):
            found = getattr(value, "dtype", type(value).__name__)
            raise DataError(f"{name!r} is fed as {found}, where the model takes {port.type}")
        if value.shape[1:] != tuple(port.shape[1:]) or value.ndim != len(port.shape):
            raise DataError(f"{name!r} is fed in shape {value.shape}, where the model takes {port.shape}")
        if rows is not None and len(value) != rows:
            raise DataError(f"{name!r} has {len(value):,} rows, but the feeds before it have {rows:,}")
        rows = len(value)
