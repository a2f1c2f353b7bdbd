"""Tables of generated tables: what classifiers learn from them, and how near they are to real rows."""

from __future__ import annotations

import pandas as pd

from benchmarks.augmentation.methods import OWN, QUOTED, shown
from benchmarks.pages import header, line, listed, wrapped


def whole_in_short(rows: pd.DataFrame) -> str:
    """AutoAugmenter's means over the tables, beside those of the real rows."""
    own = rows[rows["method"] == OWN].groupby("dataset").mean(numeric_only=True)
    if not len(own):
        return ""
    ratios, means = own["tstr_auprc_ratio"], own.mean()
    text = (
        f"{shown(OWN)}'s rows in place of the real ones, mean of {len(own)} tables: AUPRC {ratios.mean():.0%} of that "
        f"of real rows (lowest on {ratios.idxmin()}, {ratios.min():.0%}), two-sample AUROC {means['c2st_auroc']:.2f} "
        f"(0.5: like real rows), {means['dcr_share']:.1%} nearer to a training row than 5 % of held-out rows are, "
        f"{means['exact']:.1%} copies."
    )
    return wrapped(text)


def whole_section(rows: pd.DataFrame, peers: pd.DataFrame) -> str:
    seeds = listed(rows["seed"].unique())
    parts = [
        "## B: generated tables in place of real ones",
        wrapped(
            "As many rows as the real training rows, at most 2,000, are generated with the shares of the classes. "
            f"Seed {seeds}."
        ),
        "- **TSTR**: AUPRC (and AUROC) of the four classifiers trained on generated rows, divided by that of the same\n"
        "  classifiers trained on real rows; the mean. 1 is as good as real rows.",
        "- **Two-sample AUROC**: of gradient boosting that separates generated rows from held-out real ones; 0.5 is\n"
        "  best.",
        "- **Nearer**: the share of generated rows that are nearer to a training row than 5 % of the held-out rows\n"
        "  are. Far above 5 % means rows that repeat training rows. **Copies**: the share of generated rows that\n"
        "  equal a training row (in brackets: of held-out rows).\n",
    ]
    parts += _agreement(rows, peers)
    names = ["table", "method", "TSTR, AUPRC", "TSTR, AUROC", "two-sample AUROC", "nearer", "copies", "fit, s"]
    parts += header([*names, "rows/s"])
    table = [*rows["dataset"].unique()]
    for name in table:
        own = rows[rows["dataset"] == name].groupby("method").mean(numeric_only=True)
        parts += [_fidelity(name, shown(str(method)), own.loc[method]) for method in _by_ratio(own)]
        if len(peers):
            same = peers[(peers["dataset"] == name) & peers["seed"].isin(rows["seed"]) & peers["method"].isin(QUOTED)]
            same = same[same["n_train"].isin(rows.loc[rows["dataset"] == name, "n_train"])]
            quoted = same.groupby("method").mean(numeric_only=True)
            parts += [_fidelity(name, f"{method} (quoted)", quoted.loc[method]) for method in _by_ratio(quoted)]
    counts = rows.groupby("method")["dataset"].nunique()
    whole = rows[rows["method"].isin(counts.index[counts == len(table)])]
    means = whole.groupby("method").mean(numeric_only=True)
    parts += [_fidelity("mean", shown(str(method)), means.loc[method]) for method in _by_ratio(means)]
    partly = counts[counts < len(table)]
    if len(partly):
        names = ", ".join(f"{shown(str(name))} ({count} of {len(table)})" for name, count in partly.items())
        parts.append("\n" + wrapped(f"Not measured on all tables: {names}.").rstrip())
    return "\n".join([*parts, ""])


def _agreement(rows: pd.DataFrame, peers: pd.DataFrame) -> list[str]:
    """How far methods of both files agree."""
    key = ["dataset", "seed", "method", "n_train"]
    both = rows.merge(peers, on=key, suffixes=("", "_peer")) if len(peers) else peers
    if not len(both):
        return []
    gaps = [(both[name] - both[f"{name}_peer"]).abs().max() for name in ("tstr_auprc_ratio", "c2st_auroc", "dcr_share")]
    names = ", ".join(sorted(both["method"].unique()))
    text = (
        f"Quoted lines are from files of another run of the same protocol. In both runs: {names}. They differ by "
        f"{gaps[0]:.2g}, {gaps[1]:.2g} and {gaps[2]:.2g} at most in TSTR, two-sample AUROC and share of nearer rows."
    )
    return [wrapped(text)]


def _by_ratio(means: pd.DataFrame) -> list[str]:
    return [str(name) for name in means["tstr_auprc_ratio"].sort_values(ascending=False).index]


def _fidelity(table: str, method: str, own: pd.Series) -> str:
    cells = [table, method, f"{own['tstr_auprc_ratio']:.2f}", f"{own['tstr_auroc_ratio']:.2f}"]
    cells += [f"{own['c2st_auroc']:.2f}", f"{own['dcr_share']:.1%}", f"{own['exact']:.1%} ({own['exact_holdout']:.1%})"]
    costs = ["", ""] if method == "real" else [f"{own['fit_cpu_s']:.1f}", f"{own['sample_rows_s']:,.0f}"]
    return line([*cells, *costs])
