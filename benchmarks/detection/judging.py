"""Figures of one detector on one split: of the fitted object, of its sealed file, and of the members of a fusion."""

from __future__ import annotations

import copy
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.detection.methods import METHODS

BLOCK = 2048  # rows of one call of a sealed file
TOLERANCE = 1e-3  # by which the AUROC and AUPRC of a sealed file may differ from its detector's


@dataclass(frozen=True)
class Figures:
    """What was measured, None where it does not apply; ``file_mb`` is the size of a sealed file."""

    method: str
    auroc: float
    auprc: float
    fit_cpu_s: float | None = None
    score_rows_per_s: float | None = None
    file_mb: float | None = None


def judged(
    method: str, seed: int, own: bool, train: np.ndarray, test: np.ndarray, truth: np.ndarray,
    sealed: bool | Path = False, members: bool = False,
) -> Iterator[Figures]:  # fmt: skip
    """Figures of a method; with ``sealed`` also of its file, with ``members`` also of what it fuses.

    ``own``: the test rows are the training rows. A path as ``sealed`` keeps the file there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        detector, scores_of = METHODS[method](seed)
        start = time.process_time()
        detector.fit(train)
        fitted = time.process_time() - start
        start = time.perf_counter()
        scores = scores_of(detector, test)
        speed = len(test) / max(time.perf_counter() - start, 1e-9)
        if own and hasattr(detector, "decision_scores_"):
            scores = detector.decision_scores_
        whole = Figures(method, *_quality(method, truth, scores), round(fitted, 3), round(speed, 1))
        yield whole
        if sealed:
            with tempfile.TemporaryDirectory() as folder:
                file = sealed if isinstance(sealed, Path) else Path(folder) / "detector.onnx"
                yield _of_file(detector, file, whole, test, truth)
        if members:
            for name, found in members_of(detector, test).items():
                label = f"{method}: {name}"
                yield Figures(label, *_quality(label, truth, found))


def _of_file(detector: Any, file: Path, whole: Figures, test: np.ndarray, truth: np.ndarray) -> Figures:
    """Figures of the detector's sealed file, scored without torch; ends the run if they are not the detector's."""
    from ganlib.export import seal

    seal(detector, file)
    scores, speed = file_scores(file, test)
    quality, size = _quality(whole.method, truth, scores), file.stat().st_size / 1e6
    found = Figures(f"{whole.method} sealed", *quality, None, speed, round(size, 3))
    if max(abs(found.auroc - whole.auroc), abs(found.auprc - whole.auprc)) > TOLERANCE:
        raise SystemExit(f"the sealed file of {whole.method} is another detector: {found}, {whole}")
    return found


def file_scores(file: Path, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Scores by a sealed file in blocks of ``BLOCK`` rows, and rows scored a second."""
    import pyarrow as pa

    from serving.artifact import load_artifact
    from serving.scorer import Scorer

    scorer = Scorer(load_artifact(file))
    table = pa.table(dict(zip(scorer.artifact.features, rows.T, strict=True)))
    blocks = [table.slice(first, BLOCK) for first in range(0, len(rows), BLOCK)]
    scorer.score(blocks[0].slice(0, 1))
    start = time.perf_counter()
    scores = np.concatenate([scorer.score(block).anomaly_score for block in blocks])
    return scores, round(len(rows) / max(time.perf_counter() - start, 1e-9), 1)


def members_of(detector: Any, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Scores by each member of a fitted fusion, by name; none of another detector."""
    import torch

    from ganlib.detect.fusion import Fusion

    if not isinstance(detector.scorer_, Fusion):
        return {}
    scorer, x = copy.deepcopy(detector.scorer_).double(), detector.reader_.read(rows).double()
    with torch.no_grad():
        scaled = torch.cat([scorer.scaled(part) for part in x.split(BLOCK)])
    return dict(zip(scorer.config.members, scaled.numpy().T, strict=True))


def _quality(method: str, truth: np.ndarray, scores: Any) -> tuple[float, float]:
    """AUROC and AUPRC."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    scores = np.asarray(scores, np.float64).ravel()
    if not np.isfinite(scores).all():
        raise SystemExit(f"{method} gives scores that are not finite")
    return round(float(roc_auc_score(truth, scores)), 6), round(float(average_precision_score(truth, scores)), 6)
