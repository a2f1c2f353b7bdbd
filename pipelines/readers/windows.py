"""Windows of a table of readings: what detectors of series are trained on (``serving.windows``)."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from pipelines.errors import UsageError
from pipelines.readers import Learned
from pipelines.readers.arrays import ExampleData
from pipelines.readers.levels import learned
from pipelines.rows import Labels, read_labels
from serving.files import replacing
from serving.levels import MOST_LEVELS, Levels
from serving.windows import REPEATED
from serving.wording import counted, listed

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.sections import DataSettings
    from serving.windows import Readings, Runs, Windows

MOST_BAD = 0.1  # share of unreadable rows, as in scoring
LEAST_RUNS = 10  # keys, or blocks of time, that are split whole
MOST_BLOCKS = 40
_SCHEMA = "; fix the data, or the column's schema"  # windows have no schema to edit
BLOCKS_OF_KEY = 10
MOST_SHORT = 0.1  # share of rows of keys that have too few for a level, above which no key has one by default
LEAST_OF_KEY = 4  # blocks of a key from which its level can be learned: two train, others validate and test
LEVELS = "levels.json"
LEAST_BLOCK = 3  # lengths of a window: one is left out, and windows begin in the second


class Framing(NamedTuple):
    """The settings that say which windows a table holds."""

    time: str
    key: str | None
    length: int
    stride: int
    largest_gap: float
    timezone: str
    level: str
    left_out: tuple[str, ...]

    @classmethod
    def of(cls, settings: DataSettings) -> Framing | None:
        """The windows of a job's settings; None if its data are not windows."""
        if settings.time is None or settings.window is None:
            return None
        label = () if settings.label is None else (settings.label,)
        return cls(
            settings.time, settings.key, settings.window, settings.stride or max(1, settings.window // 4),
            settings.largest_gap, settings.timezone, settings.level, (*label, *settings.drop, *settings.ids),
        )  # fmt: skip


class Level(NamedTuple):
    """Whether windows are read relative to the level of their key, and why.

    ``enough`` marks the keys that have one; ``short`` says in words which have not, and so are not trained on.
    """

    by_key: bool
    why: str
    enough: Any = None
    short: str = ""


@dataclass(frozen=True)
class Framed:
    """A table's windows: their rows ``(n, length)`` as positions in ``frame``, arrays ``x``, and runs ``(n,)``.

    ``runs`` are the keys, or blocks of time within keys if there are few of them or levels are learned (``by_key`` is
    False). ``keys`` are those of the windows. ``level`` says whether they have levels of their own, and why.
    """

    windows: Windows
    frame: pd.DataFrame
    readings: Readings
    members: np.ndarray
    x: np.ndarray
    runs: np.ndarray
    by_key: bool
    keys: np.ndarray
    all_keys: int
    gaps: int
    level: Level


def check_output(output: Path, source: str) -> NoReturn:
    """Raise UsageError: windows are not augmented."""
    only_detectors()


def only_detectors() -> NoReturn:
    """Raise UsageError for a job that is not the training of a detector."""
    raise UsageError("data.time makes windows of a table, which only detectors are trained on; leave --time out")


def opened(path: str, framing: Framing) -> tuple[Framed, str]:
    """The windows of a table, and the table's fingerprint.

    Raises DataError if columns are missing, too many rows cannot be read, or windows are too few to be split.
    """
    from ganlib.data.read import read_table
    from ganlib.export import fingerprint

    frame = read_table(path)
    return _framed(path, frame, framing), fingerprint(frame)


def _framed(path: str, frame: pd.DataFrame, framing: Framing) -> Framed:
    from ganlib.errors import DataError
    from serving.readers.windows import WindowReader
    from serving.table.arrow import as_table, column
    from serving.table.examples import Layout
    from serving.windows import runs_of, usual_step

    names = _channels(path, frame, framing)
    clock = _clock(column(framing.time, frame[framing.time]))
    windows = _windows(framing, names, clock, 1.0)
    layout = Layout("series", (len(names), framing.length), "float64")
    found = WindowReader(windows, layout).read(as_table(frame, windows.names))
    key_names, codes = np.unique(found.keys.astype(str), return_inverse=True)
    step = usual_step(codes, found.times)
    if step is None:
        _check_bad(path, found, len(frame))
        raise DataError(f"{path}: no {_key_of(framing)} has two rows at different times in {framing.time!r}")
    windows = _windows(framing, names, clock, step / 1e6 if clock == "date" else step)
    runs, repeated = runs_of(codes, found.times, windows.longest)
    found = _without(found, repeated, framing.time)
    _check_bad(path, found, len(frame))
    ends = _strided(runs, framing.length, framing.stride)
    if not len(ends):
        longest = int((np.arange(len(runs.start)) - runs.start).max()) + 1
        raise DataError(
            f"{path} holds no {framing.length} rows of one {_key_of(framing)} without a gap: the longest stretch has "
            f"{longest:,}; give a smaller --window, or --largest-gap above {framing.largest_gap:g} steps"
        )
    ends, blocks, by_key, level = _split_whole(path, runs, key_names, codes, ends, framing)
    # Names, not codes: a split then does not depend on which other keys a table holds.
    labels = np.array([f"{key_names[code]}#{block}" for code, block in blocks])
    members = runs.members(ends, framing.length)
    x = np.ascontiguousarray(found.values[members].transpose(0, 2, 1))
    starts = np.flatnonzero(np.arange(len(runs.start)) == runs.start)
    return Framed(
        windows, frame, found, members, x, labels, by_key, key_names[blocks[:, 0]], len(key_names),
        int((~runs.first[starts]).sum()), level,
    )  # fmt: skip


def _key_of(framing: Framing) -> str:
    return "table" if framing.key is None else f"value of {framing.key!r}"


def _channels(path: str, frame: pd.DataFrame, framing: Framing) -> list[str]:
    from ganlib.data.read import need_column
    from ganlib.errors import DataError

    for name, what in ((framing.time, "time"), (framing.key, "key"), *((n, "left-out") for n in framing.left_out)):
        if name is not None:
            need_column(frame, name, what)
    given = [framing.time, *([framing.key] if framing.key is not None else []), *framing.left_out]
    if twice := [name for name in (framing.time, framing.key) if given.count(str(name)) > 1]:
        raise UsageError(f"column {twice[0]!r} has two roles among time, key, label, --drop and --id; give it one")
    names = [str(name) for name in frame.columns if name not in given]
    if not names:
        raise DataError(f"{path} holds no channel beside {listed(list(dict.fromkeys(given)))}; add columns of numbers")
    return names


def _windows(framing: Framing, names: list[str], clock: str, step: float) -> Windows:
    from pydantic import ValidationError

    from serving.windows import Windows

    given = {
        "time": framing.time, "key": framing.key, "channels": names, "length": framing.length, "step": step,
        "largest_gap": framing.largest_gap, "clock": clock, "timezone": framing.timezone,
    }  # fmt: skip
    try:
        return Windows.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise UsageError(f"data.{'.'.join(map(str, first['loc']))}: {first['msg']}; correct the setting") from error


def _clock(times: Any) -> str:
    """Whether times are numbers, or dates and times; text and durations are numbers if all of it is."""
    import pyarrow as pa

    from serving.errors import ValueRefused
    from serving.table.values import is_text, numbers
    from serving.table.words import MISSING_WORDS, Missing

    if pa.types.is_temporal(times.type) and not pa.types.is_duration(times.type):
        return "date"
    if not is_text(times.type):
        return "number"
    try:
        return "date" if np.isnan(numbers("", times, Missing(MISSING_WORDS))).all() else "number"
    except ValueRefused:
        return "date"


def _without(found: Readings, repeated: np.ndarray, time: str) -> Readings:
    """The readings, with repeated times among the bad rows; their positions do not change."""
    bad = [(int(row), time, REPEATED) for row in found.rows[repeated]]
    return replace(found, bad=sorted([*found.bad, *bad]))


def _check_bad(path: str, found: Readings, rows: int) -> None:
    """Raise DataError if more than a tenth of the rows cannot be used."""
    from ganlib.errors import DataError

    if len(found.bad) <= MOST_BAD * rows:
        return
    row, name, why = found.bad[0]
    worst, reason = Counter((column, why) for _, column, why in found.bad).most_common(1)[0][0]
    if reason == REPEATED:
        fix = (
            "name the column that separates machines by --key" if found.keys[0] == "" else "keep one row for each time"
        )
    else:
        fix = f"fill the values in, name what separates machines by --key, or leave the column out: --drop {worst!r}"
    raise DataError(
        f"{path}: {len(found.bad):,} of {counted(rows, 'row')} cannot be used, first column {name!r}, row {row}: "
        f"{why.removesuffix(_SCHEMA)}; {fix}"
    )


def _strided(runs: Runs, length: int, stride: int) -> np.ndarray:
    """Places of the rows that end windows, every ``stride`` rows from the first of each run."""
    within = np.arange(len(runs.start)) - runs.start
    return np.flatnonzero((within >= length - 1) & ((within - length + 1) % stride == 0))


def _split_whole(
    path: str, runs: Runs, key_names: np.ndarray, codes: np.ndarray, ends: np.ndarray, framing: Framing
) -> tuple[np.ndarray, np.ndarray, bool, Level]:
    """The windows to use, key and block of each, which are split whole ``(n, 2)``, whether they are whole keys, levels.

    With few keys these are blocks of time, and also with levels, for which each key has to train.
    """
    from ganlib.errors import DataError

    ordered, length = codes[runs.order], framing.length
    rows_of = np.bincount(ordered, minlength=len(key_names))
    parts = max(BLOCKS_OF_KEY, math.ceil(MOST_BLOCKS / len(key_names)))
    sizes = np.maximum(LEAST_BLOCK * length, np.ceil(rows_of / parts)).astype(np.int64)
    chosen, names = _blocks(ordered, ends, sizes, length)
    level = _level(path, framing, key_names, names, rows_of)
    if level.by_key:
        kept = level.enough[names[:, 0]]
        return chosen[kept], names[kept], False, level
    keys = ordered[ends]
    if len(np.unique(keys)) >= LEAST_RUNS:
        return ends, np.stack([keys, np.zeros_like(keys)], 1), True, level
    size = max(LEAST_BLOCK * length, math.ceil(len(ordered) / MOST_BLOCKS))
    chosen, names = _blocks(ordered, ends, np.full(len(key_names), size), length)
    if (held := len(np.unique(names, axis=0))) < LEAST_RUNS:
        raise DataError(
            f"{path} can be split into {held} blocks of {size:,} rows, and {LEAST_RUNS} are needed (or as many keys), "
            "to train, calibrate and judge on different ones: about "
            f"{LEAST_RUNS * LEAST_BLOCK * framing.length:,} rows without long gaps for --window {framing.length}; "
            "add rows, or give a smaller --window"
        )
    return chosen, names, False, level


def _blocks(ordered: np.ndarray, ends: np.ndarray, sizes: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The windows within blocks of time, and key and block of each ``(n, 2)``; ``sizes`` are the rows of blocks by key.

    All windows but those of a key's first block begin at least one window length after their block, so that no two
    blocks share rows or touch.
    """
    first, size = np.searchsorted(ordered, ordered), sizes[ordered]  # where the rows of each one's key begin
    within, most = np.arange(len(ordered)) - first, np.bincount(ordered, minlength=len(sizes))[ordered] // size
    block = np.minimum(within // size, np.maximum(most - 1, 0))
    begins, into = ends - length + 1, within - block * size
    apart = (block[begins] == block[ends]) & ((block[begins] == 0) | (into[begins] >= length))
    chosen = ends[apart]
    return chosen, np.stack([ordered[chosen], block[chosen]], 1)


def _level(path: str, framing: Framing, key_names: np.ndarray, blocks: np.ndarray, rows: np.ndarray) -> Level:
    """Whether keys have levels, by the setting, the ``blocks (n, 2)`` of windows and the ``rows`` of each key.

    Raises DataError if they are asked for and no key has enough blocks.
    """
    from ganlib.errors import DataError

    if framing.level == "none":
        return Level(False, "--level none")
    if framing.key is None:
        return Level(False, "no key separates machines")
    counts = np.bincount(np.unique(blocks, axis=0)[:, 0], minlength=len(key_names))
    few = counts < LEAST_OF_KEY
    need = f"about {LEAST_OF_KEY * LEAST_BLOCK * framing.length:,} rows without long gaps"
    short = ""
    if few.any():
        short = (
            f"{int(few.sum()):,} of {counted(len(key_names), 'key')}, first {str(key_names[few.argmax()])!r}, "
            f"{'has' if few.sum() == 1 else 'have'} fewer than {need}"
        )
    doubt = ""
    if len(key_names) - int(few.sum()) > MOST_LEVELS:
        doubt = f"{len(key_names):,} keys are more than {MOST_LEVELS:,}, the most that a model can hold levels of"
    elif counts[~few].sum() < LEAST_RUNS:
        doubt = f"{short}, and too few others" if short else "too few blocks of time"
    elif framing.level == "auto" and rows[few].sum() > MOST_SHORT * rows.sum():
        doubt = short
    if doubt and framing.level == "key":
        raise DataError(
            f"{path}: levels of keys cannot be learned: {doubt}; add rows, give a smaller --window, or say --level none"
        )
    if doubt:
        return Level(False, f"{doubt}, so machines are not told apart")
    if framing.level == "auto" and len(key_names) == 1:
        return Level(False, f"{framing.key!r} has one value only")
    usual = f"most keys have {need}" if short else f"each key has {need}"
    return Level(True, "--level key" if framing.level == "key" else usual, ~few, short)


class WindowData(ExampleData):
    """Windows; implements ``JobData``."""

    noun = "window"
    unused = {"schema_file": "--schema", "group": "data.group", "modality": "--modality"}

    def __init__(self, settings: DataSettings, content: Framed, fingerprint: str) -> None:
        import pandas as pd

        from ganlib.data.readers import reader_for

        self.framed = content
        self.members = content.readings.rows[content.members]
        last = self.members[:, -1]
        columns = content.frame.iloc[last].reset_index(drop=True)
        if settings.split != "hash":
            raise UsageError(f"windows are split by keys or blocks of time: leave data.split={settings.split} out")
        reader = reader_for(content.x[:1], "series")
        super().__init__(settings, (reader, content.x, pd.DataFrame(columns)), fingerprint)
        self.runs, self.windows = content.runs, content.windows
        self.levelled = content.keys if content.level.by_key else None

    def _not_for(self) -> str:
        return "has no meaning for windows (data.time)"

    def labels(self) -> Labels:
        """A window is anomalous if any of its rows is, and unlabelled if a row without a label leaves that open."""
        settings, members = self.settings, self.members
        rows = read_labels(self.framed.frame, settings.label, settings.normal)
        anomalous = rows.anomalous[members].any(1)
        unlabelled = rows.unlabelled[members].any(1) & ~anomalous
        rule = rows.rule
        if settings.label is not None:
            rule += f"; a window is anomalous if one of its rows is: {int(anomalous.sum()):,} of {len(anomalous):,}"
        return Labels(anomalous, unlabelled, rule, rows.doubt)

    def content(self, with_label: bool = False) -> pd.DataFrame:
        """The runs."""
        import pandas as pd

        if with_label:
            only_detectors()
        return pd.DataFrame({"run": self.runs})

    def learn(self, fit: Sequence[int], anomalous: np.ndarray | None, folder: Path) -> Learned:
        """Learn the levels of keys, and warn of rows that cannot be read; raises DataError for constant channels."""
        from ganlib.errors import DataError

        if anomalous is None:
            only_detectors()
        if self.levelled is not None:
            self._learn_levels(np.asarray(fit, dtype=np.int64), folder)
        x = self.part(fit)
        same = x.max((0, 2)) == x.min((0, 2)) if len(x) else np.zeros(0, dtype=bool)
        if same.any():
            names = [name for name, constant in zip(self.framed.windows.channels, same, strict=True) if constant]
            raise DataError(
                f"{counted(len(names), 'channel is', 'channels are')} constant in the training windows: "
                f"{listed(names)}; leave {'it' if len(names) == 1 else 'them'} out by --drop"
            )
        bad = self.framed.readings.bad
        doubts = [f"{counted(len(bad), 'row')} cannot be used, first {self._first_bad()}"] if bad else []
        if short := self.framed.level.short:
            doubts.append(f"{short}: not trained on, and read by the level of all keys")
        if lost := self._without_level():
            doubts.append(
                f"{counted(len(lost), 'key has', 'keys have')} no normal training windows, so no level: {listed(lost)}"
            )
        return Learned(differences=doubts, level=self._level)

    def _without_level(self) -> list[str]:
        """The keys of windows that are anomalies only, so that none of them trains."""
        if self.levelled is None or self.windows is None:
            return []
        return sorted({str(key) for key in self.levelled[self.windows.unseen(self.levelled)]})

    def _learn_levels(self, fit: np.ndarray, folder: Path) -> None:
        """Learn and save levels from the rows of the training windows."""
        framed = self.framed
        rows, first = np.unique(framed.members[fit], return_index=True)
        window = fit[first // framed.members.shape[1]]
        by_key, apart = learned(framed.readings.values[rows], framed.keys[window], framed.runs[window])
        saved = {"by_key": by_key.model_dump(mode="json"), "apart": apart.model_dump(mode="json")}
        with replacing(folder / LEVELS) as temporary:
            temporary.write_text(json.dumps(saved), encoding="utf-8")
        self.recall(folder)

    def recall(self, folder: Path) -> None:
        """Read the windows relative to the levels that were learned; training blocks by those of other blocks."""
        if self.levelled is None or not (folder / LEVELS).exists():
            return
        saved = json.loads((folder / LEVELS).read_text(encoding="utf-8"))
        by_key, apart = Levels.model_validate(saved["by_key"]), Levels.model_validate(saved["apart"])
        framed = self.framed
        self.windows = framed.windows.model_copy(update={"levels": by_key})
        training = ~apart.unseen(framed.runs)
        self.x = by_key.relative(framed.keys, framed.x)
        self.x[training] = apart.relative(framed.runs[training], framed.x[training])

    def read_by(self, model: Windows | None, rows: Sequence[int], x: Any) -> Any:
        """As feeds: windows relative to the levels of the model instead of those of this data."""
        if model is None:
            return x
        keys = np.resize(self.framed.keys[np.asarray(rows, dtype=np.int64)], len(x))
        levels = None if self.windows is None else self.windows.levels
        return {"x": np.ascontiguousarray(model.relative(keys, x if levels is None else levels.absolute(keys, x)))}

    @property
    def _level(self) -> str:
        """Whether windows are read relative to the level of each key, and why."""
        by_key, why = self.framed.level[:2]
        return f"{'of each key' if by_key else 'none'}: {why}"

    def _first_bad(self) -> str:
        row, name, why = self.framed.readings.bad[0]
        return f"row {row}, column {name!r}: {why.removesuffix(_SCHEMA)}"

    def facts(self) -> dict[str, Any]:
        """The windows, and what of the table they hold."""
        framed, windows = self.framed, self.framed.windows
        unit = " seconds" if windows.clock == "date" else ""
        bad = len(framed.readings.bad)
        return {
            "kind": f"windows of {windows.length} rows, series of {counted(len(windows.channels), 'channel')}",
            "table rows": len(framed.frame),
            "unusable rows": f"{bad:,} (first {self._first_bad()})" if bad else 0,
            "keys": framed.all_keys,
            "level": self._level,
            "gaps": framed.gaps,
            "usual step": f"{windows.step:g}{unit}",
            "split by": "key" if framed.by_key else f"{len(np.unique(framed.runs))} blocks of time",
            "windows": len(self),
        }

    def generation(self, settings: Any, output: Path) -> NoReturn:
        """Raises UsageError: rows of windows are not generated."""
        only_detectors()

    def labelled(self, rows: Sequence[int]) -> NoReturn:
        """Raises UsageError, as ``generation``."""
        only_detectors()

    def beside(self, other: Any) -> NoReturn:
        """Raises UsageError, as ``generation``."""
        only_detectors()


DATA = WindowData
