"""Measure augmenters of tables, and report their figures.

    python -m benchmarks.augmentation run A --data FOLDER --methods none SMOTE AutoAugmenter --seeds 0 1 --out A.csv
    python -m benchmarks.augmentation run B --data FOLDER --methods real AutoAugmenter --out B.csv
    python -m benchmarks.augmentation report A.csv B.csv --write docs/benchmarks/augmentation.md

A: a scarce class of a few rows is augmented to as many rows as the other has, at most 2,000. B: generated tables take
the place of real ones. Four classifiers are judged on held-out real rows. FOLDER holds a CSV file for each data set, of
a benchmark or of your own, plain or as .csv.gz: numbers, text for categories, no empty cells, and a column y of 0 and
1 (1: the scarce class). A file columns.json in FOLDER may list columns that are categories although they hold numbers,
{"NAME": ["COLUMN", ...]}. Finished lines are kept, so a run that was ended goes on where it was. One thread is used
unless OMP_NUM_THREADS says otherwise.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.augmentation import judging, tables
from benchmarks.augmentation.methods import METHODS, ONLY_SCARCE, ONLY_WHOLE, version_of, warm_up
from benchmarks.pages import publish
from benchmarks.results import append, finished

Cell = tuple[str, str, str]
Lines = dict[str, list[tuple[object, ...]]]
SCARCE_ROWS = (10, 50)
COLUMNS_A = (
    "dataset", "seed", "n_min", "method", "learner", "auprc", "auroc", "bacc", "bacc_prior", "bacc_tuned", "n_maj",
    "n_added", "fit_cpu_s", "sample_cpu_s", "n_test", "version",
)  # fmt: skip
COLUMNS_B = (
    "dataset", "seed", "method", *(field.name for field in dataclasses.fields(judging.Fidelity)), "n_train", "n_test",
    "version",
)  # fmt: skip


def run_scarce(
    data: Path,
    methods: Sequence[str],
    seeds: Sequence[int],
    rows: Sequence[int],
    out: Path,
    names: Sequence[str] | None = None,
) -> None:
    """A: append the lines of each seed, set, number of rows and method that the file does not hold yet."""
    _prepare(methods, ONLY_WHOLE, "A")
    done: dict[Cell, Lines] = {}
    for line in finished(out, COLUMNS_A):
        found = done.setdefault((line["dataset"], line["seed"], line["n_min"]), {})
        found.setdefault(line["method"], []).append(tuple(line.values()))
    sets = list(tables.sets_in(data, names))
    for seed in seeds:
        for name, frame in sets:
            for count in rows:
                parts = tables.scarce(name, frame, seed, count)
                if parts is None:
                    print(f"{name} is left out: too few rows for {count} of the scarce class", flush=True)
                    continue
                cell = (name, str(seed), str(count))
                for method in methods:
                    _measure(cell, method, parts, done.setdefault(cell, {}), out)


def _measure(cell: Cell, method: str, parts: tables.Parts, done: Lines, out: Path) -> list[tuple[object, ...]]:
    """The lines of a method in a cell, appended to the file if they are new."""
    if method not in done:
        chosen = METHODS[method]
        if chosen.gate is None:
            done[method] = _lines(cell, method, parts)
        else:
            start = time.process_time()
            source = chosen.gate(parts.train, parts.seed)
            took = time.process_time() - start
            own = _measure(cell, source, parts, done, out)
            done[method] = [_renamed(line, method, took) for line in own]
        append(out, COLUMNS_A, done[method])
        print(*cell, method, *(f"{line[4]} {float(str(line[5])):.3f}" for line in done[method]), flush=True)
    return done[method]


def _lines(cell: Cell, method: str, parts: tables.Parts) -> list[tuple[object, ...]]:
    made = judging.scarce_rows(METHODS[method], parts.train, parts.seed)
    others = int((parts.train[tables.TARGET] == 0).sum())
    costs = round(made.fit_cpu_s, 3), round(made.sample_cpu_s, 3)
    about = others, len(made.rows), *costs, len(parts.test), version_of(method)
    found = judging.judged(METHODS[method], parts, made)
    return [(*cell, method, *dataclasses.astuple(one), *about) for one in found]


def _renamed(line: tuple[object, ...], method: str, seconds: float) -> tuple[object, ...]:
    """The line of a method that a gate chose, under the name of the gated one and with the gate's CPU seconds."""
    own = dict(zip(COLUMNS_A, line, strict=True))
    fitted = round(float(str(own["fit_cpu_s"])) + seconds, 3)
    return tuple({**own, "method": method, "fit_cpu_s": fitted, "version": version_of(method)}.values())


def run_whole(
    data: Path, methods: Sequence[str], seeds: Sequence[int], out: Path, names: Sequence[str] | None = None
) -> None:
    """B: append the lines of each seed, set and method that the file does not hold yet."""
    _prepare(methods, ONLY_SCARCE, "B")
    done = {(line["dataset"], line["seed"], line["method"]) for line in finished(out, COLUMNS_B)}
    sets = list(tables.sets_in(data, names))
    for seed in seeds:
        for name, frame in sets:
            wanted = [method for method in methods if (name, str(seed), method) not in done]
            if not wanted:
                continue
            parts = tables.whole(name, frame, seed)
            real = judging.quality(parts, parts.train)
            for method in wanted:
                found = judging.fidelity(METHODS[method], parts, real)
                about = (len(parts.train), len(parts.test), version_of(method))
                print(name, seed, method, found, flush=True)
                append(out, COLUMNS_B, [(name, seed, method, *dataclasses.astuple(found), *about)])


def _prepare(methods: Sequence[str], other: set[str], part: str) -> None:
    if unknown := [name for name in methods if name not in METHODS or name in other]:
        known = ", ".join(name for name in METHODS if name not in other)
        raise SystemExit(f"{part} does not measure {', '.join(unknown)}; it measures {known}")
    warm_up(methods)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augmentation", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser(
        "run", help="measure methods", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    running.add_argument("part", choices=("A", "B"), help="A: a scarce class is augmented; B: generated tables")
    running.add_argument("--data", type=Path, required=True, help="folder of CSV files with a column y (see above)")
    running.add_argument("--sets", nargs="+", metavar="NAME", help="files without their ending; default: all")
    running.add_argument("--methods", nargs="+", required=True, metavar="NAME", help="\n".join(
        f"{name}: {method.about}" for name, method in METHODS.items()))  # fmt: skip
    running.add_argument("--seeds", nargs="+", type=int, default=[0])
    running.add_argument("--rows", nargs="+", type=int, default=SCARCE_ROWS, help="A: rows of the scarce class")
    running.add_argument("--out", type=Path, required=True, help="CSV file; finished lines are kept")
    reporting = commands.add_parser("report", help="means, intervals and losses of measured methods")
    reporting.add_argument("results", nargs="+", type=Path, help="CSV files of run")
    reporting.add_argument("--peers", nargs="+", type=Path, default=[], help="CSV files measured by others, quoted")
    reporting.add_argument("--notes", type=Path, help="Markdown file on how the figures were measured, for the page")
    reporting.add_argument("--write", type=Path, help="Markdown file; default: print")
    given = parser.parse_args()
    if given.command == "run":
        if given.part == "A":
            run_scarce(given.data, given.methods, given.seeds, given.rows, given.out, given.sets)
        else:
            run_whole(given.data, given.methods, given.seeds, given.out, given.sets)
        return
    from benchmarks.augmentation.report import report

    text = report(given.results, given.peers, given.notes.read_text(encoding="utf-8") if given.notes else "")
    publish(text, given.write)


if __name__ == "__main__":
    main()
