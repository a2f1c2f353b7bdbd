"""Every objective on the 8- and the 25-Gaussian mixture: modes and quality, one network and one budget of steps.

    python -m benchmarks.models.mixtures [--objectives wgan_gp gan] [--seeds 0 1 2] [--steps 6000] [--write]

Modes: those that hold a fifth of their share within three deviations of their centre. Quality: share of points within
three deviations of any. Each objective trains by its own recipe (optimiser, critic steps, penalty, clipping) with the
options of its registry toy (a learning rate, for f-divergences without a bound a penalty); batches of 256, three layers
of 128, weights averaged (0.999). The first row is the best single Gaussian. 25 modes as in Gulrajani et al.'s toy:
spacing 2, deviation 0.05, all divided by 2.83.
``--write`` stores the runs in docs/mixtures.json, from which ``ganlib models --pages`` makes docs/objectives.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganlib.data.spec import DataSpec
from ganlib.errors import DivergenceError
from ganlib.losses.adversarial import OBJECTIVES
from ganlib.metrics.mixtures import grid_centres, mode_report, ring_centres
from ganlib.registry import create
from ganlib.training import Trainer, TrainerConfig

FILE = Path(__file__).resolve().parents[2] / "docs" / "mixtures.json"
SETS = {
    "8 modes": (ring_centres(8, 2.0), 0.02 * 2),
    "25 modes": (grid_centres(5, 2.0) / 2.828, 0.05 / 2.828),
}


def draw(name: str, n: int, seed: int) -> Tensor:
    """Points of a mixture."""
    centres, deviation = SETS[name]
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(len(centres), (n,), generator=generator)
    return torch.as_tensor(centres)[which].float() + deviation * torch.randn(n, 2, generator=generator)


def judge(name: str, points: Tensor) -> tuple[int, float]:
    """Modes found and share of good points."""
    centres, deviation = SETS[name]
    report = mode_report(points, centres, deviation)
    return report.found, report.high_quality


def run(name: str, objective: str, seed: int, steps: int, **options: Any) -> dict[str, Any]:
    """Train and evaluate once."""
    torch.manual_seed(seed)
    toy = OBJECTIVES[objective].toy.get("config", {})
    config = {"latent_dim": 2, "hidden": (128, 128, 128), "learning_rate": 1e-3, **_points(toy), **options}
    model = create("gan", DataSpec.vector(2), objective=objective, **config)
    began = time.process_time()
    history = Trainer(TrainerConfig(steps=steps, batch_size=256, ema=0.999, random_state=seed)).fit(
        model, {"x": draw(name, 20_000, seed)}
    )
    sampler = model.sampler()
    with torch.no_grad():
        z = torch.randn(5000, sampler.latent_dim, generator=torch.Generator().manual_seed(seed + 1))
        found, share = judge(name, sampler(z))
    finite = all(torch.tensor(curve).isfinite().all() for curve in history.curves.values())
    return {
        "set": name, "objective": objective, "seed": seed, "steps": steps, "modes": found,
        "quality": round(share, 3), "finite": finite, "cpu_s": round(time.process_time() - began, 1),
    }  # fmt: skip


def _points(toy: dict[str, Any]) -> dict[str, Any]:
    """A toy's options but for those that belong to image networks."""
    return {k: v for k, v in toy.items() if k not in ("latent_dim", "generator_norm")}


def record(rows: list[dict[str, Any]], file: Path = FILE) -> None:
    """Store runs; one that is there already is replaced."""
    stored = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    merged = {(row["set"], row["objective"], row["seed"]): row for row in [*stored, *rows]}
    lines = ",\n".join(json.dumps(merged[key]) for key in sorted(merged))
    file.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    """Print a table as results come."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objectives", nargs="*", default=sorted(OBJECTIVES))
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'set':10s}{'objective':30s}{'modes':>16s}{'quality':>22s}{'CPU s':>8s}")
    for name in given.sets:
        x = draw(name, 20_000, 0)
        found, share = judge(name, x.mean(0) + torch.randn(5000, 2) @ torch.linalg.cholesky(torch.cov(x.T)).T)
        print(f"{name:10s}{'one Gaussian':30s}{found:>16d}{share:>22.3f}")
        for objective in given.objectives:
            rows = []
            for seed in given.seeds:
                try:
                    rows.append(run(name, objective, seed, given.steps))
                except DivergenceError as error:  # a result like others
                    rows.append({"set": name, "objective": objective, "seed": seed, "steps": given.steps, "modes": 0,
                                 "quality": 0.0, "finite": False, "cpu_s": 0.0, "error": str(error)[:80]})  # fmt: skip
            modes = " ".join(str(r["modes"]) for r in rows)
            quality = " ".join(f"{r['quality']:.2f}" for r in rows)
            seconds = statistics.mean(r["cpu_s"] for r in rows)
            print(f"{name:10s}{objective:30s}{modes:>16s}{quality:>22s}{seconds:>8.0f}", flush=True)
            if given.write:
                record(rows)


if __name__ == "__main__":
    main()
