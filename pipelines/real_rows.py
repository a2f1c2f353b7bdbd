"""Real rows beside generated ones in a file: as they came, byte for byte from CSV, value for value from Parquet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.files import placing, written

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ganlib.data.schema import Column

TEXTUAL = (".csv", ".tsv", ".txt")
PARQUET = (".parquet", ".pq")
_BOM = b"\xef\xbb\xbf"


def write_augmented(table: pd.DataFrame, mark: str, source: str | Path, output: Path) -> None:
    """Write a table whose boolean column ``mark`` tells generated rows from those of ``source``, whole or not at all.

    ``table`` is ``source``'s rows, if any, then generated ones; ``output`` ends in .csv or .parquet.
    """
    source = Path(source).expanduser()
    with placing(output), written(output) as temporary:
        if output.suffix.lower() == ".parquet":
            _write_parquet(table, mark, source, temporary)
        elif source.suffix.lower() == ".csv" and not table[mark].all():
            _append_to_csv(table[table[mark]], mark, source, temporary)
        else:
            table.to_csv(temporary, index=False)


def _append_to_csv(made: pd.DataFrame, mark: str, source: Path, target: Path) -> None:
    """The source's own bytes, each record with ``,False``, then the generated rows as CSV in the same line ends."""
    content = source.read_bytes()
    end = b"\r\n" if b"\r\n" in content[: 1 << 16] else b"\n"
    with target.open("wb") as file:
        tail = f",{mark}".encode()
        for record in _records(content):
            file.write(record + tail + end)
            tail = b",False"
        text = io.StringIO(newline="")
        made.to_csv(text, index=False, header=False, lineterminator=end.decode(), quoting=csv.QUOTE_MINIMAL)
        file.write(text.getvalue().encode())


def _records(content: bytes) -> Iterator[bytes]:
    """The records of a CSV without their line ends: a line end within quotes is part of its value."""
    held = b""
    for line in content.splitlines(keepends=True) if b"\r" not in content.replace(b"\r\n", b"") else _lines(content):
        held += line
        if held.count(b'"') % 2 == 0:
            record = held.rstrip(b"\r\n")
            if record.removeprefix(_BOM):
                yield record
            held = b""
    if held.rstrip(b"\r\n"):
        yield held.rstrip(b"\r\n")


def _lines(content: bytes) -> list[bytes]:
    """Lines by line feeds alone: a carriage return by itself is part of a value."""
    return [line + b"\n" for line in content.split(b"\n")]


def _write_parquet(table: pd.DataFrame, mark: str, source: Path, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if source.suffix.lower() in PARQUET:
        real, made = pq.read_table(source), table[table[mark]].drop(columns=[mark])
        below = pa.table([_like(field, made[str(field.name)]) for field in real.schema], schema=real.schema)
        both = pa.concat_tables([real, below]) if not table[mark].all() else below
        flags = pa.array(table[mark].to_numpy(dtype=bool))
        pq.write_table(both.append_column(mark, flags), target)
        return
    typed(table).to_parquet(target, index=False)


def _like(field: pa.Field, values: pd.Series) -> pa.Array:
    """Generated values in the type of the real column; raises DataError where that would change them."""
    import pyarrow as pa

    from ganlib.errors import DataError

    try:
        array = pa.array(values, from_pandas=True)
        if pa.types.is_dictionary(field.type) and not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        if pa.types.is_floating(array.type) and pa.types.is_integer(field.type):
            array = pa.array([None if v is None else int(v) for v in array.to_pylist()], field.type)
        return array.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise DataError(
            f"generated values of column {field.name!r} do not fit its type {field.type}: {error}"
        ) from error


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """A table of text with its plain numbers and booleans as such; all else stays text, letter by letter."""
    import pandas as pd

    from ganlib.data.inference import infer_schema

    texts = [name for name in table.columns if pd.api.types.is_string_dtype(table[name].dtype)]
    if not texts:
        return table
    out = table.copy()
    for column in infer_schema(table[texts].assign(_=range(len(table))), for_generation=True).columns:
        if column.name in texts:
            out[column.name] = _typed(column, table[column.name])
    return out


def _typed(column: Column, texts: pd.Series) -> pd.Series:
    import pandas as pd

    from ganlib.data.values import as_booleans, as_numbers

    if column.kind == "boolean":
        truths = as_booleans(texts, layout=column.layout)
        return pd.Series(pd.array([None if v != v else bool(v) for v in truths], "boolean"), texts.index)
    plain = column.layout is None or re.fullmatch(r"\{:\.\d+f\}", column.layout)
    if column.kind not in ("number", "integer") or not plain or texts.isna().all():
        return texts
    numbers = pd.Series(as_numbers(texts, layout=column.layout), texts.index)
    if column.kind == "number":
        return numbers
    whole = numbers.astype("Int64")
    # Beyond 2^53 a number is not what was written.
    same = whole.astype(str)[whole.notna()] == texts[whole.notna()].str.strip()
    return whole if same.all() else texts
