"""Compares incoming data with the training data: missing, unseen and non-finite values, distributions, and alarms.

Counts are plain JSON and additive, so that units, workers and micro-batches can be summed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from serving.frame import NO_DATE, Feeds
from serving.freshness import stale
from serving.opening.deciles import BINS, tally
from serving.opening.profile import Profile, sampled, stability
from serving.opening.profile import tally as in_bins
from serving.wording import MOST, printable

Counts = dict[str, Any]
# Allowed difference from the training share, in addition to sampling error (``_chance``).
MARGIN, ERRORS = 0.05, 4.0
MOVED = 0.25  # stability index of a column that is said to have moved, a customary limit
# Largest and smallest allowed alarm share, as multiples of the budget.
MANY, FEW = 3.0, 0.1
# Largest allowed shares if the training share is unknown (files of earlier releases).
NEARLY_ALL, HALF = 0.95, 0.5
WORDS = {"missing": "missing", "unseen": "unseen", "clipped": "non-finite"}


def no_counts() -> Counts:
    """Counts of zero rows."""
    return {"rows": 0, "alarms": 0, "columns": {}, "deciles": [0] * BINS, "bins": {}}


def count(
    columns: Iterable[Mapping[str, Any]],
    profiles: Mapping[str, Profile],
    feeds: Feeds,
    alarms: int,
    p_values: np.ndarray,
) -> Counts:
    """Counts of a table's feeds and p-values. Zeros are left out.

    ``columns`` are the schema's input columns, ``profiles`` the model's, by name (``serving.opening.profile``).
    """
    found, bins, rows = {}, {}, len(next(iter(feeds.values())))
    for column in columns:
        name, feed, values = column["name"], feeds[column["input"]], None
        if column["kind"] == "category":
            values = Counter(feed.tolist())
        if counts := {key: n for key, n in _count(column, feed, values or {}).items() if n}:
            found[name] = counts
        if name in profiles:
            bins[name] = in_bins(profiles[name], feed[sampled(rows)] if values is None else feed, values)
    return {"rows": rows, "alarms": alarms, "columns": found, "deciles": tally(p_values), "bins": bins}


def _count(column: Mapping[str, Any], feed: np.ndarray, values: Mapping[str, int]) -> dict[str, int]:
    if column["kind"] == "category":
        known = {"", *(column["categories"] or ())}
        return {"missing": values.get("", 0), "unseen": sum(n for value, n in values.items() if value not in known)}
    if column["kind"] == "text":
        return {"missing": int((~feed.any(axis=1)).sum())}
    if column["kind"] == "date":
        return {"missing": int((feed == NO_DATE).sum())}
    return {"missing": int(np.isnan(feed).sum()), "clipped": int(np.isinf(feed).sum())}


def total(commits: Iterable[Mapping[str, Any]]) -> Counts:
    """The counts of a run, from the commits of its units."""
    counts = no_counts()
    for commit in commits:
        counts = add(counts, counts_of(commit))
    return counts


def add(first: Counts, second: Counts) -> Counts:
    """The sum of two counts."""
    columns = {name: dict(counts) for name, counts in first["columns"].items()}
    for name, counts in second["columns"].items():
        mine = columns.setdefault(name, {})
        for key, n in counts.items():
            mine[key] = mine.get(key, 0) + n
    deciles = [a + b for a, b in zip(first["deciles"], second["deciles"], strict=True)]
    rows, alarms = (first[key] + second[key] for key in ("rows", "alarms"))
    bins = first["bins"] | {
        name: np.add(first["bins"].get(name, 0), counts).tolist() for name, counts in second["bins"].items()
    }
    return {"rows": rows, "alarms": alarms, "columns": columns, "deciles": deciles, "bins": bins}


def shares(counts: Counts) -> dict[str, dict[str, float]]:
    """Share of rows by column and kind; absent entries are 0."""
    rows = max(counts["rows"], 1)
    return {name: {key: n / rows for key, n in found.items()} for name, found in counts["columns"].items()}


def alarm_share(counts: Counts) -> float:
    """Share of rows that alarm."""
    return counts["alarms"] / max(counts["rows"], 1)


def counts_of(commit: Mapping[str, Any]) -> Counts:
    """The counts of a unit, from its commit."""
    kept = {"deciles": [0] * BINS, "bins": {}} | {key: commit[key] for key in ("deciles", "bins") if key in commit}
    return {"rows": commit["rows"], "alarms": commit["anomalies"], "columns": commit["counts"], **kept}


def report(shares: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The shares as text, one line per column, largest first."""
    found = sorted(shares.items(), key=lambda item: -max(item[1].values()))
    lines = [
        f"  {printable(name)}: " + ", ".join(f"{_percent(share)} {WORDS[key]}" for key, share in kinds.items())
        for name, kinds in found[:MOST]
    ]
    return lines + [f"  and {len(found) - MOST:,} more columns"] * (len(found) > MOST)


def doubts(metadata: Mapping[str, Any], counts: Counts, alpha: float) -> list[str]:
    """A sentence for each share outside its band; empty if the data resembles training (docs/delivery.md)."""
    rows = counts["rows"]
    if not rows:
        return []
    overlap = (metadata.get("windows") or {}).get("length", 1)  # windows that share a row are not as many samples
    now, then = shares(counts), metadata.get("shares", {})
    found = []
    for column in metadata.get("schema", {"columns": ()})["columns"]:  # images and series have no columns
        if column["role"] in ("feature", "group"):
            name = column["name"]
            found += _column_doubts(column, now.get(name, {}), then.get(name), rows)
    found += moved(metadata.get("profile"), counts["bins"])
    old = stale(metadata.get("calibration", {}).get("deciles"), [n / overlap for n in counts["deciles"]])
    return _alarm_doubts(alarm_share(counts), alpha, rows / overlap) + ([old] if old else []) + found


def drift(profile: Mapping[str, Any] | None, bins: Mapping[str, list[int]]) -> dict[str, float]:
    """The population stability index of each column against training, with three digits, largest first."""
    found = {name: float(f"{index:.3g}") for name, (index, _) in _indices(profile, bins).items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _indices(profile: Mapping[str, Any] | None, bins: Mapping[str, list[int]]) -> dict[str, tuple[float, float]]:
    """By column, the index and what of it chance may explain."""
    if profile is None:
        return {}
    shares = {name: np.array(profile["columns"][name]["shares"]) for name in bins}
    return {name: stability(shares[name], np.array(counts), profile["rows"]) for name, counts in bins.items()}


def moved(profile: Mapping[str, Any] | None, bins: Mapping[str, list[int]], limit: float = MOVED) -> list[str]:
    """A sentence for each column whose stability index exceeds ``limit`` and what chance explains, largest first."""
    if profile is None:
        return []
    found = sorted(_indices(profile, bins).items(), key=lambda item: -item[1][0])
    return [
        _moved(name, profile["columns"][name], bins[name], index, limit)
        for name, (index, chance) in found
        if index > limit + chance
    ]


def _moved(name: str, held: Mapping[str, Any], counts: list[int], index: float, limit: float) -> str:
    now = np.array(counts) / sum(counts)
    at = int((now - held["shares"]).argmax())
    return (
        f"column {name!r}: its values have moved (stability index {index:.3g}, limit {limit:g} and chance): "
        f"{_percent(now[at])} {_bin(held, at)}, {_percent(held['shares'][at])} in training"
    )


def _bin(held: Mapping[str, Any], at: int) -> str:
    """A bin of a profile in words."""
    if "values" in held:
        return f"are {held['values'][at]!r}" if at < len(held["values"]) else "are other categories"
    edges = held["edges"]
    if at == 0:
        return f"are at most {edges[0]:g}"
    return f"exceed {edges[-1]:g}" if at == len(edges) else f"lie between {edges[at - 1]:g} and {edges[at]:g}"


def _column_doubts(
    column: Mapping[str, Any], now: Mapping[str, float], then: Mapping[str, float] | None, rows: int
) -> list[str]:
    found = []
    for key, word in WORDS.items():
        share = now.get(key, 0.0)
        usual = _usual(column, key) if then is None else then.get(key, 0.0)
        low, high = _unknown(key) if usual is None else _band(usual, rows)
        if share > high or (key == "missing" and share < low):
            was = "" if usual is None else f" against {_percent(usual)} in training"
            band = f"from {_percent(low)} " if low > 0 else ""
            found.append(
                f"column {column['name']!r}: {_percent(share)} of the values are {word}{was} (band {band}to "
                f"{_percent(high)})"
            )
    return found


def _usual(column: Mapping[str, Any], key: str) -> float | None:
    """The training share, as far as it is known from the schema of an earlier release."""
    seen = {"missing": column.get("missing"), "unseen": column.get("rare"), "clipped": column.get("missing")}
    return None if seen[key] else 0.0


def _unknown(key: str) -> tuple[float, float]:
    return 0.0, HALF if key == "unseen" else NEARLY_ALL


def _band(usual: float, rows: int) -> tuple[float, float]:
    """The lowest and highest share that cause no warning."""
    room = MARGIN + _chance(usual, rows)
    return max(usual - room, 0.0), min(usual + room, 1.0)


def _chance(share: float, rows: float) -> float:
    """The sampling error allowed for a share: four standard errors plus four rows, which matter for few rows."""
    return ERRORS * (math.sqrt(share * (1 - share) / rows) + 1 / rows)


def _alarm_doubts(share: float, alpha: float, rows: float) -> list[str]:
    low = FEW * alpha - _chance(FEW * alpha, rows)
    high = min(MANY * alpha + _chance(alpha, rows), 1.0)
    if share > high or share < low:
        band = f"from {_percent(low)} " if low > 0 else ""
        return [
            f"{_percent(share)} of the rows alarm, at a budget of {_percent(alpha)} (band {band}to {_percent(high)})"
        ]
    return []


def exceeded(
    shares: Mapping[str, Mapping[str, float]],
    alarms: float,
    max_alarm_share: float | None,
    max_missing_share: float | None,
) -> list[str]:
    """The given limits that are exceeded. Non-finite values count as missing, as the model reads them."""
    found = []
    if max_alarm_share is not None and alarms > max_alarm_share:
        found.append(f"{_percent(alarms)} of the rows alarm, more than --max-alarm-share {max_alarm_share:g} allows")
    if max_missing_share is not None:
        for name, kinds in shares.items():
            share = kinds.get("missing", 0.0) + kinds.get("clipped", 0.0)
            if share > max_missing_share:
                found.append(
                    f"column {name!r}: {_percent(share)} of the values are missing or non-finite, more than "
                    f"--max-missing-share {max_missing_share:g} allows"
                )
    return found


_TEXT = ("object", "str", "string")


def changed_types(columns: Iterable[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> list[str]:
    """Columns that were text in training and now have another type, so that values would be read as text."""
    found = []
    for column in columns:
        kind = types.get(column["name"])
        if kind is None or column["kind"] not in ("text", "category"):
            continue
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if column["dtype"].split("[")[0] in _TEXT and (pa.types.is_primitive(kind) or pa.types.is_decimal(kind)):
            found.append(f"column {column['name']!r} holds {kind}, and held text in training")
    return found


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 or share == 0 else f"{share:.1g}"
