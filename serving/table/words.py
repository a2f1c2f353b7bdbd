"""Words that mean that a value is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Compared without surrounding spaces and in lower case. A schema file holds this list, and a person may change it.
MISSING_WORDS = ("", "na", "n/a", "#n/a", "nan", "-nan", "<na>", "nat", "null", "none")
# What format version 1 read as missing, outside categories and texts, where only the empty string was.
VERSION_1 = ("", "nan", "null", "na", "none")
# Words that are also values: a country code, a severity, a brand. Among words they are kept unless the schema says so.
AMBIGUOUS = ("na", "none")
WORDY = ("category", "text")


class Missing:
    """The missing words of one column: ``in`` says whether a text is one."""

    def __init__(self, words: Iterable[str], values: Iterable[str] = ()) -> None:
        self.words = frozenset(word.strip().lower() for word in words) | {""}
        self.values = frozenset(values)

    def __contains__(self, text: object) -> bool:
        key = str(text).strip()
        return key.lower() in self.words and key not in self.values


def missing_words(column: Mapping[str, Any], words: Iterable[str] | None) -> Missing:
    """What a column reads as missing; ``words`` is the schema's list, None in format version 1."""
    if words is None:
        return Missing(() if column["kind"] in WORDY else VERSION_1)
    return Missing(words, column.get("not_missing") or ())
