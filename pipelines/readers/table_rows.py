"""Augmenting a table: its real rows as they are in the files, then generated ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.classes import check_learnable
from pipelines.formulas import checked
from pipelines.readers.generation import Build, Made, Report, held_out_by, needs_label, needs_rows, wanted_counts
from pipelines.real_rows import check_real_rows, check_unchanged, write_augmented
from pipelines.schemas import schema_of, unused_columns

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.augment.lift import Lift
    from ganlib.data.schema import Schema
    from pipelines.settings import Settings
    from serving.artifact import Artifact


class TableGeneration:
    """Implements ``Generation`` for the table ``frame``."""

    def __init__(self, settings: Settings, frame: pd.DataFrame, output: Path) -> None:
        from ganlib.data.read import files_of

        self.settings, self.chosen, self.data = settings, settings.augment, settings.data
        self.frame, self.output = frame, output
        self.inputs = files_of(str(self.data.path))

    def check(self, sealed: bool) -> None:
        """Raise DataError if files have no common types, or the table is too small to learn from or balanced."""
        from ganlib.data.read import need_column

        check_real_rows(self.inputs, self.output)
        if not sealed:
            check_learnable(self.frame, self.data.label, self.chosen)
        elif self.data.label is not None:
            need_column(self.frame, self.data.label)

    def lift(self, build: Build, report: Callable[[int, int], None]) -> Lift:
        """The lift on splits of the used columns."""
        from ganlib.augment.lift import measure_lift
        from ganlib.recipe import seconds_of

        # Generated rows lack these columns: a classifier would separate them from real rows by that alone.
        used = self.frame.drop(columns=unused_columns(self.data, self.frame))
        # An inferred schema holds the bounds of its rows, test rows included, so each split infers another one.
        augmenter = build(**self._schema() if self.data.schema_file else {}, verbose=False).quick("table")
        beside = held_out_by(self.data, self.frame)
        return measure_lift(
            augmenter, used, str(self.data.label), self.chosen.rows, condition=self.chosen.condition,
            repeats=self.chosen.repeats, seconds=seconds_of(self.chosen.budget),
            seed=self.settings.training.random_state, report=report, groups=beside.get("groups"),
            times=beside.get("times"), with_example=True,
        )  # fmt: skip

    def fitted(self, build: Build) -> Made:
        """All rows, and generated ones."""
        named = self.data.schema_file or self.data.drop or self.data.ids
        augmenter, chosen = build(**self._schema() if named else {}, verbose=True), self.chosen
        made = augmenter.augment(
            self.frame, self.data.label, chosen.rows, condition=chosen.condition, only_synthetic=chosen.only_synthetic
        )
        return self._made(made, augmenter.constraint_report_)

    def _schema(self) -> dict[str, Schema]:
        return {"schema": schema_of(self.data, self.frame, for_generation=True)}

    def sealed(self, artifact: Artifact) -> Made:
        """All rows, and those of a sealed augmenter, labelled by its classes."""
        from ganlib.augment import mark
        from ganlib.augment.originals import likes_of
        from ganlib.data.schema import Schema
        from ganlib.data.values import as_strings
        from serving.generator import Generator

        frame, chosen, seed = self.frame, self.chosen, self.settings.training.random_state
        generator, likes = Generator(artifact), likes_of(frame, Schema.from_dict(artifact.schema))
        if not generator.conditions:
            made = generator.frame(needs_rows(chosen.model, chosen), None, seed, likes)
        else:
            label = needs_label(chosen.model, self.data.label, generator.conditions)
            texts, names = as_strings(frame[label]).astype(str), np.array(generator.conditions)
            held = np.array([int((texts == name).sum()) for name in names])
            classes = np.repeat(names, wanted_counts(chosen, names, held)).tolist()
            made = generator.frame(len(classes), classes, seed, likes)
            made[label] = _as_labels(classes, frame[label])
        rows = mark(frame, made.reindex(columns=frame.columns), chosen.only_synthetic)
        return self._made(rows, generator.constraint_report)

    def _made(self, rows: pd.DataFrame, constraints: Mapping[str, Mapping[str, int]]) -> Made:
        from ganlib.augment import MARK

        synthetic, label = int(rows[MARK].sum()), self.data.label
        counts = {} if label is None else rows.loc[rows[MARK], label].value_counts()
        classes = {str(name): int(count) for name, count in counts.items()}
        return Made(rows, len(rows) - synthetic, classes, synthetic, constraints)

    def write(self, made: Made, report: Report) -> None:
        """Write the file; raises DataError if the data has changed meanwhile."""
        from ganlib.augment import MARK

        check_unchanged(str(self.data.path), self.inputs)
        rows: Any = checked(made.rows, MARK, self.output, self.chosen.spreadsheet_safe, report)
        write_augmented(rows, MARK, self.inputs, self.output)


def _as_labels(classes: list[str], real: pd.Series) -> pd.Series:
    """Class names as the values of the real labels: their number, say, instead of its text."""
    import pandas as pd

    from ganlib.data.values import as_strings

    known = dict(zip(as_strings(real), real, strict=True))
    return pd.Series([known.get(name, name) for name in classes], dtype=object).infer_objects()
