"""A table's identity, for the record of what a model was trained on."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from ganlib.data.feeds import as_frame


def fingerprint(data: Any) -> str:
    """sha-256 of the column names, dtypes and values of a frame or array; depends on row order.

    Values are included as pandas' 64-bit row hashes, so that no data can be recovered from it.
    """
    frame = as_frame(data)
    digest = hashlib.sha256()
    for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
        digest.update(f"{name}\0{dtype}\0".encode())
    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy(dtype=np.uint64)
    digest.update(rows.astype("<u8").tobytes())
    return digest.hexdigest()
