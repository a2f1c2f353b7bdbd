"""Data sets and their parts: rows with a scarce class (A), or all rows (B), and the rows that judge.

A data set is a CSV file. Its column ``y`` is 1 for rows of the scarce class and 0 for others. Columns of text are
categories. A file ``columns.json`` beside it may list the categories by set, {"NAME": ["COLUMN"]}: these are read as
text even if they are numbers.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

TARGET = "y"
JUDGED = 0.4  # share of the rows that judge
MOST = 2000  # majority rows of A, training rows of B


@dataclass(frozen=True)
class Parts:
    """Training rows and rows that judge, with the column ``y``, and the seed of generators and classifiers."""

    train: pd.DataFrame
    test: pd.DataFrame
    seed: int


def sets_in(folder: Path, names: Sequence[str] | None = None) -> Iterator[tuple[str, pd.DataFrame]]:
    """Name and rows of each set, in the order of ``names`` if given."""
    files = {file.name.split(".")[0]: file for end in ("csv", "csv.gz") for file in sorted(folder.glob(f"*.{end}"))}
    if not files:
        raise SystemExit(f"{folder} holds no .csv or .csv.gz files")
    if unknown := set(names or ()) - files.keys():
        raise SystemExit(f"{folder} has no {', '.join(sorted(unknown))}; it has {', '.join(files)}")
    stated = folder / "columns.json"
    categories = json.loads(stated.read_text(encoding="utf-8")) if stated.exists() else {}
    for name in names or files:
        yield name, read(files[name], categories.get(name, []))


def read(file: Path, categories: Sequence[str]) -> pd.DataFrame:
    """The rows of a file: categories as text, other columns as numbers; ends the program if it cannot be used."""
    frame = pd.read_csv(file, dtype=dict.fromkeys(categories, str), keep_default_na=False)
    if TARGET not in frame.columns or set(frame[TARGET].unique()) != {0, 1}:
        raise SystemExit(f"{file} needs a column {TARGET!r} of 0 and 1 (1: the scarce class)")
    numbers = frame.select_dtypes("number").columns
    if empty := [name for name in frame.columns if name not in numbers and (frame[name] == "").any()]:
        raise SystemExit(f"{file} has empty cells in {', '.join(empty)}; fill them or drop the rows")
    return frame.astype({name: object for name in frame.columns if name not in numbers})


def scarce(name: str, frame: pd.DataFrame, seed: int, rows: int) -> Parts | None:
    """A: ``rows`` rows of the scarce class and at most ``MOST`` others; None if there are too few."""
    train, test = _split(name, frame, seed)
    order = np.random.default_rng(_number(name, seed, "pick"))
    own, others = (order.permutation(np.flatnonzero(train[TARGET] == label)) for label in (1, 0))
    if len(own) < rows or min(len(others), MOST) <= rows:
        return None
    chosen = np.sort(np.concatenate([own[:rows], others[:MOST]]))
    return Parts(train.iloc[chosen].reset_index(drop=True), test, _number(name, seed, rows))


def whole(name: str, frame: pd.DataFrame, seed: int) -> Parts:
    """B: at most ``MOST`` rows, with the shares of the classes."""
    train, test = _split(name, frame, seed)
    if len(train) > MOST:
        state = _number(name, seed, "cap")
        train = train_test_split(train, train_size=MOST, stratify=train[TARGET], random_state=state)[0]
    return Parts(train.reset_index(drop=True), test, _number(name, seed, "B"))


def _split(name: str, frame: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    state = _number(name, seed)
    train, test = train_test_split(frame, test_size=JUDGED, stratify=frame[TARGET], random_state=state)
    return train.reset_index(drop=True), test.reset_index(drop=True)


def _number(*parts: object) -> int:
    """A random seed that depends on these parts alone."""
    return zlib.crc32("|".join(map(str, parts)).encode()) & 0x7FFFFFFF
