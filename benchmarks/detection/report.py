"""Tables of measured detectors: means over data sets, bootstrap intervals, ranks, differences to peers, each set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.detection.methods import ABOUT, is_ours
from benchmarks.detection.splits import size_of
from benchmarks.pages import header, interval, line, listed, number, wrapped

_PEERS_SHOWN = 3
_FASTEST = 1e8  # rows a second; a method with more anywhere was not timed
_FIGURES = {"auroc": "AUROC", "auprc": "AUPRC"}
_TITLES = {"P1": "P1: trained on normal rows", "P2": "P2: trained on all rows, anomalies among them"}
_EXPLAINED = {
    "P1": "Half of the normal rows are for training. The other normal rows and all anomalies are scored.",
    "P2": "A detector is trained on all rows without their labels, and scores the same rows.",
}
_HEAD = """# Detectors of tables: measured figures
Detectors of this library and of others on the same rows, with default options unless the name says otherwise. Labels
are used to judge the scores, never to train or to choose.

- **AUROC**: how often an anomaly scores higher than a normal row; chance is 0.5. **AUPRC**: average precision, the mean
  precision over the anomalies found; chance is the share of anomalies in the scored rows.
- **Brackets**: the 95 % bootstrap interval of the mean over data sets (10,000 resamples of the sets).
- **Rank**: by AUPRC on each set, 1 is best, mean over the sets.
- **Difference**: AUPRC less that of the best other method (*), on the same sets, seeds and rows. Its interval resamples
  pairs. An interval that contains 0 means that these sets do not show which of the two is better.
- **Fit**: CPU seconds of training. **Rows/s**: rows scored a second. Both are medians over the sets, on shared machines
  that did other work too: compare orders of magnitude.
- **Bold** methods are of this library. A seed sets both the split of the rows and the training.
"""
_COMMANDS = """## How to repeat it
FOLDER holds a file NAME.npz for each data set, with the arrays X (numbers, a row for each example) and y (1: anomaly);
your own sets do as well. Finished lines are kept, so an interrupted run goes on.

```sh
python -m benchmarks.detection run --data FOLDER --methods AutoDetector VAEDetector --members --out ours.csv
python -m benchmarks.detection run --data FOLDER --methods sk-IForest PyOD-KNN --out peers.csv
python -m benchmarks.detection report ours.csv peers.csv --notes NOTES.md --write PAGE.md
```
"""


# Files of other programs may lack these.
_EMPTY = pd.DataFrame(columns=["file_mb", "n_train", "n_test", "n_anomalies", "d", "version"])


def report(files: Sequence[Path], notes: str = "") -> str:
    """The page: figures of each protocol, what methods and data sets are, and ``notes`` on how they were measured."""
    results = pd.concat([_EMPTY, *(pd.read_csv(file) for file in files)], ignore_index=True)
    results = results.drop_duplicates(["dataset", "protocol", "seed", "method"], keep="first")
    untimed = results.loc[results["score_rows_per_s"] > _FASTEST, "method"]
    results.loc[results["method"].isin(untimed), "score_rows_per_s"] = np.nan
    sized = results["protocol"].map(lambda name: size_of(name) is not None)
    plain = [(str(name), rows) for name, rows in results[~sized].groupby("protocol")]
    parts = [_HEAD, _summary(plain), *(_protocol(name, rows) for name, rows in plain)]
    if sized.any():
        parts.append(sizes(results[sized]))
    parts += [_methods(results), _sets(results), _conditions(notes), _COMMANDS]
    return "\n".join(part for part in parts if part)


def _summary(protocols: Sequence[tuple[str, pd.DataFrame]]) -> str:
    """Each detector of ours beside the best other method, with the most seeds that both were measured with."""
    heads = ["protocol", "seeds", "method", "AUROC", "AUPRC", "best other", "AUROC", "AUPRC"]
    heads += ["difference of AUPRC (95 %)", "better on"]
    lines = []
    for protocol, rows in protocols:
        seeds = _seeds_of(rows)
        for method in sorted(name for name in seeds if is_ours(name) and not _is_part(name)):
            common = [found for found in _groups(seeds) if found <= seeds[method] and _peers(seeds, found)]
            if common:
                lines.append(line([protocol, listed(common[-1]), *_beside(rows, method, seeds, common[-1])]))
    return "\n".join(["## In short\n", *header(heads), *lines, ""]) if lines else ""


def _beside(rows: pd.DataFrame, method: str, seeds: dict[str, frozenset[int]], common: frozenset[int]) -> list[str]:
    """Cells of a method and of the other method with the highest mean AUPRC."""
    peers = _peers(seeds, common)
    means = _means(rows[rows["method"].isin([method, *peers]) & rows["seed"].isin(common)])
    best = means["auprc"].loc[peers].mean(axis=1).idxmax()
    figures = [[f"{means[figure].loc[name].mean():.3f}" for figure in _FIGURES] for name in (method, best)]
    gap = means["auprc"].loc[method] - means["auprc"].loc[best]
    better = f"{(gap > 0).sum()} of {len(gap)}"
    return [_shown(method), *figures[0], _shown(best), *figures[1], _interval(gap, "+"), better]


def _peers(seeds: dict[str, frozenset[int]], common: frozenset[int]) -> list[str]:
    """The methods of others that were measured with all of these seeds."""
    return [name for name, found in seeds.items() if not is_ours(name) and common <= found]


def _protocol(protocol: str, rows: pd.DataFrame) -> str:
    seeds = _seeds_of(rows)
    left_out = sorted(set(map(str, rows["method"])) - seeds.keys())
    parts = [
        f"## {_TITLES.get(protocol, protocol)}",
        f"{_EXPLAINED.get(protocol, '')} {rows['dataset'].nunique()} data sets.\n",
    ]
    for common in _groups(seeds):
        measured = rows[rows["method"].isin([m for m, found in seeds.items() if common <= found])]
        measured = measured[measured["seed"].isin(common)]
        part = measured["method"].map(_is_part)
        parts += [f"### Seed{'s' * (len(common) > 1)} {listed(common)}\n", *_table(measured[~part]), ""]
        if len(common) > 1:
            parts.append(_steadiness(measured[~part]))
        if part.any():
            parts += ["Members by themselves and sealed files, on the same rows:\n", *_parts(measured), ""]
    parts += _each_set(rows, seeds)
    if left_out:
        parts.append(
            wrapped(f"Not measured on all sets with any seed, and left out: {', '.join(map(_shown, left_out))}.")
        )
    return "\n".join(parts)


def _seeds_of(rows: pd.DataFrame) -> dict[str, frozenset[int]]:
    """The seeds of which a method was measured on all sets of the protocol, for those that have any.

    A member may be left out on some sets, for example on very many columns: it has the seeds of which it was measured
    on half of them.
    """
    sets, found = rows["dataset"].nunique(), {}
    for method, own in rows.groupby("method"):
        counts = own.groupby("seed")["dataset"].nunique()
        least = sets / 2 if _is_part(str(method)) else sets
        found[str(method)] = frozenset(int(seed) for seed in counts.index[counts >= least])
    return {method: seeds for method, seeds in found.items() if seeds}


def _groups(seeds: dict[str, frozenset[int]]) -> list[frozenset[int]]:
    """Seeds to compare methods with: those that a method of ours and another share, most methods first."""
    whole = {method: found for method, found in seeds.items() if not _is_part(method)}
    ours = [found for method, found in whole.items() if is_ours(method)] or list(whole.values())
    peers = [found for method, found in seeds.items() if not is_ours(method)] or ours
    shared = {one & other for one in ours for other in peers} - {frozenset()}
    return sorted(shared, key=lambda common: (len(common), sorted(common)))


def _table(rows: pd.DataFrame) -> Iterator[str]:
    """Methods, best first."""
    means = _means(rows)
    order = means["auprc"].mean(axis=1).sort_values(ascending=False).index
    best = next((method for method in order if not is_ours(method)), None)
    ranks = means["auprc"].rank(ascending=False).mean(axis=1)
    speed = rows.groupby("method")[["fit_cpu_s", "score_rows_per_s"]].median()
    heads = ["method", *(f"{label} (95 %)" for label in _FIGURES.values()), "rank", "difference", "fit", "rows/s"]
    yield from header(heads)
    for method in order:
        cells = [_shown(method) + " *" * (method == best), *(_interval(means[name].loc[method]) for name in _FIGURES)]
        gap = None if best in (None, method) else means["auprc"].loc[method] - means["auprc"].loc[best]
        cells += [f"{ranks[method]:.1f}", "" if gap is None else _interval(gap, "+")]
        cells += [
            number(speed.loc[method, "fit_cpu_s"], ".3g"),
            number(speed.loc[method, "score_rows_per_s"], ",.0f"),
        ]
        yield line(cells)
    yield line(["chance", "0.500", number(_chance(rows), ".3f"), "", "", "", ""])


def _parts(rows: pd.DataFrame) -> Iterator[str]:
    """Members of fusions, and sealed files, beside the detectors that they are parts of."""
    means = _means(rows)
    other = rows.groupby("method")[["score_rows_per_s", "file_mb"]].median()
    heads = ["part", "sets", *(f"{label} (95 %)" for label in _FIGURES.values()), "whole less part, AUPRC"]
    yield from header([*heads, "file, MB", "rows/s"])
    for method in means["auprc"].mean(axis=1).sort_values(ascending=False).index:
        whole = _whole(method)
        if whole == method:
            continue
        own = [means[name].loc[method].dropna() for name in _FIGURES]
        gap = (means["auprc"].loc[whole] - means["auprc"].loc[method]).dropna()
        cells = [_shown(method), f"{len(own[0])}", *map(_interval, own), _interval(gap, "+")]
        cells += [number(other.loc[method, "file_mb"], ".2f"), number(other.loc[method, "score_rows_per_s"], ",.0f")]
        yield line(cells)


def _means(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, a row for each method, columns by figure and data set."""
    return rows.groupby(["method", "dataset"])[list(_FIGURES)].mean().unstack()


def _chance(rows: pd.DataFrame) -> float:
    """Mean AUPRC of scores at random: the share of anomalies among the scored rows."""
    counts = rows.groupby("dataset")[["n_anomalies", "n_test"]].max()
    return float((counts["n_anomalies"] / counts["n_test"]).mean())


def _steadiness(rows: pd.DataFrame) -> str:
    """How the mean over the sets changes with the seed."""
    spread = rows.groupby(["method", "seed"])["auprc"].mean().unstack().std(axis=1).sort_values()
    listed = "; ".join(f"{_shown(str(method))} {value:.3f}" for method, value in spread.items())
    return wrapped(f"Standard deviation of the mean AUPRC over these seeds, changes of the splits included: {listed}.")


def _each_set(rows: pd.DataFrame, seeds: dict[str, frozenset[int]]) -> Iterator[str]:
    """AUPRC and AUROC by data set, of our methods and of the best others, with the seeds that most of them share."""
    if not (groups := _groups(seeds)):
        return
    common = groups[0]
    chosen = [method for method, found in seeds.items() if common <= found]
    means = _means(rows[rows["method"].isin(chosen) & rows["seed"].isin(common)])
    order = list(means["auprc"].mean(axis=1).sort_values(ascending=False).index)
    ours = [method for method in order if is_ours(method) and not _is_part(method)]
    peers = [method for method in order if not is_ours(method)]
    if not (ours and peers):
        return
    yield f"### By data set, seed{'s' * (len(common) > 1)} {listed(common)}: AUPRC (AUROC)\n"
    shown = [*ours, *peers[:_PEERS_SHOWN], *[peer for peer in peers[_PEERS_SHOWN:] if peer == "sk-IForest"]]
    yield from header(["data set", *map(_shown, shown), "best other on this set"])
    for name in means["auprc"].loc[ours[0]].sort_values(ascending=False).index:
        best = means["auprc"].loc[peers, name].idxmax()
        cells = [_both(means, method, name) for method in shown]
        yield line([str(name), *cells, f"{_shown(best)} {_both(means, best, name)}"])
    yield ""
    yield wrapped("The best other is chosen for each set by the labels, as no user could: it shows what is possible.")
    yield from (_against(means["auprc"], ours[0], peer) for peer in peers[:2])
    yield from _members(means["auprc"], ours)


def _against(auprc: pd.DataFrame, method: str, peer: str) -> str:
    """On how many sets a method is better than a peer, and where it is worst."""
    gap = (auprc.loc[method] - auprc.loc[peer]).sort_values()
    worse = ", ".join(f"{name} ({value:+.3f})" for name, value in gap[gap < 0].items())
    better = f"{_shown(method)} has a higher AUPRC than {_shown(peer)} on {(gap > 0).sum()} of {len(gap)} sets"
    return wrapped(f"{better}, a lower one on {worse or 'none'}.")


def _members(auprc: pd.DataFrame, ours: Sequence[str]) -> Iterator[str]:
    """Where a fusion is below the median of its members."""
    for method in ours:
        own = [name for name in auprc.index if name.startswith(f"{method}: ")]
        if own:
            gap = auprc.loc[method] - auprc.loc[own].median()
            below = ", ".join(f"{name} ({value:+.3f})" for name, value in gap[gap < 0].sort_values().items())
            yield wrapped(f"{_shown(method)} has a lower AUPRC than the median of its members on {below or 'no set'}.")


def sizes(rows: pd.DataFrame) -> str:
    """Means by number of training rows and share of anomalies among them, on the sets that were measured whole."""
    rows = rows.assign(size=[size_of(name) for name in rows["protocol"]])
    cells = rows.groupby("dataset").size()
    sets = sorted(cells.index[cells == cells.max()])
    rows = rows[rows["dataset"].isin(sets)]
    order = rows.groupby("method")["auprc"].mean().sort_values(ascending=False).index
    parts = [
        "## P3: by number of training rows and share of anomalies among them",
        wrapped("The same rows are scored in all lines: half of a set's normal rows and half of its anomalies, "
                 "sampled to at most 5,000 rows. Training rows and the anomalies among them come from the other "
                 "halves; smaller training sets are parts of larger ones."),
        wrapped(f"{len(sets)} sets with enough rows: {', '.join(sets)}. Seed {listed(rows['seed'].unique())}. Mean "
                 "AUROC (mean AUPRC)."),
        *header(["training rows", "anomalies among them", *map(_shown, order)]),
    ]  # fmt: skip
    for (count, share), cell in rows.groupby("size"):
        own = cell.groupby("method")[list(_FIGURES)].mean()
        found = [f"{own.loc[m, 'auroc']:.3f} ({own.loc[m, 'auprc']:.3f})" if m in own.index else "" for m in order]
        parts.append(line([f"{count:,}", f"{share:.0%}", *found]))
    parts.append(f"\nChance has 0.500 ({number(_chance(rows), '.3f')}).\n")
    return "\n".join(parts)


def _methods(results: pd.DataFrame) -> str:
    """What each method is, and which version of its library was measured."""
    versions = results["version"].fillna("").groupby(results["method"]).max()
    lines = [
        line([_shown(method), ABOUT[method.split(": ")[-1]], versions[method]])
        for method in sorted(results["method"].unique(), key=lambda name: (not is_ours(name), name))
        if method.split(": ")[-1] in ABOUT
    ]
    return "\n".join(["## The methods", *header(["method", "what it is", "measured version"]), *lines, ""])


def _sets(results: pd.DataFrame) -> str:
    """Columns and rows of the data sets, of the first seed that says so."""
    columns = ["n_train", "n_test", "n_anomalies", "d"]
    known = results.dropna(subset=columns).sort_values("seed")
    if known.empty:
        return ""
    known = known.assign(protocol=known["protocol"].str[:2]).drop_duplicates(["dataset", "protocol"])
    wanted = [("P1", "n_train"), ("P1", "n_test"), ("P1", "n_anomalies"), ("P3", "n_test"), ("P3", "n_anomalies")]
    counts = known.pivot(index="dataset", columns="protocol", values=columns).reindex(
        columns=pd.MultiIndex.from_tuples([(column, protocol) for protocol, column in wanted])
    )
    widths = known.groupby("dataset")["d"].max()
    heads = ["data set", "columns", "P1: training rows", "scored rows", "anomalies", "P3: scored rows", "anomalies"]
    lines = [
        line([str(name), f"{widths[name]:.0f}", *(number(value, ",.0f") for value in row)])
        for name, row in zip(counts.index, counts.to_numpy(), strict=True)
    ]
    text = (
        "P2 trains on and scores all rows of P1. Of sets with more than 5,000 rows, 5,000 are sampled for P1 and P2. "
    )
    text += "Columns are scaled by mean and deviation of the training rows."
    return "\n".join(["## The data sets", wrapped(text), *header(heads), *lines, ""])


def _conditions(notes: str) -> str:
    return f"## How it was measured\n{notes.strip()}\n" if notes else ""


def _both(means: pd.DataFrame, method: str, name: str) -> str:
    return f"{means['auprc'].loc[method, name]:.3f} ({means['auroc'].loc[method, name]:.3f})"


def _whole(method: str) -> str:
    """The detector that a method is a member or the sealed file of; itself for others."""
    return method.split(": ")[0].removesuffix(" sealed")


def _is_part(method: str) -> bool:
    """Whether figures are of a member of a fusion, or of a sealed file."""
    return _whole(method) != method


def _shown(method: str) -> str:
    return f"**{method}**" if is_ours(method) else method.replace("(own)", " (reimplemented)")


def _interval(over_sets: pd.Series, sign: str = "") -> str:
    """Mean and 95 % bootstrap interval over data sets."""
    return interval(over_sets.to_numpy(), f"{sign}.3f")
