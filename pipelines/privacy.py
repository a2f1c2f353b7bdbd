"""Whether a sealed artifact reveals its training data: rows of a table, images or series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from serving.artifact import Artifact

COMMON = 5
SHORTEST = 6
MOST_VALUES = 20_000
MOST_SEARCHED = 1 << 32  # bytes that are searched for training examples, over all of them
SAMPLED = 256  # generated examples that are compared with the training examples
NEAR = 0.05  # a copy is closer to a training example than this share of the usual distance between two of them


def check_privacy(file: Path, frame: pd.DataFrame) -> str:
    """``passed``, or what was found: rare texts in the file's bytes, or training rows among the golden rows.

    A text is rare if fewer than five rows hold it. Texts under six characters and words of the format are
    skipped, since they occur in any artifact. ``frame`` holds the training rows.
    """
    from serving.artifact import load_artifact

    artifact, data = load_artifact(file), file.read_bytes()
    columns = [c for c in _columns(artifact) if c["role"] in ("feature", "group") and c["name"] in frame]
    words = _format_words(data, artifact)
    texts = sum(_rare_texts(frame[c["name"]], data, words) for c in columns if c["kind"] in ("category", "text"))
    golden = artifact.metadata["golden"]["columns"]
    rows = _copied_rows(frame, [c for c in columns if c["kind"] in ("number", "integer")], golden)
    found = [counted(n, what) for n, what in ((texts, "rare text"), (rows, "training row")) if n]
    return f"found {' and '.join(found)} in the artifact" if found else "passed"


def check_examples(file: Path, fit: np.ndarray, real: np.ndarray, made: Callable[[Artifact], np.ndarray]) -> str:
    """``passed``, or what was found: training examples in a file, or generated examples that nearly equal one.

    ``fit`` holds the training examples ``(n, ...)`` and ``real`` their numbers ``(n, k)``; ``made(artifact)`` returns
    those of ``SAMPLED`` generated examples, for an augmenter. A translation may well be near to a training example: it
    may be that example's counterpart.
    """
    from serving.artifact import golden_feeds, load_artifact

    artifact, data = load_artifact(file), file.read_bytes()
    step = max(1, len(fit) * len(data) // MOST_SEARCHED)
    # A constant example occurs by chance.
    held = sum(example.tobytes() in data for example in fit[::step] if len(np.unique(example)) > 2)
    copies = 0
    if artifact.kind in ("detector", "translator"):
        known = {np.ascontiguousarray(example).tobytes() for example in fit.astype(artifact.layout.dtype)}
        held += sum(np.ascontiguousarray(row).tobytes() in known for row in golden_feeds(artifact)["x"])
    if artifact.kind == "augmenter":
        copies = near_copies(real, made(artifact))
    kinds = ((held, "training example", None), (copies, "copy of a training example", "copies of training examples"))
    found = [counted(n, *filter(None, words)) for n, *words in kinds if n]
    return f"found {' and '.join(found)} in the artifact" if found else "passed"


def _columns(artifact: Artifact) -> list[dict[str, Any]]:
    """The columns of the schema; of a translator, those of both domains, each name once."""
    both = [*artifact.schema["columns"], *artifact.metadata.get("schema_b", {"columns": []})["columns"]]
    return list({column["name"]: column for column in both}.values())


def near_copies(real: np.ndarray, made: np.ndarray) -> int:
    """Generated examples ``(m, k)`` that are closer to a training example ``(n, k)`` than these usually are."""
    from sklearn.neighbors import NearestNeighbors

    distinct = np.unique(real, axis=0)
    if len(distinct) < 3:
        return 0
    nearest = NearestNeighbors(n_neighbors=2).fit(distinct)
    usual = float(np.median(nearest.kneighbors(distinct)[0][:, 1]))
    return int((nearest.kneighbors(made, 1)[0][:, 0] < NEAR * usual).sum())


def _format_words(data: bytes, artifact: Artifact) -> str:
    """Words in an artifact that do not come from data: operators, keys, kinds, names of columns and options."""
    import onnx

    schema, metadata = artifact.schema, artifact.metadata
    words = {node.op_type for node in onnx.load_from_string(data).graph.node} | set(metadata)
    words |= {str(v) for c in _columns(artifact) for k in ("name", "kind", "role", "dtype", "note") for v in (k, c[k])}
    words |= {str(word) for entry in artifact.relations for word in (*entry, entry["kind"])}
    words |= {
        *schema["columns"][0],
        *metadata.get("calibration", ()),
        *metadata["training"],
        *metadata["model"]["config"],
    }
    return " ".join(
        [*words, metadata["model"]["name"], "categories ir_version producer alpha explain contributions unseen clipped"]
    )


def _rare_texts(series: pd.Series, data: bytes, words: str) -> int:
    from ganlib.data.values import as_strings

    values, counts = np.unique(as_strings(series).astype(str), return_counts=True)
    rare = [v for v, count in zip(values, counts, strict=True) if count < COMMON and len(v) >= SHORTEST]
    rare = [v for v in rare if v not in words]
    step = max(1, len(rare) // MOST_VALUES)
    return sum(value.encode() in data for value in rare[::step])


def _copied_rows(frame: pd.DataFrame, columns: list[dict[str, Any]], golden: dict[str, list[Any]]) -> int:
    """Golden rows that equal a training row in all numbers; 0 if too few numbers distinguish rows."""
    import pandas as pd

    known = [c for c in columns if c["input"] in golden]
    if len(known) < 3:
        return 0
    real = pd.DataFrame({c["name"]: pd.to_numeric(frame[c["name"]], errors="coerce") for c in known}).astype(float)
    made = pd.DataFrame({c["name"]: pd.to_numeric(pd.Series(golden[c["input"]], dtype=object), errors="coerce")
                         for c in known}).astype(float)  # fmt: skip
    whole = real.dropna().drop_duplicates()
    distinct = whole.nunique() > 10
    if distinct.sum() < 3:
        return 0
    seen = set(map(tuple, whole.loc[:, distinct].to_numpy()))
    return sum(tuple(row) in seen for row in made.dropna().loc[:, distinct].to_numpy())
