"""Conditions on the values of columns, such as ``country = FR and age >= 60``: which rows satisfy them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ganlib.data.column import Column
from ganlib.data.frames import close_names
from ganlib.data.inference import infer_column
from ganlib.data.schema import Schema
from ganlib.data.values import NO_DATE, as_booleans, as_microseconds, as_numbers, as_strings
from ganlib.errors import ConfigError, DataError
from serving.table.words import MISSING_WORDS

_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": np.equal, "!=": np.not_equal, "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
IN = "in"
ORDERED = ("<", "<=", ">", ">=")
_SAME = {"==": "=", "<>": "!="}
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign><=|>=|!=|==|<>|=|<|>)|(?P<mark>[(),])|`(?P<name>[^`]+)`
    |'(?P<single>(?:[^']|'')*)'|"(?P<double>(?:[^"]|"")*)"|(?P<bare>[^\s'"`=!<>(),]+))""",
    re.VERBOSE,
)
_HOW = "write COLUMN OPERATOR VALUE with = != < <= > >= or in (A, B), joined by and; quote values that hold spaces"
_WORDS = ("and", "in", "or", "not")
_BARE = re.compile(r"[^\s'\"`=!<>(),]+")


@dataclass(frozen=True)
class Term:
    """One comparison: a column's name, an operator and the values as written; several only for ``in``."""

    column: str
    operator: str
    values: tuple[str, ...]

    def describe(self) -> str:
        """The term as ``read_terms`` reads it."""
        name = self.column if _plain(self.column) else f"`{self.column}`"
        name = _quoted(self.column) if "`" in self.column else name
        if self.operator == IN:
            return f"{name} in ({', '.join(map(_quoted, self.values))})"
        return f"{name} {self.operator} {_quoted(self.values[0])}"


def _plain(text: str) -> bool:
    return _BARE.fullmatch(text) is not None and text.lower() not in _WORDS


def _quoted(text: str) -> str:
    return text if _plain(text) else "'" + text.replace("'", "''") + "'"


# -------------------------------------------------------------------- reading the text
def read_terms(where: str | Sequence[str]) -> tuple[Term, ...]:
    """Parse conditions, all of which a row must satisfy; raises ConfigError naming the condition and the problem.

    Operators are ``= != < <= > >=`` and ``in (A, B)``; ``and`` joins comparisons. Values with spaces or signs stand in
    single or double quotes, columns with such names also in backquotes; a doubled quote is one quote.
    """
    texts = [where] if isinstance(where, str) else list(where)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"where must be a condition such as 'country = FR', or several, not {where!r}")
    return tuple(term for text in texts for term in _Parser(text).terms())


class _Parser:
    """Reads one text of comparisons joined by ``and``."""

    def __init__(self, text: str) -> None:
        self.text, self.place = text, 0
        self.tokens = self._tokens()

    def _wrong(self, problem: str) -> ConfigError:
        return ConfigError(f"condition {self.text!r}: {problem}; {_HOW}")

    def _tokens(self) -> list[tuple[str, str]]:
        found, place = [], 0
        while self.text[place:].strip():
            match = _TOKEN.match(self.text, place)
            if match is None:
                raise self._wrong(f"cannot read {self.text[place:].strip()!r}")
            kind = str(match.lastgroup)
            word = match.group(kind)
            if kind in ("single", "double"):
                mark = "'" if kind == "single" else '"'
                kind, word = "quoted", word.replace(mark * 2, mark)
            found.append((kind, word))
            place = match.end()
        return found

    def _next(self) -> tuple[str, str]:
        if self.place == len(self.tokens):
            return ("end", "")
        self.place += 1
        return self.tokens[self.place - 1]

    def terms(self) -> list[Term]:
        """All comparisons."""
        found = [self._term()]
        while (token := self._next())[0] != "end":
            if not _is_word(token, "and"):
                problem = f"{token[1]!r} follows a whole comparison"
                if _is_word(token, "or"):
                    problem = "'or' is not supported"
                raise self._wrong(problem)
            found.append(self._term())
        return found

    def _term(self) -> Term:
        kind, name = self._next()
        if kind not in ("name", "quoted", "bare") or (kind == "bare" and not _plain(name)):
            raise self._wrong(f"a column is expected before {name!r}" if name else "a column is expected at the end")
        token = self._next()
        if _is_word(token, IN):
            return Term(name, IN, self._several())
        if token[0] != "sign":
            raise self._wrong(f"an operator is expected after column {name!r}")
        return Term(name, _SAME.get(token[1], token[1]), (self._value(),))

    def _value(self) -> str:
        kind, word = self._next()
        if kind not in ("quoted", "bare") or (kind == "bare" and not _plain(word)):
            raise self._wrong(f"a value is expected before {word!r}" if word else "a value is expected at the end")
        if word.strip() == "":
            raise self._wrong("a value is empty; missing values satisfy no condition")
        return word

    def _several(self) -> tuple[str, ...]:
        if self._next() != ("mark", "("):
            raise self._wrong("'in' needs values in round brackets")
        values = [self._value()]
        while (token := self._next()) == ("mark", ","):
            values.append(self._value())
        if token != ("mark", ")"):
            raise self._wrong("the list of values is not closed")
        return tuple(values)


def _is_word(token: tuple[str, str], word: str) -> bool:
    return token[0] == "bare" and token[1].lower() == word


# -------------------------------------------------------------------- with the columns
@dataclass(frozen=True)
class Condition:
    """Terms that all hold, with the ``schema`` of their columns; a row with a missing value there satisfies none.

    - Numbers, whole numbers and dates: every operator. A date without a time is its midnight in the schema's time zone.
    - Categories and booleans: ``=``, ``!=`` and ``in``.

    ``levels`` are the values of each category in the rows that the condition was read for.
    """

    terms: tuple[Term, ...]
    schema: Schema
    levels: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(
        cls, where: str | Sequence[str], frame: pd.DataFrame, schema: Schema | None = None, label: str | None = None
    ) -> Condition:
        """Parse ``where`` and check it against the rows of ``frame``.

        Columns are read as ``schema`` says; without one, and always for the ``label``, as inferred.
        Raises ConfigError for a text that cannot be parsed, an operator that the column's kind lacks and a value that
        the column cannot hold; DataError for an unknown or unused column and for an unknown category.
        """
        terms = read_terms(where)
        zone, words = ("UTC", MISSING_WORDS) if schema is None else (schema.timezone, schema.missing_words)
        known = {} if schema is None else {c.name: c for c in schema.columns if c.name != label}
        columns = dict[str, Column]()
        for term in terms:
            name = term.column
            if name not in frame.columns:
                hint = close_names(name, frame.columns)
                raise DataError(f"condition {term.describe()!r}: there is no column {name!r}; {hint}")
            columns[name] = known.get(name) or infer_column(frame[name], zone)
            _check_use(term, columns[name])
        # A gap names a second date, which is not needed to compare values.
        used = tuple(replace(c, role="feature", gap_from=None) for c in columns.values())
        own, levels = Schema(used, zone, missing_words=words), dict[str, tuple[str, ...]]()
        for column in used:
            if column.kind == "category":
                texts = as_strings(frame[column.name], own.missing(column.name), column.levels).astype(str)
                levels[column.name] = tuple(np.unique(texts[texts != ""]).tolist())
        read = cls(terms, own, levels)
        for term in terms:
            read._targets(term)  # unreadable values fail here, before any row is compared
        return read

    @classmethod
    def of(
        cls, where: str | Sequence[str] | Condition, frame: pd.DataFrame, schema: Any = None, label: str | None = None
    ) -> Condition:
        """``where`` itself if it was read before; ``schema`` may also be the path of a schema file."""
        if isinstance(where, Condition):
            return where
        return cls.read(where, frame, Schema.load(schema) if isinstance(schema, str | Path) else schema, label)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, each once."""
        return tuple(dict.fromkeys(term.column for term in self.terms))

    def describe(self) -> str:
        """The condition as one text, which ``read_terms`` reads."""
        return " and ".join(term.describe() for term in self.terms)

    def mask(self, frame: pd.DataFrame) -> np.ndarray:
        """Rows that satisfy every term, bool ``(n,)``."""
        held = np.ones(len(frame), dtype=bool)
        for term in self.terms:
            held &= self._holds(term, frame[term.column])
        return held

    def _holds(self, term: Term, series: pd.Series) -> np.ndarray:
        column, targets = self.schema.column(term.column), self._targets(term)
        values = self._values(column, series, column.layout)
        if column.kind == "category":
            values = values.astype(str)
            present = values != ""
        else:
            present = values != NO_DATE if column.kind == "date" else ~np.isnan(values)
        held = np.isin(values, targets) if term.operator == IN else _COMPARE[term.operator](values, targets[0])
        return np.asarray(present & held, dtype=bool)

    def _values(self, column: Column, series: pd.Series, layout: str | None) -> np.ndarray:
        series, missing = series.rename(column.name), self.schema.missing(column.name)
        if column.kind == "category":
            return as_strings(series, missing, column.levels)
        if column.kind == "date":
            return as_microseconds(series, self.schema.timezone, missing, layout)
        if column.kind == "boolean":
            return as_booleans(series, missing, layout)
        return as_numbers(series, missing, layout)

    def _targets(self, term: Term) -> np.ndarray:
        """The values of a term as those of its column: in the layout of the data, or in the usual one."""
        column, texts = self.schema.column(term.column), pd.Series(list(term.values), dtype=object)
        if column.kind == "category":
            own = self._values(column, texts, None).astype(str)
            levels = [self._level(term, column, *both) for both in zip(term.values, own, strict=True)]
            return np.array(levels, dtype=str)
        for layout in (column.layout, None):
            try:
                found = self._values(column, texts, layout)
            except DataError:
                continue
            if (found != NO_DATE).all() if column.kind == "date" else np.isfinite(found).all():
                return found
        what = {"date": "a date", "boolean": "true or false"}.get(column.kind, "a number")
        wrong = ", ".join(map(repr, term.values))
        raise ConfigError(f"condition {term.describe()!r}: column {term.column!r} needs {what}, not {wrong}")

    def _level(self, term: Term, column: Column, value: str, own: str) -> str:
        """The category that a value names; ``own`` is the value as the column's levels are written."""
        known = self.levels[term.column]
        if exact := next((level for level in (value, own) if level in known), None):
            return exact
        if column.levels == "number" and (same := [n for n in known if _number(n) == _number(value) is not None]):
            return same[0]  # 1 and 1.0 are one level of numbers
        close = difflib.get_close_matches(value.lower(), [level.lower() for level in known], n=3)
        some = [level for level in known if level.lower() in close] or list(known[:20])
        listed = ", ".join(map(repr, some)) + (", ..." if len(some) < len(known) else "")
        raise DataError(f"condition {term.describe()!r}: no row has {value!r} in {term.column!r}; values: {listed}")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _check_use(term: Term, column: Column) -> None:
    """Raise an error if the column is not generated, or its kind has no such operator."""
    said = f"condition {term.describe()!r}: column {term.column!r}"
    if column.kind == "text":
        raise DataError(f"{said} holds free text, which is not generated; name another column")
    if column.role in ("id", "dropped"):
        raise DataError(f"{said} has the role {column.role}, so it is not generated; name another column")
    if term.operator in ORDERED and column.kind in ("category", "boolean"):
        what = "categories have" if column.kind == "category" else "booleans have"
        raise ConfigError(f"{said}: {what} no order; use =, != or in")
