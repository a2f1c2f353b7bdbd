"""Augmenting a table: its real rows as they are in the files, then generated ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.classes import check_learnable
from pipelines.errors import UsageError
from pipelines.formulas import checked
from pipelines.readers.generation import (
    Build,
    Made,
    Report,
    class_counts,
    held_out_by,
    needs_label,
    needs_rows,
    wanted_counts,
    wanted_of,
)
from pipelines.real_rows import check_real_rows, check_unchanged, write_augmented
from pipelines.references import is_sealed
from pipelines.schemas import schema_of, unused_columns
from serving.wording import counted

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.augment.cells import Cells
    from ganlib.augment.lift import Lift
    from ganlib.data.conditions import Condition
    from ganlib.data.schema import Schema
    from pipelines.sections import DataSettings
    from pipelines.settings import Settings
    from serving.artifact import Artifact


class TableGeneration:
    """Implements ``Generation`` for the table ``frame``."""

    def __init__(self, settings: Settings, frame: pd.DataFrame, output: Path) -> None:
        from ganlib.data.read import files_of

        self.settings, self.chosen, self.data = settings, settings.augment, _without_groups(settings.data)
        self.frame, self.output = frame, output
        self.inputs = files_of(str(self.data.path))
        self.budget = self.chosen.budget or "2min"

    def check(self, sealed: bool) -> None:
        """Raise DataError if files have no common types, or the table is too small to learn from or balanced."""
        from ganlib.data.read import need_column
        from ganlib.errors import DataError

        check_real_rows(self.inputs, self.output)
        if self.data.label is not None:
            need_column(self.frame, self.data.label)
        if self.data.split == "group" and self.data.split_column is not None:
            need_column(self.frame, self.data.split_column, "group")
        if sealed:
            if self.chosen.target == "numeric":
                raise UsageError("a sealed augmenter generates its classes, not ranges: leave --target numeric out")
        elif self._cells is None:
            check_learnable(self.frame, self.data.label, self.chosen)
        elif self.data.label is not None and self.chosen.rows is None and not any(self.wanted().values()):
            what = "ranges" if self._cells.ranges else "classes"
            raise DataError(
                f"no rows are missing to balance the {what} of {self.data.label!r}; give --rows N to add some"
            )

    @cached_property
    def _cells(self) -> Cells | None:
        """The cells of a condition or a numeric target; None if the classes of the label are enough."""
        from ganlib.augment.cells import Cells

        label, chosen = self.data.label, self.chosen
        if not chosen.where and not self._numeric:
            return None
        condition = self._condition(self._schema()["schema"] if self._named else None) if chosen.where else None
        return Cells.read(self.frame, label, condition, self._numeric)

    @cached_property
    def _numeric(self) -> bool:
        """Whether the label is a numeric target."""
        from ganlib.augment.ranges import is_numeric_target

        label = self.data.label
        return label is not None and is_numeric_target(self.frame[label], self.chosen.target)

    def _condition(self, schema: Schema | None) -> Condition:
        from ganlib.data.conditions import Condition

        return Condition.read(self.chosen.where, self.frame, schema, self.data.label)

    def classes(self) -> dict[str, int]:
        """Real rows by class or range, of those that satisfy the condition."""
        if self.data.label is None:
            return {}
        if self._cells is not None:
            return dict(zip(self._cells.wanted.values(), self._cells.counts.tolist(), strict=True))
        return class_counts(self._texts())

    def wanted(self) -> dict[str, int]:
        """Rows that would be generated of each class or range."""
        if self._cells is None:
            return wanted_of(self.chosen, self.classes()) if self.data.label is not None else {}
        wanted = self._cells.requested(self.chosen.rows, self.chosen.condition)
        return {self._cells.wanted[name]: count for name, count in wanted.items()}

    def notes(self) -> list[str]:
        """That the label is read as numbers, and how many rows satisfy the condition."""
        if is_sealed(self.chosen.model) or self._cells is None:
            return []
        said, cells = [], self._cells
        if cells.ranges is not None:
            many = counted(len(cells.ranges.counts), "range")
            other = "" if self.chosen.target == "numeric" else "; --target classes reads its values as classes"
            said.append(f"label {cells.label!r} is a numeric target, in {many}{other}")
        if cells.condition is not None:
            said.append(f"{counted(int(cells.counts.sum()), 'real row')} satisfy {cells.condition.describe()}")
        return said

    def _texts(self) -> np.ndarray:
        from ganlib.data.values import as_strings

        return as_strings(self.frame[self.data.label]).astype(str)

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
            **self._given, repeats=self.chosen.repeats, seconds=seconds_of(self.budget),
            seed=self.settings.training.random_state, report=report, groups=beside.get("groups"),
            times=beside.get("times"), with_example=True,
        )  # fmt: skip

    def fitted(self, build: Build) -> Made:
        """All rows, and generated ones."""
        augmenter, chosen = build(**self._schema() if self._named else {}, verbose=True), self.chosen
        made = augmenter.augment(
            self.frame, self.data.label, chosen.rows, condition=chosen.condition, **self._given,
            only_synthetic=chosen.only_synthetic,
        )  # fmt: skip
        return self._made(made, augmenter.constraint_report_)

    @property
    def _given(self) -> dict[str, Any]:
        """The condition, as it was read, and the kind of target."""
        return {"target": "classes"} if self._cells is None else self._cells.given

    @property
    def _named(self) -> bool:
        """Whether a schema is given, or settings that change an inferred one."""
        return bool(self.data.schema_file or self.data.drop or self.data.ids)

    def _schema(self) -> dict[str, Schema]:
        from dataclasses import replace

        from ganlib.data.inference import infer_column

        label = self.data.label
        if label is None or not self._numeric:
            return {"schema": schema_of(self.data, self.frame, for_generation=True)}
        # A numeric target is generated as a column, even if a schema file gives it the role of the label.
        schema = schema_of(self.data.model_copy(update={"label": None}), self.frame, for_generation=True)
        if label not in {c.name for c in schema.columns}:
            column = infer_column(self.frame[label], schema.timezone)
            schema = replace(schema, columns=(*schema.columns, column))
        return {"schema": schema}

    def sealed(self, artifact: Artifact) -> Made:
        """All rows, and those of a sealed augmenter, labelled by its classes."""
        from ganlib.augment import mark
        from ganlib.augment.cells import sampled
        from ganlib.augment.constraints import joined_reports
        from ganlib.augment.originals import likes_of
        from ganlib.data.schema import Schema
        from ganlib.data.values import as_strings
        from ganlib.errors import DataError
        from serving.generator import Generator

        frame, chosen, seed = self.frame, self.chosen, self.settings.training.random_state
        schema, generator = Schema.from_dict(artifact.schema), Generator(artifact)
        likes, condition = likes_of(frame, schema), self._condition(schema) if chosen.where else None
        held = np.ones(len(frame), dtype=bool) if condition is None else condition.mask(frame)
        label = self.data.label
        if not generator.conditions:
            wanted = {"": needs_rows(chosen.model, chosen)}
        else:
            label = needs_label(chosen.model, label, generator.conditions)
            texts, names = as_strings(frame[label]).astype(str), np.array(generator.conditions)
            counts = np.array([int((held & (texts == name)).sum()) for name in names])
            wanted = dict(zip(names.tolist(), wanted_counts(chosen, names, counts).tolist(), strict=True))
        reports = []

        def draw(request: Mapping[str, int], seed: int) -> pd.DataFrame:
            classes = [name for name, count in request.items() for _ in range(count)] if generator.conditions else None
            made = generator.frame(sum(request.values()), classes, seed, likes)
            reports.append(generator.constraint_report)
            if classes is not None:
                made[label] = _as_labels(classes, frame[label])
            if condition is not None and (lost := [name for name in condition.names if name not in made]):
                raise DataError(f"augmenter {chosen.model} does not generate column {lost[0]!r}, which --where names")
            return made.reindex(columns=frame.columns)

        if condition is None:
            made = draw(wanted, seed)
        else:
            made = sampled(draw, wanted, lambda rows, _: condition.mask(rows), condition.describe(), seed)
        return self._made(mark(frame, made, chosen.only_synthetic), joined_reports(reports))

    def _made(self, rows: pd.DataFrame, constraints: Mapping[str, Mapping[str, int]]) -> Made:
        from ganlib.augment import MARK

        made, label = rows[rows[MARK]], self.data.label
        ranges = None if is_sealed(self.chosen.model) or self._cells is None else self._cells.ranges
        if label is None:
            classes: dict[str, int] = {}
        elif ranges is None:
            classes = {str(name): int(count) for name, count in made[label].value_counts().items()}
        else:
            found = np.bincount(ranges.codes(ranges.numbers(made[label])), minlength=len(ranges.counts))
            classes = {name: int(count) for name, count in zip(ranges.names, found, strict=True) if count}
        return Made(rows, len(rows) - len(made), classes, len(made), constraints)

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


def _without_groups(data: DataSettings) -> DataSettings:
    """The settings with the column of groups as an identifier: not learned from, and missing in generated rows."""
    name = data.split_column
    if data.split != "group" or name is None or name in (*data.drop, *data.ids):
        return data
    if name == data.label:
        raise UsageError(f"column {name!r} is both the label and the group; name another column with --group")
    return data.model_copy(update={"ids": (*data.ids, name)})
