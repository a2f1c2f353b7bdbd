"""Generated cells of a CSV that a spreadsheet program would run as formulas: reported, or escaped on request."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from serving.wording import counted, listed

if TYPE_CHECKING:
    import pandas as pd

# A signed amount, such as -5, +1.5 % or -$3.00, is not a formula.
_FORMULA = re.compile(r"[=@\t\r]|[+-](?![\d\s.,%$€£]*$)")


def checked(table: pd.DataFrame, mark: str, output: Path, safe: bool, report: Callable[[str], None]) -> pd.DataFrame:
    """The table to write to ``output``; its real rows are never changed.

    Generated text may begin like a formula if real text does. It is unchanged and reported, or, if ``safe``, gets an
    apostrophe in front.
    """
    if output.suffix.lower() != ".csv":
        return table
    found = {str(name): cells for name in table.columns if (cells := _formulas(table[name]) & table[mark]).any()}
    if not found:
        return table
    what = counted(sum(int(cells.sum()) for cells in found.values()), "generated cell")
    said = f"{what} in {listed(list(found))}: a spreadsheet program would run the text as a formula"
    if not safe:
        report(f"warning: {said}; import {output.name} as text, or --spreadsheet-safe puts an apostrophe before it")
        return table
    report(f"{said}; an apostrophe was put before it")
    changed = {name: table[name].mask(cells, "'" + table[name].astype(str)) for name, cells in found.items()}
    return table.assign(**changed)


def _formulas(values: pd.Series) -> pd.Series:
    return values.map(lambda value: isinstance(value, str) and _FORMULA.match(value) is not None).astype(bool)
