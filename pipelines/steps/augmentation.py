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
from pipelines.readers.generation import Build, Generation, lacking_rows
from pipelines.references import in_registry
from pipelines.registry import Registry
from pipelines.results import Augmented, Preview
from pipelines.schemas import with_schema
from pipelines.settings import AugmentSettings, Settings, with_date
from pipelines.steps.common import Report, Runner, model_for
from serving.artifact import load_artifact
from serving.wording import counted

if TYPE_CHECKING:
    from ganlib.augment.lift import Lift


def augment(registry: Registry | None, settings: Settings, runner: Runner | None = None) -> Augmented:
    """Write the real rows, unchanged, then generated ones, with the boolean column ``_synthetic``.

    ``augment.gate`` decides on the lift, that is what the rows add: ``report`` writes a report beside the output,
    ``on`` also rejects a model that does not measurably help, ``off`` does not measure it. ``registry`` (None opens
    the one that the settings name) holds the model if it is ``models:/NAME@ALIAS``.

    Raises GateRefused (3), DataError (4), ConfigError or UsageError (2); the output file is complete or absent.
    """
    settings, report = with_schema(with_date(settings)), (runner or Runner()).report
    chosen, output, reader, generation = _opened(settings)
    lift = None
    if _is_sealed(chosen.model):
        found = located(registry, settings.registry, chosen.model)
        made = generation.sealed(load_artifact(found.path, found.sha256 or None))
        report("the lift is not measured: that needs a model that is fitted here, not a sealed one")
    else:
        build = partial(_augmenter, settings, reader.modality)
        lift = _measured(settings, generation, build, report)
        report(f"training {chosen.model} on all {counted(len(reader), 'real row')}")
        made = generation.fitted(build)
    done = Augmented(str(output), made.real, made.synthetic, chosen.model, made.classes, constraints=made.constraints)
    if lift is not None:
        done = _with_report(done, lift)
        if chosen.gate == "on" and lift.verdict != "helps":
            raise GateRefused(f"{done.verdict}; {output} was not written, {done.report} shows the figures")
    generation.write(made, report)
    return done


def plan_augmentation(settings: Settings) -> Preview:
    """How many rows of which classes ``augment`` would add, without fitting anything."""
    from ganlib.data.values import as_strings

    chosen, output, reader, _ = _opened(with_schema(with_date(settings)))
    facts: dict[str, Any] = {"real rows": len(reader), **reader.facts(), "model": chosen.model, "gate": chosen.gate}
    facts["output"] = str(output)
    if (label := settings.data.label) is None:
        return Preview(facts | {"synthetic rows": chosen.rows})
    texts = as_strings(reader.columns[label]).astype(str)
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    facts["classes"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    facts["synthetic rows"] = lacking_rows(chosen, facts["classes"]) if chosen.rows is None else chosen.rows
    return Preview(facts)


def _opened(settings: Settings) -> tuple[AugmentSettings, Path, JobData, Generation]:
    """Checked settings, the data and what is done with it; heavy imports follow the checks of the options."""
    chosen, output = _request(settings)
    sealed = _is_sealed(chosen.model)
    if not sealed:
        model_for(chosen.model, "augmenter")
    reader = read_data(settings.data)
    if not sealed:
        model_for(chosen.model, "augmenter", reader.modality)
    generation = reader.generation(settings, output)
    generation.check(sealed)
    return chosen, output, reader, generation


def _request(settings: Settings) -> tuple[AugmentSettings, Path]:
    """The options, checked as far as possible without the data; raises UsageError."""
    chosen, data = settings.augment, settings.data
    if not data.path or not chosen.output:
        raise UsageError("augmenting needs the data and an output file: give --data and --output")
    if "://" in chosen.output:
        raise UsageError(f"--output {chosen.output} is a URL; name a local file and copy it afterwards")
    output = Path(chosen.output)
    if data.label is None and chosen.gate == "on":
        raise UsageError("--gate on needs classes: name the column with --label, or leave --gate at report")
    if settings.training.checkpoint and chosen.gate != "off" and data.label is not None:
        raise UsageError("training.checkpoint holds one training, but measuring trains several: set --gate off")
    if data.label is None and chosen.rows is None and not _is_sealed(chosen.model):
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


def _measured(settings: Settings, generation: Generation, build: Build, report: Report) -> Lift | None:
    """The lift; None if it is not requested, or if it cannot be measured (reported)."""
    from ganlib.errors import DataError

    chosen = settings.augment
    if chosen.gate == "off" or settings.data.label is None:
        return None
    report(f"measuring what generated rows add: {chosen.repeats} splits of the real rows, a model trained in each")
    try:
        return generation.lift(build, lambda done, total: report(f"split {done} of {total}"))
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
