"""Prose of the documents and of the folders that are in plain English."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", *(f"docs/{name}.md" for name in (
    "artifact", "constraints", "data", "delivery", "glossary", "install", "licences", "performance", "promotion",
    "tutorial-data", "tutorial-images-series",
)))  # fmt: skip
FOLDERS = ("benchmarks", "serving", *(f"ganlib/{name}" for name in (
    "augment", "calibrate", "data", "detect", "explain", "export", "metrics", "nn", "report",
)))  # fmt: skip
DIALECT = re.compile(r"\b(mend(s|ed|ing)?|kept\s+back)\b", re.IGNORECASE)


def prose(text: str) -> list[tuple[int, str]]:
    """Numbered lines of Markdown outside tables and code blocks."""
    lines, code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.startswith("|"):
            lines.append((number, line))
    return lines


def too_long(text: str) -> list[int]:
    return [number for number, line in prose(text) if len(line) > 120]


def dialect(text: str) -> list[int]:
    return [text.count("\n", 0, match.start()) + 1 for match in DIALECT.finditer(text)]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_lines_of_prose_are_at_most_120_characters(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert not too_long(text), f"{document}: wrap lines {too_long(text)}"


@pytest.mark.parametrize("place", FOLDERS + DOCUMENTS)
def test_words_of_the_dialect_are_gone(place):
    files = subprocess.run(["git", "ls-files", place], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert files or place in DOCUMENTS
    for name in files.split() or [place]:
        if name.endswith((".py", ".md", ".yaml")):
            found = dialect((ROOT / name).read_text(encoding="utf-8"))
            assert not found, f"{name}: plain words for lines {found} (fix, held out, left out)"


def test_the_checks_can_fail():
    text = "short\n| " + "x" * 130 + "\n```\n" + "y" * 130 + "\n```\n" + "z" * 121 + "\nit names the mend, kept\nback"
    assert too_long(text) == [6]
    assert dialect(text) == [7, 7]
    assert not dialect("recommend, mender, kept in the back")
