"""Writing real rows before generated ones: text is copied byte for byte, Parquet value for value."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files import placing, written
from serving.inputs import Input
from serving.inputs.delimited import SEPARATORS

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from ganlib.data.schema import Column

FORMATS = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet"}
_BOM = b"\xef\xbb\xbf"


def write_augmented(table: pd.DataFrame, mark: str, inputs: Sequence[Input], output: Path) -> None:
    """Write the rows of ``inputs``, if any, then the generated rows of ``table``; a failed write leaves no file.

    ``mark`` is the boolean column that marks generated rows; ``output`` ends in one of ``FORMATS``.
    """
    kind, inputs = FORMATS[output.suffix.lower()], [source for source in inputs if source.names()]
    with placing(output), written(output) as temporary:
        if kind == "parquet":
            _write_parquet(table, mark, inputs, temporary)
        elif not table[mark].all() and _is_copied(inputs, kind):
            _append(table[table[mark]], mark, inputs, temporary)
        else:
            _write_text(table, temporary, sep=SEPARATORS[kind])


def check_real_rows(inputs: Sequence[Input], output: Path) -> None:
    """Raise DataError, before anything is fitted, if several files have no common Parquet types."""
    import pyarrow as pa

    from ganlib.errors import DataError

    if FORMATS[output.suffix.lower()] != "parquet" or all(source.is_text for source in inputs):
        return
    if any(source.is_text for source in inputs):
        raise DataError(
            "the data mixes Parquet and text files, which have no common types; write --output as .csv, or "
            "give files of one format"
        )
    try:
        _joined([pa.schema(list(source.types().items())).empty_table() for source in inputs])
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"the files of the data differ in the types of their columns ({reason}); write --output as .csv, or make "
            "the types alike"
        ) from error


def check_unchanged(location: str, inputs: Sequence[Input]) -> None:
    """Raise DataError if the files have changed since they were read: real rows are copied from them."""
    from ganlib.data.read import files_of
    from ganlib.errors import DataError

    if files_of(location) != list(inputs):
        raise DataError(f"{location} changed while the job ran; run it again when nothing else writes to the data")


def _is_copied(inputs: Sequence[Input], kind: str) -> bool:
    """Whether the files can be concatenated byte for byte."""
    return all(source.format == kind and source.names() == inputs[0].names() for source in inputs)


def _append(made: pd.DataFrame, mark: str, inputs: Sequence[Input], target: Path) -> None:
    """Write the files' records, each followed by its partition keys and False, then the generated rows.

    Line ends are those of the first file; the other headers are left out.
    """
    from serving.inputs.opening import open_bytes

    separator, end = SEPARATORS[inputs[0].format], b""
    with target.open("wb") as file:
        for source in inputs:
            with open_bytes(source) as stream:
                content = stream.read()
            added = {key: value for key, value in source.keys if key not in _own(source)}
            header, *records = _records(content, separator)
            if not end:
                end = b"\r\n" if b"\r\n" in content[: 1 << 16] else b"\n"
                file.write(header + _tail([*added, mark], separator) + end)
            tail = _tail([*added.values(), False], separator) + end
            file.writelines(record + tail for record in records)
        text = io.StringIO(newline="")
        _write_text(made, text, header=False, sep=separator, lineterminator=end.decode())
        file.write(text.getvalue().encode())


def _write_text(frame: pd.DataFrame, target: Any, **options: Any) -> None:
    """Write a frame as CSV; quote text if it holds carriage returns, which the csv module leaves unquoted."""
    texts = frame.select_dtypes(exclude="number").astype(str)
    returns = any(texts[name].str.contains("\r", regex=False).any() for name in texts)
    frame.to_csv(target, index=False, quoting=csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL, **options)


def _own(source: Input) -> list[str]:
    """The columns of the file without the keys of its folders."""
    from dataclasses import replace

    return replace(source, keys=()).names()


def _tail(values: Sequence[object], separator: str) -> bytes:
    """Further values to append to a record."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="").writerow(["", *("" if v is None else v for v in values)])
    return text.getvalue().encode()


def _records(content: bytes, separator: str) -> Iterator[bytes]:
    """The records of a text, without line ends and blank lines.

    A quote counts only at the start of a value; separators and line ends within quotes belong to the value.
    """
    mark = separator.encode()
    value = rb'(?:"[^"]*(?:""[^"]*)*"?)?[^%b\r\n]*' % mark
    record = re.compile(rb"%b(?:%b%b)*" % (value, mark, value))
    at = len(_BOM) if content.startswith(_BOM) else 0
    bom = content[:at]
    while at < len(content):
        found = record.match(content, at)
        if found is None or found.end() == at:
            at += 1
            continue
        yield bom + found.group()
        at, bom = found.end(), b""


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables concatenated in the column order of the first; differing types become the wider one."""
    import pyarrow as pa

    names = tables[0].column_names
    return pa.concat_tables([t.select(names) for t in tables], promote_options="permissive")


def _real(source: Input) -> pa.Table:
    """A Parquet file with its types, and the keys of its folders as text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from serving.inputs.opening import open_file

    table = pq.ParquetFile(open_file(source)).read()
    for key, value in source.keys:
        if key not in table.column_names:
            table = table.append_column(key, pa.repeat(pa.scalar(value, pa.string()), len(table)))
    return table


def _write_parquet(table: pd.DataFrame, mark: str, inputs: Sequence[Input], target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not inputs or any(source.is_text for source in inputs):
        typed(table).to_parquet(target, index=False)
        return
    real, made = _joined([_real(source) for source in inputs]), table[table[mark]].rename(columns=str)
    # An unnamed index is no column of the frame, so generated rows have no values for it.
    below = pa.table(
        [_like(f, made[f.name]) if f.name in made.columns else pa.nulls(len(made), f.type) for f in real.schema],
        schema=real.schema,
    )
    both = below if table[mark].all() else pa.concat_tables([real, below])
    pq.write_table(both.append_column(mark, pa.array(table[mark].to_numpy(dtype=bool))), target)


def _like(field: pa.Field, values: pd.Series) -> pa.Array:
    """Generated values in the type of the real column; raises DataError if that would change them."""
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
    """A table of text with plain numbers and booleans converted; other text is unchanged."""
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
    # A float cannot hold every integer beyond 2^53.
    same = whole.astype(str)[whole.notna()] == texts[whole.notna()].str.strip()
    return whole if same.all() else texts
