"""Run detectors on data sets, and report their figures.

    python -m benchmarks.detection run --data FOLDER --methods AutoDetector VAEDetector --out ours.csv
    PEERS/bin/python -m benchmarks.detection run --data FOLDER --methods sk-IForest PyOD-KNN --out peers.csv
    python -m benchmarks.detection report ours.csv peers.csv --write docs/benchmarks/detection.md

FOLDER holds .npz files with X and y (1: anomaly), of a benchmark or of your own. Peers may run in an environment of
their own, started in the same folder: splits need NumPy alone. A run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.detection.judging import Figures, judged
from benchmarks.detection.methods import FUSED, METHODS, is_ours, version_of
from benchmarks.detection.splits import PROTOCOLS, is_enough, named, sets_in, split
from benchmarks.pages import publish
from benchmarks.results import append, finished

KEY = ("dataset", "protocol", "seed", "method")
FIGURES = tuple(field.name for field in dataclasses.fields(Figures))[1:]
COLUMNS = (*KEY, *FIGURES, "n_train", "n_test", "n_anomalies", "d", "version")


def run(
    data: Path, methods: Sequence[str], protocols: Sequence[str], seeds: Sequence[int], out: Path,
    sealed: bool = False, members: bool = False,
) -> None:  # fmt: skip
    """Append the lines of each set, protocol, seed and method that the file does not hold yet."""
    if unknown := set(methods) - METHODS.keys():
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(METHODS)}")
    done = _done(out)
    for name, x, y in _sets(data, protocols):
        for protocol in protocols:
            for seed in seeds:
                for method in methods:
                    parts_of = sealed and is_ours(method), members and method in FUSED
                    key = (name, protocol, str(seed))
                    if _wanted(method, *parts_of) <= done.get(key, set()):
                        continue
                    parts = split(name, x, y, seed, protocol)
                    about = len(parts.train), len(parts.test), int(parts.truth.sum()), parts.train.shape[1]
                    own = protocol == "P2"
                    found = judged(method, seed, own, parts.train, parts.test, parts.truth, *parts_of)
                    lines = [(*key, *dataclasses.astuple(figures), *about, version_of(method)) for figures in found]
                    _append(out, [line for line in lines if line[3] not in done.get(key, set())])


def _sets(data: Path, protocols: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The sets that have enough rows for all protocols, so that figures of all are of the same sets."""
    for name, x, y in sets_in(data):
        if is_enough(y, protocols):
            yield name, x, y
        else:
            print(f"{name} is left out: too few rows for the largest training set of P3", flush=True)


def _wanted(method: str, sealed: bool, members: bool) -> set[str]:
    """The names of lines without which a method is not done; one stands for those of all members."""
    return {method, *[f"{method} sealed"] * sealed, *[f"{method}: members"] * members}


def _done(out: Path) -> dict[tuple[str, ...], set[str]]:
    """The methods that a file holds, by set, protocol and seed."""
    found: dict[tuple[str, ...], set[str]] = {}
    for line in finished(out, COLUMNS):
        names = found.setdefault((line["dataset"], line["protocol"], line["seed"]), set())
        names |= {line["method"], *[line["method"].split(": ")[0] + ": members"] * (": " in line["method"])}
    return found


def _append(out: Path, lines: Sequence[tuple[object, ...]]) -> None:
    for line in lines:
        print(*line[: len(KEY) + len(FIGURES)], flush=True)
    append(out, COLUMNS, lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="measure detectors on data sets")
    running.add_argument("--data", type=Path, required=True, help="folder of .npz files with X and y")
    running.add_argument("--methods", nargs="+", required=True, metavar="NAME", help=", ".join(METHODS))
    running.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=["P1"])
    running.add_argument("--rows", nargs="+", type=int, default=[100, 500, 2000], help="training rows of P3")
    running.add_argument("--contamination", nargs="+", type=float, default=[0, 0.05, 0.1], metavar="SHARE",
                         help="shares of anomalies among the training rows of P3")  # fmt: skip
    running.add_argument("--seeds", nargs="+", type=int, default=[0])
    running.add_argument("--sealed", action="store_true", help="also seal each detector, and score by its file")
    running.add_argument("--members", action="store_true", help="also judge each member of AutoDetector")
    running.add_argument("--out", type=Path, required=True, help="CSV file; finished lines are kept")
    weighing = commands.add_parser("footprint", help="training time, file, speed and memory of sealed detectors")
    weighing.add_argument("--methods", nargs="+", required=True, metavar="NAME", help="of this library")
    weighing.add_argument("--rows", nargs="+", type=int, default=[10_000, 100_000], help="of synthetic training data")
    weighing.add_argument("--columns", nargs="+", type=int, default=[30, 100], help="one for each number of rows")
    reporting = commands.add_parser("report", help="means, intervals and ranks of measured detectors")
    reporting.add_argument("results", nargs="+", type=Path, help="CSV files of run")
    reporting.add_argument("--notes", type=Path, help="Markdown file on how the figures were measured, for the page")
    reporting.add_argument("--write", type=Path, help="Markdown file; default: print")
    given = parser.parse_args()
    if given.command == "run":
        protocols = named(given.protocols, given.rows, given.contamination)
        run(given.data, given.methods, protocols, given.seeds, given.out, given.sealed, given.members)
        return
    if given.command == "footprint":
        from benchmarks.detection.footprint import footprint

        print(footprint(given.methods, given.rows, given.columns), end="")
        return
    from benchmarks.detection.report import report

    text = report(given.results, given.notes.read_text(encoding="utf-8") if given.notes else "")
    publish(text, given.write)


if __name__ == "__main__":
    main()
