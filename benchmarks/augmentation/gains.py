"""Tables of a scarce class: points over the real rows alone, intervals, the gate, losses, thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from benchmarks.augmentation.judging import LEARNERS
from benchmarks.augmentation.methods import METHODS, OWN, QUOTED, is_ours, shown
from benchmarks.pages import bounds, header, interval, line, listed, number, wrapped

CELL = ["dataset", "seed", "n_min"]
TREES = ["RF", "HGB"]
BASE, GATED = "none", f"{OWN} gated"
_BESIDE = ["method", "cells", "points", f"**{OWN}**", "difference (95 %)", "by table", "better on"]


def gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Points by method and cell: of all classifiers, of trees, of each, in AUROC; and CPU seconds of fitting."""
    figures = rows.pivot(index=["method", *CELL], columns="learner", values=["auprc", "auroc"])
    if BASE not in figures.index.get_level_values("method"):
        raise SystemExit(f"gains are over {BASE!r}: run it, too")
    base = figures.loc[BASE].reindex(pd.MultiIndex.from_tuples([key[1:] for key in figures.index], names=CELL))
    change = 100 * (figures - base.to_numpy())
    found = change["auprc"][list(LEARNERS)].assign(
        all=change["auprc"].mean(axis=1), trees=change["auprc"][TREES].mean(axis=1), auroc=change["auroc"].mean(axis=1)
    )
    found["fit_cpu_s"] = rows.groupby(["method", *CELL])["fit_cpu_s"].mean()
    return found.dropna(subset=["all"])


def complete_seeds(rows: pd.DataFrame) -> dict[str, frozenset[int]]:
    """The seeds with which a method was measured in all cells, for methods that have any."""
    wanted = set(map(tuple, rows[["dataset", "n_min"]].drop_duplicates().to_numpy()))
    found = {}
    for method, own in rows.groupby("method"):
        whole = [
            int(seed)
            for seed, part in own.groupby("seed")
            if set(map(tuple, part[["dataset", "n_min"]].drop_duplicates().to_numpy())) == wanted
        ]
        if whole:
            found[str(method)] = frozenset(whole)
    return found


def _groups(seeds: dict[str, frozenset[int]]) -> list[frozenset[int]]:
    """Seeds to compare methods with, most seeds first: those that AutoAugmenter shares with each other method."""
    own = seeds.get(OWN) or frozenset().union(*seeds.values())
    shared = {found & own for found in seeds.values()} - {frozenset()}
    return sorted(shared, key=lambda group: (-len(group), sorted(group)))


def scarce_section(rows: pd.DataFrame) -> str:
    found, seeds = gains(rows), complete_seeds(rows)
    counts = ", ".join(str(count) for count in sorted(rows["n_min"].unique()))
    parts = [
        "## A: a scarce class",
        wrapped(
            f"{counts} rows of the scarce class and at most 2,000 others, on the tables "
            f"{', '.join(sorted(rows['dataset'].unique()))}. Methods that add rows add as many as balance the classes."
        ),
    ]
    for group in _groups(seeds):
        methods = [method for method, own in seeds.items() if group <= own]
        part = _chosen(found, methods, group)
        parts += [f"### Seed{'s' * (len(group) > 1)} {listed(group)}: points over the real rows alone\n"]
        parts.append("\n".join([*_main(part, len(group) > 1), ""]))
    parts += [_pairs(found), _gate(found, rows), _by_table(found, rows, seeds), _losses(found, seeds)]
    parts += [_accuracy(rows, seeds), _missing(rows, seeds)]
    return "\n".join(part for part in parts if part)


def in_short(rows: pd.DataFrame) -> str:
    """AutoAugmenter and the best other method, with the seeds of which AutoAugmenter was measured whole."""
    found, seeds = gains(rows), complete_seeds(rows)
    if OWN not in seeds:
        return ""
    group = seeds[OWN]
    part = _chosen(found, [name for name, own in seeds.items() if group <= own], group)
    trees, points = part.loc[OWN, "trees"].mean(), part.loc[OWN, "all"]
    counts = [f"{gap:+.2f} with {count} rows" for count, gap in points.groupby(level="n_min").mean().items()]
    text = (
        f"{shown(OWN)}, ungated, seed{'s' * (len(group) > 1)} {listed(group)}: {_by_seed(points)} points, by table "
        f"{_span(points)}; {', '.join(counts)}; trees {trees:+.2f}; worst decile {points.quantile(0.1):+.2f}; a loss "
        f"in {(points < 0).sum()} of {len(points)} cells."
    )
    others = [name for name in _order(part) if not is_ours(name)]
    if others:
        best = part.loc[others[0], "all"].reindex(points.index)
        text += (
            f" The best measured method of others is {others[0]} with {best.mean():+.2f}: a difference of "
            f"{_by_seed(points - best)}, by table {_span(points - best)}."
        )
    return wrapped(text)


def _chosen(found: pd.DataFrame, methods: Sequence[str], seeds: frozenset[int]) -> pd.DataFrame:
    index = found.index
    return found[index.get_level_values("method").isin(methods) & index.get_level_values("seed").isin(seeds)]


def _order(found: pd.DataFrame) -> list[str]:
    means = found["all"].groupby(level="method").mean().sort_values(ascending=False)
    return [
        str(method) for method in means.index if method != BASE and not (method in METHODS and METHODS[method].tuned)
    ]


def _main(found: pd.DataFrame, several: bool) -> Iterator[str]:
    counts = sorted(found.index.get_level_values("n_min").unique())
    names = ["method", "points (95 %)", *["by table"] * several, *(f"{count} rows" for count in counts), "trees"]
    yield from header([*names, *LEARNERS, "worst decile", "wins", "AUROC × 100", "fit, s"])
    for method in _order(found):
        own = found.loc[method]
        by_count = own["all"].groupby(level="n_min").mean()
        cells = [shown(method), _by_seed(own["all"])]
        cells += [_span(own["all"])] * several
        cells += [f"{by_count[count]:+.2f}" for count in counts]
        cells += [f"{own[name].mean():+.2f}" for name in ("trees", *LEARNERS)]
        cells += [f"{own['all'].quantile(0.1):+.2f}", f"{(own['all'] > 0).mean():.0%}", f"{own['auroc'].mean():+.2f}"]
        yield line([*cells, f"{own['fit_cpu_s'].mean():.1f}"])


def _by_seed(values: pd.Series) -> str:
    """Mean, with the interval over pairs of table and seed."""
    pairs = [key[:2] for key in values.index.reorder_levels(CELL)]
    return interval(values.to_numpy(), "+.2f", pairs)


def _span(values: pd.Series) -> str:
    """The interval over tables."""
    low, high = bounds(values.to_numpy(), list(values.index.get_level_values("dataset")))
    return f"{low:+.2f} to {high:+.2f}"


def _pairs(found: pd.DataFrame) -> str:
    """AutoAugmenter beside each other method, on the cells that both have."""
    if OWN not in found.index.get_level_values("method"):
        return ""
    names = [method for method in _order(found) if method != OWN]
    lines = [_beside(found.loc[OWN, "all"], found.loc[name, "all"], shown(name)) for name in names]
    title = f"### {OWN} less each other method, on the same cells\n"
    return "\n".join([title, *header(_BESIDE), *filter(None, lines), ""])


def _beside(own: pd.Series, other: pd.Series, name: str) -> str:
    """A line; empty if no cell is common."""
    common = own.index.intersection(other.index)
    if not len(common):
        return ""
    gap = own[common] - other[common]
    cells = [name, f"{len(gap)}", f"{other[common].mean():+.2f}", f"{own[common].mean():+.2f}", _by_seed(gap)]
    return line([*cells, _span(gap), f"{(gap > 0).mean():.0%}"])


def _gate(found: pd.DataFrame, rows: pd.DataFrame) -> str:
    """What the gate of ``fit_resample`` does, on cells that were measured with and without it."""
    if not {OWN, GATED} <= set(found.index.get_level_values("method")):
        return ""
    gated = found.loc[GATED, "all"]
    gated = gated[gated.index.isin(found.loc[OWN].index)]
    free = found.loc[OWN, "all"].reindex(gated.index)
    shut = rows[rows["method"] == GATED].groupby(CELL)["n_added"].max().reindex(gated.index) == 0
    heads = ["", "points (95 %)", "by table", "worst decile", "worst cell", "wins", "losses"]
    lines = [
        line([name, _by_seed(own), _span(own), f"{own.quantile(0.1):+.2f}", f"{own.min():+.2f}",
              f"{(own > 0).mean():.0%}", f"{(own < 0).mean():.0%}"])
        for name, own in ((f"**{OWN}**, ungated", free), (f"**{GATED}**", gated))
    ]  # fmt: skip
    text = f"`fit_resample` accepted generated rows in {(~shut).sum()} of {len(shut)} cells"
    text += f", of which {(free[~shut] > 0).mean():.0%} gain. " if not shut.all() else ". "
    if shut.any():
        text += (
            f"It returned the real rows alone in {shut.sum()}: generated rows would have lost in "
            f"{(free[shut] < 0).sum()} of them, and their mean there is {free[shut].mean():+.2f}."
        )
    group = gated.index.get_level_values("seed").unique()
    title = f"### The gate, {len(gated)} cells of seed{'s' * (len(group) > 1)} {listed(group)}\n"
    return "\n".join([title, *header(heads), *lines, "", wrapped(text)])


def _by_table(found: pd.DataFrame, rows: pd.DataFrame, seeds: dict[str, frozenset[int]]) -> str:
    """Points by table and number of scarce rows, of the methods with the most seeds in common with AutoAugmenter."""
    if OWN not in seeds:
        return ""
    group = seeds[OWN]
    methods = [method for method, own in seeds.items() if group <= own]
    part = _chosen(found, methods, group)
    order = _order(part)
    base = rows[(rows["method"] == BASE) & rows["seed"].isin(group)].groupby(["dataset", "n_min"])["auprc"].mean()
    points = part["all"].groupby(level=["method", "dataset", "n_min"]).mean()
    lines = []
    for name, count in base.index:
        own = [f"{points[method, name, count]:+.1f}" for method in order]
        lines.append(line([str(name), f"{count}", f"{base[name, count]:.3f}", *own]))
    title = f"### Points by table, seed{'s' * (len(group) > 1)} {listed(group)}\n"
    return "\n".join([title, *header(["table", "rows", "AUPRC, none", *map(shown, order)]), *lines, ""])


def _losses(found: pd.DataFrame, seeds: dict[str, frozenset[int]]) -> str:
    """The cells in which our augmenters lose against the real rows alone."""
    parts = ["### Where it loses\nCells with fewer points than the real rows alone:\n"]
    for method in sorted(name for name in seeds if is_ours(name) and not METHODS[name].tuned):
        own = _chosen(found, [method], seeds[method]).loc[method]["all"].reorder_levels(CELL).sort_values()
        lost = [f"{name}, seed {seed}, {count} rows {gap:+.1f}" for (name, seed, count), gap in own[own < 0].items()]
        parts.append(wrapped(f"- {shown(method)}, {len(lost)} of {len(own)}: {'; '.join(lost) or 'none'}.", "  "))
    return "\n".join(parts) if len(parts) > 1 else ""


def _accuracy(rows: pd.DataFrame, seeds: dict[str, frozenset[int]]) -> str:
    """Balanced accuracy at three thresholds."""
    tuned = [found for name, found in seeds.items() if name in METHODS and METHODS[name].tuned]
    group = max(tuned or seeds.values(), key=len)
    part = rows[rows["method"].isin([name for name, own in seeds.items() if group <= own]) & rows["seed"].isin(group)]
    columns = ["bacc", "bacc_prior", "bacc_tuned"]
    means = 100 * part.groupby("method")[columns].mean()
    order = means.max(axis=1).sort_values(ascending=False).index
    lines = [line([shown(name), *(number(means.loc[name, c], ".1f") for c in columns)]) for name in order]
    text = (
        "Balanced accuracy × 100, mean of the classifiers, if rows with a higher probability than the threshold are "
        "given to the scarce class."
    )
    heads = ["method", "at 0.5", "at the real share of the class", "tuned on inner folds"]
    title = f"### Thresholds, seed{'s' * (len(group) > 1)} {listed(group)}"
    return "\n".join([title, wrapped(text), *header(heads), *lines, ""])


def _missing(rows: pd.DataFrame, seeds: dict[str, frozenset[int]]) -> str:
    """Cells that were begun and are in no mean of complete seeds."""
    wanted = rows[["dataset", "n_min"]].drop_duplicates().shape[0]
    found = []
    for (method, seed), own in rows.groupby(["method", "seed"]):
        if seed not in seeds.get(str(method), frozenset()):
            have = own[["dataset", "n_min"]].drop_duplicates().shape[0]
            found.append(f"{shown(str(method))} seed {seed} ({have} of {wanted} cells)")
    if not found:
        return ""
    return wrapped(f"Not complete, and only in the comparison on the same cells: {', '.join(found)}.")


def quoted_section(rows: pd.DataFrame, peers: pd.DataFrame) -> str:
    """Methods of peers' files beside AutoAugmenter on the same cells, and how far methods of both files agree."""
    peers = peers[peers["n_min"].isin(rows["n_min"].unique())]
    both = rows.merge(peers, on=[*CELL, "method", "learner"], suffixes=("", "_peer"))
    own = gains(rows)
    parts = ["## A: methods measured elsewhere"]
    text = "Quoted from files of another run of the same protocol; gains are over its own real rows alone"
    if len(both):
        gap = (both["auprc"] - both["auprc_peer"]).abs().max()
        names = ", ".join(sorted(both["method"].unique()))
        text += f". In both runs: {names}; {len(both)} AUPRC in common differ by {gap:.2g} at most"
    parts.append(wrapped(f"{text}."))
    if OWN in own.index.get_level_values("method"):
        other = gains(peers)
        named = [name for name in _order(other) if name in QUOTED]
        lines = [_beside(own.loc[OWN, "all"], other.loc[name, "all"], f"{name} (quoted)") for name in named]
        parts += [*header(_BESIDE), *filter(None, lines), ""]
    return "\n".join(parts)
