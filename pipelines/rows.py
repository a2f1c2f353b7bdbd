"""Known normal and anomalous rows, and the split into training, validation and test rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import UsageError
from pipelines.settings import DataSettings
from serving.wording import counted, listed

if TYPE_CHECKING:
    import pandas as pd

NORMAL_WORDS = ("0", "false", "normal")
MAJORITY = "the majority"


@dataclass(frozen=True)
class Labels:
    """Masks over the rows, the rule behind them in words, and a reason to doubt the rule, if any."""

    anomalous: np.ndarray
    unlabelled: np.ndarray
    rule: str
    doubt: str = ""


def read_labels(frame: pd.DataFrame, label: str | None, normal: str | None) -> Labels:
    """Known anomalies by the label column.

    Normal is ``normal`` if given, else 0, false and ``normal``, else the majority value. Rows without a label are
    unlabelled. Raises DataError on an absent column, one without any value, or a ``normal`` that does not occur.
    """
    from ganlib.data.read import need_column
    from ganlib.data.values import as_strings
    from ganlib.errors import DataError

    nothing = np.zeros(len(frame), dtype=bool)
    if label is None:
        return Labels(nothing, nothing, "no label: all rows train, assumed mostly normal")
    texts = np.char.strip(as_strings(need_column(frame, label)).astype(str))
    missing = texts == ""
    values, counts = np.unique(texts[~missing], return_counts=True)
    if len(values) == 0:
        raise DataError(
            f"label column {label!r} holds no value: all of them are missing; leave --label out, or name another column"
        )
    chosen, why = _normal_values(values, counts, label, normal)
    anomalous = ~missing & ~np.isin(texts, chosen)
    names = " or ".join(repr(str(v)) for v in chosen)
    if not anomalous.any():
        rule = f"{label} has no other value than {names}: all rows train as normal"
        return Labels(nothing, missing, rule, _doubt(label, names) if why == MAJORITY else "")
    known = counted(int(anomalous.sum()), "known anomaly", "known anomalies")
    rule = f"{label} = {names} is normal ({why}); {known} in {counted(len(frame), 'row')}"
    return Labels(anomalous, missing, rule)


def _doubt(label: str, value: str) -> str:
    """Warn about a single value: it may mark the anomalies as well as the normal rows."""
    return (
        f"label column {label!r} holds {value} only, which is assumed to be normal: all rows train. If it marks "
        "anomalies, add rows known to be normal and name their value by --normal VALUE"
    )


def _normal_values(values: np.ndarray, counts: np.ndarray, label: str, normal: str | None) -> tuple[list[str], str]:
    from ganlib.errors import DataError

    if normal is not None:
        chosen = [v for v in values if v == normal.strip() or _same_number(v, normal)]
        if not chosen:
            shown = listed([str(v) for v in values[np.argsort(-counts)]], 20)
            raise DataError(f"label column {label!r} holds no value {normal!r}; its values are {shown}")
        return chosen, "as given"
    known = [v for v in values if v.lower() in NORMAL_WORDS or _same_number(v, "0")]
    return (known, "by its name") if known else ([str(values[counts.argmax()])], MAJORITY)


def _same_number(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return False


def split_for_detection(
    features: pd.DataFrame,
    labels: Labels,
    settings: DataSettings,
    seed: int,
    runs: np.ndarray | None = None,
    keys: np.ndarray | None = None,
) -> dict[str, list[int]]:
    """Row positions of ``fit``, ``validation`` and ``test``.

    - By content: normal rows by the fractions of the settings; known anomalies half to validation, half to test.
    - By group or time: all rows by those fractions; known anomalies are then removed from ``fit``.
    - By ``runs``, if rows belong to some: whole runs by those fractions, first those with known anomalies, half of them
      to validation and half to test; known anomalies of other runs are then removed from ``fit``. Half of the runs of
      each of ``keys``, if rows belong to some, stay in ``fit``, and runs are taken from all keys in turn.

    Unlabelled rows are training rows only. Raises DataError if a part would be empty.
    """
    from ganlib.data.split import split_rows

    held = settings.validation_fraction + settings.test_fraction
    shares = {"fit": 1 - held, "validation": settings.validation_fraction, "test": settings.test_fraction}
    anomalous = np.flatnonzero(labels.anomalous)
    if settings.split != "hash" or runs is not None:
        if runs is not None:
            parts = _split_runs(runs, labels.anomalous, shares, seed, keys)
        else:
            parts = split_rows(features, shares, settings.split, settings.split_column, seed, least=2)
        parts["fit"] = parts["fit"][~labels.anomalous[parts["fit"]]]
        for name in ("validation", "test"):
            parts[name] = parts[name][~labels.unlabelled[parts[name]]]
        return {name: rows.tolist() for name, rows in parts.items()}
    normal = np.flatnonzero(~labels.anomalous & ~labels.unlabelled)
    parts = {n: normal[r] for n, r in split_rows(features.iloc[normal], shares, seed=seed, least=2).items()}
    parts["fit"] = np.sort(np.concatenate([parts["fit"], np.flatnonzero(labels.unlabelled)]))
    if len(anomalous):
        # A single known anomaly goes to validation; none is left for the test rows.
        halves = {"validation": np.arange(len(anomalous))}
        if len(anomalous) > 1:
            halves = _halves(features.iloc[anomalous], seed)
        for name, rows in halves.items():
            parts[name] = np.sort(np.concatenate([parts[name], anomalous[rows]]))
    return {name: rows.tolist() for name, rows in parts.items()}


def _split_runs(
    runs: np.ndarray, anomalous: np.ndarray, shares: Mapping[str, float], seed: int, keys: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Row positions of the parts, which hold whole runs; raises DataError if there are too few runs."""
    import pandas as pd

    from ganlib.data.content import row_hash
    from ganlib.data.split import mixed, seeded
    from ganlib.errors import DataError

    names, first, inverse, sizes = np.unique(runs, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(mixed(seeded(row_hash(pd.DataFrame({"run": names})), seed)), kind="stable")
    spare = np.array([len(names)])  # how many runs of the run's key may leave ``fit``
    key_of = np.zeros(len(names), dtype=np.int64)
    if keys is not None:
        _, key_of = np.unique(keys[first], return_inverse=True)
        spare = np.bincount(key_of) // 2
        order = order[np.argsort(_turns(key_of[order]), kind="stable")]
    known = np.bincount(inverse, anomalous.astype(float)) > 0
    faulty, others = [run for run in order if known[run]], [run for run in order if not known[run]]
    part_of = np.full(len(names), "fit", dtype=object)
    for turn, name in enumerate(("validation", "test")):
        held, queue = 0, [*faulty[turn::2], *(run for run in others if part_of[run] == "fit")]
        for run in queue:
            if held >= shares[name] * len(runs):
                break
            if not spare[key_of[run]]:
                continue
            spare[key_of[run]] -= 1
            part_of[run] = name
            held += sizes[run]
    parts = {name: np.flatnonzero(part_of[inverse] == name) for name in shares}
    if short := [name for name, rows in parts.items() if len(rows) < 2]:
        raise DataError(
            f"the {short[0]} part would hold {len(parts[short[0]])} of {len(runs)} windows, since {len(names)} runs "
            "are split whole; add keys or time"
        )
    return parts


def _turns(keys: np.ndarray) -> np.ndarray:
    """How many equal entries come before each one ``(n,)``."""
    order = np.argsort(keys, kind="stable")
    turns = np.empty_like(order)
    turns[order] = np.arange(len(keys)) - np.searchsorted(keys[order], keys[order])
    return turns


def spare_for_weights(
    parts: Mapping[str, list[int]], features: pd.DataFrame, anomalous: np.ndarray, seed: int
) -> dict[str, list[int]]:
    """Move half of the validation rows' known anomalies to a part ``weighing``, by which a fusion weighs its members.

    The validation rows, which gates read, are then judged by weights that have not seen their labels. Nothing is moved
    where either half would hold fewer than a fusion uses.
    """
    from ganlib.detect.weights import LEAST_KNOWN

    validation = np.asarray(parts["validation"])
    known = validation[anomalous[validation]]
    chosen = _half_of(known, features, seed)
    if min(len(chosen), len(known) - len(chosen)) < LEAST_KNOWN:
        return dict(parts)
    return {**parts, "validation": np.setdiff1d(validation, chosen).tolist(), "weighing": np.sort(chosen).tolist()}


def spare_for_tuning(
    parts: Mapping[str, list[int]], features: pd.DataFrame, anomalous: np.ndarray, seed: int
) -> dict[str, list[int]]:
    """Move half of the validation rows, normal and known anomalies, to a part ``tuning``, by which options are chosen.

    The other half compares the tuned model with the defaults. Raises UsageError where a half would hold too few.
    """
    from ganlib.detect.weights import LEAST_KNOWN

    validation = np.asarray(parts["validation"])
    sides = {"known anomalies": validation[anomalous[validation]], "normal rows": validation[~anomalous[validation]]}
    chosen = {what: _half_of(rows, features, seed) for what, rows in sides.items()}
    for what, rows in sides.items():
        if min(len(chosen[what]), len(rows) - len(chosen[what])) < LEAST_KNOWN:
            raise UsageError(_too_few(what, len(rows), 2 * LEAST_KNOWN))
    tuning = np.sort(np.concatenate(list(chosen.values())))
    return {**parts, "validation": np.setdiff1d(validation, tuning).tolist(), "tuning": tuning.tolist()}


def _too_few(what: str, found: int, needed: int) -> str:
    """Why options cannot be tuned; halves are split by content, so that copies of a row count as one."""
    fix = "name the column of known anomalies by --label, or mark more of them: half of them are validation rows"
    if what == "normal rows":
        fix = "give more rows, or a larger data.validation_fraction"
    return (
        f"--tune needs about {needed} different {what} in the validation rows, and they hold {found}: half choose the "
        "options, half judge them. Nothing else may choose: no measure without known anomalies ranked options reliably "
        f"(rank correlation with the true AUROC at most .20). Leave --tune out, or {fix}"
    )


def _half_of(rows: np.ndarray, features: pd.DataFrame, seed: int) -> np.ndarray:
    """Half of the rows, by content; none where they cannot be divided."""
    # Another seed than that of the split: with the same, all rows of a part would be on one side again.
    return rows[_halves(features.iloc[rows], seed + 1).get("test", np.arange(0))] if len(rows) > 1 else rows[:0]


def _halves(anomalies: pd.DataFrame, seed: int) -> dict[str, np.ndarray]:
    from ganlib.data.split import split_rows
    from ganlib.errors import DataError

    try:
        return split_rows(anomalies, {"validation": 0.5, "test": 0.5}, seed=seed)
    except DataError:  # all of them are copies of one row
        return {"validation": np.arange(len(anomalies))}
