"""Prose of the documents and of the folders that are in plain English."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", *(f"docs/{name}.md" for name in (
    "architecture", "artifact", "benchmarks/augmentation", "benchmarks/detection", "choosing-a-detector", "constraints",
    "data", "delivery", "glossary", "install", "internals", "licences", "performance", "promotion",
    "serving", "translation", "tutorial-data", "tutorial-images-series",
)))  # fmt: skip
FOLDERS = ("benchmarks",)
# Places where identifiers, too, are in the words of the field (condition, pass, reject, request, record, sample).
STRICT = ("ganlib", "serving")
DIALECT = re.compile(r"\b(mend(s|ed|ing)?|kept\s+back)\b", re.IGNORECASE)
IDIOM = re.compile(
    r"(?<!\.)\b(told|tells?|refus(es?|ed|al|als|ing)|asked|asks|watched|nobody|by\s+heart|as\s+(it\s+is|they\s+are)(?=[.,;)])"
    r"|what\s+is\s+(only|told|asked|kept|watched))\b|\b_?(told|asked|refuse|kept_when)_\w+|\w*_(told|asked|refused)\b",
    re.IGNORECASE,
)


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


def dialect(text: str, words: re.Pattern[str] = DIALECT) -> list[int]:
    return [text.count("\n", 0, match.start()) + 1 for match in words.finditer(text)]


def files_of(place: str) -> list[str]:
    found = subprocess.run(["git", "ls-files", place], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in found.split() if name.endswith((".py", ".md", ".yaml"))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_lines_of_prose_are_at_most_120_characters(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert not too_long(text), f"{document}: wrap lines {too_long(text)}"


@pytest.mark.parametrize("place", FOLDERS + STRICT + DOCUMENTS)
def test_words_of_the_dialect_are_gone(place):
    names = files_of(place)
    assert names or place in DOCUMENTS
    for name in names or [place]:
        found = dialect((ROOT / name).read_text(encoding="utf-8"))
        assert not found, f"{name}: plain words for lines {found} (fix, held out, left out)"


@pytest.mark.parametrize("place", STRICT)
def test_prose_and_names_use_the_words_of_the_field(place):
    for name in files_of(place):
        found = dialect((ROOT / name).read_text(encoding="utf-8"), IDIOM)
        assert not found, f"{name}: standard words for lines {found} (condition, pass, reject, request, record)"


def test_the_checks_can_fail():
    text = "short\n| " + "x" * 130 + "\n```\n" + "y" * 130 + "\n```\n" + "z" * 121 + "\nit names the mend, kept\nback"
    assert too_long(text) == [6]
    assert dialect(text) == [7, 7]
    assert not dialect("recommend, mender, kept in the back")
    text = "what is only\nwatched\nas it is.\ntold=x\n_told(x)\nrefuse_idle()\nwas_refused\nasked_for\nasks"
    assert dialect(text, IDIOM) == list(range(1, 10))
    assert not dialect("teller, as it is known, asking, stolid, retold, what is needed", IDIOM)
