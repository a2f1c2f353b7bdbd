"""The options of a model as a table: name, default, range, meaning."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import types
import typing
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from ganlib.config import Config
from pipelines.pages.words import ticks

# What options of this name mean wherever no configuration says it.
COMMON = {
    "latent_dim": "width of the code, or of the noise that is generated from",
    "hidden": "widths of the hidden layers for vectors",
    "width": "channels of the first convolution for images and series",
    "networks": "architecture: a row of `nn.architecture.ARCHITECTURES`; auto goes by the kind of data",
    "learning_rate": "of the optimiser",
    "critic_learning_rate": "the critic's own",
    "critic_steps": "critic updates per generator update",
    "betas": "of Adam",
    "optimiser": "its name",
    "weight_decay": "of the optimiser",
    "dropout": "share of units left out in training",
    "floor": "least variance",
    "epsilon": "of Adam",
}
_SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
_PLAIN = {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "None", Any: "mapping"}


def options_table(config: type[Config], defaults: Config, names: list[str]) -> list[str]:
    """Rows for the options of these names."""
    hints = typing.get_type_hints(config, include_extras=True)
    rows = ["| option | default | range | meaning |", "|---|---|---|---|"]
    values, before = defaults.to_dict(), dict[str, str]()
    for name in names:
        meaning = meaning_of(config, name)
        said = f"see `{before[meaning]}`" if meaning in before and f"`{name}`" in meaning else meaning
        before.setdefault(meaning, name)
        cells = (f"`{name}`", f"`{shown(values[name])}`", range_of(hints[name]), said)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def shown(value: Any) -> str:
    """A default as Python would write it."""
    if isinstance(value, list):
        return "(" + ", ".join(map(shown, value)) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def range_of(hint: Any) -> str:
    """The type and range of an option in words."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        signs = [
            f"{_SIGNS[type(m)][0]} {getattr(m, _SIGNS[type(m)][1]):g}" for m in hint.__metadata__ if type(m) in _SIGNS
        ]
        return " and ".join(signs) + (", whole" if args[0] is int else "") if signs else range_of(args[0])
    if origin is typing.Literal:
        return ", ".join(f"`{arg}`" for arg in args)
    if origin is typing.Union or isinstance(hint, types.UnionType):
        return " or ".join(map(range_of, args))
    if origin is tuple:
        return f"list: {range_of(args[0])}"
    return _PLAIN.get(hint, "value")


def meaning_of(config: type[Config], name: str) -> str:
    """What the configuration's docstring says of an option, else the common words; empty if neither does."""
    for cls in config.__mro__:
        if dataclasses.is_dataclass(cls) and (found := _clause(inspect.getdoc(cls) or "", name)):
            return found
    return COMMON.get(name, "")


def _clause(text: str, name: str) -> str:
    """The clause that explains an option: where it stands before a colon, else the first that mentions it."""
    clauses = [clause.removeprefix("Tricks: ") for clause in _clauses(" ".join(text.split()))]
    mentions = [clause for clause in clauses if f"``{name}``" in clause]
    first = [clause for clause in mentions if re.match(rf"[^:]*``{name}``[^:]*:", clause)]
    if not (first or mentions):
        return ""
    clause = (first or mentions)[0].strip(".; ")
    alone = re.fullmatch(rf"``{name}``(?::| is| are)? (.+)", clause)
    return ticks(alone[1] if alone else clause)


def _clauses(text: str) -> list[str]:
    """Parts between full stops and semicolons, but for those within brackets."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"[(]|[)]|[.;](?= )", text):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if match[0] in ".;" and not depth:
            parts.append(text[start : match.end()].strip())
            start = match.end()
    return [*parts, text[start:].strip()]
