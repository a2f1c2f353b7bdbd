"""Ray actors beside local processes on the same rows: rows per second of whole runs, and the cost as rows grow.

    OMP_NUM_THREADS=1 python -m benchmarks.ray_scoring [--rows 4000000] [--repeats 3] [--long-rows 20000000]

Runs go in turn, and each figure is the median of its repeats. The reference graph is that of benchmarks.scoring. The
start of Ray is measured by a run of one file of one row and printed alone; figures are of the time beyond it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.scoring import mixed_table, seal_reference, write_source

PARTS = 8


def measured(artifact, source, rows, **options):
    """Seconds of a whole run."""
    from serving.batch import score_batch

    with tempfile.TemporaryDirectory() as output:
        start = time.perf_counter()
        summary = score_batch(artifact, source, Path(output) / "scores", **options)
        assert summary.rows == rows
        return time.perf_counter() - start


def made(folder, rows):
    """A folder of Parquet files with ``rows`` rows in all."""
    folder.mkdir()
    write_source(folder / "0.parquet", rows // PARTS)
    for number in range(1, PARTS):
        (folder / f"{number}.parquet").write_bytes((folder / "0.parquet").read_bytes())
    return folder


CASES = {
    "one process": {},
    "two processes": {"workers": 2},
    "one Ray actor": {"executor": "ray", "workers": 1},
    "two Ray actors": {"executor": "ray", "workers": 2},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--long-rows", type=int, default=0, help="also a run of this many rows by two actors")
    given = parser.parse_args()
    unit = PARTS * 100_000
    rows, long_rows = (max(unit, n // unit * unit) if n else 0 for n in (given.rows, given.long_rows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        artifact, _, _ = seal_reference(folder)
        mixed_table(1).to_parquet(folder / "one.parquet", index=False)
        source, times, starts = made(folder / "in", rows), {case: [] for case in CASES}, {case: [] for case in CASES}
        for _ in range(given.repeats):
            for case, options in CASES.items():
                starts[case].append(measured(artifact, folder / "one.parquet", 1, **options))
                times[case].append(measured(artifact, source, rows, **options))
        speed = {case: rows / (median(times[case]) - median(starts[case])) for case in CASES}
        print(f"{rows:,} rows, {given.repeats} repeats")
        for case in CASES:
            print(f"{case:16s} {speed[case]:11,.0f} rows/s   start {median(starts[case]):5.1f} s")
        two = speed["two Ray actors"]
        print(f"two actors / one actor      {two / speed['one Ray actor']:.2f} (asked: at least 1.6)")
        print(f"two actors / two processes  {two / speed['two processes']:.2f} (asked: at least 0.9)")
        if long_rows:
            seconds = measured(artifact, made(folder / "long", long_rows), long_rows, **CASES["two Ray actors"])
            rate = long_rows / (seconds - median(starts["two Ray actors"]))
            print(f"{long_rows:,} rows by two actors: {rate:,.0f} rows/s, {rate / two:.2f} of the rate above")


if __name__ == "__main__":
    main()
