"""Drawings of models between two domains, for the pictures of their pages."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from benchmarks.models import drawing as d
from ganlib import abilities
from ganlib.abilities import can
from ganlib.registry import Entry
from ganlib.testing.problems import digits
from ganlib.testing.toys.crowns import crowns
from ganlib.testing.toys.figures import figures
from ganlib.testing.toys.styles import styles
from ganlib.testing.toys.translation import large_and_small, moons, pairs
from ganlib.testing.toys.views import views

Drawn = tuple[Figure, str]
# Held-out examples of models that do not translate the digits of most toys.
HELD = {"crown_gan": crowns, "linear_style": styles, "pose_warp": figures, "srgan": large_and_small, "tp_gan": views}
SHOWN = 10


def translated_points(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Both domains, and the first one's translations in the colours of where they come from."""
    a, b = data["x"][:1500], data["x_b"][:1500]
    label = (a[:, 0] + 2).round().clamp(0, 4).long()
    figure, axes = d.panels(3)
    d.scatter(axes[0], a, d.colours_of(label), "domain A")
    axes[0].set_ylim(-3, 3)
    d.scatter(axes[1], b, d.GREY, "domain B")
    d.scatter(axes[2], b, d.GREY, "A translated to B")
    moved = model.translate(a)
    axes[2].scatter(moved[:, 0], moved[:, 1], s=3, c=d.colours_of(label), linewidths=0)
    return figure, "domain A, coloured by mode; domain B; translations of A in the same colours"


def adapted_points(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """The labelled domain, and held-out points of the other by true class and by the class found."""
    x, y = moons(1500, 100, 35)
    found = model.classify(x)
    figure, axes = d.panels(3)
    reach = d.reach_of(x, 0.1)
    d.scatter(axes[0], data["x"], d.colours_of(data["y"]), "labelled domain", reach)
    d.scatter(axes[1], x, d.colours_of(y), "other domain, by true class", reach)
    share = float((found == y).float().mean())
    d.scatter(axes[2], x, d.colours_of(found), f"by class found: accuracy {share:.3f}", reach)
    return figure, "the labelled domain; held-out points of the other domain, by true class and by the class found"


def translated_images(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Sources, translations, and what they should be or the way back."""
    paired = getattr(type(model), "paired", False)
    usual = pairs if paired else lambda seed, part: {"x": digits(seed, part)[0]}
    held = HELD.get(entry.name, usual)(0, "test")
    x = held["x"][:SHOWN]
    if entry.name == "linear_style":
        style = held["x_b"][:SHOWN]
        rows = [("content", x), ("style", style), ("in that style", model.translate(x, style))]
        rows.append(("in mean style", model.translate(x)))
    else:
        rows = [*_sources(entry.name, x), (_RESULT.get(entry.name, "translated"), model.translate(x))]
        if paired:
            rows.append(("a true crown" if entry.name == "crown_gan" else "true counterpart", held["x_b"][:SHOWN]))
        elif can(model, abilities.TranslatesBack):
            rows.append(("and back", model.translate_back(rows[-1][1])))
    if entry.name == "srgan":
        rows.insert(1, ("bicubic", interpolate(x, scale_factor=2, mode="bicubic").clamp(-1, 1)))
    largest = max(images.shape[-1] for _, images in rows)
    alike = [(name, images.repeat_interleave(largest // images.shape[-1], 2)
              .repeat_interleave(largest // images.shape[-1], 3), None) for name, images in rows]  # fmt: skip
    caption = _CAPTION.get(entry.name) or "; ".join(name for name, _ in rows)
    return d.image_rows(alike, max(1, round(48 / largest))), caption


_RESULT = {"crown_gan": "designed crown", "srgan": "enlarged", "tp_gan": "made upright", "pose_warp": "in that pose"}

_CAPTION = {
    "crown_gan": "height maps of the prepared and the opposing surface; designed crowns; a true crown for each",
    "linear_style": "contents; styles; the contents in these styles; the contents in the mean style of all",
    "pose_warp": "source; joints of the pose wanted, a colour each; the source in that pose; the true image",
}


def _sources(name: str, x: Tensor) -> list[tuple[str, Tensor]]:
    """What the model is given, as images of one or three channels."""
    if name == "crown_gan":
        return [("prepared", x[:, :1]), ("opposing", x[:, 1:2])]
    if name == "pose_warp":
        return [("source", x[:, :3]), ("pose wanted", x[:, 6:9])]
    return [("source", x)]


def label_maps(entry: Entry, model: Any, data: dict[str, Tensor]) -> Drawn:
    """Held-out scenes of the look without labels, the classes found and the true ones, as levels of grey."""
    from ganlib.testing.toys.scenes import scenes

    x, y = scenes(100, "b", "test", 10)
    found, true = (labels.float().unsqueeze(1) - 1 for labels in (model.segment(x), y))
    rows = [
        ("labelled look", data["x"][:10], None),
        ("other look", x, None),
        ("found", found, None),
        ("true", true, None),
    ]
    return d.image_rows(rows, 2), "; ".join(name for name, _, _ in rows) + ": background black, digit grey, disc white"
