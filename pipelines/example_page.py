"""Images and series on a page: real ones, generated ones, and the real one that is nearest to each generated one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines import markup
from pipelines.markup import OTHERS, OURS

if TYPE_CHECKING:
    from ganlib.augment.lift import Shown

ACROSS, CLASSES = 8, 4
_ROWS = ("real", "generated", "nearest real")


def gallery(shown: Shown, seed: int = 0) -> str:
    """A picture of each of up to four classes that examples were generated of, the smallest first."""
    (real, of), (made, named) = shown.real, (shown.made[0], shown.made[1].astype(str))
    names = sorted(set(named), key=lambda name: (of == name).sum())[:CLASSES]
    found, rng = [], np.random.default_rng(seed)
    for name in names:
        known, new = real[of == name], made[named == name]
        some = rng.permutation(len(known))[:ACROSS]
        new = new[rng.permutation(len(new))[:ACROSS]]
        near = known[nearest(known, new)]
        alt = f"Class {name}: real examples, generated ones, and the real example nearest to each generated one"
        found.append(markup.picture(_figure(name, (known[some], new, near), shown.modality), alt))
    return (
        "<h2>Generated examples</h2><p>Of the first split. The third row is the real example of the class, of those "
        "learned from, that is nearest to the generated one above it: equal pictures are copies, and generated ones "
        f"that are all alike show a collapse.</p>{''.join(found)}"
    )


def nearest(real: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The place of the nearest real example, by squared differences, of each generated one."""
    from sklearn.metrics import pairwise_distances_argmin

    found: np.ndarray = pairwise_distances_argmin(*(x.reshape(len(x), -1).astype(np.float64) for x in (made, real)))
    return found


def _figure(name: str, rows: tuple[np.ndarray, ...], modality: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.1), layout="constrained", dpi=130)
    figure.suptitle(f"class {name}", fontsize=10, x=0.01, ha="left")
    grid = figure.subplots(len(rows), ACROSS, squeeze=False)
    low, high = (float(of([part.min() if of is min else part.max() for part in rows])) for of in (min, max))
    for line, part, title in zip(grid, rows, _ROWS, strict=True):
        line[0].set_ylabel(title, fontsize=8)
        for axis, one in zip(line, [*part, *[None] * ACROSS], strict=False):
            axis.set_xticks([])
            axis.set_yticks([])
            for side in axis.spines.values():
                side.set_visible(False)
            if one is None:
                continue
            if modality == "image":
                axis.imshow((one - low) / (high - low or 1), cmap="gray", vmin=0, vmax=1)
                continue
            axis.plot(one[:3].T, color=OURS if title == "generated" else OTHERS, linewidth=1)
            axis.set_ylim(low, high)
    return figure
