"""What a sealed detector costs: training time, size of the file, and speed and memory of scoring in a new process.

Rows are synthetic: columns that share six factors. Anomalous rows have the same columns with weaker dependence, so
AUROC shows that the file which is measured detects something.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.detection.judging import BLOCK, Figures, judged

FACTORS, TEST, SHIFT = 6, 4096, 0.15
# Scores one block again and again in a process without torch.
_SCORING = """
import re, sys, time
import numpy as np, pyarrow as pa
from serving.artifact import load_artifact
from serving.scorer import Scorer

def megabytes(key):
    return int(re.search(key + r":\\s+(\\d+)", open("/proc/self/status").read()).group(1)) * 1024 / 1e6

scorer = Scorer(load_artifact(sys.argv[1]))
idle = megabytes("VmRSS")
rows = np.load(sys.argv[2]).T
block = pa.table(dict(zip(scorer.artifact.features, rows)))
scorer.score(block)
start = time.process_time()
for _ in range(20):
    scorer.score(block)
took = time.process_time() - start
assert "torch" not in sys.modules
print(idle, megabytes("VmHWM"), 20 * len(block) / took)
"""


def footprint(methods: list[str], rows: list[int], columns: list[int]) -> str:
    """A table in Markdown; ``rows`` and ``columns`` are paired."""
    heads = (
        "method", "rows", "columns", "fit, CPU s", "AUROC", "of the file", "file, MB", "rows a CPU s", "idle, MB",
        "peak, MB",
    )  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for count, width in zip(rows, columns, strict=True):
        for method in methods:
            whole, sealed, (idle, peak) = _measured(method, count, width)
            cells = (
                method, f"{count:,}", f"{width}", f"{whole.fit_cpu_s:.1f}", f"{whole.auroc:.3f}", f"{sealed.auroc:.3f}",
                f"{sealed.file_mb:.2f}", f"{sealed.score_rows_per_s:,.0f}", f"{idle:.0f}", f"{peak:.0f}",
            )  # fmt: skip
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def _measured(method: str, rows: int, columns: int) -> tuple[Figures, Figures, tuple[float, float]]:
    """Figures of the detector and of its file, and megabytes of a process that scores: idle, and at most."""
    from ganlib.testing.problems import factor_table

    train = factor_table(rows, 0, columns, FACTORS).double().numpy()
    sides = [factor_table(TEST // 2, seed, columns, FACTORS, shift) for seed, shift in ((1, 0.0), (2, SHIFT))]
    test, truth = np.concatenate([side.double().numpy() for side in sides]), np.repeat([0, 1], TEST // 2)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "detector.onnx"
        whole, sealed = judged(method, 0, False, train, test, truth, sealed=file)
        np.save(Path(name) / "rows.npy", test[:BLOCK])
        command = [sys.executable, "-c", _SCORING, str(file), str(Path(name) / "rows.npy")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    idle, peak, speed = map(float, done.stdout.split())
    return whole, replace(sealed, score_rows_per_s=speed), (idle, peak)
