"""Pictures and tables of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def plot_curves(curves: Mapping[str, Mapping[str, list[float]]], path: Path) -> None:
    """One panel a model: each loss by epoch, the validation loss in bold."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, max(1, len(curves)), figsize=(4.5 * max(1, len(curves)), 3.2), squeeze=False)
    for axis, (model, terms) in zip(axes[0], curves.items(), strict=False):
        longest = max((len(v) for v in terms.values()), default=1)
        for term, values in terms.items():
            positions = [(i + 1) * longest / len(values) for i in range(len(values))]
            axis.plot(positions, values, label=term, linewidth=2.4 if term == "validation" else 1.2)
        axis.set_title(model, fontsize=10)
        axis.set_xlabel("epoch")
        axis.set_yscale("symlog", linthresh=0.1)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    axes[0][0].set_ylabel("loss")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
