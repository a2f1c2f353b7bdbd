"""The YAML file of a schema: its explained heading, its text, and reading it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from ganlib.data.column import CYCLES, KINDS, ROLES
from ganlib.data.relations import GUIDE
from ganlib.errors import ConfigError
from ganlib.files import write_whole

_HEADING = f"""\
# Table schema, written by ganlib and meant to be reviewed: what stands here overrides what is seen in the data.
#   kind        {", ".join(KINDS)}
#   role        {", ".join(ROLES)} (id and dropped columns are not used; note says why)
#   dtype       pandas' type in training; generated columns come back in it
#   missing     whether training rows lacked the value
#   minimum, maximum   bounds of generated values (dates: microseconds since 1970 UTC)
#   quantiles   0/5/50/95/100 % points, rounded; only for generated test rows
#   categories  quoted strings; other values are read as rare or unseen
#   levels      categories only: what their strings are: text, number, boolean or date (1, 1.0 and 01 are one number)
#   not_missing words of the list missing_words that are values in this column
#   public      categories only: true lets the artifact list every value, however rare
#   layout      how text writes numbers (${{:,.2f}}; 1.234,50 is {{:.,2f}}), durations (%d days %H:%M:%S, ISO), dates
#               (%d.%m.%Y; several separated by |), times of day (%H:%M) or booleans (TRUE|FALSE)
#   step        numbers: the grid that generated values lie on (dates: microseconds)
#   buckets     text only: number of hashed 3-gram features
#   timezone    dates only: how naive times are read (null: the schema's, above the columns)
#   clock       dates only: what a detector reads of it. recurring: the cycles alone, so that later rows are not
#               anomalous for being later; absolute: the position in time, and the cycles. Generators read all of it
#   cycles      with clock: any of {", ".join(CYCLES)}; a new schema lists those that training rows cover twice.
#               A clock that covers none is dropped. Whole days over two years or more that do not follow the order
#               of the rows, such as birth dates, are absolute
#   gap_from    dates only: another date of the row; a detector also reads the time from that one to this one
# missing_words, compared in lower case, are read as missing, in files as in frames; null: as in format version 1
# constraints, below the columns, are relations that generated rows keep; take out those that hold by accident
{GUIDE}"""


def write_schema(path: str | Path, values: dict[str, Any], comments: Mapping[str, Iterable[str]]) -> None:
    """Write a schema's ``to_dict`` as commented YAML; raises ConfigError if the file cannot be written.

    ``comments`` maps column names to comment lines, written above their entries.
    """
    import yaml

    # Columns state these two by their roles.
    values = {key: value for key, value in values.items() if key not in ("label", "group")}
    text = yaml.dump(values, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=120)
    text = _HEADING + _commented(text, [tuple(comments.get(c["name"], ())) for c in values["columns"]])
    try:
        write_whole(Path(path), text.encode())
    except OSError as error:
        raise ConfigError(f"schema file {path} cannot be written: {error.strerror or error}") from error


def read_schema(path: str | Path) -> dict[str, Any]:
    """The values of a schema file; raises ConfigError, naming the file, if it is missing or no mapping."""
    from serving.table.documents import read_yaml

    try:
        values = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"schema file {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"schema file {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"schema file {path} holds no mapping; write one with `ganlib train`")
    return values


def _commented(text: str, comments: list[tuple[str, ...]]) -> str:
    """Put each column's comments above its entry; entries are in the order of ``comments``."""
    lines, entries = [], iter(comments)
    for line in text.splitlines():
        if line.startswith("- name:"):
            for comment in next(entries):
                lines += wrap(comment, 120, initial_indent="# ", subsequent_indent="#   ")
        lines.append(line)
    return "\n".join(lines) + "\n"


def _dumper() -> Any:
    """A YAML dumper with lists of numbers on one line, one category per line, and unprintable characters escaped.

    PyYAML alone folds some line breaks inside quotes, so that a different text is read back.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def listed(dumper: Any, values: list[Any]) -> Any:
        flow = all(isinstance(v, int | float) for v in values)
        return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=flow)

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isprintable() else '"')

    Dumper.add_representer(list, listed)
    Dumper.add_representer(str, text)
    return Dumper
