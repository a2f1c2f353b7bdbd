"""Reads YAML files that people write, with limits and without silent conversions.

Rejected are aliases (a few lines can expand to gigabytes), duplicate keys, and values that YAML would silently convert:
``007``, ``12:30`` and numbers beyond 64 bits need quotes. ``no`` and ``yes`` stay text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

MOST_BYTES = 8 << 20
DEEPEST = 20
_PLAIN = re.compile(r"[-+]?((0|[1-9]\d*)(\.\d*)?(e[-+]?\d+)?|\.\d+(e[-+]?\d+)?|\.inf|\.nan)", re.IGNORECASE)
_LARGEST = 1 << 64


def read_yaml(path: str | Path) -> Any:
    """The values of a file; raises OSError, or ValueError with the position and the problem."""
    with Path(path).open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MB, the limit for such a file")
    try:
        return parse_yaml(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 (byte {error.start})") from error


def parse_yaml(text: str) -> Any:
    """The values of a text; raises ValueError with the position and the problem."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(_place(error)) from error


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    problem = getattr(error, "problem", None) or getattr(error, "context", None)
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the limits of this module."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose a node; rejects aliases, type tags and deep nesting."""
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _problem("aliases (*name) are not read; write the value itself", event)
        if getattr(event, "tag", None) is not None:
            raise _problem(f"types by name ({_cut(event.tag)}) are not read; write the value alone", event)
        if self._depth >= DEEPEST:
            raise _problem(f"this is nested deeper than {DEEPEST} levels", event)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Construct a value; rejects invalid numbers and dates with their position."""
        try:
            value = super().construct_object(node, deep)
        except (ValueError, OverflowError) as error:
            raise _problem(f"{_cut(node.value)} cannot be read; put quotes around it if it is text", node) from error
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not _PLAIN.fullmatch(node.value):
                raise _problem(f"{_cut(node.value)} is no plain number; put quotes around it if it is text", node)
            if isinstance(value, int) and abs(value) > _LARGEST:
                raise _problem(f"{_cut(node.value)} is beyond 64 bits; put quotes around it if it is text", node)
        return value

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Construct a mapping; rejects duplicate keys."""
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise _problem(f"the key {_cut(key.value)} stands twice; keep one", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)


def _problem(problem: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


def _cut(text: Any) -> str:
    return repr(str(text)[:40] + "…" * (len(str(text)) > 40))
