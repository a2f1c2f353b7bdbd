"""Augmenting a table: its real rows, unchanged, then generated ones, with a report on what they add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import GateRefused, UsageError
from pipelines.files import check_output
from pipelines.following import located
from pipelines.formulas import checked
from pipelines.real_rows import FORMATS, check_real_rows, check_unchanged, write_augmented
from pipelines.references import in_registry
from pipelines.registry import Registry
from pipelines.results import Augmented, Plan
from pipelines.schemas import schema_of, unused_columns, with_schema
from pipelines.settings import AugmentSettings, DataSettings, Settings, with_date
from pipelines.steps.augmenter import LEAST_CLASS, learnable_classes
from pipelines.steps.common import Report, Runner, model_for
from serving.inputs import Input
from serving.wording import counted, listed

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.augment.lift import Lift
    from ganlib.data.schema import Schema


def augment(registry: Registry | None, settings: Settings, runner: Runner | None = None) -> Augmented:
    """Write the real rows, unchanged, then generated ones, with the boolean column ``_synthetic``.

    ``augment.gate`` decides on the lift, that is what the rows add: ``report`` writes a report beside the output,
    ``on`` also rejects a model that does not measurably help, ``off`` does not measure it. ``registry`` (None opens
    the one that the settings name) holds the model if it is ``models:/NAME@ALIAS``.

    Raises GateRefused (3), DataError (4), ConfigError or UsageError (2); the output file is complete or absent.
    """
    settings, report = with_schema(with_date(settings)), (runner or Runner()).report
    chosen, data, output, inputs, frame = _opened(settings)
    from ganlib.augment import MARK

    lift = None
    if _is_sealed(chosen.model):
        made, constraints = _sealed_rows(registry, settings, frame)
        report("the lift is not measured: that needs a model that is fitted here, not a sealed one")
    else:
        lift = _measured(settings, frame, report)
        report(f"training {chosen.model} on all {counted(len(frame), 'real row')}")
        named = data.schema_file or data.drop or data.ids
        augmenter = _augmenter(settings, schema_of(data, frame, for_generation=True) if named else None)
        made = augmenter.augment(
            frame, data.label, chosen.rows, condition=chosen.condition, only_synthetic=chosen.only_synthetic
        )
        constraints = augmenter.constraint_report_
    synthetic = int(made[MARK].sum())
    classes = _counts(made, data.label, MARK)
    done = Augmented(str(output), len(made) - synthetic, synthetic, chosen.model, classes, constraints=constraints)
    if lift is not None:
        done = _with_report(done, lift)
        if chosen.gate == "on" and lift.verdict != "helps":
            raise GateRefused(f"{done.verdict}; {output} was not written, {done.report} shows the figures")
    check_unchanged(str(data.path), inputs)
    write_augmented(checked(made, MARK, output, chosen.spreadsheet_safe, report), MARK, inputs, output)
    return done


def plan_augmentation(settings: Settings) -> Plan:
    """How many rows of which classes ``augment`` would add, without fitting anything."""
    from ganlib.data.values import as_strings

    chosen, data, output, _, frame = _opened(with_schema(with_date(settings)))
    facts: dict[str, Any] = {"real rows": len(frame), "model": chosen.model, "gate": chosen.gate, "output": str(output)}
    if data.label is None:
        return Plan(facts | {"synthetic rows": chosen.rows})
    texts = as_strings(frame[data.label]).astype(str)
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    facts["classes"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    facts["synthetic rows"] = _lacking(chosen, facts["classes"]) if chosen.rows is None else chosen.rows
    return Plan(facts)


def _opened(settings: Settings) -> tuple[AugmentSettings, DataSettings, Path, list[Input], pd.DataFrame]:
    """Checked settings, the files and their table; heavy imports follow the checks of the options."""
    chosen, data, output = _request(settings)
    sealed = _is_sealed(chosen.model)
    if not sealed:
        model_for(chosen.model, "augmenter")
    from ganlib.data.read import files_of, need_column, read_table

    inputs = files_of(str(data.path))
    frame = read_table(str(data.path))
    check_real_rows(inputs, output)
    if sealed and data.label is not None:
        need_column(frame, data.label)
    elif not sealed:
        _check_learnable(frame, data.label, chosen)
    return chosen, data, output, inputs, frame


def _request(settings: Settings) -> tuple[AugmentSettings, DataSettings, Path]:
    """The options, checked as far as possible without the data; raises UsageError."""
    chosen, data = settings.augment, settings.data
    if not data.path or not chosen.output:
        raise UsageError("augmenting needs the data and an output file: give --data and --output")
    if "://" in chosen.output:
        raise UsageError(f"--output {chosen.output} is a URL; name a local file and copy it afterwards")
    output = Path(chosen.output)
    check_output(output, tuple(FORMATS), source=data.path)
    if chosen.spreadsheet_safe and output.suffix.lower() not in (".csv", ".tsv"):
        raise UsageError(f"--spreadsheet-safe is for CSV, but {output} is not CSV; leave the option out")
    if data.label is None and chosen.gate == "on":
        raise UsageError("--gate on needs classes: name the column with --label, or leave --gate at report")
    if data.label is None and chosen.rows is None and not _is_sealed(chosen.model):
        raise UsageError("without --label there are no classes to balance: give --label COLUMN, or --rows N")
    return chosen, data, output


def _check_learnable(frame: pd.DataFrame, label: str | None, chosen: AugmentSettings) -> None:
    """Raise DataError, before anything is fitted, if the table is too small to learn from or already balanced."""
    from ganlib.errors import DataError

    if label is None:
        if len(frame) < LEAST_CLASS:
            raise DataError(f"{counted(len(frame), 'row')}: an augmenter needs {LEAST_CLASS} or more; add rows")
        return
    classes = learnable_classes(frame, label)
    if chosen.rows is None and _lacking(chosen, classes) == 0:
        one = f"class {chosen.condition!r} of {label!r} is the largest"
        what = f"the classes of {label!r} are balanced" if chosen.condition is None else one
        raise DataError(f"{what}: no rows are missing; give --rows N to add some")


def _lacking(chosen: AugmentSettings, classes: Mapping[str, int]) -> int:
    """How many rows would balance the classes, or the requested one."""
    most, wanted = max(classes.values(), default=0), chosen.condition
    if wanted is None:
        return sum(most - held for held in classes.values())
    if wanted not in classes:
        raise UsageError(f"there is no class {wanted!r}; the classes are {listed(list(classes))}")
    return most - classes[wanted]


def _augmenter(settings: Settings, schema: Schema | None, verbose: bool = True) -> Any:
    """An unfitted augmenter; without a schema it infers one from the rows that it is fitted on."""
    from ganlib.augment import as_augmenter

    given = dict[str, Any](verbose=verbose) | ({} if schema is None else {"schema": schema})
    return as_augmenter(model_for(settings.augment.model, "augmenter"), **settings.augmenter_parameters() | given)


def _measured(settings: Settings, frame: pd.DataFrame, report: Report) -> Lift | None:
    """The lift; None if it is not requested, or if it cannot be measured (reported)."""
    from ganlib.augment.lift import measure_lift
    from ganlib.errors import DataError

    chosen, label = settings.augment, settings.data.label
    if chosen.gate == "off" or label is None:
        return None
    # Generated rows lack these columns: a classifier would separate them from real rows by that alone.
    used = frame.drop(columns=unused_columns(settings.data, frame))
    # An inferred schema holds the bounds of its rows, test rows included, so each split infers another one.
    schema = schema_of(settings.data, frame, for_generation=True) if settings.data.schema_file else None
    report(f"measuring what generated rows add: {chosen.repeats} splits of the real rows, a model trained in each")
    try:
        return measure_lift(
            _augmenter(settings, schema, verbose=False), used, label, chosen.rows, condition=chosen.condition,
            repeats=chosen.repeats, seed=settings.training.random_state,
            tell=lambda done, total: report(f"split {done} of {total}"),
        )  # fmt: skip
    except DataError as error:
        if chosen.gate == "on":
            raise
        report(f"the lift was not measured: {error}")
        return None


def _with_report(done: Augmented, lift: Lift) -> Augmented:
    """The result with the figures as a table and the verdict in words; also writes the report beside the output."""
    from ganlib.augment.lift import MODEL, NONE, TITLES
    from pipelines.report import lift_page

    rows = []
    for arm, title in TITLES.items():
        gap = lift.over(arm)
        above = "" if arm == MODEL else f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        rows.append([title, f"{lift.mean(arm):.4f}", above])
    gap = lift.over(NONE)
    words = {"helps": "generated rows help", "hurts": "generated rows hurt"}.get(
        lift.verdict, "generated rows make no measurable difference"
    )
    verdict = (
        f"{words}: {gap.mean:+.4f} macro AUPRC over real rows alone (mean of {len(lift.arms[NONE])} splits, "
        f"95 % interval {gap.low:+.4f} to {gap.high:+.4f})"
    )
    page = Path(done.output).with_suffix(".report.html")
    done = replace(done, lift=rows, verdict=verdict, report=str(page), measure=lift.measure)
    lift_page(page, lift, done)
    return done


def _is_sealed(model: str) -> bool:
    return in_registry(model) or model.endswith(".onnx")


def _sealed_rows(
    registry: Registry | None, settings: Settings, frame: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
    """The real rows, then rows of a sealed augmenter labelled by its classes; and its constraint counts."""
    from ganlib.augment import mark
    from ganlib.augment.counts import counts_for, share_out, to_balance
    from ganlib.augment.originals import likes_of
    from ganlib.data.schema import Schema
    from ganlib.data.values import as_strings
    from serving.artifact import load_artifact
    from serving.generator import Generator

    chosen, label, seed = settings.augment, settings.data.label, settings.training.random_state
    found = located(registry, settings.registry, chosen.model)
    artifact = load_artifact(found.path, found.sha256 or None)
    generator, likes = Generator(artifact), likes_of(frame, Schema.from_dict(artifact.schema))
    if not generator.conditions:
        if chosen.rows is None:
            raise UsageError(f"augmenter {chosen.model} has no classes to balance: give --rows N")
        made = generator.frame(chosen.rows, None, seed, likes)
        rows = mark(frame, made.reindex(columns=frame.columns), chosen.only_synthetic)
        return rows, generator.constraint_report
    if label is None:
        raise UsageError(
            f"augmenter {chosen.model} generates the classes {listed(generator.conditions)}: give --label COLUMN"
        )
    texts, names = as_strings(frame[label]).astype(str), np.array(generator.conditions)
    held = np.array([int((texts == name).sum()) for name in names])
    wanted = to_balance(held)
    if chosen.condition is not None:
        _, one = counts_for(1, chosen.condition, names, list(names), held)
        wanted = one * (int((wanted * one).sum()) if chosen.rows is None else chosen.rows)
    elif chosen.rows is not None:
        wanted = share_out(chosen.rows, wanted if wanted.sum() else np.ones(len(names)))
    classes = np.repeat(names, wanted).tolist()
    made = generator.frame(len(classes), classes, seed, likes)
    made[label] = _as_labels(classes, frame[label])
    return mark(frame, made.reindex(columns=frame.columns), chosen.only_synthetic), generator.constraint_report


def _as_labels(classes: list[str], real: pd.Series) -> pd.Series:
    """Class names as the values of the real labels: their number, say, instead of its text."""
    import pandas as pd

    from ganlib.data.values import as_strings

    known = dict(zip(as_strings(real), real, strict=True))
    return pd.Series([known.get(name, name) for name in classes], dtype=object).infer_objects()


def _counts(made: pd.DataFrame, label: str | None, mark: str) -> Mapping[str, int]:
    if label is None:
        return {}
    return {str(k): int(v) for k, v in made.loc[made[mark], label].value_counts().items()}
