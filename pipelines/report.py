"""Pictures and tables of runs, and what a training run logs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.card import PICTURES
from pipelines.job import Job
from pipelines.model_card import schema_entry
from pipelines.registry import Logged, Measured, Registry

if TYPE_CHECKING:
    from pipelines.results import (
        AugmenterData,
        Candidate,
        Choice,
        DetectorData,
        FittedAugmenter,
        FittedTranslator,
        TranslatorData,
    )
    from serving.artifact import Artifact


def plot_curves(curves: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw one panel a model, and of a fusion one a member: each loss by epoch, the validation loss in bold."""
    # The object interface has no global state, so flows may draw from any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = _by_member(curves)
    panels = max(1, len(drawn))
    figure = Figure(figsize=(4.5, 3.0 * panels), layout="tight")  # one below the other: MLflow's pages are narrow
    axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
    for axis, (model, terms) in zip(axes, drawn.items(), strict=False):
        longest = max((len(v) for v in terms.values()), default=1)
        for term, values in terms.items():
            positions = [(i + 1) * longest / len(values) for i in range(len(values))]
            point = "o" if len(values) == 1 else None  # a line of one point cannot be seen
            axis.plot(positions, values, label=term, linewidth=2.4 if term == "validation" else 1.2, marker=point)
        axis.set_title(model, fontsize=10)
        axis.set_ylabel("loss")
        sizes = [abs(value) for values in terms.values() for value in values]
        if sizes and max(sizes) > 10 * min(sizes):  # within one decade a logarithmic axis has no labels
            axis.set_yscale("symlog", linthresh=0.1)
        axis.grid(alpha=0.3)
        if terms:
            axis.legend(fontsize=7)
    axes[-1].set_xlabel("epoch")
    FigureCanvasAgg(figure).print_png(path)


def _by_member(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, Sequence[float]]]:
    """Curves by model and loss; a fusion's, ``member/loss``, by member."""
    found = dict[str, dict[str, Sequence[float]]]()
    for model, terms in curves.items():
        for term, values in terms.items():
            member, _, loss = term.rpartition("/")
            found.setdefault(member or model, {})[loss] = values
    return found


def plot_calibration(figures: Mapping[str, Any], alpha: float, path: Path) -> None:
    """Shares of held-out rows that alarm, by alarm budget, with the line that normal rows should follow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3.4), layout="tight")
    axis, budgets = figure.subplots(), figures["budgets"]
    axis.plot(budgets, budgets, color="#5a6675", linestyle=":", label="promised of normal rows")
    for kind, shares in figures["shares"].items():
        axis.plot(budgets, shares, label=f"{kind}, {figures['rows'][kind]:,} rows", drawstyle="steps-post")
    axis.axvline(alpha, color="#b3362b", linewidth=0.8, label=f"budget {alpha:g}")
    axis.set_xlabel("alarm budget")
    axis.set_ylabel("share of rows that alarm")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    FigureCanvasAgg(figure).print_png(path)


def log_dataset(registry: Registry, logged: Logged, artifact: Artifact, profile: Mapping[str, Any]) -> Measured:
    """Log the training data in the run, so that figures refer to it: columns and counts, no rows."""
    trained = artifact.metadata["training"]
    name, digest = trained["data"], trained["fingerprint"][:36]
    registry.log_dataset(logged.run_id, {
        "name": name, "digest": digest, "source_type": "local", "source": json.dumps({"uri": name}),
        "schema": json.dumps(schema_entry(artifact)), "profile": json.dumps(profile),
    })  # fmt: skip
    return Measured(logged.model_id, name, digest)


def log_parameters(
    registry: Registry,
    run_id: str,
    job: Job,
    data: DetectorData,
    choice: Choice,
    best: Candidate,
) -> None:
    """Log the parameters of a training run: the settings, the data, and the options of the chosen candidate."""
    settings = job.settings.to_json()
    flat = {
        f"{section}.{k}": v for section in ("training", "calibration", "model") for k, v in settings[section].items()
    }
    registry.log_params(run_id, flat | {
        "chosen": choice.best, "measure": choice.measure, "rule": data.rule, "rows": data.rows,
        "fingerprint": data.fingerprint, "data": job.data,
        **{f"rows.{part}": n for part, n in data.parts.items()},
        **{f"option.{key}": value for key, value in best.config.items()},
    })  # fmt: skip


def log_training(
    registry: Registry,
    logged: Logged,
    artifact: Artifact,
    job: Job,
    data: DetectorData,
    choice: Choice,
    candidates: Mapping[str, Candidate],
) -> None:
    """Log figures by epoch, data set, pictures, schema and settings (secrets as references) of a run.

    The figures of the chosen candidate also belong to the logged model.
    """
    run_id, best = logged.run_id, candidates[choice.best]
    measured = log_dataset(registry, logged, artifact, {"num_rows": data.rows, **data.parts})
    for model, candidate in candidates.items():
        figures: dict[str, Any] = {f"validation/{model}": candidate.value, f"{model}/steps": candidate.steps}
        figures |= {f"{model}/{term}": values for term, values in candidate.curves.items()}
        figures |= {f"test/{model}/{key}": value for key, value in candidate.test.items()}
        registry.log_metrics(run_id, figures, measured if model == choice.best else None)
    others = {**choice.baselines, "chance": choice.chance}
    registry.log_metrics(run_id, {f"validation/{k}": v for k, v in others.items()})
    plot_curves({model: candidate.curves for model, candidate in candidates.items()}, job.folder / "curves.png")
    plot_calibration(best.calibration, job.settings.calibration.alpha, job.folder / "calibration.png")
    job.save("settings", job.settings.to_json())
    names = (
        "curves.png",
        "calibration.png",
        "schema.yaml",
        "choice.json",
        "tuned.json",
        "settings.json",
        "findings.json",
    )
    # Images and series have no schema file, and most jobs tune nothing.
    registry.log_files(run_id, [job.folder / name for name in names if (job.folder / name).exists()])


def log_augmenter(
    registry: Registry, run_id: str, artifact: Artifact, job: Job, data: AugmenterData, done: FittedAugmenter
) -> Logged:
    """Log settings, model, figures, data set, curves and schema of an augmenter's run."""
    settings = job.settings.to_json()
    flat = {f"{section}.{k}": v for section in ("training", "augment") for k, v in settings[section].items()}
    options = {f"option.{k}": v for k, v in done.config.items()}
    facts = {"fingerprint": data.fingerprint, "rows": data.rows, "classes": len(data.classes)}
    registry.log_params(run_id, flat | options | facts)
    logged = registry.log_model(job.folder / f"{job.name}.onnx")
    figures: dict[str, Any] = {f"test/macro_auprc_{k}": v for k, v in done.lift.items()}
    figures |= {f"{done.model}/{k}": v for k, v in done.curves.items()}
    registry.log_metrics(run_id, figures, log_dataset(registry, logged, artifact, {"num_rows": data.rows}))
    curves = job.folder / "curves.png"
    plot_curves({done.model: done.curves}, curves)
    files = [*(job.folder / name for name in PICTURES), job.folder / "schema.yaml"]
    registry.log_files(run_id, [file for file in files if file.exists()])
    return logged


def log_translator(
    registry: Registry, run_id: str, artifact: Artifact, job: Job, data: TranslatorData, done: FittedTranslator
) -> Logged:
    """Log settings, model, figures, data set, curves and schemas of a translator's run."""
    settings = job.settings.to_json()
    flat = {f"{section}.{k}": v for section in ("training", "model") for k, v in settings[section].items()}
    options = {f"option.{k}": v for k, v in done.config.items()}
    facts: dict[str, Any] = {
        "pairs": data.pairs or "none",
        "fingerprint": data.fingerprint,
        "fingerprint_b": data.fingerprint_b,
    }
    facts |= {"rows": data.rows, "rows_b": data.rows_b}
    registry.log_params(run_id, flat | options | facts)
    logged = registry.log_model(job.folder / f"{job.name}.onnx", job.folder / done.back if done.back else None)
    figures: dict[str, Any] = {f"test/{k}": v for k, v in {**done.figures, **done.cycle}.items()}
    figures |= {f"{done.model}/{k}": v for k, v in done.curves.items()}
    profile = {"num_rows": data.rows, "num_rows_b": data.rows_b}
    registry.log_metrics(run_id, figures, log_dataset(registry, logged, artifact, profile))
    curves = job.folder / "curves.png"
    plot_curves({done.model: done.curves}, curves)
    schemas = [job.folder / "schema.yaml"]
    if (other := job.folder / "b" / "schema.yaml").exists():
        schemas.append(other.rename(job.folder / "schema_b.yaml"))
    registry.log_files(run_id, [file for file in (curves, *schemas) if file.exists()])
    return logged
