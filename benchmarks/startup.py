"""Start-up times, best of five, compared with their bounds.

python -m benchmarks.startup [--runs 5]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def best(command, runs):
    """Wall seconds of the quickest run."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run(command(), check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    python, ganlib = sys.executable, str(Path(sys.executable).with_name("ganlib"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, row = _artifact(folder)
        outputs = iter(range(1000))
        cases = {
            "python -c pass": (lambda: [python, "-c", "pass"], None),
            "import ganlib": (lambda: [python, "-c", "import ganlib"], 0.3),
            "ganlib --help": (lambda: [ganlib, "--help"], 0.6),
            "python -m serving score, 1 row": (
                lambda: [python, "-m", "serving", "score", "--model", model, "--input", row, "--output",
                         str(folder / str(next(outputs)))],
                1.5,
            ),
        }  # fmt: skip
        for title, (command, bound) in cases.items():
            limit = f"(bound {bound:.1f} s)" if bound else "(floor)"
            print(f"{title:32s} {best(command, runs):6.2f} s {limit}", flush=True)


def _artifact(folder):
    from benchmarks.scoring import mixed_table, seal_reference

    artifact, _, _ = seal_reference(folder)
    mixed_table(1).to_csv(folder / "row.csv", index=False)
    return str(artifact), str(folder / "row.csv")


if __name__ == "__main__":
    main()
