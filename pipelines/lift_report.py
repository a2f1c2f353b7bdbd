"""The report on what generated rows add: one HTML file that needs nothing else."""

from __future__ import annotations

import math
import shlex
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines import markup
from pipelines.files import written
from pipelines.markup import BAD, DOUBTFUL, GOOD, OTHERS, OURS, sentence, table

if TYPE_CHECKING:
    from ganlib.augment.audited import Audit
    from ganlib.augment.gate import Verdict
    from ganlib.augment.lift import Lift
    from pipelines.results import Augmented
    from pipelines.settings import Settings

_BODY = """{verdict}{advice}{picture}
<h2>What was compared</h2><p>{measure}. Each arm that adds rows adds as many of each {part}.</p>{figures}{learners}
<h2>How sure this is</h2><p>{power}</p><p>{prior}</p><p>{copies}</p>
{classes}{examples}{audit}<h2>Again, with the same configuration</h2><pre>{command}</pre>
<p><small>ganlib {version}. {real} real rows{written}. An interval that holds 0 means that these rows alone do not show
whether an arm helps.</small></p>"""


SHOWN = 0.01  # the least gain to which the picture's axis reaches


def lift_page(
    path: Path, lift: Lift, verdict: Verdict, done: Augmented, settings: Settings, audit: Audit | str
) -> None:
    """Write the report; without generated rows in ``done`` it is that of a gate that did not accept them.

    ``audit`` is that of the rows of the first split, or why there is none.
    """
    import ganlib
    from pipelines.example_page import gallery

    text = _BODY.format(
        verdict=markup.verdict(done.verdict, GOOD if verdict.accepted else BAD if verdict.chance < 0.5 else DOUBTFUL),
        advice=f"<p>What to do instead: {escape(verdict.advice)}.</p>" if verdict.advice else "",
        picture=_picture(lift), measure=escape(sentence(lift.measure)), part=lift.kind.part,
        figures=_arms(lift, verdict),
        learners=_learners(lift), power=_power(lift, settings.augment.confidence), prior=_prior(lift, verdict),
        copies=_copies(lift), examples=gallery(lift.shown) if lift.shown else "",
        classes=_classes(lift.kind.part, done), audit=_audit(lift, audit),
        command=escape(_command(settings)), version=ganlib.__version__, real=f"{done.real:,}",
        written=(
            f" are written unchanged, then {done.synthetic:,} generated ones, which the column _synthetic marks"
            if done.synthetic
            else ", and no file was written"
        ),
    )  # fmt: skip
    with written(path) as temporary:
        title = f"What generated rows add: {Path(done.output).name}"
        temporary.write_text(markup.page(title, text), encoding="utf-8")


def _audit(lift: Lift, audit: Audit | str) -> str:
    """Privacy and fidelity of the rows of the first split, beside its held-out rows."""
    from pipelines.audit_page import panels
    from pipelines.auditing import sample_of

    if lift.shown is not None:
        return ""  # their page shows the nearest real examples instead
    if isinstance(audit, str) or lift.example is None:
        return f"<h2>Privacy and fidelity</h2><p>Not measured: {escape(str(audit))}.</p>"
    intro = (
        f"Compared are {audit.rows['synthetic']:,} rows that the generator of the first split generated with "
        f"{audit.rows['real']:,} that it learned from and {audit.rows['holdout']:,} held-out ones. Rows that are "
        "written come from a generator of the same kind that learned from all rows."
    )
    words = f"<p><strong>{escape(audit.verdict)}</strong></p><p>{intro}</p>"
    return f"<h2>Privacy and fidelity of generated rows</h2>{words}{panels(audit, sample_of(lift.example.synthetic))}"


def _arms(lift: Lift, verdict: Verdict) -> str:
    rows, base = [], lift.pair[0]
    for arm, title in lift.kind.titles.items():
        gap, hope = lift.over(base, arm), verdict.expected[arm]
        if arm == base:
            rows.append([title, f"{lift.mean(arm):.4f}", "", "", ""])
            continue
        measured = f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        rows.append([title, f"{lift.mean(arm):.4f}", measured, f"{hope.mean:+.4f}", f"{hope.chance:.0%}"])
    names = [
        "trained on",
        "mean",
        f"gain over {lift.kind.titles[base]} (95 % interval)",
        "expected gain",
        "chance of a gain",
    ]
    return table(names, rows)


def _classes(part: str, done: Augmented) -> str:
    rows = [[name, f"{count:,}"] for name, count in done.classes.items()]
    return f"<h2>Generated rows by {part}</h2>{table([part, 'rows'], rows)}" if rows else ""


def _learners(lift: Lift) -> str:
    base = lift.pair[0]
    if len(lift.learners) < 2:
        return ""
    gains = {
        name: {arm: float(np.mean(np.subtract(values, arms[base]))) for arm, values in arms.items()}
        for name, arms in lift.learners.items()
    }
    rows = [
        [title, *(f"{of[arm]:+.4f}" for of in gains.values())] for arm, title in lift.kind.titles.items() if arm != base
    ]
    return "<p>Mean gain by learner:</p>" + table(["trained on", *gains], rows)


def _power(lift: Lift, confidence: float) -> str:
    if not 0 < confidence < 1:
        return f"With a confidence of {confidence:g} the splits decide nothing."
    found, bound = lift.detectable(None, confidence), lift.detectable(math.inf, confidence)
    if not math.isfinite(found):
        return "One split measures no spread."
    return (
        f"{lift.splits} splits, each with {lift.held_out:.0%} of the rows held out before anything was fitted, and "
        f"another seed of the generator, would find a true gain of {found:.3f} in four of five cases. More splits of "
        f"these rows find nothing below {bound:.3f}; more real rows would."
    )


def _prior(lift: Lift, verdict: Verdict) -> str:
    base, decides = lift.pair
    hope = verdict.expected[decides]
    return (
        f"Measured was {lift.over(base).mean:+.4f}. Few rows measure little, so the expected gain, {hope.mean:+.4f}, "
        "weighs it against what such models usually add to such data (zero where that is not known), each by its "
        "precision."
    )


def _copies(lift: Lift) -> str:
    return (
        f"{lift.copies:.1%} of the generated rows nearly equal a real row that was learned from; of held-out real rows "
        f"{lift.usual_copies:.1%} do."
    )


def _command(settings: Settings) -> str:
    chosen, data = settings.augment, settings.data
    given = {
        "--data": data.path, "--label": data.label, "--modality": data.modality, "--class": chosen.condition,
        "--rows": chosen.rows, "--model": chosen.model, "--steps": settings.training.steps,
        "--target": None if chosen.target == "auto" else chosen.target,
        "--group": data.split_column if data.split == "group" else None,
        "--seed": settings.training.random_state, "--schema": data.schema_file, "--output": chosen.output,
    }  # fmt: skip
    words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    words += [word for text in chosen.where for word in ("--where", text)]
    words += [word for name in data.drop for word in ("--drop", name)] + [w for n in data.ids for w in ("--id", n)]
    return shlex.join(["ganlib", "augment", *words])


def _picture(lift: Lift) -> str:
    """Gains of each arm over that without generated rows: one dot a split, the mean and its interval."""
    from matplotlib.figure import Figure

    base, decides = lift.pair
    arms = [arm for arm in lift.kind.titles if arm in lift.arms and arm != base]
    figure = Figure(figsize=(7.5, 0.5 * len(arms) + 1.2), layout="tight", dpi=130)
    axis = figure.subplots()
    reach = 0.0
    for place, arm in enumerate(reversed(arms)):
        gaps, gap = np.subtract(lift.arms[arm], lift.arms[base]), lift.over(base, arm)
        colour = OURS if arm == decides else OTHERS
        axis.scatter(gaps, np.full(len(gaps), place - 0.22), color=colour, s=16, alpha=0.5, linewidths=0)
        low, high = max(gap.low, -1.0), min(gap.high, 1.0)
        axis.plot([low, high], [place, place], color=colour, linewidth=2)
        axis.scatter([gap.mean], [place], color=colour, s=60, zorder=3)
        reach = max(reach, abs(low), abs(high), *np.abs(gaps))
    axis.axvline(0, color="#1c2430", linewidth=1)
    axis.set_yticks(range(len(arms)), [lift.kind.titles[arm] for arm in reversed(arms)])
    axis.set_ylim(-0.6, len(arms) - 0.4)
    reach = 1.05 * max(reach, SHOWN)
    axis.set_xlim(-reach, reach)
    axis.locator_params(axis="x", nbins=8)
    axis.set_xlabel(
        f"gain in {lift.kind.unit} over {lift.kind.titles[base]}\n(dots: splits; bars: 95 % intervals)", fontsize=9
    )
    axis.grid(axis="x", alpha=0.3)
    return markup.picture(figure, f"Gain of each arm over {lift.kind.titles[base]}, by split")
