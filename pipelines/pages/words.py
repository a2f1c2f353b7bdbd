"""What a model's docstring says, by paragraph.

A docstring is a title and sections that begin with a label: ``Paper``, ``Idea``, ``Shapes``, ``Defaults``,
``Deviations``, ``Use it for``, ``Not for``, ``Symbols``. A section that holds for some of several models names them
after its label, ``Not for (dbn): …``; it replaces the unnamed one for these, and symbols follow the unnamed ones.
Indented lines are formulas, and under ``Symbols`` a symbol and the code that holds it, two or more spaces apart.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ganlib.registry import Entry

_LABELS = (
    r"Title|Papers?|Sources?|Idea|Shapes|Defaults(?: of [\w ]+)?|Deviations?(?: for [\w ]+)?"
    r"|Use it for|Not for|Symbols"
)
_LABEL = re.compile(rf"^({_LABELS})(?: \(([\w, \n]+)\))?: *", re.MULTILINE)
_WITHIN = re.compile(r"(?<=[.\])]) (?=(?:Defaults|Deviations?): )")  # begins a section in the middle of a line
_SAME = {"Papers": "Paper", "Source": "Paper", "Sources": "Paper"}
_WHOLE = ("Use it for", "Not for", "Symbols")  # these end with their paragraph, others with the next label


@dataclass(frozen=True)
class Words:
    """The sections of one model, as Markdown; ``symbols`` are pairs of symbol and code."""

    title: str
    idea: str
    details: tuple[str, ...]
    use: str
    avoid: str
    symbols: tuple[tuple[str, str], ...]


def words_of(entry: Entry) -> Words:
    """The sections that hold for this model; those that are not there are empty."""
    text = entry.text or inspect.getdoc(sys.modules[entry.build.__module__]) or ""
    found = _for_model(_sections(_WITHIN.sub("\n", inspect.cleandoc(text))), entry.name)
    details = [
        f"**{label}.** {capital(_markdown(body))}"
        for label, body in found.items()
        if label.startswith(("Shapes", "De", "More"))
    ]
    return Words(
        title=_line(found.get("Title", "")),
        idea=capital(_markdown(found.get("Idea", ""))),
        details=tuple(detail.replace("**More.** ", "") for detail in details),
        use=capital(_line(found.get("Use it for", ""))),
        avoid=capital(_line(found.get("Not for", ""))),
        symbols=tuple(_symbols(found.get("Symbols", ""))),
    )


def _sections(text: str) -> list[tuple[str, tuple[str, ...], str]]:
    """Label, models (none: all) and text of each section; what follows no label is ``Title`` or ``More``."""
    title, _, rest = text.partition("\n\n")
    sections: list[tuple[str, tuple[str, ...], str]] = [("Title", (), title)]
    marks = list(_LABEL.finditer(rest))
    starts = [mark.start() for mark in marks] + [len(rest)]
    # A formula or a paragraph before the first label, or after the papers, belongs to the idea.
    sections.append(("Idea", (), rest[: starts[0]]))
    for mark, end in zip(marks, starts[1:], strict=True):
        label, names = _SAME.get(mark[1], mark[1]), tuple(re.findall(r"\w+", mark[2] or ""))
        body = rest[mark.end() : end]
        if label in ("Paper", *_WHOLE[:2]):
            body, _, after = body.partition("\n\n")
            sections.append(("Idea" if label == "Paper" else "More", names, after))
        sections.append((label, names, body))
    return sections


def _for_model(sections: Iterable[tuple[str, tuple[str, ...], str]], name: str) -> dict[str, str]:
    """The sections of one model by label; named ones replace unnamed ones, but named symbols follow unnamed ones."""
    found: dict[str, dict[bool, list[str]]] = {}
    for label, names, body in sections:
        if body.strip() and (not names or name in names):
            found.setdefault(label, {}).setdefault(bool(names), []).append(body.strip("\n"))

    def chosen(label: str, parts: dict[bool, list[str]]) -> list[str]:
        both = parts.get(False, []) + parts.get(True, [])
        return both if label == "Symbols" else parts.get(True, both)

    return {label: "\n\n".join(chosen(label, parts)) for label, parts in found.items()}


def _symbols(text: str) -> list[tuple[str, str]]:
    """Pairs of symbol and code."""
    pairs = [re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in text.splitlines() if line.startswith(" ")]
    return [(pair[0], pair[1] if len(pair) > 1 else "") for pair in pairs if pair[0]]


def capital(text: str) -> str:
    """The text with a capital letter, if it begins with a word and not with a symbol."""
    return text[:1].upper() + text[1:] if re.match(r"[a-z][a-z-]", text) or text.startswith("a ") else text


def _line(text: str) -> str:
    return " ".join(ticks(text).split())


def ticks(text: str) -> str:
    """Markdown's code for that of docstrings."""
    return re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)


def _markdown(text: str) -> str:
    """Paragraphs, and indented lines as blocks of formulas."""
    lines: list[str] = []
    for formula, group in _runs(text.splitlines()):
        block = "\n".join(group).strip("\n")
        lines += [f"```text\n{textwrap.dedent(block)}\n```"] if formula else [ticks(block)]
    return "\n\n".join(line for line in lines if line.strip())


def _runs(lines: list[str]) -> list[tuple[bool, list[str]]]:
    """Runs of indented and of other lines; empty ones join the run before."""
    runs: list[tuple[bool, list[str]]] = []
    for line in lines:
        indented = line.startswith(" ")
        if runs and (not line.strip() or runs[-1][0] == indented):
            runs[-1][1].append(line)
        else:
            runs.append((indented, [line]))
    return runs
