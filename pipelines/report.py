"""Pictures and tables of runs, and what a training run logs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files import written
from pipelines.job import Job
from pipelines.model_card import schema_entry
from pipelines.registry import Logged, Measured, Registry

if TYPE_CHECKING:
    from pipelines.results import (
        Augmented,
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
    registry.log_files(run_id, [file for file in (curves, job.folder / "schema.yaml") if file.exists()])
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


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }}
table {{ border-collapse: collapse; margin: 1rem 0; }} th, td {{ padding: .3rem .8rem; border-bottom: 1px solid #d5dbe3;
text-align: left; }} td:nth-child(n+2) {{ font-variant-numeric: tabular-nums; }} img {{ max-width: 100%; }}
.verdict {{ font-size: 1.15rem; padding: .6rem .9rem; border-left: 5px solid {colour}; background: #f3f6fa; }}
small {{ color: #5a6675; }}
</style></head><body><h1>{title}</h1><p class="verdict">{verdict}</p>
<p>{measure}; {repeats} splits with {held_out:.0%} of the rows held out. Each arm adds as many rows of each class.</p>
{figures}<img alt="Figure of each arm in each split" src="data:image/png;base64,{picture}">
<h2>Generated rows by class</h2>{classes}
<p><small>Model {model}. {real} real rows are written unchanged; generated rows are marked in the column _synthetic. An
interval that holds 0 means that these data do not show whether generated rows help.</small></p></body></html>
"""


def lift_page(path: Path, lift: Any, done: Augmented) -> None:
    """Write the report on what generated rows add, as one self-contained HTML file."""
    from html import escape

    colours = {"helps": "#2c8a4b", "hurts": "#b3362b"}
    text = _PAGE.format(
        title=escape(f"What generated rows add: {Path(done.output).name}"), verdict=escape(_sentence(done.verdict)),
        measure=escape(_sentence(lift.measure)),
        colour=colours.get(lift.verdict, "#b58a1b"), repeats=len(next(iter(lift.arms.values()))),
        held_out=lift.held_out, figures=_html(["trained on", "mean", "model above it by (95 % interval)"], done.lift),
        picture=_lift_picture(lift), model=escape(done.model), real=f"{done.real:,}",
        classes=_html(["class", "rows"], [[k, f"{v:,}"] for k, v in done.classes.items()]),
    )  # fmt: skip
    with written(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _html(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from html import escape

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(columns, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def _lift_picture(lift: Any) -> str:
    """Figures of each arm by split, those of one split joined by a line, as base64 PNG."""
    import base64
    import io
    from textwrap import fill

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from ganlib.augment.lift import TITLES

    arms = [arm for arm in TITLES if arm in lift.arms]
    figure = Figure(figsize=(7, 3.2), layout="tight", dpi=130)
    axis = figure.subplots()
    for split in zip(*(lift.arms[arm] for arm in arms), strict=True):
        axis.plot(range(len(arms)), split, color="#9aa7b8", linewidth=0.8, marker="o", markersize=4, zorder=1)
    means = [lift.mean(arm) for arm in arms]
    axis.scatter(range(len(arms)), means, color="#22577a", s=60, zorder=2, label="mean")
    axis.set_xticks(range(len(arms)), [fill(TITLES[arm], 12) for arm in arms])
    axis.set_ylabel("macro AUPRC")
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=8)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return base64.b64encode(buffer.getvalue()).decode()
