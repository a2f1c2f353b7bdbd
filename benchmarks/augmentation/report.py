"""The page of measured augmenters: scarce classes, generated tables, methods, how to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.augmentation.gains import in_short, quoted_section, scarce_section
from benchmarks.augmentation.generated import whole_in_short, whole_section
from benchmarks.augmentation.methods import METHODS, QUOTED, SAME, shown
from benchmarks.pages import header, line

_HEAD = """# Augmenters of tables: measured figures
Augmenters of this library and other remedies for scarce classes on the same rows, with default options unless the name
says otherwise. Held-out real rows judge; they neither train nor choose.

- **Points**: AUPRC of the scarce class × 100 less that of the real rows alone, mean of four classifiers: logistic
  regression (LR), random forest (RF), gradient boosting (HGB), a network of one hidden layer (MLP). **Trees**: RF and
  HGB alone.
- **Cell**: a table, a seed, a number of scarce rows. A seed chooses the rows and starts generators and classifiers.
- **Brackets**: the 95 % bootstrap interval of the mean; table and seed are resampled together, or (*by table*) whole
  tables. An interval that contains 0 means that these cells do not show a gain.
- **Worst decile**: one cell in ten gains less than this. **Wins**: the share of cells with a gain.
- **Fit**: CPU seconds, mean over the cells, on shared machines: compare orders of magnitude.
- **Bold** methods are of this library.
"""
_COMMANDS = """## How to repeat it
FOLDER holds a CSV file for each data set, with text for categories and a column y (1: the scarce class); your own sets
do as well, and `run --help` says more. Finished lines are kept, so an interrupted run goes on.

```sh
python -m benchmarks.augmentation run A --data FOLDER --methods none class_weight bagging threshold SMOTE \\
    AutoAugmenter "AutoAugmenter gated" CVAEGANAugmenter --seeds 1 2 --out A.csv
python -m benchmarks.augmentation run B --data FOLDER --methods real columns_apart copies SMOTE AutoAugmenter \\
    --out B.csv
python -m benchmarks.augmentation report A.csv B.csv --peers PEERS.csv --notes NOTES.md --write PAGE.md
```
"""


def report(files: Sequence[Path], peers: Sequence[Path] = (), notes: str = "") -> str:
    """The page; ``peers`` are files of methods measured elsewhere, ``notes`` how the figures were measured."""
    scarce, whole = _read(files)
    quoted, quoted_whole = _read(peers)
    short = [in_short(scarce) if len(scarce) else "", whole_in_short(whole)]
    parts = [_HEAD, "\n".join(["## In short", *filter(None, short)]) if any(short) else ""]
    if len(scarce):
        parts += [scarce_section(scarce), quoted_section(scarce, quoted) if len(quoted) else ""]
    if len(whole):
        parts.append(whole_section(whole, quoted_whole))
    parts += [
        _methods(pd.concat([scarce, whole]), pd.concat([quoted, quoted_whole])),
        f"## How it was measured\n{notes.strip()}\n" if notes else "",
        _COMMANDS,
    ]
    return "\n".join(part for part in parts if part)


def _read(files: Sequence[Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lines of A and of B; those of peers that failed are left out."""
    parts: dict[bool, list[pd.DataFrame]] = {True: [], False: []}
    for file in files:
        found = pd.read_csv(file)
        if "error" in found:
            found = found[found["error"].isna()]
        parts["learner" in found].append(found.assign(method=found["method"].replace(SAME)))
    key = ["dataset", "seed", "n_min", "method", "learner"]
    scarce, whole = (pd.concat(parts[kind]) if parts[kind] else pd.DataFrame(columns=key) for kind in (True, False))
    whole = whole.drop_duplicates(["dataset", "seed", "method"], ignore_index=True)
    return scarce.drop_duplicates(key, ignore_index=True), whole


def _methods(rows: pd.DataFrame, quoted: pd.DataFrame) -> str:
    """What each method is, and which version of its library was measured."""
    versions = rows["version"].groupby(rows["method"]).max()
    found = [name for name in METHODS if name in versions.index]
    lines = [line([shown(name), METHODS[name].about, str(versions[name])]) for name in found]
    used = set(quoted["method"])
    lines += [line([f"{name} (quoted)", about, ""]) for name, about in QUOTED.items() if name in used]
    return "\n".join(["## The methods", *header(["method", "what it is", "measured version"]), *lines, ""])
