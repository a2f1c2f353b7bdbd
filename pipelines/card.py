"""The card of a version, shown by MLflow: quality, gates, training data and how to call the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.model_card import column_kinds, input_columns, input_tensor
from serving.wording import counted, listed

if TYPE_CHECKING:
    from serving.artifact import Artifact

LIMIT = 5000  # longest description that MLflow's databases store, in characters
COLUMNS = 20
_GATES = "### Gates"
PICTURES = {
    "calibration.png": "Alarms on held-out rows, by alarm budget", "curves.png": "Losses by epoch",
    "samples.png": "Generated images, by class", "swap.png": "Images of one noise as each class",
    "walk.png": "Images between pairs of noise",
}  # fmt: skip
_WHAT = {"detector": "Anomaly detector", "augmenter": "Generator", "translator": "Translator"}
_QUALITY = {"quality_chance": "chance", "baseline_pca": "PCA reconstruction", "champion_quality": "champion"}
_CALL = """```python
model = mlflow.pyfunc.load_model("models:/NAME@champion")
types = model.metadata.get_input_schema()
model.predict(frame.astype(dict(zip(types.input_names(), types.pandas_types()))))
```"""

_CALL_TENSOR = """```python
model = mlflow.pyfunc.load_model("models:/NAME@champion")
model.predict(examples)
```"""


def card(
    artifact: Artifact,
    name: str,
    tags: Mapping[str, str],
    run_id: str = "",
    pictures: Iterable[str] = (),
) -> str:
    """The card in Markdown, without gates; ``pictures`` are files of the run."""
    shown = [f"![{PICTURES[file]}](get-artifact?path={file}&run_uuid={run_id})" for file in pictures if run_id]
    call = f"### Call\n{(_CALL_TENSOR if input_tensor(artifact) else _CALL).replace('NAME', name)}"
    return _fitting([_head(artifact, tags), _quality(tags), *shown, _data(artifact, tags), call])


def with_gates(text: str, gates: Sequence[Mapping[str, Any]]) -> str:
    """A card with the table of gates, which replaces an earlier one."""
    rows = [[g["name"], "passed" if g["passed"] else "**refused**", g["found"], g["needed"]] for g in gates]
    head, *others = [part for part in _parts(text) if not part.startswith(_GATES)] or [""]
    return _fitting([head, _table(_GATES, ["gate", "verdict", "found", "needed"], rows), *others])


def _parts(text: str) -> list[str]:
    """The sections of a card."""
    return [part.strip() for part in re.split(r"\n\n(?=###|!\[)", text) if part.strip()]


def _fitting(parts: Iterable[str]) -> str:
    """The sections that fit into ``LIMIT`` characters."""
    text = ""
    for part in filter(None, parts):
        if len(text) + len(part) + 2 <= LIMIT:
            text += f"{part}\n\n"
    return text.rstrip() + "\n"


def _head(artifact: Artifact, tags: Mapping[str, str]) -> str:
    of = {"table": "table rows", "image": "images"}.get(artifact.modality, "series")
    lines = [
        f"**{_WHAT[artifact.kind]} of {of}** `{artifact.metadata['model']['name']}`, sha-256 `{artifact.sha256[:12]}`"
    ]
    if artifact.kind == "detector":
        lines += fused(artifact.metadata["model"]["config"])
        lines += [tags["tuning"]] if "tuning" in tags else []
        known = artifact.calibration
        budget = f"alarm budget {known['alpha']:g}, " if "alpha" in known else ""
        runs = f" of {counted(known['runs'], 'run')}" if "runs" in known else ""
        lines.append(f"{budget}at least {known['alpha_min']:.3g} by {known['n']:,} calibration rows{runs}")
    if artifact.kind == "translator":
        both = "both ways" if "back_sha256" in tags else "one way"
        lines.append(f"{both}: this file leads to domain {artifact.metadata['to']}")
    if origin := tags.get("copied_from"):
        lines.append(f"copied from {origin}")
    return "  \n".join(lines)


def fused(config: Mapping[str, Any]) -> list[str]:
    """What a fusion of models was made of, in lines; none for another model."""
    if "dropped" not in config:
        return []
    shares = zip(config["members"], config["weights"], strict=True)
    lines = [
        f"fused: {', '.join(f'{name} {weight:.2f}' for name, weight in shares)} ({_reason(config)})",
        f"{config['dropped']:.1%} of the training rows were dropped as suspect",
    ]
    return lines + [f"left out: {reason}" for reason in config["left_out"]]


def _reason(config: Mapping[str, Any]) -> str:
    """Why the members of a fusion have their weights."""
    if not config.get("held_out"):
        return "usual weights: no measure without labels shows which member is best"
    usual, fitted = config["held_out"]
    compared = f"AUPRC {fitted:.3f} with fitted and {usual:.3f} with usual ones on anomalies held out"
    return (
        f"weights {'fitted to' if fitted > usual else 'as usual, with'} {config['known']} known anomalies: {compared}"
    )


def _quality(tags: Mapping[str, str]) -> str:
    figures = [(key.removeprefix("macro_auprc_"), value) for key, value in tags.items() if key.startswith("macro_")]
    title = "macro AUPRC of a forest trained on"
    if "quality" in tags:
        title = tags.get("quality_measure", "quality")
        figures = [(tags.get("model", "model"), tags["quality"])]
        figures += [(text, tags[key]) for key, text in _QUALITY.items() if key in tags]
    if "error_measure" in tags:
        title = tags["error_measure"]
        figures = [(key.removeprefix("error "), value) for key, value in tags.items() if key.startswith("error ")]
        figures.append((tags["quality_measure"], tags["quality"]))
    return _table("### Quality", [title, "figure"], [[name, _figure(value)] for name, value in figures])


def _figure(value: str) -> str:
    """A number with four decimals; a tag that is no number, unchanged."""
    try:
        return f"{float(value):.4f}"
    except ValueError:
        return value


def _data(artifact: Artifact, tags: Mapping[str, str]) -> str:
    trained, kinds = artifact.metadata["training"], column_kinds(artifact)
    columns = _inputs(artifact)
    rows = [[name, kinds.get(name, ""), kind] for name, kind in columns[:COLUMNS]]
    if len(columns) > COLUMNS:
        rows.append([f"and {len(columns) - COLUMNS} more", "", ""])
    mark = "what it was trained on is not known"
    if trained.get("fingerprint"):
        mark = f"`{trained['data']}`, {trained['rows']:,} training rows, fingerprint `{trained['fingerprint'][:12]}`"
    found = f"{mark}; privacy check: {tags.get('privacy', 'not checked')[:200]}"
    if windows := _windows(artifact, tags.get("level", "")):
        found += f". {windows}"
    if lost := _lost_in_csv(artifact):
        found += f". In text/csv MLflow reads {listed(lost, 5)} as missing, though they are values here: send JSON"
    return _table("### Data", ["column", "kind", "MLflow type"], rows, found)


def _windows(artifact: Artifact, level: str) -> str:
    """How rows become windows, and what that means for p-values; empty for other models."""
    if artifact.kind != "detector" or (windows := artifact.windows) is None:
        return ""
    of = "" if windows.key is None else f" of each {windows.key!r}"
    own = ""
    if windows.levels is not None:
        own = f" relative to the levels of {counted(len(windows.levels.keys), 'key')}"
    why = f" Level {level}." if level else ""
    return (
        f"Rows are windows of {windows.length} readings{of} by {windows.time!r}{own}: {listed(windows.channels, 10)}."
        f"{why} "
        "P-values hold for windows of runs like those held out for calibration; successive windows share rows, so "
        "alarms come in bursts"
    )


def _inputs(artifact: Artifact) -> list[tuple[str, str]]:
    """(name, MLflow type) of each input."""
    if tensor := input_tensor(artifact):
        return [("x", f"tensor({tensor[0]}, {(-1, *tensor[1])})")]
    return input_columns(artifact)


def _lost_in_csv(artifact: Artifact) -> list[str]:
    """Categories that MLflow's server, which reads CSV with pandas, reads as missing values."""
    if artifact.modality != "table":
        return []
    import io

    import pandas as pd

    words = sorted({word for c in artifact.schema["columns"] for word in c.get("categories") or () if word})
    read = pd.read_csv(io.StringIO(pd.Series(words, dtype=object).to_csv(index=False)), dtype=object).iloc[:, 0]
    return [word for word, missing in zip(words, read.isna(), strict=True) if missing]


def _table(title: str, columns: list[str], rows: list[list[str]], above: str = "") -> str:
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    drawn = "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)
    return f"{title}\n" + (f"{above}\n\n" if above else "") + drawn


def _cell(text: str) -> str:
    """Text as one line of at most 80 characters, with bars escaped."""
    plain = " ".join(str(text).split())
    return (plain if len(plain) <= 80 else plain[:79] + "…").replace("|", "\\|")
