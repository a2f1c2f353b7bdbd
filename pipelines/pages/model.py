"""docs/models/NAME.md: one model, always by the same skeleton."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import statistics
import textwrap
from typing import TYPE_CHECKING, Any

from pipelines.pages.code import blocks_of
from pipelines.pages.options import options_table, shown
from pipelines.pages.tables import DOCS, GENERATED, checks, mixtures_of, verdict
from pipelines.pages.words import Words, capital, words_of
from serving.wording import counted

if TYPE_CHECKING:
    from ganlib.registry import Entry

PICTURES = DOCS / "models" / "pictures.json"


def model_page(entry: Entry) -> str:
    """The page of one model."""
    words = words_of(entry)
    parts = [
        f"# {entry.name}",
        words.title,
        _facts(entry),
        _picture(entry),
        "## What it is for",
        textwrap.fill(words.use, 120),
        "## When not to use it",
        textwrap.fill(words.avoid, 120),
        "## Objective",
        words.idea,
        _symbols(words),
        "## Options",
        *_options(entry),
        "## Shapes, defaults and deviations" if words.details else "",
        *words.details,
        "## Recorded figures",
        *_figures(entry),
        "## Code",
        *_code(entry),
        f"*[All models](../models.md). {GENERATED}*",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(entry: Entry) -> str:
    from ganlib.abilities import Encodes

    sealed = [*entry.exports, *(["encoder"] if Encodes in entry.abilities and entry.exports else [])]
    sealed += ["translator"] if "translator" in entry.tasks else []
    source = entry.build.__module__.replace(".", "/") + ".py"
    gaps = "; ".join(f"{law}: {reason}" for law, reason in entry.known_gaps.items())
    lines = [
        f"- **Task:** {', '.join(entry.tasks)}",
        f"- **Data:** {', '.join(entry.modalities)}" + (f"; by {' and '.join(entry.takes)}" if entry.takes else ""),
        f"- **Sealed as:** {', '.join(sealed) or 'not yet'}",
        f"- **Source:** {entry.paper}",
        f"- **File:** [{source}](../../{source})",
    ]
    return "\n".join(lines + ([f"- **Known gap:** {gaps}"] if gaps else []))


@functools.cache
def pictures() -> dict[str, dict[str, Any]]:
    """How the pictures were made, by model; nothing where docs/ is not at hand."""
    return json.loads(PICTURES.read_text(encoding="utf-8")) if PICTURES.is_file() else {}


def _picture(entry: Entry) -> str:
    made = pictures().get(entry.name)
    if not made:
        return ""
    shorter = " (fewer than in the tests)" if made["shortened"] else ""
    return (
        f"![{made['caption']}](img/{entry.name}.png)\n\n"
        f"*{capital(made['caption'])}. Trained on {made['examples']:,} examples of its toy problem for "
        f"{made['steps']:,} steps{shorter}, {made['seconds']:.3g} s of one CPU core, seed 0.*"
    )


def _symbols(words: Words) -> str:
    rows = ["| symbol | code |", "|---|---|"]
    rows += [f"| {_cell(symbol, re.fullmatch(r'[A-Za-z ,-]{6,}', symbol) is None)} | {_as_code(code)} |"
             for symbol, code in words.symbols]  # fmt: skip
    return "\n".join(rows) if words.symbols else ""


def _cell(text: str, code: bool) -> str:
    text = text.replace("|", "\\|")
    return f"`{text}`" if code and "`" not in text else text


def _as_code(text: str) -> str:
    """Names in Markdown's code, unless the text has code already: single words, and within phrases what looks so."""
    name = r"\b(?:\w+\.)+\w+\b|\b\w*_\w+\b|\b[A-Z]\w*[a-z]\w*\b"
    parts = text.replace("|", "\\|").split(", ")
    return (
        text
        if "`" in text
        else ", ".join(f"`{part}`" if re.fullmatch(r"\w+", part) else re.sub(name, r"`\g<0>`", part) for part in parts)
    )


def _options(entry: Entry) -> list[str]:
    from ganlib.adversarial import GameConfig

    names = [field.name for field in dataclasses.fields(entry.config)]
    defaults, usual = entry.options(), GameConfig()
    games = issubclass(entry.config, GameConfig)
    common = [name for name in vars(usual) if games and getattr(defaults, name) == getattr(usual, name)]
    parts = ["\n".join(options_table(entry.config, defaults, [name for name in names if name not in common]))]
    if games:
        parts.append(
            f"And [the options of every game](../objectives.md#options-of-a-game), by which it can be given another "
            f"objective, penalty or trick. {_recipe(entry)}"
        )
    trained = ", ".join(f"`{name}={shown(value)}`" for name, value in entry.trainer.items())
    recipe = "[the common recipe](../generators.md#how-long-how-fast-trainer)"
    parts.append(f"Estimators train it with {trained}; the rest by {recipe}." if trained else
                 f"Estimators train it by {recipe}.")  # fmt: skip
    return parts


def _recipe(entry: Entry) -> str:
    """What an option that is None stands for, by the objective's source."""
    from ganlib.losses.adversarial import objective

    row = objective(entry.options().objective)  # type: ignore[attr-defined]
    recipe = row.recipe
    said = [f"{recipe.optimiser} {recipe.learning_rate:g}, betas {recipe.betas[0]:g} and {recipe.betas[1]:g}"]
    if row.kind != "none":
        said.append(f"{counted(recipe.critic_steps, 'critic step')} for each of the generator")
    if recipe.penalty != "none":
        vectors = f"{recipe.vector_penalty_weight:g} for vectors"
        said.append(f"penalty `{recipe.penalty}` of weight {recipe.penalty_weight:g} ({vectors})")
    said += [f"weights clipped at {recipe.clip:g}"] if recipe.clip else []
    said += ["spectral norm"] if recipe.spectral_norm else []
    return f"`None` follows the source of [objective](../objectives.md) `{row.name}`: {'; '.join(said)}."


def _figures(entry: Entry) -> list[str]:
    parts = []
    if found := checks(entry.name):
        rows = ["| what is measured | figure | baseline | |", "|---|---|---|---|"]
        for check in found.values():
            figure, baseline = (f"{statistics.mean(check[key]):.3g}" for key in ("figures", "baselines"))
            measure = check["measure"].replace("|", "\\|")
            rows.append(f"| {measure} | **{figure}** | {check['baseline']}: {baseline} | {verdict(check)} |")
        seeds = sorted({len(check["seeds"]) for check in found.values()})
        parts += ["\n".join(rows), f"Means over {' to '.join(map(str, seeds))} seeds; by seed and with their bounds in "
                  "[checks](../checks.md)."]  # fmt: skip
    else:
        parts.append("No check on the paper's claim is recorded; [performance](../performance.md) has the benchmarks.")
    toy, made = entry.toy, pictures().get(entry.name)
    level = f"Toy problem ({toy.measure}): the tests require at least {toy.at_least:g} of "
    level += "two of five seeds" if toy.two_of_five else "the worst of three seeds"
    if made and not made["shortened"]:
        level += f"; the picture's training reached {made['level']:.3g}, the trivial answer {made['baseline']:.3g}"
    parts.append(level + ".")
    if objective := objective_of(entry):
        parts.append(" ".join(mixtures_of(objective)))
    return parts


def objective_of(entry: Entry) -> str:
    """The objective, if the model is nothing else: `gan` under another objective."""
    return (
        str(entry.options().to_dict()["objective"])
        if entry.name == "gan" or list(entry.defaults) == ["objective"]
        else ""
    )


def _code(entry: Entry) -> list[str]:
    parts = []
    for block in blocks_of(entry):
        parts += [block.title, f"```python\n{block.code}```"]
    return parts
