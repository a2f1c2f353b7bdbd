"""Synthetic rows, images and series from a sealed augmenter; codes from a sealed encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.artifact import Artifact, array_output
from serving.errors import DataError, IntegrityError, UsageError
from serving.table.relations import Field, Keeper, reject, unsealed

if TYPE_CHECKING:
    import pandas as pd

    from serving.table.decode import Like

# Rounding may carry pixels so far beyond [-1, 1]; training allows as much.
SLACK = 0.01


class Generator:
    """Samples from a sealed augmenter: takes a seed and conditions, returns raw columns or arrays.

    Use ``generate`` or ``frame`` for tables, and ``sample`` for images, series and points. Table rows satisfy the
    relations that the artifact holds. Attributes:

    - ``conditions``: the classes it can generate; empty for an unconditional augmenter.
    - ``attributes``: the number of attributes it is conditioned on.
    - ``examples``: whether it generates neighbours of given examples.
    - ``constraint_report``: rows of the last call that were broken, redrawn and repaired, by relation.

    Raises UsageError if the argument is not a loaded augmenter artifact.
    """

    def __init__(self, artifact: Artifact) -> None:
        _check_kind(artifact, "augmenter")
        self.artifact, self.latent_dim = artifact, int(artifact.metadata["latent_dim"])
        self.conditions: list[str] = list(artifact.metadata["conditions"] or [])
        self.attributes = int(artifact.metadata.get("attributes") or 0)
        self.examples = bool(artifact.metadata.get("examples"))
        self.constraint_report: dict[str, dict[str, int]] = {}
        self._keeper = _keeper_of(artifact)

    def generate(self, rows: int, conditions: Sequence[str] | None = None, seed: int = 0) -> dict[str, np.ndarray]:
        """Generate ``rows`` values of each column; equal arguments give equal rows.

        Values come from the graph unchanged, except in columns named by a relation, which are corrected to satisfy it.
        ``conditions`` is the class of each row, for a conditional augmenter. Raises UsageError for an unknown class
        and DataError if no rows can satisfy a relation.
        """
        self._columns()
        made = self._made(self._feeds(rows, conditions, seed))
        self.constraint_report = {}
        if self._keeper is None:
            return made
        place = {name: i for i, name in enumerate(self.conditions)}
        codes = np.array([place[str(c)] for c in conditions or ()] or [0] * rows, dtype=np.int64)
        more = np.random.Generator(np.random.Philox([seed, 1]))
        made, self.constraint_report = self._keeper.keep(made, codes, lambda wanted: self._redrawn(wanted, more), more)
        return made

    def _made(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph on noise and classes; returns values by column."""
        names, size = [output.name for output in self.artifact.session.get_outputs()], self.artifact.rows
        rows = len(feeds["z"])
        parts = [
            self.artifact.run(names, {key: value[start : start + size] for key, value in feeds.items()})
            for start in range(0, max(rows, 1), size)
        ]
        whole = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
        return {c["name"]: whole[c["input"]] for c in self._columns() if c["input"] in whole}

    def _redrawn(self, codes: np.ndarray, noise: np.random.Generator) -> dict[str, np.ndarray]:
        """New rows of these classes."""
        feeds = {"z": noise.standard_normal((len(codes), self.latent_dim), dtype=np.float32)}
        if self.conditions:
            feeds["condition"] = np.array(self.conditions, dtype=object)[codes]
        return self._made(feeds)

    def frame(
        self,
        rows: int,
        conditions: Sequence[str] | None = None,
        seed: int = 0,
        likes: Mapping[str, Like] | None = None,
    ) -> pd.DataFrame:
        """Generate a DataFrame whose columns have the types and text layouts of the training table.

        ``likes`` optionally maps column names to the types of the real columns; levels are then returned as objects.
        """
        import pandas as pd

        from serving.table.decode import decode

        columns, timezone = {c["name"]: c for c in self._columns()}, self.artifact.schema["timezone"]
        made = self.generate(rows, conditions, seed)
        known = likes or {}
        frame = pd.DataFrame({n: decode(columns[n], values, timezone, known.get(n)) for n, values in made.items()})
        if self._keeper is not None and rows:
            self._check_written(frame)
        return frame

    def _check_written(self, frame: pd.DataFrame) -> None:
        """Raise DataError if converting rows to their columns' types broke a relation."""
        from serving.frame import FrameAdapter

        keeper = self._keeper
        columns = [c for c in self._columns() if c["name"] in keeper.fields]  # type: ignore[union-attr]
        read = FrameAdapter({**self.artifact.schema, "columns": columns}).feeds(frame)
        broken = keeper.broken({c["name"]: read[c["input"]] for c in columns})  # type: ignore[union-attr]
        reject({name: int(rows.sum()) for name, rows in broken.items() if rows.any()}, len(frame))

    def sample(
        self,
        rows: int,
        conditions: Sequence[str] | None = None,
        seed: int = 0,
        attributes: Any = None,
        examples: Any = None,
    ) -> np.ndarray:
        """Generate ``rows`` arrays: uint8 ``(rows, h, w, c)`` or float32 ``(rows, *shape)``.

        Equal seeds give equal arrays. ``conditions`` is as for ``generate``. ``attributes`` ``(rows, k)`` describes
        each example, if the augmenter is conditioned on attributes. ``examples`` ``(rows, *shape)``, or bytes
        ``(rows, h, w, c)``, are the examples to generate neighbours of. Raises UsageError for inputs that the augmenter
        does not take and for a table augmenter; DataError for a wrong shape or images outside [-1, 1].
        """
        if self.artifact.modality == "table":
            raise UsageError("this augmenter generates table rows; use generate() or frame()")
        feeds = self._feeds(rows, conditions, seed)
        if self.attributes:
            feeds["attributes"] = self._attributes(rows, attributes)
        elif attributes is not None:
            raise UsageError("this augmenter is not conditioned on attributes; leave attributes out")
        if self.examples:
            feeds["example"] = self._neighbours_of(rows, examples)
        elif examples is not None:
            raise UsageError("this augmenter does not generate neighbours of examples; leave examples out")
        return _run_arrays(self.artifact, feeds)

    def _columns(self) -> list[dict[str, Any]]:
        if self.artifact.modality != "table":
            raise UsageError(f"this augmenter generates {self.artifact.modality} arrays, not table rows; use sample()")
        return self.artifact.schema["columns"]

    def _feeds(self, rows: int, conditions: Sequence[str] | None, seed: int) -> dict[str, np.ndarray]:
        for name, number in (("rows", rows), ("seed", seed)):
            if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 0:
                raise UsageError(f"{name} must be a whole number, 0 or more, not {number!r}")
        noise = np.random.Generator(np.random.Philox(seed))
        feeds = {"z": noise.standard_normal((rows, self.latent_dim), dtype=np.float32)}
        if self.conditions:
            feeds["condition"] = _classes(self.conditions, rows, conditions)
        return feeds

    def _neighbours_of(self, rows: int, examples: Any) -> np.ndarray:
        if examples is None or len(examples) != rows:
            raise UsageError(f"this augmenter generates neighbours: give an example for each of the {rows} rows")
        return _examples(np.asarray(examples), self.artifact)

    def _attributes(self, rows: int, attributes: Any) -> np.ndarray:
        try:
            values = np.asarray(attributes, dtype=np.float32) if attributes is not None else np.empty(0)
        except (TypeError, ValueError) as error:
            raise UsageError(f"attributes are numbers: {error}") from error
        if values.shape != (rows, self.attributes) or not np.isfinite(values).all():
            raise UsageError(f"give {self.attributes} attributes for each of the {rows} rows")
        return values


class Encoder:
    """A sealed encoder: maps examples to codes.

    ``conditions`` lists the classes of a conditional encoder and is empty otherwise. Raises UsageError if the argument
    is not a loaded encoder artifact.
    """

    def __init__(self, artifact: Artifact) -> None:
        _check_kind(artifact, "encoder")
        self.artifact, self.latent_dim = artifact, int(artifact.metadata["latent_dim"])
        self.conditions: list[str] = list(artifact.metadata["conditions"] or [])

    def encode(self, x: Any, conditions: Sequence[str] | None = None) -> np.ndarray:
        """Encode examples ``(n, *shape)``, or images as bytes ``(n, h, w, c)``, to float32 codes ``(n, latent_dim)``.

        Float images must lie in [-1, 1]. ``conditions`` is the class of each example, for a conditional encoder.
        Raises DataError for a wrong shape or range or non-finite values, and UsageError for unknown classes.
        """
        feeds = {"x": _examples(np.asarray(x), self.artifact)}
        if self.conditions:
            feeds["condition"] = _classes(self.conditions, len(feeds["x"]), conditions)
        return _run_arrays(self.artifact, feeds)


def _check_kind(artifact: Artifact, kind: str) -> None:
    if not isinstance(artifact, Artifact):
        raise UsageError(f"a loaded artifact is needed, load_artifact(path) from serving.artifact; not {artifact!r}")
    if artifact.kind != kind:
        raise UsageError(f"this artifact is a sealed {artifact.kind}, not an {kind}; choose another model")


def _keeper_of(artifact: Artifact) -> Keeper | None:
    """The enforcer of the artifact's relations, or None; raises IntegrityError if the relations are unreadable."""
    if not artifact.relations:
        return None
    classes = max(1, len(artifact.metadata["conditions"] or ()))
    fields = {c["name"]: Field.of(c, artifact.schema["timezone"]) for c in artifact.schema["columns"]}
    try:
        return Keeper(unsealed(artifact.relations, fields, classes), fields)
    except ValueError as error:
        raise IntegrityError(f"the artifact's constraints cannot be read ({error}); fetch the file again") from error


def _examples(x: np.ndarray, artifact: Artifact) -> np.ndarray:
    """Float32 examples as the network expects them."""
    shape = artifact.shape
    if x.dtype == np.uint8 and artifact.modality == "image" and x.ndim == 4:
        x = (x.astype(np.float32) / np.float32(127.5) - 1).transpose(0, 3, 1, 2)
    if x.dtype.kind not in "fiu" or x.shape[1:] != shape or x.ndim != len(shape) + 1:
        wanted = ", ".join(["n", *map(str, shape)])
        raise DataError(f"got an array of {x.dtype} with shape {x.shape}; numbers of shape ({wanted}) are needed")
    x = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(x).all():
        raise DataError("the examples hold values that are not finite; fill or drop them")
    if artifact.modality == "image" and x.size and np.abs(x).max() > 1 + SLACK:
        raise DataError(
            f"pixels run from {x.min():g} to {x.max():g}, but this model expects images in [-1, 1]: give bytes "
            "(n, h, w, c), or x / 127.5 - 1 of values in 0..255"
        )
    return x


def _run_arrays(artifact: Artifact, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Run the graph's single output in batches that bound memory."""
    name, shape = array_output(artifact)
    rows = len(next(iter(feeds.values())))
    size = artifact.rows
    if not rows:
        return np.empty((0, *shape), dtype=np.uint8 if name == "image" else np.float32)
    return np.concatenate([
        artifact.run([name], {key: value[start : start + size] for key, value in feeds.items()})[0]
        for start in range(0, rows, size)
    ])  # fmt: skip


def _classes(known: list[str], rows: int, conditions: Sequence[str] | None) -> np.ndarray:
    """The class of each row; raises UsageError for missing or unknown classes."""
    listed = ", ".join(known[:20])
    if conditions is None or len(conditions) != rows:
        raise UsageError(f"give the class of each of the {rows} rows; the classes are {listed}")
    values = np.array([str(c) for c in conditions], dtype=object)
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f"there is no class {unknown[0]!r}; the classes are {listed}")
    return values
