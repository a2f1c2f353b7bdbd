"""docs/models.md: all models by task, one line each."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from pipelines.pages.model import objective_of, pictures
from pipelines.pages.tables import GENERATED, checks, modes_found
from pipelines.pages.words import words_of

if TYPE_CHECKING:
    from ganlib.registry import Entry

# A model stands under the first of its tasks in this order: what few others can do comes first.
TASKS = {
    "behaviour": "Behaviour: choose actions",
    "sequence": "Sequences of tokens",
    "translator": "Translators: one domain to another",
    "classifier": "Classifiers from few labels",
    "segmenter": "Segmenters: the class of each pixel",
    "density": "Densities",
    "detector": "Detectors",
    "augmenter": "Augmenters: generate examples",
}
ORDER = ("detector", "augmenter", "density", "classifier", "segmenter", "translator", "sequence", "behaviour")


def index_page(found: list[Entry]) -> str:
    """The index: by task, what each model is for, its data, a figure beside the baseline, and its page."""
    home = {entry.name: next(task for task in TASKS if task in entry.tasks) for entry in found}
    page = [
        "# Models", f"{len(found)} models, a page each: what it is for, what not, objective, options, figures, code.",
        GENERATED, "",
        "See also [objectives](objectives.md): adversarial objectives and slope penalties, on mixtures side by side; "
        "[checks](checks.md): every recorded figure by seed; [generators](generators.md): use from Python; "
        "[extending](extending.md): a model of your own.",
    ]  # fmt: skip
    for task in ORDER:
        own = sorted((e for e in found if home[e.name] == task), key=lambda e: e.name)
        also = sorted(e.name for e in found if task in e.tasks and home[e.name] != task)
        if not (own or also):
            continue
        page += ["", f"## {TASKS[task]}", "| model | what it is for | data | figure, baseline |", "|---|---|---|---|"]
        page += [_line(entry) for entry in own]
        if also:
            page += ["", f"Listed elsewhere, and {task}s too: " + ", ".join(map(_link, also)) + "."]
    return "\n".join([*page, ""])


def _link(name: str) -> str:
    return f"[{name}](models/{name}.md)"


def _line(entry: Entry) -> str:
    use = words_of(entry).use.split(". ")[0].rstrip(".").replace("|", "\\|")
    return f"| {_link(entry.name)} | {use} | {', '.join(entry.modalities)} | {figure_of(entry)} |"


# What compares models of a task: the first check that measures it stands in the index.
COMPARED = ("AUROC", "train synthetic", "modes of 25", "labels")


def figure_of(entry: Entry) -> str:
    """Modes found by an objective; else a recorded check, else the toy's level in the picture's training."""
    modes, objective = modes_found().get("25 modes", {}), objective_of(entry)
    found = list(checks(entry.name).values())
    if objective in modes and not any("AUROC" in check["measure"] for check in found):
        beside = "" if objective == "gan" else f"; `gan`: {modes['gan']:.3g}"
        return f"25 Gaussians: modes found: **{modes[objective]:.3g}**{beside}"
    if found:
        check = next((c for word in COMPARED for c in found if word in c["measure"]), found[0])
        mean, baseline = (statistics.mean(check[key]) for key in ("figures", "baselines"))
        failed = "" if check["passed"] else "; not reproduced"
        return f"{check['measure']}: **{mean:.3g}**; {check['baseline']}: {baseline:.3g}{failed}".replace("|", "\\|")
    made = pictures().get(entry.name)
    if not made or made["shortened"]:
        return f"{entry.toy.measure}: at least {entry.toy.at_least:g} (toy)"
    return f"{made['measure']}: **{made['level']:.3g}**; trivial answer: {made['baseline']:.3g} (toy)"
