"""The words that mark missing values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

# Compared after trimming and in lower case. The list is stored in the schema file, where it can be changed.
MISSING_WORDS = ("", "na", "n/a", "#n/a", "nan", "-nan", "<na>", "nat", "null", "none")
# The missing words of format version 1; in its categories and texts, only the empty string was missing.
VERSION_1 = ("", "nan", "null", "na", "none")
# Words that may also be values: a country code, a severity, a brand. In text columns they are values by default.
AMBIGUOUS = ("na", "none")
WORDY = ("category", "text")


class Missing:
    """The missing words of one column; supports ``text in missing``."""

    def __init__(self, words: Iterable[str], values: Iterable[str] = ()) -> None:
        self.words = frozenset(word.strip().lower() for word in words) | {""}
        self.values = frozenset(values)

    def __contains__(self, text: object) -> bool:
        key = str(text).strip()
        return key.lower() in self.words and key not in self.values


def missing_words(column: Mapping[str, Any], words: Iterable[str] | None) -> Missing:
    """The missing words of a column; ``words`` is the schema's list, None in format version 1."""
    if words is None:
        return _missing(() if column["kind"] in WORDY else VERSION_1, ())
    return _missing(tuple(words), tuple(column.get("not_missing") or ()))


@lru_cache(256)
def _missing(words: tuple[str, ...], values: tuple[str, ...]) -> Missing:
    # A row that is scored alone would otherwise build one for each of its columns.
    return Missing(words, values)
