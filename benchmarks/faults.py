"""Whether the reasons for an alarm name the column with an injected fault, and what is left of a score without them.

    python benchmarks/faults.py [--tables FOLDER] [--names abalone bank_marketing …] [--detectors AutoDetector …]

Single-column faults are injected into held-out normal rows of mixed tables. Rows count that are flagged at alpha with
the fault and not without it: how often the true column comes first and among the first three, by contributions, by
exact occlusion, by the largest deviation of a column (``|z|``) and at random. ``most`` are the rows in which the fault
made half of the score or more. The deletion curve replaces columns by their usual values in order of contribution: the
mean share of the score that is left after 1, 2, 3, 5 columns.

Exact occlusion is written here anew: a column's weight is the drop in score with the best of 64 values that the
column has in training rows, each scored by itself. Without ``--tables`` a generated table is used. Tables are
``NAME.csv.gz`` of those known here, or ``NAME.npz`` with arrays ``X`` and ``y`` (1: anomaly).
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ganlib.detect import AutoDetector, GANomalyDetector, VAEDetector

DETECTORS = {cls.__name__: cls for cls in (AutoDetector, GANomalyDetector, VAEDetector)}
TRAIN, HELD_OUT, TRIED, EACH, EXPLAINED, DELETED = 6000, 2000, 250, 20, 1500, 150
DELETIONS = (1, 2, 3, 5)
_EXACT, _EXACT_ROWS = 64, 150
_RARE = 0.02
_PLACES = ("first", "three")

# Label column, the class of normal rows, columns to leave out. Attribution was chosen on the first four tables.
CHOSEN_ON = ("adult_census", "ai4i_predictive_maintenance", "compas_two_year", "hypothyroid")
REPORTED = ("abalone", "bank_marketing", "credit_default_taiwan", "nsl_kdd_train20", "online_shoppers")
_LABELS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "adult_census": ("income", "<=50K", ()),
    "ai4i_predictive_maintenance": ("MachineFailure", 0, ("TWF", "HDF", "PWF", "OSF", "RNF")),
    "compas_two_year": ("two_year_recid", 0, ()),
    "hypothyroid": ("Class", "negative", ()),
    "abalone": ("rings", None, ()),
    "bank_marketing": ("y", "no", ()),
    "credit_default_taiwan": ("default.payment.next.month", 0, ()),
    "nsl_kdd_train20": ("label", "normal", ("difficulty",)),
    "online_shoppers": ("Revenue", False, ()),
}
# Whole numbers that stand for categories.
_CODES = {"credit_default_taiwan": ("SEX", "EDUCATION", "MARRIAGE")}


def mixed_table(rows: int, seed: int) -> pd.DataFrame:
    """Nine columns of several kinds that depend on three factors."""
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, rows))

    def noise(scale: float) -> np.ndarray:
        return rng.normal(size=rows) * scale

    level = a + noise(0.3)
    return pd.DataFrame({
        "load": 50 + 10 * a + noise(0.6),
        "temperature": 20 + 5 * a + 2 * b + noise(0.3),
        "rate": np.exp(2 + 0.6 * b + noise(0.06)),
        "volume": np.exp(5 + 0.7 * b + 0.4 * c + noise(0.06)),
        "delay": 5 + 2 * c + noise(0.2),
        "count": np.round(np.clip(20 + 6 * c + noise(0.5), 0, None)),
        "kind": np.where(level > 0.8, "gold", np.where(level > -0.5, "silver", "bronze")),
        "active": np.where(b + noise(0.3) > 0, "yes", "no"),
        "site": np.where(c + noise(0.3) > 0, "north", "south"),
    })  # fmt: skip


def load(folder: Path | None, name: str, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Normal rows for training, and held-out ones."""
    if folder is None:
        frame = mixed_table(TRAIN + HELD_OUT, seed)
    elif (folder / f"{name}.npz").exists():
        data = np.load(folder / f"{name}.npz")
        frame = pd.DataFrame(data["X"][data["y"] == 0].astype(float)).rename(columns=lambda i: f"x{i}")
    else:
        label, normal, left_out = _LABELS[name]
        frame = pd.read_csv(folder / f"{name}.csv.gz", low_memory=False)
        frame = frame[frame[label] == normal] if normal is not None else frame
        frame = frame.drop(columns=[label, *left_out])
        for column in _CODES.get(name, ()):
            frame[column] = "code " + frame[column].astype(str)
    frame = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
    train = min(TRAIN, len(frame) * 2 // 3)
    return frame[:train], frame[train : train + HELD_OUT].reset_index(drop=True)


# -------------------------------------------------------------------- faults
def faults_of(column: Any, values: pd.Series) -> dict[str, Any]:
    """The faults that a column can have: functions ``(values, train, rng) -> values`` by name."""
    missing = {} if column.missing else {"missing": lambda v, t, g: pd.Series([None] * len(v), dtype=object)}
    swap = {"swap": lambda v, t, g: t.sample(len(v), replace=True, random_state=int(g.integers(2**31)))}
    if column.kind == "category":
        counts = values.dropna().value_counts(normalize=True)
        rare = {"rare": lambda v, t, g: pd.Series([counts.index[-1]] * len(v))} if counts.iloc[-1] <= _RARE else {}
        unseen = {"unseen": lambda v, t, g: pd.Series(["never seen"] * len(v))}
        return unseen | rare | swap | missing
    if column.kind == "boolean":
        return swap | missing
    if column.kind not in ("number", "integer"):
        return {}
    far = {f"far {k}": lambda v, t, g, k=k: v + g.choice([-1, 1], len(v)) * k * t.std() for k in (3, 6, 20)}
    units = {"x1000": lambda v, t, g: v * 1000, "sign": lambda v, t, g: -v}
    return far | units | swap | missing


def inject(
    rows: pd.DataFrame, train: pd.DataFrame, column: Any, make: Any, rng: np.random.Generator
) -> tuple[pd.DataFrame, np.ndarray]:
    """A copy of the rows with one fault in one column, and which rows it changed."""
    rows, before = rows.copy(), rows[column.name]
    values = before if column.kind in ("category", "boolean") else before.astype(float)
    made = pd.Series(np.asarray(make(values, train[column.name].dropna(), rng)), index=rows.index)
    if column.kind == "integer":
        made = made.astype(float).round()
    rows[column.name] = made
    changed = ~((made == before) | (made.isna() & before.isna()))
    return rows, changed.to_numpy()


@dataclass
class Faults:
    """Flagged rows: the fault and the index of the true column of each, and the share of its score that it made.

    ``found`` is the share of faults that are flagged, by kind.
    """

    rows: pd.DataFrame
    kinds: np.ndarray
    true: np.ndarray
    part: np.ndarray
    found: dict[str, float]


def flagged(detector: Any, train: pd.DataFrame, held_out: pd.DataFrame, alpha: float, seed: int = 0) -> Faults:
    """Rows that are flagged with a fault and not without it: at most ``EACH`` of ``TRIED`` for a column and fault."""
    rng = np.random.default_rng(seed)
    normal = held_out[detector.p_value(held_out) > alpha].reset_index(drop=True)
    rows, kinds, true, parts, counts = [], [], [], [], {}
    median = np.median(detector.anomaly_score(normal))
    for index, column in enumerate(detector.schema_.features):
        for kind, make in faults_of(column, train[column.name]).items():
            clean = normal.sample(TRIED, replace=True, random_state=int(rng.integers(2**31))).reset_index(drop=True)
            faulty, changed = inject(clean, train, column, make, rng)
            alarms = changed & (detector.p_value(faulty) <= alpha)
            counts[kind] = counts.get(kind, np.zeros(2)) + np.array([alarms.sum(), changed.sum()])
            chosen = np.flatnonzero(alarms)[:EACH]
            before, after = (detector.anomaly_score(r.iloc[chosen]) if len(chosen) else [] for r in (clean, faulty))
            parts += [(a - b) / (a - median) for a, b in zip(after, before, strict=True)]
            rows.append(faulty.iloc[chosen])
            kinds += [kind] * len(chosen)
            true += [index] * len(chosen)
    kept = rng.permutation(len(true))[:EXPLAINED]
    mixed = [part.astype(object) for part in rows if len(part)]
    frame = pd.concat(mixed, ignore_index=True).iloc[kept].reset_index(drop=True).infer_objects()
    return Faults(
        frame,
        np.array(kinds)[kept],
        np.array(true)[kept],
        np.array(parts)[kept],
        {k: n / m for k, (n, m) in counts.items()},
    )


# -------------------------------------------------------------------- orders
def deviations(detector: Any, train: pd.DataFrame, rows: pd.DataFrame) -> np.ndarray:
    """The baseline: how many training deviations each value lies from the mean, ``(n, features)``.

    Of a category it is the deviation of its indicator; one that training rows lack counts as seen once, as do missing
    values.
    """
    out = []
    for column in detector.schema_.features:
        given, known = rows[column.name], train[column.name]
        if column.kind in ("number", "integer"):
            z = ((given.astype(float) - known.mean()) / (known.std() or 1.0)).abs().to_numpy()
        else:
            share = given.map(known.value_counts(normalize=True)).astype(float).fillna(1 / len(known)).to_numpy()
            z = np.sqrt((1 - share) / share)
        lacking = max(known.isna().mean(), 1 / len(known))
        out.append(np.where(given.isna(), np.sqrt((1 - lacking) / lacking), z))
    return np.stack(out, 1)


@torch.no_grad()
def exact(detector: Any, train: pd.DataFrame, rows: pd.DataFrame, seed: int = 0) -> np.ndarray:
    """Exact occlusion, ``(n, features)``: the score's drop with the best of 64 values of training rows."""
    rng = np.random.default_rng(seed)
    encoder, scorer = detector.encoder_, detector._double_scorer_
    donors = encoder.transform(train.iloc[rng.permutation(len(train))[:_EXACT]])
    feeds = encoder.feeds(rows)
    encoded, before = encoder.encode(feeds), detector.anomaly_score(rows)
    drops = []
    for code, column in zip(encoder.codes, encoder.columns(), strict=True):
        part = slice(code.start, code.start + code.width)
        tried = np.repeat(encoded[:, None], len(donors), 1)
        tried[:, :, part] = donors[None, :, part]
        if encoder.unexpected_position is not None and not column.missing:
            feed = feeds[code.input]
            lacks = feed == "" if code.kind == "category" else ~np.isfinite(feed)
            tried[:, :, -1] -= 5.0 * lacks[:, None]
        flat = torch.from_numpy(tried.reshape(-1, tried.shape[2])).double()
        scores = torch.cat([scorer(part) for part in flat.split(4096)]).numpy().reshape(len(rows), -1)
        drops.append(before - scores.min(1))
    return np.stack(drops, 1)


def ranks(parts: np.ndarray, true: np.ndarray) -> np.ndarray:
    """How many columns rank before the true one, ties counted against it."""
    return (parts >= parts[np.arange(len(true)), true][:, None]).sum(1) - 1


@torch.no_grad()
def left(detector: Any, rows: pd.DataFrame, parts: np.ndarray) -> np.ndarray:
    """The mean share of the score above that of a usual row that is left after replacing the first columns."""
    encoder, scorer = detector.encoder_, detector._double_scorer_
    feeds, reference = encoder.feeds(rows), encoder.reference
    encoded = encoder.encode(feeds)
    floor = detector.calibration_.median_score
    start = scorer(torch.from_numpy(encoded).double()).numpy() - floor
    order, out = np.argsort(-parts, axis=1, kind="stable"), []
    for count in range(1, max(DELETIONS) + 1):
        for row, column in enumerate(order[:, count - 1] if count <= order.shape[1] else ()):
            code = encoder.codes[column]
            encoded[row, code.start : code.start + code.width] = reference[code.start : code.start + code.width]
            feed = feeds[code.input][row]
            lacks = feed == "" if code.kind == "category" else code.kind != "text" and not np.isfinite(feed)
            if encoder.unexpected_position is not None and not encoder.columns()[column].missing and lacks:
                encoded[row, -1] -= 5.0
        rest = scorer(torch.from_numpy(encoded).double()).numpy() - floor
        if count in DELETIONS:
            out.append(float(np.clip(rest / start, 0, None).mean()))
    return np.array(out)


# -------------------------------------------------------------------- report
def report(name: str, detector: Any, train: pd.DataFrame, found: Faults, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Print the shares; yield a record for each kind of fault."""
    rng = np.random.default_rng(seed)
    contributed = detector.explain(found.rows)
    few = rng.permutation(len(found.true))[:_EXACT_ROWS]
    some = found.rows.iloc[few].reset_index(drop=True)
    orders = {
        "contribution": ranks(contributed, found.true),
        "|z|": ranks(deviations(detector, train, found.rows), found.true),
        "random": ranks(rng.random(contributed.shape), found.true),
    }
    best = ranks(exact(detector, train, some), found.true[few])
    print(f"{name}: {len(found.true)} flagged rows, {contributed.shape[1]} columns")
    for kind in ("all", "most", *sorted(set(found.kinds))):
        chosen = {"all": found.part > -np.inf, "most": found.part >= 0.5}.get(kind, found.kinds == kind)
        first = {k: float((v[chosen] == 0).mean()) for k, v in orders.items()}
        three = {k: float((v[chosen] < 3).mean()) for k, v in orders.items()}
        said = "  ".join(f"{k} {first[k]:.3f} {three[k]:.3f}" for k in orders)
        flagged_share = f"flagged {found.found[kind]:.3f}" if kind in found.found else " " * 13
        print(f"  {kind:8} n={chosen.sum():5}  {flagged_share}  {said}")
        yield {"name": name, "kind": kind, "n": int(chosen.sum()), "first": first, "three": three}
    same = orders["contribution"][few]
    said = "  ".join(f"{(r == 0).mean():.3f} {(r < 3).mean():.3f}" for r in (best, same))
    print(f"  exact occlusion, and contributions of the same {len(few)} rows: {said}")


def deletion(detector: Any, train: pd.DataFrame, held_out: pd.DataFrame, found: Faults, seed: int = 0) -> None:
    """Print the deletion curves of flagged rows with faults, and of the most anomalous held-out rows."""
    rng = np.random.default_rng(seed)
    worst = held_out.iloc[np.argsort(-detector.anomaly_score(held_out))[: DELETED // 5]]
    faulty = found.rows.iloc[rng.permutation(len(found.rows))[:DELETED]]
    for what, rows in (("with faults", faulty), ("most anomalous", worst)):
        rows = rows.reset_index(drop=True)
        contributed = detector.explain(rows)
        orders = {
            "contribution": contributed, "exact occlusion": exact(detector, train, rows),
            "|z|": deviations(detector, train, rows), "random": rng.random(contributed.shape),
        }  # fmt: skip
        for order, parts in orders.items():
            shares = " ".join(f"{share:.3f}" for share in left(detector, rows, parts))
            print(f"  score left, {what} (n={len(rows)}), {order:16} {shares}", flush=True)


def total(name: str, records: list[dict[str, Any]]) -> None:
    """Print the shares over all tables, weighted by rows, for each kind of fault, and their mean over the kinds."""
    means = []
    for kind in dict.fromkeys(record["kind"] for record in records):
        mine = [r for r in records if r["kind"] == kind]
        rows, orders = [r["n"] for r in mine], list(mine[0]["first"])
        if not sum(rows):
            continue
        both = [[np.average([r[w][k] for r in mine if r["n"]], weights=[n for n in rows if n]) for w in _PLACES]
                for k in orders]  # fmt: skip
        _say(f"all tables {name} {kind:8} n={sum(rows):5}", orders, both)
        means += [both] if kind not in ("all", "most") else []
    if means:
        _say(f"all tables {name}, mean of {len(means)} kinds", orders, np.mean(means, 0).tolist())


def _say(what: str, orders: list[str], both: list[list[float]]) -> None:
    shares = zip(orders, both, strict=True)
    print(what, "  ".join(f"{order} {first:.3f} {three:.3f}" for order, (first, three) in shares), flush=True)


def main() -> None:
    """Train, inject, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--names", nargs="*", default=REPORTED)
    parser.add_argument("--detectors", nargs="*", default=list(DETECTORS))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--alpha", type=float, default=0.01)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    records = []
    for name in options.names if options.tables else ("generated",):
        train, held_out = load(options.tables, name)
        for chosen in options.detectors:
            detector = DETECTORS[chosen](steps=options.steps).fit(train)
            found = flagged(detector, train, held_out, options.alpha)
            records += report(f"{name} {chosen}", detector, train, found)
            deletion(detector, train, held_out, found)
    for chosen in options.detectors:
        total(chosen, [r for r in records if r["name"].endswith(f" {chosen}")])


if __name__ == "__main__":
    main()
