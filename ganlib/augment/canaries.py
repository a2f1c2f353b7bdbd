"""Canaries: outlying rows planted among training rows, to see whether a generator repeats what it saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ganlib.augment.sides import rows_of
from ganlib.data.encoder import TableEncoder
from ganlib.data.frames import as_frame, check_frame
from ganlib.data.inference import infer_schema
from ganlib.data.schema import Schema
from ganlib.errors import ConfigError, DataError
from ganlib.metrics.privacy import CanaryTest, canary_test
from ganlib.metrics.rows import nearest_distances
from ganlib.metrics.two_sample import as_count

CANDIDATES = 50  # for each canary
RECORDS = 10_000  # real rows from which canaries are to be far


@dataclass(frozen=True)
class Canaries:
    """Training rows with ``planted`` canaries among them, and canaries that are ``absent``: ``frame`` is to be learned.

    Train a generator on ``frame``, and give its rows to ``test``.
    """

    frame: pd.DataFrame
    planted: pd.DataFrame
    absent: pd.DataFrame
    encoder: TableEncoder

    def test(self, synthetic: object) -> CanaryTest:
        """Whether synthetic rows come nearer to planted than to absent canaries.

        Raises DataError for rows without the columns of the frame.
        """
        made = self.encoder.transform(rows_of("synthetic", synthetic))
        return canary_test(self.encoder.transform(self.planted), self.encoder.transform(self.absent), made)


def plant_canaries(
    frame: object, count: int = 10, repeats: int = 10, *, schema: Schema | None = None, seed: int = 0
) -> Canaries:
    """Choose twice ``count`` outlying rows, and put half of them ``repeats`` times among the rows of ``frame``.

    A canary combines values of different rows. Of many such rows the farthest from all real ones are taken, and chance
    decides which are planted, so that without memory both kinds are equally near to synthetic rows. Few values a
    column leave few outlying rows. A generator that enforces constraints cannot repeat canaries that break them.

    Source: Carlini et al., The Secret Sharer, 1802.08232; there, canaries are texts. Raises DataError for frames
    without rows or with fewer different combinations than canaries, ConfigError for counts below 1 or no column to
    compare.
    """
    real, (count, repeats) = as_frame(frame), (as_count("count", count), as_count("repeats", repeats))
    check_frame(real)
    known = infer_schema(real, for_generation=True) if schema is None else schema
    used = known.only(c for c in known.features if c.kind != "text")
    if not used.columns:
        raise ConfigError(
            "no column can be compared: all are identifiers, texts or dropped; change their roles by schema"
        )
    encoder = TableEncoder(used, for_generation=True, numeric="standard").fit(real)
    rng = np.random.default_rng(seed)
    mixed = pd.DataFrame({
        name: real[name].iloc[rng.integers(len(real), size=CANDIDATES * count)].array for name in real.columns
    }).astype(dict(real.dtypes))  # fmt: skip
    mixed = mixed[~mixed.duplicated(subset=[c.name for c in used.columns])].reset_index(drop=True)
    some = real.iloc[rng.permutation(len(real))[:RECORDS]]
    far = nearest_distances(encoder.transform(mixed), encoder.transform(some))[:, 0]
    chosen = rng.permutation(np.argsort(-far, kind="stable")[: 2 * count])
    if len(chosen) < 2 * count or far[chosen].min() == 0:
        raise DataError(
            f"the columns have too few combinations that no row has for {2 * count} canaries: give a smaller count"
        )
    planted, absent = (mixed.iloc[part].reset_index(drop=True) for part in np.split(chosen, 2))
    whole = pd.concat([real, *[planted] * repeats], ignore_index=True)
    return Canaries(whole.iloc[rng.permutation(len(whole))].reset_index(drop=True), planted, absent, encoder)
