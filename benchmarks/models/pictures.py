"""One picture a model, of what it learned on its toy problem, for docs/models/NAME.md.

    python -m benchmarks.models.pictures [--only NAME ...] [--steps N] [--keep FOLDER]

Each model is trained at seed 0 as its toy says, or for ``--steps`` steps. Pictures go to docs/models/img/NAME.png; what
was trained, for how long and with which level goes to docs/models/pictures.json, from which `ganlib models --pages`
writes the captions. A picture that is newer than the model's file is skipped unless it is named. With ``--keep``,
trained models stay in the folder, and are drawn from there another time.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.models import drawing as d
from benchmarks.models.translations import adapted_points, label_maps, translated_images, translated_points
from ganlib import abilities
from ganlib.abilities import can
from ganlib.files import write_whole
from ganlib.registry import Entry, entries
from ganlib.testing.problems import digits, factor_table, ring, rule_property
from ganlib.training import Trainer, TrainerConfig

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "models"
RECORD, IMAGES = FOLDER / "pictures.json", FOLDER / "img"
Drawn = tuple[Figure, str]


def main() -> int:
    """Draw what is missing or named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="draw these, whether new or not")
    parser.add_argument("--steps", type=int, help="train for so many steps instead of the toy's")
    parser.add_argument("--keep", type=Path, help="folder of trained models")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    IMAGES.mkdir(parents=True, exist_ok=True)
    known = {entry.name: entry for entry in entries()}
    if unknown := [name for name in chosen.only if name not in known]:
        parser.error(f"no model is called {', '.join(unknown)}")
    for name in chosen.only or [name for name, entry in known.items() if not _current(entry)]:
        print(name, end=" ", flush=True)
        print(draw(known[name], chosen.steps, chosen.keep), flush=True)
    return 0


def _current(entry: Entry) -> bool:
    picture, source = IMAGES / f"{entry.name}.png", Path(inspect.getfile(entry.build))
    return picture.is_file() and picture.stat().st_mtime > source.stat().st_mtime and entry.name in _record()


def _record() -> dict[str, Any]:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


def draw(entry: Entry, steps: int | None = None, keep: Path | None = None) -> str:
    """Train, draw, record; returns a line about it."""
    toy = entry.toy
    torch.manual_seed(0)
    data = dict(toy.data(0))
    model = entry.create(toy.spec, **toy.config)
    row = trained(entry, model, data, steps, keep and keep / f"{entry.name}.pt")
    model.eval()
    level, baseline = float(toy.level(model, 0)), float(toy.baseline(0))
    with torch.no_grad():
        made, caption = drawer_of(entry, model, data)(entry, model, data)
    size = d.save(made, IMAGES / f"{entry.name}.png")
    row |= {"caption": caption, "measure": toy.measure, "level": round(level, 3), "baseline": round(baseline, 3)}
    kept = {**_record(), entry.name: row}
    write_whole(RECORD, (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode())
    return f"{row['seconds']:.0f} s, level {level:.3f} ({baseline:.3f}), {size // 1000} KB"


def trained(entry: Entry, model: Any, data: dict[str, Tensor], steps: int | None, kept: Path | None) -> dict[str, Any]:
    """Train the model, or take its state from a file; returns how it was trained."""
    if kept and kept.is_file():
        model.load_state_dict(torch.load(kept))
        row = json.loads(kept.with_suffix(".json").read_text(encoding="utf-8"))
        return row
    options = {**entry.toy.trainer, "random_state": 0}
    if steps:
        options = {**{name: value for name, value in options.items() if name != "epochs"}, "steps": steps}
    start = time.process_time()
    history = Trainer(TrainerConfig(**options)).fit(model, data)
    seconds = round(time.process_time() - start, 1)
    row = {"steps": history.steps, "examples": len(data["x"]), "seconds": seconds, "shortened": bool(steps)}
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), kept)
        kept.with_suffix(".json").write_text(json.dumps(row), encoding="utf-8")
    return row


def drawer_of(entry: Entry, model: Any, data: dict[str, Tensor]) -> Callable[..., Drawn]:
    """What suits the model's abilities and its data."""
    kind, flat = model.spec.kind, len(model.spec.shape) == 1
    rules: tuple[tuple[bool, Callable[..., Drawn]], ...] = (
        (can(model, abilities.Acts), policy),
        (kind == "tokens", sequences),
        (can(model, abilities.Segments), label_maps),
        (can(model, abilities.Translates), translated_points if flat else translated_images),
        ("c" in data, described if model.spec.dim == 2 else steered),
        (hasattr(model, "neighbours") and model.spec.dim == 2, neighbours),
        (can(model, abilities.Predicts) and "x_b" in data, adapted_points),
        (can(model, abilities.Predicts), regions if model.spec.dim == 2 else confusion),
        (not flat, images),
        (model.spec.dim == 2, points),
        ("y" in data and can(model, abilities.Samples), classes),
        (can(model, abilities.Scores), scores),
    )
    return next((drawer for holds, drawer in rules if holds), generic)


def samples(model: Any, n: int, *conditions: Tensor) -> Tensor:
    """Generated examples at seed 0."""
    sampler = model.sampler()
    return sampler(torch.randn(n, sampler.latent_dim, generator=torch.Generator().manual_seed(0)), *conditions)


# ------------------------------------------------------------------------------------------------ points
def points(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Data, generated points, and the map of the density or of the score."""
    x = data["x"]
    reach = d.reach_of(x)
    shows: list[tuple[str, Callable[[Any], Any]]] = [("data", lambda axis: d.scatter(axis, x, d.BLUE, "data", reach))]
    if can(model, abilities.Samples):
        made = samples(model, 1500)
        colour: Any = d.colours_of(model.category(made)) if hasattr(model, "category") else d.ORANGE
        title = "generated, by code" if hasattr(model, "category") else "generated"
        shows.append((title, lambda axis: d.scatter(axis, made, colour, title, reach)))
    if can(model, abilities.HasDensity):
        shows.append(("density", lambda axis: d.height_map(axis, lambda x: model.log_prob(x).exp(), reach, "density")))
    elif can(model, abilities.Scores) and "detector" in entry.tasks:
        shows.append(("score", lambda axis: d.height_map(axis, model.scorer(), reach, "score, high for anomalies")))
    figure, axes = d.panels(len(shows))
    for axis, (_, show) in zip(axes, shows, strict=True):
        show(axis)
    return figure, "; ".join(name for name, _ in shows)


def described(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Points generated by description, one colour a description."""
    x, c = data["x"][:1500], data["c"][:1500]
    angle = torch.atan2(c[:, 1], c[:, 0])
    label = (4 * angle / torch.pi).round().long() % 8
    figure, (left, right) = d.panels(2)
    d.scatter(left, x, d.colours_of(label), "data, coloured by description", d.reach_of(x))
    d.scatter(right, samples(model, len(c), c), d.colours_of(label), "generated for these", d.reach_of(x))
    return figure, "data coloured by their description; points generated for the same descriptions"


def steered(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """The requested property against that of generated rows, and of rows of independent flags."""
    x, wanted = data["x"], data["c"][:600]
    flags = (torch.rand(600, x.shape[1], generator=torch.Generator().manual_seed(0)) < x.mean(0)).float()
    figure, axes = d.panels(2)
    reach = d.reach_of(torch.cat([wanted, rule_property(x)]).expand(-1, 2), 0.05)
    parts = (("generated for it", samples(model, 600, wanted), d.ORANGE), ("independent flags", flags, d.INK))
    for axis, (title, rows, colour) in zip(axes, parts, strict=True):
        found = rule_property(rows)
        share = float(torch.corrcoef(torch.cat([wanted, found], 1).T)[0, 1])
        # Both take few values: darker where more rows lie on each other.
        axis.scatter(wanted[:, 0], found[:, 0], s=30, c=colour, linewidths=0, alpha=0.12)
        axis.axline((0, 0), slope=1, color=d.GREY, linewidth=0.8)
        axis.set_xlim(reach[0], reach[1])
        axis.set_ylim(reach[2], reach[3])
        axis.set_aspect("equal")
        axis.set_xlabel("requested property", fontsize=9)
        axis.set_ylabel("property of the row", fontsize=9)
        d.plain(axis, f"{title}: r = {share:.2f}")
    return (
        figure,
        "the property of rows generated for a requested one, with their correlation r; the same of independent flags",
    )


def neighbours(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Neighbours of some points, and their tangents."""
    x = data["x"]
    mode = (4 * torch.atan2(x[:, 1], x[:, 0]) / torch.pi).round().long() % 8
    origins = torch.cat([x[mode == k][:1] for k in range(8)])
    z = 0.2 * torch.randn(8 * 60, model.config.latent_dim, generator=torch.Generator().manual_seed(0))
    near = model.neighbours(origins.repeat_interleave(60, 0), z)
    figure, (left, right) = d.panels(2)
    d.scatter(left, x, d.BLUE, "data", d.reach_of(x))
    d.scatter(right, near, d.colours_of(torch.arange(8).repeat_interleave(60)), "neighbours of 8 points", d.reach_of(x))
    right.scatter(origins[:, 0], origins[:, 1], s=14, c=d.INK)
    return figure, "data; neighbours generated around eight examples (black)"


def regions(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """The plane by predicted class, labelled points, generated points."""
    x = ring(1500, 1000, deviation=0.1)[0] if model.spec.dim == 2 else data["x"]
    reach = d.reach_of(x)
    figure, axes = d.panels(2)
    d.scatter(axes[0], x, d.colours_of(model.classify(x)), "held-out data, by class found", reach)
    if "labelled_x" in data:
        known = torch.cat([data["labelled_x"], data["labelled_y"][:, None].float()], 1).unique(dim=0)
        axes[0].scatter(known[:, 0], known[:, 1], s=16, c=d.colours_of(known[:, 2]), edgecolors=d.INK, linewidths=0.8)
    made = samples(model, 1500)
    d.scatter(axes[1], made, d.colours_of(model.classify(made)), "generated, by class found", reach)
    note = " (labelled ones outlined)" if "labelled_x" in data else ""
    return figure, f"held-out points coloured by the class found{note}; generated points"


# ------------------------------------------------------------------------------------------------ images
def images(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Data, generated images, reconstructions and scores, as far as the model has them."""
    side = model.spec.shape[-1]
    held = digits(0, "test")[0] if side == 8 else data["x"]
    rows: list[tuple[str, Tensor, Any]] = [("data", held[:10], None)]
    if can(model, abilities.Samples):
        by_class = model.by_class
        made = samples(model, 20, torch.arange(20) % model.spec.classes) if by_class else samples(model, 20)
        rows += [("made by class" if by_class else "generated", made[:10], None), ("", made[10:], None)]
    rebuilt = _rebuilt(model, held[:10])
    if rebuilt is not None:
        rows.append(("reconstructed", rebuilt, None))
    if can(model, abilities.Scores) and "detector" in entry.tasks:
        noise = torch.rand(10, side * side, generator=torch.Generator().manual_seed(0))
        broken = held[:10].flatten(1).gather(1, noise.argsort(1)).view_as(held[:10])
        scorer = model.scorer()
        rows[0] = ("data, scores", held[:10], [_short(v) for v in scorer(held[:10])])
        rows.append(("shuffled pixels", broken, [_short(v) for v in scorer(broken)]))
        again = _rebuilt(model, broken)
        if again is not None:
            rows.append(("reconstructed", again, None))
    return d.image_rows(rows, max(2, 48 // side)), "; ".join(name for name, _, _ in rows if name)


def _short(value: Tensor) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _rebuilt(model: Any, x: Tensor) -> Tensor | None:
    """Reconstructions, where the model has them."""
    if hasattr(model, "outputs"):  # a codebook's
        return model.rebuild(model.book[model.nearest(model.outputs(x))])
    if hasattr(model, "machine"):
        from ganlib.models.energy.rbm import as_visible

        machine = model.machine
        return 2 * machine.visible_given(machine.hidden_given(as_visible(model.spec, x))).view_as(x) - 1
    return model.rebuild(x) if hasattr(model, "rebuild") else None


def confusion(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Held-out digits by true and predicted class."""
    x, y = digits(0, "test")
    found = model.classify(x.reshape(len(x), *model.spec.shape))
    table = torch.bincount(10 * y + found, minlength=100).view(10, 10).float()
    share = table / table.sum(1, keepdim=True)
    figure, (axis,) = d.panels(1, 380)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i in range(10):
        for j in range(10):
            if table[i, j]:
                axis.text(j, i, f"{int(table[i, j])}", ha="center", va="center", fontsize=7,
                          color="white" if share[i, j] > 0.5 else d.INK)  # fmt: skip
    axis.set_xticks(range(10))
    axis.set_yticks(range(10))
    axis.set_xlabel("predicted", fontsize=9)
    axis.set_ylabel("true", fontsize=9)
    d.plain(axis, f"held-out digits: accuracy {float((found == y).float().mean()):.3f}")
    return figure, "held-out digits by true and predicted class"


# ------------------------------------------------------------------------------------------------ tables and others
def scores(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Scores of held-out normal rows and of rows with broken dependence, beside PCA reconstruction."""
    from ganlib.metrics.detection import pca_scores

    usual, anomalous = factor_table(500, 1000), factor_table(500, 2000, shift=0.5)
    scorer = model.scorer()
    other = [pca_scores(data["x"], part) for part in (usual, anomalous)]
    found, odd = scorer(usual).numpy(), scorer(anomalous).numpy()
    pca = ("PCA", *(part.numpy() if isinstance(part, Tensor) else part for part in other))
    caption = "scores of held-out rows and of rows with broken dependence; the ROC curve beside PCA reconstruction's"
    return d.separation(found, odd, pca), caption  # type: ignore[arg-type]


def classes(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Two dependent numbers of rows by class: data, and rows generated for the same classes."""
    x, y = data["x"][:900], data["y"][:900]
    figure, axes = d.panels(2)
    for axis, rows, title in ((axes[0], x, "data"), (axes[1], samples(model, 900, y), "generated by class")):
        d.scatter(axis, rows[:, [0, 3]], d.colours_of(y), title, d.reach_of(x[:, [0, 3]]))
        axis.set_xlabel("first number", fontsize=9)
        axis.set_ylabel("fourth number", fontsize=9)
    return figure, "two dependent columns, coloured by class: data, and rows generated for the same classes"


def sequences(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Sequences as rows of colours; moves that the automaton does not allow are marked."""
    real = data["x"][:16]
    made = model.generator.complete(real[:16, :0], real.shape[1], torch.Generator().manual_seed(0))
    figure, axes = d.panels(2)
    for axis, rows, title in ((axes[0], real, "data"), (axes[1], made, "generated")):
        axis.imshow(rows, cmap="tab10", vmin=0, vmax=9, aspect="auto")
        moves = (rows[:, 1:] - rows[:, :-1]) % 8
        for i, j in ((moves != 1) & (moves != 3)).nonzero().tolist():
            axis.plot([j + 0.5] * 2, [i - 0.45, i + 0.45], color="black", linewidth=3)
        axis.set_xlabel("position", fontsize=9)
        axis.set_yticks([])
        d.plain(axis, title)
    return figure, "sequences, a row each, tokens as colours; black bars mark moves that the data never make"


def policy(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """The most probable move in each cell of the grid."""
    from ganlib.testing.toys.dynamics import Grid

    probability = model.policy(torch.eye(Grid.cells)).softmax(1)
    figure, (axis,) = d.panels(1, 320)
    for cell in range(Grid.cells - 1):
        row, column = divmod(cell, Grid.size)
        for move, share in zip(Grid.moves, probability[cell].tolist(), strict=True):
            axis.arrow(column, row, 0.38 * share * move[1], 0.38 * share * move[0], width=0.015 + 0.04 * share,
                       color=d.BLUE, alpha=0.25 + 0.75 * share, length_includes_head=True)  # fmt: skip
    axis.text(Grid.goal[1], Grid.goal[0], "goal", ha="center", va="center", color=d.ORANGE)
    axis.set_xlim(-0.6, Grid.size - 0.4)
    axis.set_ylim(Grid.size - 0.4, -0.6)
    axis.set_aspect("equal")
    d.plain(axis, "learned moves, length by probability")
    return figure, "the policy in each cell of the grid; the expert moves down and right"


def generic(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Means and deviations of generated values beside the data's."""
    x, made = data["x"].flatten(1).float(), samples(model, 1000).flatten(1)
    figure, axes = d.panels(2)
    for axis, of, title in ((axes[0], torch.mean, "means of values"), (axes[1], torch.std, "their deviations")):
        axis.scatter(of(x, 0), of(made, 0), s=8, c=d.ORANGE)
        axis.axline((0, 0), slope=1, color=d.GREY)
        axis.set_xlabel("data", fontsize=9)
        axis.set_ylabel("generated", fontsize=9)
        d.plain(axis, title)
    return figure, "means and deviations of each value, generated against data"


if __name__ == "__main__":
    sys.exit(main())
