"""What the flows do, as plain functions of paths and names: no Prefect here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.registry import TRAINING, Registry

if TYPE_CHECKING:
    import pandas as pd

CANDIDATES = ("ganomaly", "vae", "reconstruction_vae")
NORMAL_WORDS = ("0", "false", "normal")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Labels:
    """Which rows are known anomalies, and the rule that told."""

    anomalous: np.ndarray
    rule: str

    @property
    def known(self) -> bool:
        """Whether there are both kinds."""
        return bool(self.anomalous.any()) and not bool(self.anomalous.all())


@dataclass(frozen=True)
class Trained:
    """What a training run left behind."""

    name: str
    version: str
    run_id: str
    model: str
    measure: str
    rule: str
    validation: Mapping[str, float]
    test: Mapping[str, float]
    artifact: str
    sha256: str
    alpha_min: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def read_labels(frame: pd.DataFrame, label: str | None, normal: str | None) -> Labels:
    """Known anomalies by the label column.

    Normal is ``normal`` where given, else 0, false or ``normal``, else the majority value; rows without a label count
    as normal.
    Raises DataError on an absent column or a ``normal`` value that does not occur.
    """
    from ganlib.data.read import need_column
    from ganlib.data.values import as_strings
    from ganlib.errors import DataError

    if label is None:
        return Labels(np.zeros(len(frame), bool), "no label: all rows train, assumed mostly normal")
    texts = as_strings(need_column(frame, label)).astype(str)
    values, counts = np.unique(texts[texts != ""], return_counts=True)
    if normal is not None:
        if normal not in values:
            raise DataError(f"label column {label!r} holds no value {normal!r}; values: {', '.join(values[:20])}")
        chosen, why = normal, "as asked"
    else:
        known = [v for v in values if v.lower() in NORMAL_WORDS]
        chosen = str(known[0] if known else values[counts.argmax()])
        why = "a known word for normal" if known else "the majority"
    anomalous = (texts != "") & (texts != chosen)
    rule = f"{label} == {chosen!r} is normal ({why}); {int(anomalous.sum())} known anomalies of {len(frame)} rows"
    return Labels(anomalous, rule)


def split_for_detection(features: pd.DataFrame, anomalous: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Row positions: normals to fit/validation/test at 70/15/15 by content, known anomalies to validation and test."""
    from ganlib.data.split import split_rows

    normal, odd = np.flatnonzero(~anomalous), np.flatnonzero(anomalous)
    parts = split_rows(features.iloc[normal], {"fit": 0.7, "validation": 0.15, "test": 0.15}, seed=seed)
    out = {name: normal[rows] for name, rows in parts.items()}
    if len(odd) >= 2:
        halves = split_rows(features.iloc[odd], {"validation": 0.5, "test": 0.5}, seed=seed)
        for name, rows in halves.items():
            out[name] = np.concatenate([out[name], odd[rows]])
    elif len(odd):
        out["test"] = np.concatenate([out["test"], odd])
    return out


def candidates_for(model: str) -> tuple[str, ...]:
    """The registry names that ``auto`` or one name stands for; raises ConfigError on an unknown one."""
    from ganlib.registry import entry

    names = CANDIDATES if model == "auto" else (model,)
    for name in names:
        entry(name)
    return names


def train_detector(
    registry: Registry,
    data: str | Path,
    name: str,
    *,
    label: str | None = None,
    normal: str | None = None,
    model: str = "auto",
    parameters: Mapping[str, Any] | None = None,
    alpha: float = 0.01,
    seed: int = 0,
    tell: Tell = print,
) -> Trained:
    """Train candidates, compare them on validation rows, seal the best, register it as ``challenger``.

    Raises DataError, ConfigError, ParityError (nothing is registered then).
    """
    import ganlib.detect as detect
    from ganlib.data.inference import check_frame
    from ganlib.data.read import read_table
    from pipelines.registry import check_name

    check_name(name)
    names = candidates_for(model)
    frame = read_table(data)
    check_frame(frame)
    labels = read_labels(frame, label, normal)
    tell(f"rule: {labels.rule}")
    features = frame.drop(columns=[label]) if label else frame
    parts = split_for_detection(features, labels.anomalous, seed)
    fitted: dict[str, Any] = {}
    for candidate in names:
        tell(f"training {candidate} on {len(parts['fit']):,} rows")
        detector = detect.as_detector(candidate, alpha=alpha, random_state=seed, verbose=True, **(parameters or {}))
        fitted[candidate] = detector.fit(features.iloc[parts["fit"]])
    validation = features.iloc[parts["validation"]]
    odd = labels.anomalous[parts["validation"]]
    comparison = detect.compare_detectors(fitted, validation, odd if odd.any() else None, random_state=seed)
    chosen = fitted[comparison.best]
    baselines = baseline_figures(chosen, features.iloc[parts["fit"]], validation, odd, seed)
    tell(f"{comparison.measure}: " + ", ".join(f"{k} {v:.4f}" for k, v in {**comparison.values, **baselines}.items()))
    test_odd = labels.anomalous[parts["test"]]
    test = _test_figures(fitted, features.iloc[parts["test"]], test_odd) if test_odd.any() else {}
    context = {"rule": labels.rule, "measure": comparison.measure, "label": label or "", "candidates": ",".join(names)}
    return _register(registry, name, chosen, comparison, baselines, test, context, frame, Path(data), tell, fitted)


def baseline_figures(detector: Any, train: Any, validation: Any, odd: np.ndarray, seed: int) -> dict[str, float]:
    """PCA reconstruction and IsolationForest on the same encoded rows and the same measure."""
    import torch
    from sklearn.ensemble import IsolationForest

    from ganlib.detect import permuted_columns
    from ganlib.metrics.detection import auprc, auroc, pca_scores

    encoder = detector.encoder_
    x = encoder.transform(train)
    if odd.any():
        rows, truth, measure = encoder.transform(validation), odd, auprc
    else:
        columns = [c.name for c in detector.schema_.features]
        broken = permuted_columns(validation, seed, columns=columns)
        rows = np.concatenate([encoder.transform(validation), encoder.transform(broken)])
        truth, measure = np.repeat([0, 1], len(validation)), auroc
    pca = pca_scores(torch.from_numpy(x), torch.from_numpy(rows)).numpy()
    forest = IsolationForest(random_state=seed).fit(x)
    return {"PCA": measure(pca, truth), "IsolationForest": measure(-forest.score_samples(rows), truth)}


def _test_figures(fitted: Mapping[str, Any], rows: Any, odd: np.ndarray) -> dict[str, float]:
    """AUROC and AUPRC on test rows: reported, never used to choose."""
    from ganlib.metrics.detection import auprc, auroc

    out: dict[str, float] = {"anomaly_share": float(odd.mean())}
    for name, detector in fitted.items():
        scores = detector.anomaly_score(rows)
        if not odd.all():
            out[f"{name}_auroc"] = auroc(scores, odd)
        out[f"{name}_auprc"] = auprc(scores, odd)
    return out


def _register(
    registry: Registry,
    name: str,
    detector: Any,
    comparison: Any,
    baselines: Mapping[str, float],
    test: Mapping[str, float],
    context: Mapping[str, str],
    frame: Any,
    data: Path,
    tell: Tell,
    fitted: Mapping[str, Any],
) -> Trained:
    """Seal, log and register the chosen detector in one MLflow run."""
    from ganlib.export import seal

    with registry.run(TRAINING, f"train {name}") as run, tempfile.TemporaryDirectory() as folder:
        import mlflow

        path = Path(folder) / f"{name}.onnx"
        mark = data_fingerprint(frame)
        training = {"fingerprint": mark, "rows": len(frame), "data": data.name}
        report = seal(detector, path, training=training)
        tell(f"sealed {comparison.best}: parity {report.parity_max_abs:.2g} within {report.parity_bound:.2g}")
        mlflow.log_params(
            {**context, "model": comparison.best, "data": str(data), "rows": len(frame), "fingerprint": mark}
        )
        mlflow.log_params({f"option.{k}": str(v) for k, v in detector.algorithm_.config.to_dict().items()})
        figures = {f"validation.{k}": v for k, v in {**comparison.values, **baselines}.items()}
        mlflow.log_metrics({**figures, **{f"test.{k}": v for k, v in test.items()}})
        for candidate, other in fitted.items():
            registry.log_metrics(run.info.run_id, {f"{candidate}/{k}": v for k, v in other.history_.curves.items()})
        _log_files(Path(folder), detector, fitted)
        quality = comparison.values[comparison.best]
        tags = {
            "task": "detector",
            "model": comparison.best,
            "quality": f"{quality:.6f}",
            "quality_measure": comparison.measure,
            "baseline": f"{baselines['PCA']:.6f}",
            "parity_ratio": f"{report.parity_max_abs / max(report.parity_bound, 1e-30):.6f}",
            "alpha": f"{detector.alpha:.6g}",
            "alpha_min": f"{report.alpha_min:.6g}",
            "data_fingerprint": mark,
            "privacy": privacy_verdict(path, frame, detector),
        }
        version = registry.register_detector(name, path, input_example(detector), tags)
        kept = _keep(path, name, version.version)
    return Trained(
        name, version.version, run.info.run_id, comparison.best, comparison.measure, context["rule"],
        {**comparison.values, **baselines}, test, str(kept), report.sha256, report.alpha_min,
    )  # fmt: skip


def _keep(path: Path, name: str, version: str) -> Path:
    """A copy under runs/artifacts, where the next commands find it."""
    target = Path("runs/artifacts") / f"{name}-{version}.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    for suffix in ("", ".sha256"):
        source = path.with_name(path.name + suffix)
        text = source.read_bytes().replace(path.name.encode(), target.name.encode()) if suffix else source.read_bytes()
        target.with_name(target.name + suffix).write_bytes(text)
    return target


def _log_files(folder: Path, detector: Any, fitted: Mapping[str, Any]) -> None:
    import mlflow
    from pipelines.report import plot_curves

    detector.schema_.save(folder / "schema.yaml")
    plot_curves({k: d.history_.curves for k, d in fitted.items()}, folder / "curves.png")
    (folder / "calibration.json").write_text(json.dumps(detector.calibration_.to_dict(), indent=1))
    for file in ("schema.yaml", "curves.png", "calibration.json"):
        mlflow.log_artifact(str(folder / file))


def input_example(detector: Any) -> Any:
    """Three rows made from the schema (never data), with plain pandas types."""
    import pandas as pd

    from ganlib.data.inverse import to_series
    from ganlib.export.golden import schema_feeds

    encoder = detector.encoder_
    feeds = schema_feeds(encoder, 3, seed=11, wild=0.0)
    columns = {}
    for column in encoder.schema.columns:
        if column.role not in ("feature", "group"):
            continue
        if column.kind == "text":
            columns[column.name] = pd.Series(["an example"] * 3, dtype=object)
        elif column.kind in ("number", "integer"):
            columns[column.name] = pd.Series(feeds[column.input].astype(np.float64))
        else:
            columns[column.name] = to_series(column, feeds[column.input], encoder.schema.timezone)
    frame = pd.DataFrame(columns)
    for name in frame.columns:
        if str(frame[name].dtype) in ("category", "str", "string"):
            frame[name] = frame[name].astype(object)
    return frame


def privacy_verdict(path: Path, frame: Any, detector: Any) -> str:
    """``passed`` unless a text value seen fewer than five times stands in the artifact's bytes; then the count."""
    from ganlib.data.values import as_strings

    blob = path.read_bytes()
    found = 0
    for column in detector.schema_.columns:
        if column.kind not in ("category", "text") or column.role == "label" or column.name not in frame:
            continue
        values, counts = np.unique(as_strings(frame[column.name]).astype(str), return_counts=True)
        rare = [v for v, c in zip(values, counts, strict=True) if c < 5 and len(v) >= 8]
        found += sum(v.encode() in blob for v in rare[:5000])
    return "passed" if not found else f"{found} rare values found"


def data_fingerprint(frame: Any) -> str:
    """sha-256 over the table's content and column names, independent of the row order."""
    import hashlib

    import pandas as pd

    hashes = np.sort(pd.util.hash_pandas_object(frame.astype(str), index=False).to_numpy())
    return hashlib.sha256("|".join(map(str, frame.columns)).encode() + hashes.tobytes()).hexdigest()
