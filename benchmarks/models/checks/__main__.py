"""Run checks: ``python -m benchmarks.models.checks [NAME ...] [--seeds 0 1 2] [--write]``."""

from __future__ import annotations

import argparse
import time

import torch

from benchmarks.models import checks
from benchmarks.models.checks import CHECKS
from benchmarks.models.checks.check import store


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=checks.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="checks, all where none is named")
    parser.add_argument("--seeds", nargs="*", type=int, help="0, 1, ... as many as the check asks for")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/checks.json")
    given = parser.parse_args()
    if unknown := set(given.names) - CHECKS.keys():
        parser.error(f"no check {', '.join(sorted(unknown))}; there are {', '.join(sorted(CHECKS))}")
    torch.set_num_threads(1)
    for name in given.names or CHECKS:
        check, began = CHECKS[name], time.process_time()
        seeds = given.seeds or range(check.seeds)
        figures = [check.run(seed) for seed in seeds]
        row = check.record(figures, seeds)
        print(f"{name:15s}{check.model:28s}{'pass' if row['passed'] else 'MISS':6s}{check.value(figures):8.3f} "
              f"(needs {check.need})  figures {row['figures']} baseline {row['baselines']}  {check.measure}; "
              f"{time.process_time() - began:.0f} s", flush=True)  # fmt: skip
        if given.write:
            store({name: row})


if __name__ == "__main__":
    main()
