"""Run detectors on data sets, and report their figures.

    python -m benchmarks.detection run --data FOLDER --methods AutoDetector VAEDetector --out ours.csv
    PEERS/bin/python -m benchmarks.detection run --data FOLDER --methods sk-IForest PyOD-KNN --out peers.csv
    python -m benchmarks.detection report ours.csv peers.csv --write docs/benchmarks/detection.md

FOLDER holds .npz files with X and y (1: anomaly), of a benchmark or of your own. Peers may run in an environment of
their own, started in the same folder: splits need NumPy alone. A run that was ended goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks.detection.methods import METHODS
from benchmarks.detection.splits import PROTOCOLS, sets_in, split

COLUMNS = ("dataset", "protocol", "seed", "method", "auroc", "auprc", "fit_cpu_s", "score_rows_per_s")


def run(data: Path, methods: list[str], protocols: list[str], seeds: list[int], out: Path) -> None:
    """Append a line for each set, protocol, seed and method that the file does not hold yet."""
    if unknown := set(methods) - METHODS.keys():
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(METHODS)}")
    done = _done(out)
    for name, x, y in sets_in(data):
        for protocol in protocols:
            for seed in seeds:
                parts = split(name, x, y, seed, protocol)
                for method in methods:
                    if (name, protocol, str(seed), method) in done:
                        continue
                    line = (name, protocol, seed, method, *_judged(method, seed, protocol == "P2", *parts))
                    _append(out, line)
                    print(*line, flush=True)


def _judged(
    method: str, seed: int, own: bool, train: np.ndarray, test: np.ndarray, truth: np.ndarray
) -> tuple[float, ...]:
    """AUROC, AUPRC, CPU seconds to fit, and rows scored a second; ``own``: the test rows are the training rows."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector, scores_of = METHODS[method](seed)
        start = time.process_time()
        detector.fit(train)
        fitted = time.process_time() - start
        start = time.perf_counter()
        scores = np.asarray(scores_of(detector, test), np.float64).ravel()
        took = time.perf_counter() - start
    if own and hasattr(detector, "decision_scores_"):
        scores = np.asarray(detector.decision_scores_, np.float64)
    if not np.isfinite(scores).all():
        raise SystemExit(f"{method} gives scores that are not finite")
    figures = roc_auc_score(truth, scores), average_precision_score(truth, scores)
    return *(round(float(v), 6) for v in figures), round(fitted, 3), round(len(test) / max(took, 1e-9), 1)


def _done(out: Path) -> set[tuple[str, ...]]:
    if not out.exists():
        return set()
    with out.open(newline="") as file:
        return {tuple(line[column] for column in COLUMNS[:4]) for line in csv.DictReader(file)}


def _append(out: Path, line: tuple[object, ...]) -> None:
    new = not out.exists()
    with out.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(COLUMNS)
        writer.writerow(line)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="measure detectors on data sets")
    running.add_argument("--data", type=Path, required=True, help="folder of .npz files with X and y")
    running.add_argument("--methods", nargs="+", required=True, metavar="NAME", help=", ".join(METHODS))
    running.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=["P1"])
    running.add_argument("--seeds", nargs="+", type=int, default=[0])
    running.add_argument("--out", type=Path, required=True, help="CSV file; finished lines are kept")
    reporting = commands.add_parser("report", help="means, intervals and ranks of measured detectors")
    reporting.add_argument("results", nargs="+", type=Path, help="CSV files of run")
    reporting.add_argument("--write", type=Path, help="Markdown file; default: print")
    given = parser.parse_args()
    if given.command == "run":
        run(given.data, given.methods, given.protocols, given.seeds, given.out)
        return
    from benchmarks.detection.report import report

    text = report(given.results)
    if given.write is None:
        print(text, end="")
        return
    given.write.parent.mkdir(parents=True, exist_ok=True)
    given.write.write_text(text)


if __name__ == "__main__":
    main()
