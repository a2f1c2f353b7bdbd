"""Augmenting data: its real rows, unchanged, then generated ones, with a report on what they add."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.errors import GateRefused, UsageError
from pipelines.following import located
from pipelines.readers import JobData, kind_of, read_data
from pipelines.readers.generation import Build, Generation
from pipelines.references import is_sealed
from pipelines.registry import Registry
from pipelines.results import Augmented, Preview
from pipelines.schemas import with_schema
from pipelines.settings import AugmentSettings, Settings, with_date
from pipelines.steps.common import Report, Runner, model_for
from serving.artifact import load_artifact
from serving.wording import counted

if TYPE_CHECKING:
    from ganlib.augment.audited import Audit
    from ganlib.augment.gate import Verdict
    from ganlib.augment.lift import Lift


def augment(registry: Registry | None, settings: Settings, runner: Runner | None = None) -> Augmented:
    """Write the real rows, unchanged, then generated ones, with the boolean column ``_synthetic``.

    ``augment.gate`` decides on the lift, that is what the rows add: ``on`` writes them only if they are likely to help,
    ``report`` always, both with a report beside the output; ``off`` does not measure. ``registry`` (None opens the one
    that the settings name) holds the model if it is ``models:/NAME@ALIAS``.

    Raises GateRefused (3), DataError (4), ConfigError or UsageError (2); the output file is complete or absent.
    """
    settings, report = with_schema(with_date(settings)), (runner or Runner()).report
    chosen, output, reader, generation = _opened(settings)
    for note in generation.notes():
        report(note)
    if is_sealed(chosen.model):
        found = located(registry, settings.registry, chosen.model)
        made = generation.sealed(load_artifact(found.path, found.sha256 or None))
        report("the lift is not measured: that needs a model that is fitted here, not a sealed one")
        judged = None
    else:
        build = partial(_augmenter, settings, reader.modality)
        lift = _measured(settings, generation, build, report)
        judged = None if lift is None else (lift, _judged(settings, reader, generation, build, lift))
        if judged and not judged[1].accepted and _gate(settings) == "on":
            done = _with_report(Augmented(str(output), len(reader), 0, chosen.model, {}), *judged, settings)
            raise GateRefused(
                f"{done.verdict}. {output} was not written; {done.report} shows the figures. Instead: "
                f"{done.advice}. `--gate report` writes the rows all the same",
                done,
            )
        report(f"training {chosen.model} on all {counted(len(reader), 'real row')}")
        made = generation.fitted(build)
    done = Augmented(str(output), made.real, made.synthetic, chosen.model, made.classes, constraints=made.constraints)
    if judged:
        done = _with_report(done, *judged, settings)
    generation.write(made, report)
    return done


def plan_augmentation(settings: Settings) -> Preview:
    """How many rows of which classes ``augment`` would add, without fitting anything."""
    chosen, output, reader, generation = _opened(with_schema(with_date(settings)))
    facts: dict[str, Any] = {"real rows": len(reader), **reader.facts(), "model": chosen.model, "gate": _gate(settings)}
    facts["output"] = str(output)
    if chosen.where:
        facts["where"] = " and ".join(chosen.where)
    if settings.data.label is None:
        return Preview(facts | {"synthetic rows": chosen.rows})
    facts["classes"] = generation.classes()
    facts["synthetic rows"] = sum(generation.wanted().values()) if chosen.rows is None else chosen.rows
    return Preview(facts)


def _opened(settings: Settings) -> tuple[AugmentSettings, Path, JobData, Generation]:
    """Checked settings, the data and what is done with it; heavy imports follow the checks of the options."""
    chosen, output = _request(settings)
    sealed = is_sealed(chosen.model)
    if not sealed:
        model_for(chosen.model, "augmenter")
    reader = read_data(settings.data)
    if not sealed:
        model_for(chosen.model, "augmenter", reader.modality)
    _check_unmarked(reader, settings)
    generation = reader.generation(settings, output)
    generation.check(sealed)
    return chosen, output, reader, generation


def _check_unmarked(reader: JobData, settings: Settings) -> None:
    """Raise DataError if there are generated rows already: they would be taken for real ones."""
    from ganlib.data.frames import MARK
    from ganlib.errors import DataError

    if MARK in reader.columns:
        raise DataError(f"{settings.data.path} holds generated rows, marked by {MARK}: augment the real rows alone")


def _request(settings: Settings) -> tuple[AugmentSettings, Path]:
    """The options, checked as far as possible without the data; raises UsageError."""
    chosen, data = settings.augment, settings.data
    if not data.path or not chosen.output:
        raise UsageError("augmenting needs the data and an output file: give --data and --output")
    if "://" in chosen.output:
        raise UsageError(f"--output {chosen.output} is a URL; name a local file and copy it afterwards")
    output = Path(chosen.output)
    if data.label is None and chosen.gate == "on":
        raise UsageError("--gate on needs classes: name the column with --label, or leave --gate out")
    if chosen.gate in ("on", "report") and is_sealed(chosen.model):
        raise UsageError(
            f"--gate {chosen.gate} fits a model on parts of the rows, and {chosen.model} is fitted: leave the gate out"
        )
    if settings.training.checkpoint and _gate(settings) != "off":
        raise UsageError("training.checkpoint holds one training, but measuring trains several: set --gate off")
    if data.label is None and chosen.rows is None and not is_sealed(chosen.model):
        raise UsageError("without --label there are no classes to balance: give --label COLUMN, or --rows N")
    kind_of(data).check_output(output, data.path)
    if chosen.spreadsheet_safe and output.suffix.lower() not in (".csv", ".tsv"):
        raise UsageError(f"--spreadsheet-safe is for CSV, but {output} is not CSV; leave the option out")
    return chosen, output


def _augmenter(settings: Settings, kind: str, /, **given: Any) -> Any:
    """An unfitted augmenter; without a schema it infers one from the rows that it is fitted on."""
    from ganlib.augment import as_augmenter

    model = model_for(settings.augment.model, "augmenter", kind)
    return as_augmenter(model, **settings.augmenter_parameters() | given)


def _gate(settings: Settings) -> str:
    """The gate, if it is not named: on where there are classes to measure, and a model that is fitted here."""
    chosen = settings.augment
    if chosen.gate is not None:
        return chosen.gate
    return "off" if settings.data.label is None or is_sealed(chosen.model) else "on"


def _measured(settings: Settings, generation: Generation, build: Build, report: Report) -> Lift | None:
    """The lift; None if it is not requested, or if it cannot be measured and need not be (reported)."""
    from ganlib.errors import DataError

    if _gate(settings) == "off" or settings.data.label is None:
        return None
    chosen = settings.augment
    splits = f"{chosen.repeats or '10 to 30'} splits of the real rows"
    report(f"measuring what generated rows add: {splits}, within {generation.budget} or three splits")
    try:
        return generation.lift(build, lambda done, total: report(f"split {done} of {total}"))
    except DataError as error:
        if _gate(settings) == "on":
            raise DataError(f"{error}; `--gate report` or `off` writes rows that are not measured") from None
        report(f"the lift was not measured: {error}")
        return None


def _judged(settings: Settings, reader: JobData, generation: Generation, build: Build, lift: Lift) -> Verdict:
    """The verdict on generated rows of the classes that would receive some."""
    from ganlib.augment.gate import judge

    grown = float(np.mean([count > 0 for count in generation.wanted().values()]))
    usual = build(verbose=False).usual(reader.modality)
    return judge(lift, grown, usual, settings.augment.confidence)


def _with_report(done: Augmented, lift: Lift, verdict: Verdict, settings: Settings) -> Augmented:
    """The result with the figures as a table and the verdict in words; also writes the report beside the output."""
    from pipelines.auditing import audit_of
    from pipelines.lift_report import lift_page

    rows, audit = [], audit_of(lift, settings)
    for arm, title in lift.kind.titles.items():
        gap = lift.over(arm)
        above = "" if arm == lift.pair[1] else f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        rows.append([title, f"{lift.mean(arm):.4f}", above])
    opinion = "generated rows are likely to help" if verdict.accepted else "generated rows are not likely to help"
    page = Path(done.output).with_suffix(".report.html")
    done = replace(
        done, lift=rows, verdict=f"{opinion}: {verdict.words}", report=str(page), measure=lift.measure,
        accepted=verdict.accepted, chance=round(verdict.chance, 4), advice=verdict.advice,
        audit=_audited(lift, audit),
    )  # fmt: skip
    lift_page(page, lift, verdict, done, settings, audit)
    return done


def _audited(lift: Lift, audit: Audit | str) -> str | None:
    """The verdict of an audit, or why there is none; None where the report shows examples instead."""
    if lift.shown is not None:
        return None
    return f"not measured: {audit}" if isinstance(audit, str) else audit.verdict
