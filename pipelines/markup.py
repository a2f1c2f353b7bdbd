"""What the HTML reports share: their style, tables and pictures; a page needs no other file."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem;
color: #1c2430; } h2 { margin-top: 2rem; font-size: 1.15rem; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #d5dbe3; text-align: left; vertical-align: top; }
td { font-variant-numeric: tabular-nums; } img { max-width: 100%; } code { overflow-wrap: anywhere; }
.verdict { font-size: 1.15rem; padding: .6rem .9rem; border-left: 5px solid; background: #f3f6fa; }
.wide { overflow-x: auto; font-size: .85rem; } .wide td, .wide th { white-space: nowrap; }
pre { white-space: pre-wrap; background: #f3f6fa; padding: .6rem .9rem; } small { color: #5a6675; }"""
GOOD, DOUBTFUL, BAD = "#2c8a4b", "#b58a1b", "#b3362b"
OURS, OTHERS = "#22577a", "#7d8a9a"


def page(title: str, body: str) -> str:
    """A whole page."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>'
        f"</head><body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )


def verdict(text: str, colour: str) -> str:
    """The result in words, with a coloured edge."""
    return f'<p class="verdict" style="border-color: {colour}">{escape(sentence(text))}</p>'


def sentence(text: str) -> str:
    """The text with a capital letter at its start."""
    return text[:1].upper() + text[1:]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; all cells are escaped."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return "<table>" + line(columns, "th") + "".join(line(row, "td") for row in rows) + "</table>"


def picture(figure: Figure, text: str) -> str:
    """A figure as an image within the page; ``text`` describes it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    code = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{code}">'
