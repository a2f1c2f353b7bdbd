"""The report on privacy and fidelity of synthetic rows: panels of a page, and a page of its own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files import written
from pipelines.markup import DOUBTFUL, GOOD, OTHERS, OURS, page, picture, table, verdict
from serving.wording import printable

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.augment.audited import Audit, ColumnFigures, Figure

PICTURED = 12
ACROSS = 4
ROWS, MOST_COLUMNS = 10, 30
NAME, CELL = 24, 40


def audit_page(path: Path, audit: Audit, sample: pd.DataFrame, files: Sequence[tuple[str, str]], fix: str) -> None:
    """Write the report of ``ganlib audit``: ``files`` are the tables' names and locations, ``fix`` advice on errors."""
    import ganlib

    colour = DOUBTFUL if audit.leaks or audit.flaws or audit.few else GOOD
    rows = [[name, place, f"{audit.rows[name]:,}"] for name, place in files]
    body = (
        verdict(audit.verdict, colour) + panels(audit, sample)
        + f"<h2>What was compared</h2>{table(['rows', 'file', 'number'], rows)}"
        + f"<p><small>ganlib {ganlib.__version__}</small></p>"
    )  # fmt: skip
    with written(path, fix) as temporary:
        temporary.write_text(page("Privacy and fidelity of synthetic rows", body), encoding="utf-8")


def panels(audit: Audit, sample: pd.DataFrame) -> str:
    """Privacy, fidelity, columns side by side and a sample of synthetic rows, as HTML."""
    return _privacy(audit) + _fidelity(audit) + _columns(audit) + _sample(sample) + _notes(audit)


def _privacy(audit: Audit) -> str:
    rows = [_figure(figure) for figure in audit.group("privacy")]
    return (
        "<h2>Privacy</h2><p>Do the synthetic rows repeat training rows? Beside each figure stands that of held-out "
        "real rows in their place, so that chance is seen; the relative attack stands beside chance. Very near: at "
        "most as far as the nearest 5 % of held-out rows. Much nearer: with at most the ratio of nearest to second "
        "nearest that 5 % of held-out rows have. A membership attack takes rows near to synthetic ones for training "
        "rows; at 1 % and 10 % false alarms, chance finds 1 % and 10 %.</p>"
        + table(["", "synthetic", "held-out rows"], rows)
    )


def _fidelity(audit: Audit) -> str:
    rows = [_figure(figure) for figure in audit.group("fidelity")]
    text = (
        "<h2>Fidelity</h2><p>Are the synthetic rows distributed as held-out real rows? Beside each figure stands that "
        "of training rows in their place (of class shares, that of held-out rows).</p>"
        + table(["", "synthetic", "real rows"], rows)
    )
    if audit.rules:
        broken = [[rule.rule, f"{rule.broken:.1%}", f"{rule.usual_broken:.1%}"] for rule in audit.rules]
        text += table(["constraint", "synthetic rows that break it", "held-out rows"], broken)
    if audit.pairs:
        pairs = [[f"{p.first}, {p.second}", f"{p.similarity:.3f}", f"{p.usual:.3f}"] for p in audit.pairs]
        text += "<p>Pairs of columns that differ most:</p>" + table(["pair", "similarity", "training rows"], pairs)
    return text


def _figure(figure: Figure) -> list[str]:
    return [figure.title, f"{figure.value:.3f}", f"{figure.usual:.3f}"]


def _columns(audit: Audit) -> str:
    names = ["column", "shape", "training rows", "missing", "held-out rows", "not allowed", "held-out rows"]
    rows = [
        [_cut(c.name, CELL), _number(c.shape), _number(c.usual_shape), f"{c.missing:.1%}", f"{c.usual_missing:.1%}",
         f"{c.invalid:.1%}", f"{c.usual_invalid:.1%}"]
        for c in audit.columns
    ]  # fmt: skip
    chosen = sorted((c for c in audit.columns if c.bars.labels), key=lambda c: -1 if c.shape is None else c.shape)
    few = len(chosen) > PICTURED
    what = f"The {PICTURED} columns of the lowest similarity" if few else "Each column"
    return (
        f"<h2>Columns side by side</h2><p>{what}: held-out real rows in grey, synthetic rows in blue.</p>"
        f"{_picture(chosen[:PICTURED])}<p>Shapes: 1 is equally distributed. Not allowed: values beyond the bounds or "
        "levels of the schema, and missing values where training rows have none.</p>"
        f'<div class="wide">{table(names, rows)}</div>'
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _picture(columns: Sequence[ColumnFigures]) -> str:
    """Small bar charts, the columns' names above them."""
    from matplotlib.figure import Figure as Drawing

    if not columns:
        return ""
    down = -(-len(columns) // ACROSS)
    drawing = Drawing(figsize=(11, 2.3 * down), layout="tight", dpi=110)
    axes: Any = drawing.subplots(down, ACROSS, squeeze=False).ravel()
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    for axis, column in zip(axes, columns, strict=False):
        _draw(axis, column)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font lacks are drawn as boxes
        return picture(drawing, "Shares of held-out and of synthetic rows by value, for each column")


def _draw(axis: Any, column: ColumnFigures) -> None:
    bars, places = column.bars, range(len(column.bars.real))
    ranges = len(bars.labels) > len(bars.real)
    if ranges:
        axis.bar(places, bars.real, 1.0, color=OTHERS, alpha=0.6)
        axis.step([-0.5, *places, len(places) - 0.5], [bars.synthetic[0], *bars.synthetic, bars.synthetic[-1]],
                  where="mid", color=OURS, linewidth=1.6)  # fmt: skip
        ticks, words = [-0.5, len(places) - 0.5], [bars.labels[0], bars.labels[-1]]
    else:
        axis.bar([place - 0.2 for place in places], bars.real, 0.4, color=OTHERS, alpha=0.8)
        axis.bar([place + 0.2 for place in places], bars.synthetic, 0.4, color=OURS)
        ticks, words = list(places), [_cut(label, 8 if len(bars.labels) < 6 else 5) for label in bars.labels]
    axis.set_xticks(ticks, words, fontsize=7, parse_math=False)
    shape = "" if column.shape is None else f"  {column.shape:.2f}"
    axis.set_title(_cut(column.name, NAME) + shape, fontsize=8, parse_math=False)
    axis.tick_params(axis="y", labelsize=7)


def _cut(text: str, most: int) -> str:
    """On one line, at most so many characters."""
    plain = printable(text)
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def _sample(sample: pd.DataFrame) -> str:
    names = list(sample.columns[:MOST_COLUMNS])
    rows = [
        ["" if _is_missing(v) else _cut(str(v), CELL) for v in row] for row in sample[names].to_numpy(object)[:ROWS]
    ]
    more = f", the first {MOST_COLUMNS} of {sample.shape[1]} columns" if sample.shape[1] > len(names) else ""
    return (
        f"<h2>A sample</h2><p>{len(rows)} synthetic rows, chosen at random{more}:</p>"
        f'<div class="wide">{table([_cut(str(n), CELL) for n in names], rows)}</div>'
    )


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _notes(audit: Audit) -> str:
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in audit.notes) + "</ul>" if audit.notes else ""
