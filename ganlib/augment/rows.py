"""Generator of table rows: constraints, rare levels and filters around a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from ganlib.augment.checks import PROBE, warn_of_left_out
from ganlib.augment.classes import Classes
from ganlib.augment.constraints import check_written, keeper_of
from ganlib.augment.filters import Curator, choose, near_copies, schema_breaches
from ganlib.augment.generator import GenerationPlan, fit_generators
from ganlib.augment.originals import Originals
from ganlib.data.inverse import decode_feeds, to_frame
from ganlib.data.readers import TableReader
from ganlib.data.schema import Schema
from ganlib.data.values import reading
from ganlib.errors import ConfigError, DataError

POOL = 4
SCARCE = 0.5
CHUNK = 4096


class RowGenerator:
    """A trained generator of table rows, by class if there are labels ``y (n,)``.

    ``encoded`` is the sealed artifact's part. The rest uses real rows, stays in memory and is never sealed: rare
    levels, constraints (``report`` counts the rows of the last call that they broke), and filters of a pool of rows
    that drop copies of real rows and keep the most typical rows of scarce classes.
    """

    def __init__(self, reader: TableReader, frame: pd.DataFrame, y: np.ndarray | None, plan: GenerationPlan) -> None:
        self.classes = Classes.read(y, len(frame), plan.spread)
        self.curation, self.near_copies = plan.curation, plan.near_copies
        reader.select(frame)
        self.reader = reader.fit(frame)
        warn_of_left_out(reader.schema, frame, plan.resampling)
        codes = self.classes.codes
        self._originals = Originals(frame, reader.encoder, codes)
        self.report: dict[str, dict[str, int]] = {}
        self.keeper = keeper_of(_kept_schema(reader), frame, codes)
        self.real = reader.encoder.transform(frame)
        self.algorithm, self.history = fit_generators(reader.encoder, self.real, codes, plan)
        self._scarce = self.classes.counts < SCARCE * self.classes.counts.max()
        wanted = self.curation > 0 and self._scarce.any()
        self._curator = Curator(self.real, codes, plan.seed) if codes is not None and wanted else None

    # ---------------------------------------------------------------- sampling
    def sample(self, n: int | None, conditions: Any, seed: int) -> tuple[pd.DataFrame, np.ndarray | None]:
        """Rows by class, in the order requested, and their labels."""
        counts, order, labels = self.classes.requested(n, conditions)
        return self.by_class(counts, seed).iloc[order].reset_index(drop=True), labels

    def probe(self, frame: pd.DataFrame, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Encoded real rows of the largest class, and a few generated ones."""
        largest, codes = self.classes.largest, self.classes.codes
        real = self.real if codes is None else self.real[codes == largest]
        return real, self._pool(largest, PROBE, np.random.default_rng(seed))

    def by_class(self, counts: np.ndarray, seed: int) -> pd.DataFrame:
        """Filtered rows, ``counts[c]`` of each class in class order, with all columns of the training frame."""
        rng = np.random.default_rng(np.random.Philox(seed))
        codes = np.repeat(np.arange(len(counts)), counts)
        feeds = self._chosen(codes, rng)
        if self.keeper is not None:
            keep = reading(self.keeper.keep)
            feeds, self.report = keep(feeds, codes, lambda more: self._chosen(more, rng), rng)
        made = self._frame(feeds)
        if self.keeper is not None:
            check_written(self.keeper, self.reader.encoder.schema, made)
        # Columns that are not generated are missing.
        return made.reindex(columns=[c.name for c in self.reader.schema.columns if c.role != "label"])

    @torch.no_grad()
    def encoded(self, z: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
        """Encoded rows from noise and class indices; raises DataError if they are not finite."""
        sampler, parts = self.algorithm.sampler(), []
        for start in range(0, len(z), CHUNK):
            part = torch.from_numpy(z[start : start + CHUNK])
            extra = () if codes is None else (torch.from_numpy(codes[start : start + CHUNK].astype(np.int64)),)
            parts.append(sampler(part, *extra).numpy())
        if not all(np.isfinite(part).all() for part in parts):
            raise DataError("the generated rows are not finite: the model has diverged; try a lower learning_rate")
        return np.concatenate(parts) if parts else np.zeros((0, self.reader.spec.dim), dtype=np.float32)

    def _chosen(self, codes: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Filtered rows of these ascending class indices, as raw values by column."""
        parts = [self._pool(label, int(n), rng) for label, n in enumerate(np.bincount(codes)) if n]
        empty = np.zeros((0, self.reader.spec.dim), dtype=np.float32)
        return self._decoded(np.concatenate([empty, *parts]), codes, rng)

    def _decoded(self, rows: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Encoded rows of these classes as raw values by column, with rare levels sampled from the real ones."""

        def rare(name: str, chosen: np.ndarray) -> np.ndarray:
            return self._originals.rare_words(name, codes[chosen], rng)

        feeds = decode_feeds(self.reader.encoder, rows, rare)
        return {c.name: feeds[c.input] for c in self.reader.encoder.columns()}

    def _frame(self, values: Mapping[str, np.ndarray]) -> pd.DataFrame:
        """Raw values by column as a frame of the real columns' types."""
        encoder = self.reader.encoder
        return to_frame(encoder, {c.input: values[c.name] for c in encoder.columns()}, self._originals.likes)

    def _pool(self, label: int, wanted: int, rng: np.random.Generator) -> np.ndarray:
        """``wanted`` encoded rows of one class, selected from an oversized pool."""
        curator = self._curator if self._scarce[label] else None
        filtered = curator is not None or self.near_copies > 0
        size = wanted * (POOL if filtered else 1)
        z = rng.standard_normal((size, self.algorithm.sampler().latent_dim), dtype=np.float32)
        rows = self.encoded(z, None if self.classes.codes is None else np.full(size, label))
        if not filtered:
            return rows
        made = self._frame(self._decoded(rows, np.full(size, label), rng))
        unfit = schema_breaches(self.reader.encoder.schema, made)
        coded = self.reader.encoder.transform(made)
        if self.near_copies:
            unfit |= near_copies(self.real, coded, self.near_copies)
        typicality = curator.typicality(coded, label) if curator is not None else None
        return rows[choose(wanted, unfit, typicality, 1 - self.curation, rng)]


def _kept_schema(reader: TableReader) -> Schema:
    """The schema of the generated columns; raises ConfigError if it lacks a column of a constraint."""
    kept = reader.encoder.schema
    if lost := [c for c in reader.schema.constraints if c not in kept.constraints]:
        names = [n for n in lost[0].columns if n not in {c.name for c in kept.columns}]
        raise ConfigError(
            f"constraint {lost[0].describe()!r} names {', '.join(map(repr, names))}, which is not generated: "
            "remove the constraint from the schema, or give the column the role feature"
        )
    return kept
