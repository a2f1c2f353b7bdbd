"""The models as pages: docs/models.md, docs/models/NAME.md, docs/objectives.md and docs/checks.md, all generated."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.pages.index import index_page as _index_page
from pipelines.pages.model import model_page
from pipelines.pages.tables import checks_page, objectives_page

if TYPE_CHECKING:
    from ganlib.registry import Entry

_WIDTH = 120
__all__ = ["index_page", "model_page", "pages", "write_pages"]


def pages(found: list[Entry]) -> dict[str, str]:
    """The text of every page, by its path within docs/."""
    own = {f"models/{entry.name}.md": model_page(entry) for entry in found}
    made = {"models.md": _index_page(found), "objectives.md": objectives_page(), "checks.md": checks_page(), **own}
    return {name: _wrapped(text) for name, text in made.items()}


def index_page(found: list[Entry]) -> str:
    """The text of docs/models.md."""
    return _wrapped(_index_page(found))


def _wrapped(text: str) -> str:
    """Lines of prose and of lists at most 120 characters long; tables, pictures and code stay."""
    lines, code = list[str](), False
    for line in text.split("\n"):
        code ^= line.startswith("```")
        if code or len(line) <= _WIDTH or line.startswith(("|", "!", "#", "```")):
            lines.append(line)
        else:
            inner = "  " if line.startswith("- ") else ""
            lines += textwrap.wrap(
                line, _WIDTH, subsequent_indent=inner, break_long_words=False, break_on_hyphens=False
            )
    return "\n".join(lines)


def write_pages(found: list[Entry], folder: Path) -> int:
    """Write all pages, remove those of models that no longer exist; returns how many changed."""
    texts = pages(found)
    (folder / "models").mkdir(parents=True, exist_ok=True)
    changed = 0
    for name, text in texts.items():
        path = folder / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed += 1
    for path in (folder / "models").glob("*.md"):
        if f"models/{path.name}" not in texts:
            path.unlink()
            changed += 1
    return changed
