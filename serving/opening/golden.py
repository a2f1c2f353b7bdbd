"""The self-test: runs the golden rows again and compares the results with the sealed ones (docs/artifact.md)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pydantic import ValidationError

from serving.errors import IntegrityError, ServingError
from serving.opening.entries import CELLS, TABLE_ROWS
from serving.opening.interface import Port, expected_ports
from serving.opening.metadata import (
    ArrayDetector,
    Arrays,
    Augmenter,
    Checked,
    Detector,
    TableTranslator,
    Translator,
)
from serving.opening.session import run
from serving.table.artificial import examples, spread

NO_DATE = np.iinfo(np.int64).min
POSITIONS, EXPLAINED = 64, 4
Feeds = dict[str, np.ndarray]


def self_test(session: Any, checked: Checked) -> None:
    """Raise IntegrityError if the graph does not reproduce the sealed results."""
    if isinstance(checked, Detector):
        _scores(session, checked)
    elif isinstance(checked, Augmenter):
        _columns(session, checked)
    elif isinstance(checked, ArrayDetector):
        _compared(session, checked, golden_feeds(checked))
    elif isinstance(checked, Translator):
        _translated(session, checked)
    elif isinstance(checked, TableTranslator):
        _rows_translated(session, checked)
    else:
        _arrays(session, checked)


def golden_feeds(checked: Detector | ArrayDetector | Translator | TableTranslator) -> Feeds:
    """The golden rows of a detector or translator as feeds; raises IntegrityError if they do not match its inputs."""
    if isinstance(checked, ArrayDetector | Translator):
        golden = checked.golden
        return {"x": examples(golden.rows, checked.layout, golden.low, golden.high)}
    inputs = {name: port for name, port in expected_ports(checked)[0].items() if port[1] is not None}
    return _read(checked.golden.columns, inputs)


def _read(columns: dict[str, list[Any]], ports: dict[str, Port]) -> Feeds:
    if columns.keys() != ports.keys():
        raise IntegrityError(f"golden rows have the columns {sorted(columns)}, but the graph has {sorted(ports)}")
    return {name: _column(name, columns[name], port) for name, port in ports.items()}


def _column(name: str, values: list[Any], port: Port) -> np.ndarray:
    try:
        cells = CELLS[port[0]].validate_python(values)
    except ValidationError as error:
        raise IntegrityError(f"golden rows of column {name!r} hold a value that is not {port[0]}") from error
    if port[0] == "string":
        made = np.array(cells, dtype=object)
    elif port[0] == "int64":
        made = np.array([NO_DATE if v is None else v for v in cells], dtype=np.int64)
    else:
        made = _numbers([math.nan if v is None else v for v in cells], port[0])
    if made.shape != (TABLE_ROWS, *(port[1] or ())):
        raise IntegrityError(f"golden rows of column {name!r} have the shape {made.shape}")
    return made


def _numbers(values: list[Any], kind: str = "double") -> np.ndarray:
    """An array of numbers, parsing infinities by name; raises IntegrityError for rows of different lengths."""
    try:
        return np.array(values, dtype=np.float32 if kind == "float" else np.float64)
    except ValueError as error:
        raise IntegrityError("golden rows have different lengths") from error


def _made(session: Any, names: list[str], feeds: Feeds) -> list[np.ndarray]:
    try:
        return run(session, names, feeds)
    except ServingError as error:
        raise IntegrityError(f"the golden rows cannot be run ({error})") from error


def _scores(session: Any, checked: Detector) -> None:
    """Score the golden rows again, with contributions of a few."""
    feeds = golden_feeds(checked)
    scores = _compared(session, checked, feeds)
    _contributions(session, checked, {name: value[:EXPLAINED] for name, value in feeds.items()}, scores[:EXPLAINED])


def _compared(session: Any, checked: Detector | ArrayDetector, feeds: Feeds) -> np.ndarray:
    """The scores of the golden rows; raises IntegrityError if they disagree with those of torch."""
    scores, p = _made(session, ["anomaly_score", "p_value"], feeds)
    expected = _numbers(checked.golden.anomaly_score)
    bound = 1e-5 * np.maximum(np.abs(expected), checked.calibration.median_score)
    with np.errstate(invalid="ignore"):
        right = (np.abs(scores - expected) <= bound) & np.isfinite(expected) | (scores == expected)
    wrong = ~right | ~(np.abs(p - np.array(checked.golden.p_value)) <= 1e-4)
    if wrong.any():
        raise IntegrityError(f"{int(wrong.sum())} of {len(wrong)} golden rows disagree with what was sealed")
    return scores


def _contributions(session: Any, checked: Detector, feeds: Feeds, scores: np.ndarray) -> None:
    """Check the contributions of a few rows: non-negative, summing to the score above its base if sealed so."""
    (shares,) = _made(session, ["contributions"], {**feeds, "explain": np.array(True)})
    (none,) = _made(session, ["contributions"], feeds)
    if shares.shape != (len(scores), len(checked.features)) or len(none):
        raise IntegrityError(f"contributions of {len(scores)} golden rows have the shape {shares.shape}")
    if checked.contributions is None:
        return
    height = np.clip(scores.astype(np.float64) - checked.contributions.base, 0.0, 1e38)
    if not (shares >= 0).all() or not np.allclose(shares.sum(1, dtype=np.float64), height, rtol=1e-3, atol=1e-6):
        raise IntegrityError("contributions of golden rows are not shares of their scores")


def _columns(session: Any, checked: Augmenter) -> None:
    """Generate the golden rows again; numbers and dates must agree within 1e-4 · max(1, |value|), levels exactly."""
    golden, (inputs, outputs) = checked.golden, expected_ports(checked)
    expected = _read(golden.columns, outputs)
    made = _made(session, list(outputs), _fed(golden, inputs))
    for column, got in zip(outputs, made, strict=True):
        if not _agree(got, expected[column]):
            raise IntegrityError(f"golden rows of column {column!r} disagree with what was sealed")


def _fed(golden: Any, inputs: dict[str, Port]) -> Feeds:
    """Noise, conditions and attributes, restricted to the graph's inputs."""
    feeds: Feeds = {}
    for name in inputs.keys() & {"z", "condition", "attributes"}:
        if (values := getattr(golden, name)) is None:
            raise IntegrityError(f"golden rows lack {name!r}")
        feeds[name] = np.array(values, dtype=object) if name == "condition" else _numbers(values, "float")
    return feeds


def _agree(made: np.ndarray, expected: np.ndarray) -> bool:
    if made.shape != expected.shape:
        return False
    if made.dtype.kind not in "fi":
        return bool(np.array_equal(made, expected))
    made, expected = made.astype(np.float64), expected.astype(np.float64)
    return bool(np.all(np.isclose(made, expected, rtol=1e-4, atol=1e-4, equal_nan=True)))


def _arrays(session: Any, checked: Arrays) -> None:
    """Run the golden arrays again.

    Floats and their means must agree within 1e-4 · max(1, |value|), bytes within one level, their means within 0.1.
    """
    (output,) = [o.name for o in session.get_outputs()]
    golden, inputs = checked.golden, expected_ports(checked)[0]
    feeds = _fed(golden, inputs)
    for name in inputs.keys() & {"x", "example"}:
        if golden.rows is None:
            raise IntegrityError("golden rows lack 'rows'")
        feeds[name] = spread(golden.rows, tuple(checked.shape))
    (made,) = _made(session, [output], feeds)
    _few_agree(made, golden, ((0.0, 1.0), (0.0, 0.1)) if output == "image" else ((1e-4, 1e-4), (1e-4, 1e-4)))


def _translated(session: Any, checked: Translator) -> None:
    """Translate the golden examples again: floats must agree within 1e-4 of the largest value, and at least of 1, bytes
    within one level."""
    golden = checked.golden
    (made,) = _made(session, ["y"], golden_feeds(checked))
    unit = 1e-4 * max(1.0, float(np.abs(_numbers(golden.values)).max()))
    near = ((0.0, 1.0), (0.0, 0.1)) if checked.result.dtype == "uint8" else ((0.0, unit), (0.0, unit))
    _few_agree(made, golden, near)


def _rows_translated(session: Any, checked: TableTranslator) -> None:
    """Translate the golden rows again; as generated rows, numbers and dates must agree closely, levels exactly."""
    outputs = expected_ports(checked)[1]
    expected = _read(checked.golden.results, outputs)
    made = _made(session, list(outputs), golden_feeds(checked))
    for column, got in zip(outputs, made, strict=True):
        if not _agree(got, expected[column]):
            raise IntegrityError(f"golden rows of column {column!r} disagree with what was sealed")


def _few_agree(made: np.ndarray, golden: Any, near: tuple[tuple[float, float], ...]) -> None:
    """Compare the means and a few values of arrays with the golden ones, within ``(relative, absolute)`` bounds."""
    flat = made.reshape(len(made), -1).astype(np.float64)
    count = min(POSITIONS, flat.shape[1])
    values = flat[:, np.arange(count) * flat.shape[1] // count]
    pairs = ((values, _numbers(golden.values)), (flat.mean(1), _numbers(golden.mean)))
    for (got, expected), (rtol, atol) in zip(pairs, near, strict=True):
        if got.shape != expected.shape or not np.allclose(got, expected, rtol=rtol, atol=atol):
            raise IntegrityError("golden rows disagree with what was sealed")
