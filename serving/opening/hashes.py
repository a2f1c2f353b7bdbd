"""The hashes of a sealed file's graph and metadata (docs/artifact.md)."""

from __future__ import annotations

import hashlib


def hashes_of(graph: bytes, entries: dict[str, str]) -> dict[str, str]:
    """The entry ``hashes``: of graph, table schema, and all other entries, sorted, as ``KEY\\nVALUE\\n``."""
    others = "".join(f"{key}\n{entries[key]}\n" for key in sorted(entries.keys() - {"hashes"}))
    parts = {"graph": graph, "metadata": others.encode()}
    if "schema" in entries:
        parts["schema"] = entries["schema"].encode()
    return {key: hashlib.sha256(part).hexdigest() for key, part in parts.items()}
