"""docs/models.md: the registry as a page, with what the recorded checks found."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganlib.registry import Entry

DOCS = Path(__file__).resolve().parents[1] / "docs"
# From so many seeds on, a gain is also tested.
PAIRED = 5
RECORDED, MIXTURES = DOCS / "checks.json", DOCS / "mixtures.json"


def models_page(found: list[Entry]) -> str:
    """Every model and objective: what it is for, its defaults, its level in the tests, its check, and its gaps."""
    found = sorted(found, key=lambda entry: entry.name)
    head = ["# Models", "Written by `ganlib models --markdown`; a test keeps it true. *Level* is what `make test-full` "
            "requires of the worst of 3 seeds on the model's toy problem. *Exports* are what can be sealed to ONNX.",
            "", "| name | task | data | exports | level | paper |", "|---|---|---|---|---|---|"]  # fmt: skip
    rows = [
        f"| `{e.name}` | {', '.join(e.tasks)} | {', '.join(e.modalities)} | {_exports(e)} "
        f"| {e.toy.measure}: at least {e.toy.at_least:g} | {e.paper} |"
        for e in found
    ]
    gaps = [f"- `{e.name}`, {law}: {reason}" for e in found for law, reason in e.known_gaps.items()]
    parts = [*head, *rows, *_defaults(found), *_objectives(), *_checks(), *_mixtures(), "", "## Known gaps", *gaps, ""]
    return "\n".join(parts)


def _exports(model: Entry) -> str:
    from ganlib.abilities import Encodes

    named = [*model.exports, *(["encoder"] if Encodes in model.abilities else [])]
    return ", ".join(named) or "not yet, see below"


def _defaults(found: list[Entry]) -> list[str]:
    """Options and training of every model; of adversarial ones what differs from the common options."""
    from ganlib.adversarial import GameConfig
    from ganlib.models.gan.config import GANConfig

    common = GANConfig().to_dict()
    page = [
        "", "## Defaults",
        "Options, then what estimators train the model with beyond the common `TrainerConfig` (batch_size 128, ema "
        "0.99, gradient_clip 5; fewer steps for very few examples, more for many). Models built on `gan`, and others "
        "that hold a game as far as they have them, share these options, and below say only where they "
        f"differ: {_said(common)}. An option that is null follows the objective's recipe; the critic's networks and "
        "learning rate then are the generator's, and CGAN's go by the kind of data.", "",
        "| name | options | training |", "|---|---|---|",
    ]  # fmt: skip
    for model in found:
        options = model.options().to_dict()
        if issubclass(model.config, GameConfig):
            options = {name: value for name, value in options.items() if name not in common or value != common[name]}
        page.append(f"| `{model.name}` | {_said(options) or '-'} | {_said(model.trainer) or '-'} |")
    return page


def _said(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())


def _objectives() -> list[str]:
    """The recipe of every objective."""
    from ganlib.losses.adversarial import OBJECTIVES
    from ganlib.losses.penalties import PENALTIES

    page = [
        "", "## Objectives and slope penalties",
        "What each source trains with; `objective=` and `penalty=` of the models built on `gan` take these names.",
        "", "| objective | critic | optimiser | critic steps | bounds | numbers | source |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in OBJECTIVES.values():
        recipe, kind = row.recipe, {"logit": "logit", "energy": "auto-encoder", "none": "none"}[row.kind]
        bounds = [f"clip {recipe.clip:g}"] if recipe.clip else []
        if recipe.penalty != "none":
            bounds.append(
                f"{recipe.penalty} × {recipe.penalty_weight:g} ({recipe.vector_penalty_weight:g} for vectors)"
            )
        bounds += ["spectral norm"] if recipe.spectral_norm else []
        steps = f"{recipe.critic_steps}{', warm-up' if recipe.warm_up else ''}"
        optimiser = f"{recipe.optimiser} {recipe.learning_rate:g}, betas {recipe.betas[0]:g} {recipe.betas[1]:g}"
        page.append(
            f"| {row.name} | {kind} | {optimiser} | {steps} | {', '.join(bounds) or '-'} "
            f"| {_said(row.options) or '-'} | {row.source} |"
        )
    page += ["", "| penalty | source |", "|---|---|"]
    return page + [f"| {row.name} | {row.source} |" for row in PENALTIES.values()]


def _checks() -> list[str]:
    """The recorded runs of ``benchmarks.models.checks``; nothing where they are not at hand."""
    if not RECORDED.is_file():
        return []
    stored: dict[str, dict[str, Any]] = json.loads(RECORDED.read_text(encoding="utf-8"))
    return [
        "", "## Checks",
        "Each model's own test, by `python -m benchmarks.models.checks --write` (those on MNIST by the benches that "
        "`benchmarks/models/checks/on_mnist.py` names): the figure and the baseline of every seed. *Needs* is the "
        "bound on the mean, or on the worst seed; *gain* bounds figure less baseline.", "",
        "| check | model | what is measured | figure | baseline | needs | |", "|---|---|---|---|---|---|---|",
        *(_row(name, check) for name, check in sorted(stored.items(), key=_in_order)),
    ]  # fmt: skip


def _in_order(item: tuple[str, Any]) -> tuple[str, int, str]:
    """B2 before B12."""
    letter, number, rest = re.fullmatch(r"([A-Z])(\d+)(.*)", item[0]).groups()  # type: ignore[union-attr]
    return letter, int(number), rest


def _mixtures() -> list[str]:
    """The recorded runs of ``benchmarks.models.mixtures``, best first."""
    if not MIXTURES.is_file():
        return []
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for run in json.loads(MIXTURES.read_text(encoding="utf-8")):
        runs.setdefault(run["set"], {}).setdefault(run["objective"], []).append(run)
    page = [
        "", "## Objectives on mixtures",
        "One network and one budget for every objective, with the options of its toy (a learning rate; for "
        "f-divergences without a bound a penalty), by `python -m benchmarks.models.mixtures --write`: modes found and "
        "share of points within three deviations of one, mean and by seed; CPU beside `gan`'s. Those that lose stay in "
        "the table.",
    ]  # fmt: skip
    for name, objectives in runs.items():
        usual = _mean(objectives.get("gan", next(iter(objectives.values()))), "cpu_s")
        page += ["", f"| {name} | modes | share | CPU |", "|---|---|---|---|"]
        ranked = sorted(objectives.items(), key=lambda item: (-_mean(item[1], "modes"), -_mean(item[1], "quality")))
        for objective, rows in ranked:
            modes, shares = (" ".join(f"{row[key]:.3g}" for row in rows) for key in ("modes", "quality"))
            page.append(
                f"| {objective} | {_mean(rows, 'modes'):.3g} ({modes}) | {_mean(rows, 'quality'):.2f} ({shares}) "
                f"| {_mean(rows, 'cpu_s') / usual:.1f} |"
            )
    return page


def _mean(rows: list[dict[str, Any]], key: str) -> float:
    return statistics.mean(row[key] for row in rows)


def _row(name: str, check: dict[str, Any]) -> str:
    figures, baselines = (" ".join(f"{value:.3g}" for value in check[key]) for key in ("figures", "baselines"))
    judged = f"{'worst' if check['worst'] else 'mean'} {'gain ' if check['gain'] else ''}{check['need']:.3g}"
    mean = statistics.mean(check["figures"])
    verdict = "reproduced" if check["passed"] else "not reproduced"
    if check["finding"]:
        verdict = "gain" if check["passed"] else "no gain"
    if check["gain"] and len(check["figures"]) >= PAIRED:
        from scipy.stats import ttest_rel

        judged += f"; paired p {ttest_rel(check['figures'], check['baselines'], alternative='greater').pvalue:.2g}"
        judged += f" (needs below {check['level']:g})" if check["level"] < 1 else ""
    return (
        f"| {name} | `{check['model']}` | {check['measure']} | {mean:.3g} ({figures}) "
        f"| {check['baseline']}: {baselines} | {judged} | {verdict} |"
    )
