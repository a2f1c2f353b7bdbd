"""Run checks: ``python -m benchmarks.models.checks [NAME ...] [--seeds 0 1 2] [--write]``."""

from __future__ import annotations

import argparse
import json
import time

import torch

from benchmarks.models import checks
from benchmarks.models.checks import CHECKS, FILE


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=checks.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="checks, all where none is named")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.names or CHECKS:
        check, began = CHECKS[name], time.process_time()
        figures = [check.run(seed) for seed in given.seeds]
        value = check.value(figures)
        passed = value >= check.need
        row = {
            "model": check.model, "measure": check.measure, "baseline": check.baseline, "need": check.need,
            "gain": check.gain, "worst": check.worst, "finding": check.finding, "seeds": given.seeds,
            "figures": [round(f, 4) for f, _ in figures], "baselines": [round(b, 4) for _, b in figures],
            "passed": passed,
        }  # fmt: skip
        print(f"{name:12s}{check.model:28s}{'pass' if passed else 'MISS':6s}{value:8.3f} (needs {check.need})  "
              f"figures {row['figures']} baseline {row['baselines']}  {check.measure}; "
              f"{time.process_time() - began:.0f} s", flush=True)  # fmt: skip
        if given.write:
            stored = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
            FILE.write_text(json.dumps({**stored, name: row}, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
