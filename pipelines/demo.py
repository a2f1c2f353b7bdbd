"""The demo (``ganlib demo``): train, promote, score a batch and a stream, and augment, in one folder.

Each part writes a note with the fingerprint of its inputs; a part is not run again while its inputs are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import GateRefused
from pipelines.files import placing, written
from serving.wording import counted, say

if TYPE_CHECKING:
    import pandas as pd

INCOMING = 0.2
SCARCE, OTHERS = 10, 600  # rows of the digit 8, and of all other digits
FEW, SOME = 10, 38  # rows of each odd and each even digit
LARGEST_CLASSES, SAMPLE = 10, 1000  # limits on the user's table before it is augmented
POISON = '{"this is": "no record of the table"'
CONFIG = """# Configuration of the demo; `ganlib config show --config {file}` resolves it.
registry:
  tracking_uri: sqlite:///{database}
model:
  candidates: [ganomaly, vae]
calibration:
  alpha: 0.05  # few rows calibrate: they support no smaller alarm budget
augment:
  repeats: 5  # ten or more decide better, and take longer
"""


@dataclass(frozen=True)
class Place:
    """The demo's folder and the names in it."""

    base: Path
    name: str

    @property
    def folder(self) -> Path:
        """Products of this demo."""
        return self.base / self.name

    @property
    def config(self) -> Path:
        """Settings that all parts share."""
        return self.folder / "ganlib.yaml"

    def file(self, name: str) -> Path:
        """A product."""
        return self.folder / name


def run_demo(output: Path, data: str | None = None, label: str | None = None) -> dict[str, Any]:
    """Run every part in order and print the results; returns each part's summary.

    ``data`` None uses scikit-learn's breast cancer table, and its digits for augmentation. Raises what the parts raise.
    """
    started = time.monotonic()
    usual = _usual_registry()
    _prepare_environment(output)
    name = "demo" if data is None else re.sub(r"[^\w-]+", "-", Path(data).stem).strip("-") or "own"
    place = Place(output.resolve(), name)
    with placing(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
    database = place.base / "mlflow.db"
    with written(place.config) as temporary:
        temporary.write_text(CONFIG.format(file=_short(place.config), database=database), encoding="utf-8")
    heading = _Steps(total=6 if data is None or label else 5)
    heading("data")
    history, incoming, label = _tables(place, data, label)
    done: dict[str, Any] = {}
    heading("train detectors, keep the best as challenger")
    done["train"] = _part(place, "train", [history], lambda: _train(place, history, label))
    heading("promote through the gates")
    done["promote"] = _part(place, "promote", [done["train"]["sha256"]], lambda: _promote(place))
    alias = "champion" if done["promote"]["passed"] else "challenger"
    model = f"models:/{place.name}@{alias}"
    mark = [done["train"]["sha256"], incoming]
    heading("score a batch")
    done["score"] = _part(place, "score", mark, lambda: _score(place, model, incoming))
    heading("score a stream with one corrupted record")
    done["stream"] = _part(place, "stream", mark, lambda: _stream(place, model, incoming))
    if data is None or label:
        heading("augment a scarce table, measured on held-out real rows")
        done["augment"] = _part(place, "augment", [history], lambda: _augment(place, data, label))
    _finish(place, done, model, incoming, time.monotonic() - started, usual)
    return done


class _Steps:
    """Numbered headings on stderr."""

    def __init__(self, total: int) -> None:
        self.number, self.total = 0, total

    def __call__(self, title: str) -> None:
        self.number += 1
        say(f"[{self.number}/{self.total}] {title}")


def _prepare_environment(output: Path) -> None:
    """Keep Prefect's files in the folder and use its embedded API, whatever server is configured.

    The demo prints the error of a part in one line, so Prefect logs nothing.
    """
    os.environ["PREFECT_HOME"] = str((output / "prefect").resolve())
    os.environ["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    os.environ.pop("PREFECT_API_URL", None)


def _part(place: Place, part: str, made_from: list[Path | str], run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a part, unless its note shows that its inputs are the same."""
    mark, note = _mark(made_from), place.file(f".{part}.json")
    if note.exists():
        kept = json.loads(note.read_text(encoding="utf-8"))
        if kept["mark"] == mark:
            say(f"      made already: {_short(note.parent)}")
            return kept["done"]
    done = run()
    with written(note) as temporary:
        temporary.write_text(json.dumps({"mark": mark, "done": done}, default=str), encoding="utf-8")
    return done


def _mark(made_from: list[Path | str]) -> str:
    import ganlib

    digest = hashlib.sha256(ganlib.__version__.encode())
    for thing in made_from:
        digest.update(thing.read_bytes() if isinstance(thing, Path) else thing.encode())
    return digest.hexdigest()


# ---------------------------------------------------------------- tables
def _tables(place: Place, data: str | None, label: str | None) -> tuple[Path, Path, str | None]:
    """Rows to train on, and rows that arrive later, without their label."""
    import numpy as np

    from ganlib.data.read import need_column, read_table

    if data is None:
        frame, label = _breast_cancer(), "diagnosis"
    else:
        frame = read_table(data)
        if label is not None:
            need_column(frame, label)
    later = np.zeros(len(frame), dtype=bool)
    later[np.random.default_rng(0).permutation(len(frame))[: max(1, round(INCOMING * len(frame)))]] = True
    features = frame.drop(columns=[label]) if label else frame
    history, incoming = place.file("history.parquet"), place.file("incoming.parquet")
    _write(frame[~later], history)
    _write(features[later], incoming)
    say(f"      {counted(int((~later).sum()), 'row')} to train on: {_short(history)}")
    say(f"      {counted(int(later.sum()), 'row')} to arrive later: {_short(incoming)}")
    return history, incoming, label


def _breast_cancer() -> pd.DataFrame:
    """569 biopsies, 30 measurements each: benign is normal."""
    from sklearn.datasets import load_breast_cancer

    loaded = load_breast_cancer(as_frame=True)
    frame = loaded.data.rename(columns=lambda name: name.replace(" ", "_"))
    return frame.assign(diagnosis=loaded.target.map({1: "normal", 0: "malignant"}))


def _digits() -> pd.DataFrame:
    """Handwritten digits as a table of 64 grey values."""
    from sklearn.datasets import load_digits

    loaded = load_digits(as_frame=True)
    return loaded.data.assign(digit=loaded.target.astype(str))


def _one_scarce_digit() -> pd.DataFrame:
    """A scarce class beside a common one: 8, and the other digits."""
    import pandas as pd

    frame = _digits()
    eight = frame["digit"] == "8"
    frame["digit"] = eight.map({True: "8", False: "other"})
    return pd.concat([frame[eight].head(SCARCE), frame[~eight].head(OTHERS)]).sort_index().reset_index(drop=True)


def _several_scarce_digits() -> pd.DataFrame:
    """Ten classes that few rows tell apart already, of which the odd digits are scarce."""
    import pandas as pd

    parts = [part.head(FEW if int(digit) % 2 else SOME) for digit, part in _digits().groupby("digit")]
    return pd.concat(parts).sort_index().reset_index(drop=True)


def _sample(history: Path, label: str) -> pd.DataFrame:
    """Rows of the ten largest classes, few enough to fit five generators in minutes."""
    import pandas as pd

    frame = pd.read_parquet(history)
    frame = frame[frame[label].isin(frame[label].value_counts().index[:LARGEST_CLASSES])]
    return frame.sample(min(len(frame), SAMPLE), random_state=0).sort_index()


def _write(frame: pd.DataFrame, path: Path) -> None:
    from pipelines.files import write_table

    write_table(frame.reset_index(drop=True), path)


# ---------------------------------------------------------------- parts
def _train(place: Place, history: Path, label: str | None) -> dict[str, Any]:
    from pipelines.flows.train_detector import train_detector

    return train_detector(place.name, str(history), label, config=str(place.config))


def _promote(place: Place) -> dict[str, Any]:
    from pipelines.flows.promote import promote

    try:
        return promote(place.name, config=str(place.config))
    except GateRefused as error:
        say(f"      {error}; the challenger scores instead")
        return {"name": place.name, "passed": False, "failures": str(error)}


def _score(place: Place, model: str, incoming: Path) -> dict[str, Any]:
    from pipelines.flows.score_batch import score_batch

    folder = place.file("scores")
    # Scores of an earlier model in this folder would be an error.
    shutil.rmtree(folder, ignore_errors=True)
    return score_batch(model, str(incoming), str(folder), config=str(place.config))


def _stream(place: Place, model: str, incoming: Path) -> dict[str, Any]:
    from pipelines.following import RegistrySource
    from pipelines.registry import Registry
    from pipelines.settings import load_settings
    from serving.stream import run_stream

    queue, output = place.file("queue.db"), place.file("stream.db")
    for file in (queue, output):
        for path in file.parent.glob(f"{file.name}*"):
            path.unlink()
    _fill(queue, incoming)
    registry = Registry(settings=load_settings(place.config).registry)
    run_stream(RegistrySource(registry, model), f"sqlite:{queue}", output)
    connection = sqlite3.connect(output)
    scored, anomalies = connection.execute("SELECT count(*), sum(is_anomaly) FROM scores").fetchone()
    dead = connection.execute("SELECT position, reason FROM dead_letters").fetchall()
    connection.close()
    return {"scored": scored, "anomalies": anomalies, "dead_letters": [f"record {p}: {reason}" for p, reason in dead]}


def _fill(queue: Path, incoming: Path) -> None:
    """Fill the queue with the rows as JSON records, and a corrupted one."""
    import pandas as pd

    from serving.sources.sqlite_queue import QUEUE_TABLE

    records = pd.read_parquet(incoming).to_json(orient="records", lines=True, date_format="iso").splitlines()
    records.insert(min(10, len(records)), POISON)
    connection = sqlite3.connect(queue)
    with connection:
        connection.execute(QUEUE_TABLE)
        connection.executemany("INSERT INTO queue(body) VALUES (?)", [(record,) for record in records])
    connection.close()


def _augment(place: Place, data: str | None, label: str | None) -> dict[str, Any]:
    """Register a generator, and write a balanced table with the report on what its rows add; say where they do not."""
    from ganlib.errors import DataError
    from pipelines.flows.train_augmenter import train_augmenter

    scarce, name = place.file("scarce.parquet"), f"{place.name}-augmenter"
    if data is None:
        _write(_one_scarce_digit(), scarce)
        label = "digit"
    else:
        _write(_sample(place.file("history.parquet"), str(label)), scarce)
    try:
        trained = train_augmenter(name, str(scarce), label, config=str(place.config))
        done = {"name": name, "version": trained["version"]} | _gated(place, scarce, "augmented.parquet", str(label))
        if data is None:
            several = place.file("several.parquet")
            _write(_several_scarce_digits(), several)
            done["several"] = _gated(place, several, "several-augmented.parquet", str(label))
    except DataError as error:
        say(f"      not augmented: {error}")
        return {"name": name, "synthetic": 0, "verdict": str(error), "output": ""}
    return done


def _gated(place: Place, table: Path, output: str, label: str) -> dict[str, Any]:
    """What augmenting wrote, or why the gate let nothing be written."""
    from pipelines.flows.train_augmenter import augment

    path = place.file(output)
    try:
        return augment(str(table), str(path), label, config=str(place.config))
    except GateRefused as error:
        say(f"      {error}")
        found = error.verdict
        return {"synthetic": 0, "verdict": f"no file: {found.verdict}", "output": "", "report": found.report}


# ---------------------------------------------------------------- the end
def _usual_registry() -> str:
    """The registry of a command without --tracking; read early, since MLflow changes the environment."""
    from pipelines.registry import Registry

    return Registry().uri


def _finish(place: Place, done: dict[str, Any], model: str, incoming: Path, seconds: float, usual: str) -> None:
    """Print the results and three commands to try next."""
    from pipelines.cli.common import table

    train, scores, stream = done["train"], done["score"], done["stream"]
    figures = ", ".join(f"{name} {value:.3f}" for name, value in train["validation"].items())
    promoted = "champion" if done["promote"]["passed"] else "challenger, rejected by a gate"
    detector = f"{place.name} version {train['version']} ({train['model']}), {promoted}; {train['measure']}: {figures}"
    batch = f"{counted(scores['rows'], 'row')} scored, {_anomalies(scores)}"
    live = f"{counted(stream['scored'], 'record')} scored, {_anomalies(stream)}, dead letters: "
    database = f"sqlite:///{_short(place.base / 'mlflow.db')}"
    rows = [
        ["detector", detector],
        ["sealed as", _short(Path(train["artifact"]))],
        ["batch", f"{batch}: {_short(place.file('scores'))}"],
        ["stream", f"{live}{len(stream['dead_letters'])}: {_short(place.file('stream.db'))}"],
    ]
    if grown := done.get("augment"):
        for title, one in {"augmenter": grown, "ten classes": grown.get("several")}.items():
            if one:
                made = counted(one["synthetic"], "generated row")
                said = f"{made}: {_short(Path(one['output']))}; " if one["output"] else ""
                rows.append([title, said + one["verdict"]])
                if one.get("report"):
                    rows.append(["its report", _short(Path(one["report"]))])
    table(f"made in {seconds:.0f} s", ["what", "where and how good"], [*rows, ["registry", database]])
    command = "ganlib" if shutil.which("ganlib") else _short(Path(sys.executable).parent / "ganlib")
    tail = "" if usual == f"sqlite:///{place.base / 'mlflow.db'}" else f" --tracking {database}"
    mine = _short(place.base / "my-scores")
    print("\nnext:")
    print(f"  {command} score --model {model} --input {_short(incoming)} --output {mine} --explain{tail}")
    print(f"  {command} history {place.name}{tail}")
    print(f"  {command} demo --data YOUR.csv --label COLUMN")


def _anomalies(done: dict[str, Any]) -> str:
    return counted(done["anomalies"], "anomaly", "anomalies")


def _short(path: Path) -> str:
    """A path relative to the working directory, if it lies below it."""
    path = path if path.is_absolute() else path.resolve()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
