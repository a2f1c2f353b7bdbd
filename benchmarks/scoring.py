"""Throughput of scoring Parquet to Parquet, compared with its bounds, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.scoring [--rows 1000000] [--repeats 5] [--memory-rows 5000000]

The reference graph: 30 mixed columns, layers 256-64-16-64-256, sealed. Wall clock with one scoring and one reading
thread, against the same session fed from memory, and against the bare network without preprocessing and calibration;
then the peak memory of a long run above the idle process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

CHUNK = 2048


def mixed_table(rows, seed=0):
    """20 numbers, 4 integers, 2 booleans, 3 categories, 1 date; some values missing."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 5)).astype(np.float32)
    columns = {f"n{i}": hidden[:, i % 5] * (1 + i) + rng.normal(size=rows) * 0.3 for i in range(20)}
    columns["n3"][::17] = np.nan
    columns |= {f"i{i}": rng.integers(0, 1000, rows) for i in range(4)}
    columns |= {f"b{i}": rng.random(rows) < 0.3 for i in range(2)}
    columns |= {f"c{i}": rng.choice([f"value {k}" for k in range(6 + 6 * i)], rows) for i in range(3)}
    columns["d0"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 10**7, rows), unit="s")
    return pd.DataFrame(columns)


def seal_reference(folder):
    """(sealed file, bare network's file): the bare one takes encoded rows and gives scores."""
    import torch

    from ganlib.detect import VAEDetector
    from ganlib.export import seal

    torch.set_num_threads(1)
    detector = VAEDetector(hidden=(256, 64), latent_dim=16, steps=100).fit(mixed_table(5000))
    seal(detector, folder / "reference.onnx")
    bare = folder / "bare.onnx"
    example = torch.zeros(2, detector.encoder_.width)
    rows = torch.export.Dim("rows")
    torch.onnx.export(
        detector.scorer_.eval(), (example,), bare, dynamo=True, dynamic_shapes=({0: rows},), verbose=False
    )
    return folder / "reference.onnx", bare, detector.encoder_.width


def from_file(artifact, source, folder, rows, keep=()):
    """A whole call of ``score_batch``, its start and its end included."""
    from serving.batch import score_batch

    def run():
        with tempfile.TemporaryDirectory(dir=folder) as output:
            start = time.perf_counter()
            score_batch(artifact, source, Path(output) / "scores", keep=keep)
            return rows / (time.perf_counter() - start)

    return run


def from_memory(artifact, source, rows):
    """The same session over prepared feeds."""
    import pyarrow.parquet as pq

    from serving.artifact import load_artifact
    from serving.scorer import Scorer

    scorer = Scorer(load_artifact(artifact))
    feeds = scorer.reader.feeds(pq.read_table(source).slice(0, 50 * CHUNK))
    parts = [{name: values[s : s + CHUNK] for name, values in feeds.items()} for s in range(0, 50 * CHUNK, CHUNK)]

    def run():
        start = time.perf_counter()
        for index in range(rows // CHUNK):
            scorer.score(parts[index % 50])
        return rows // CHUNK * CHUNK / (time.perf_counter() - start)

    return run


def bare_network(file, width, rows):
    """The network alone on encoded rows."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).standard_normal((CHUNK, width)).astype(np.float32)
    name = session.get_inputs()[0].name

    def run():
        start = time.perf_counter()
        for _ in range(rows // CHUNK):
            session.run(None, {name: x})
        return rows // CHUNK * CHUNK / (time.perf_counter() - start)

    return run


def write_source(path, rows):
    """A Parquet file of any length, in row groups of 100,000 rows of a repeated sample."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    block = pa.Table.from_pandas(mixed_table(100_000, seed=1), preserve_index=False)
    with pq.ParquetWriter(path, block.schema) as writer:
        for _ in range(rows // 100_000):
            writer.write_table(block)


def peak_memory(artifact, source, folder):
    """(MiB of the idle process with the artifact loaded, MiB at the peak of the run)."""
    code = (
        "import re, sys\n"
        "from serving.artifact import load_artifact\n"
        "from serving.batch import score_batch\n"
        "import pyarrow.parquet, pyarrow.csv\n"
        "def kib(key): return int(re.search(key + r':\\s+(\\d+)', open('/proc/self/status').read()).group(1))\n"
        "artifact = load_artifact(sys.argv[1])\n"
        "idle = kib('VmRSS')\n"
        "score_batch(sys.argv[1], sys.argv[2], sys.argv[3])\n"
        "print(idle / 1024, kib('VmHWM') / 1024)"
    )
    command = [sys.executable, "-c", code, str(artifact), str(source), str(folder / "long")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory-rows", type=int, default=5_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, rows = Path(name), arguments.rows
        artifact, bare, width = seal_reference(folder)
        write_source(folder / "source.parquet", rows)
        runs = {
            "Parquet to Parquet": from_file(artifact, folder / "source.parquet", folder, rows),
            "the same, one column kept": from_file(artifact, folder / "source.parquet", folder, rows, ("i0",)),
            "same session, from memory": from_memory(artifact, folder / "source.parquet", rows),
            "bare network": bare_network(bare, width, rows),
        }
        # In turn, so that all see the same machine.
        speed = dict.fromkeys(runs, 0.0)
        for _ in range(arguments.repeats):
            for key, run in runs.items():
                speed[key] = max(speed[key], run())
        whole, kept, memory, network = speed.values()
        for key, value in speed.items():
            print(f"{key:28s} {value:12,.0f} rows/s")
        print(f"of the session from memory   {whole / memory:.0%} (bound 60 %)")
        print(f"the same, one column kept    {kept / memory:.0%} (bound 85 %)")
        print(f"of the bare network          {whole / network:.0%} (bound 45 %)")
        if arguments.memory_rows:
            write_source(folder / "long.parquet", arguments.memory_rows)
            idle, peak = peak_memory(artifact, folder / "long.parquet", folder)
            print(f"peak memory, {arguments.memory_rows:,} rows: {peak:,.0f} MiB, idle {idle:,.0f} MiB, "
                  f"above it {peak - idle:,.0f} MiB (bound 1,024)")  # fmt: skip


if __name__ == "__main__":
    main()
