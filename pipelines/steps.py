"""The steps of training a detector and of scoring, as plain functions of folders and names: no Prefect here.

Each step reads what the earlier ones left in the job's folder, does one thing, and leaves JSON behind; running one
again gives the same. ``train_detector`` is their order; the flows pass a ``run`` that makes tasks of them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.card import PICTURES, card
from pipelines.copying import artifact_tags, texts
from pipelines.errors import UsageError
from pipelines.figures import calibration_figures, measured, reported_figures
from pipelines.following import followed, note_scored
from pipelines.job import Job
from pipelines.registry import Registry, check_name
from pipelines.rows import read_labels, split_for_detection
from pipelines.schemas import differences, print_findings, schema_of, with_schema
from pipelines.settings import ScoreSettings, Settings, load_settings, with_date
from serving.wording import counted, listed

if TYPE_CHECKING:
    from serving.batch import Summary

Tell = Callable[[str], None]
Run = Callable[..., Any]


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

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def direct(step: Callable[..., Any], *args: Any) -> Any:
    """Run a step here and now."""
    return step(*args)


def quiet(text: str) -> None:
    """Tell nobody."""


@contextmanager
def workshop(name: str) -> Iterator[Path]:
    """A folder for a job, taken away at its end."""
    folder = Path(tempfile.mkdtemp(prefix=f"ganlib-{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def settings_of(
    data: str | Path | None, *, label: str | None = None, normal: str | None = None, model: str | None = None,
    config: str | Path | None = None, overrides: Mapping[str, Any] | None = None, date: str | None = None,
) -> Settings:  # fmt: skip
    """Settings of a job from a configuration and the arguments that win over it."""
    given = {"data.path": None if data is None else str(data), "data.label": label, "data.normal": normal}
    given["data.date"] = date
    return load_settings(config, dict(overrides or {}) | given | {"model.name": model})


def train_detector(
    registry: Registry | None,
    data: str | Path | None,
    name: str,
    *,
    label: str | None = None,
    normal: str | None = None,
    model: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    alpha: float | None = None,
    seed: int | None = None,
    settings: Settings | None = None,
    tell: Tell = quiet,
    run: Run = direct,
) -> Trained:
    """Train candidates, compare them on validation rows, register the best as ``challenger``.

    Either ``settings`` say everything, or the other arguments do (``parameters`` are keys of the section training).
    Raises DataError (4), ConfigError or UsageError (2), ParityError (6), RegistryDown (5); nothing is registered then.
    """
    if settings is None:
        given = {f"training.{key}": value for key, value in (parameters or {}).items()}
        given |= {"calibration.alpha": alpha, "training.random_state": seed}
        settings = settings_of(data, label=label, normal=normal, model=model, overrides=given)
    check_name(name)
    names, settings = candidates_of(settings), with_schema(with_date(settings))
    registry = registry or Registry(settings=settings.registry)
    with workshop(name) as folder:
        work = str(Job.create(folder, name, settings, registry).folder)
        facts = run(prepare, work)
        tell(f"rule: {facts['rule']}")
        if facts["doubt"]:
            tell(f"warning: {facts['doubt']}")
        print_findings(facts, tell)
        tell(f"{counted(facts['rows'], 'row')}: " + ", ".join(f"{n:,} {part}" for part, n in facts["parts"].items()))
        registry.client()  # what keeps it from being opened is better known before training
        for candidate in names:
            tell(f"training {candidate}")
            done = run(train_candidate, work, candidate)
            tell(f"{candidate}: {done['measure']} {done['value']:.4f}, sealed, parity {done['parity_ratio']:.2g} of 1")
        choice = run(choose, work, list(names))
        tell(f"chosen by {choice['measure']}: {choice['best']}; " + _figures(choice["values"] | choice["baselines"]))
        return Trained(**run(register, work))


def plan_detector(registry: Registry, name: str, settings: Settings) -> dict[str, Any]:
    """What training a detector would look at, up to the first fit; ``columns`` hold examples, for a terminal only."""
    from ganlib.data.describing import describe_columns
    from ganlib.data.roles import Finding
    from ganlib.data.schema import Schema

    check_name(name)
    names, settings = candidates_of(settings), with_schema(with_date(settings))
    with workshop(name) as folder:
        job = Job.create(folder, name, settings, registry)
        facts, schema = prepare(str(job.folder)), Schema.load(job.folder / "schema.yaml")
        columns = describe_columns(job.table(), schema, [Finding(**values) for values in facts["findings"]])
    doubts = [*([facts["doubt"]] if facts["doubt"] else []), *facts["differences"]]
    plan = {"rule": facts["rule"]} | ({"warning": "; ".join(doubts)} if doubts else {})
    plan |= {"rows": facts["rows"], **facts["parts"], "candidates": ", ".join(names)}
    return plan | {"findings": facts["findings"], "columns": columns}


def candidates_of(settings: Settings) -> tuple[str, ...]:
    """The registry names that ``auto`` or one name stands for; raises ConfigError or UsageError on others."""
    names = settings.model.candidates if settings.model.name == "auto" else (settings.model.name,)
    for name in names:
        check_model(name, "detector")
    return tuple(dict.fromkeys(names))


def tasks_of(model: str) -> tuple[str, ...]:
    """What a registered model can be trained as here, on tables; raises ConfigError on an unknown name."""
    from ganlib.registry import entry

    found = entry(model)
    able = {
        "detector": "detector" in found.tasks and "scorer" in found.exports,
        "augmenter": "augmenter" in found.tasks and "table" in found.modalities,
    }
    return tuple(task for task, can in able.items() if can)


def check_model(model: str, task: str) -> None:
    """Raise UsageError where a model cannot do a task, naming what can, ConfigError where there is none such."""
    if task in (able := tasks_of(model)):
        return
    other = f"--task {able[0]} trains it; " if able else ""
    what = {"detector": "does not detect", "augmenter": "does not generate tables"}[task]
    raise UsageError(f"model {model!r} {what}; {other}`ganlib models --task {task}` lists those that do")


def prepare(folder: str) -> dict[str, Any]:
    """Read, tell normal from anomalous, split, infer the schema from the training rows: before anything is fitted."""
    from ganlib.data.describing import comments
    from ganlib.data.roles import find_roles

    job = Job.open(folder)
    data, frame = job.settings.data, job.table()
    labels = read_labels(frame, data.label, data.normal)
    features = frame.drop(columns=[data.label]) if data.label else frame
    _check_usable(features.drop(columns=[n for n in (*data.drop, *data.ids) if n in features]))
    parts = split_for_detection(features, labels, data, job.settings.training.random_state)
    schema = schema_of(data, frame, parts["fit"])
    found = find_roles(frame, schema, labels.anomalous)
    schema.save(job.folder / "schema.yaml", comments(found))
    odd = {part: labels.anomalous[rows].tolist() for part, rows in parts.items()}
    job.write("rows", {"parts": parts, "odd": odd})
    facts = {
        "rule": labels.rule,
        "doubt": labels.doubt,
        "rows": len(frame),
        "fingerprint": job.fingerprint(),
        "labelled": any(odd["validation"]),
        "parts": {part: len(rows) for part, rows in parts.items()},
        "findings": [finding.to_dict() for finding in found],
        "differences": differences(schema, frame, data),
    }
    job.write("findings", facts["findings"])
    job.write("facts", facts)
    return facts


def _check_usable(features: Any) -> None:
    """Before a split would complain of rows that are all alike."""
    from ganlib.errors import DataError

    if features.shape[1] == 0 or features.nunique().max() < 2:
        names = listed(list(map(str, features.columns)), 5)
        raise DataError(f"no column can tell rows apart: every one is empty or constant ({names}); give other data")


class _Rows:
    """The parts of the table as frames of features, with their truths."""

    def __init__(self, job: Job) -> None:
        from ganlib.data.schema import Schema

        facts, rows = job.read("facts"), job.read("rows")
        frame = job.table(facts["fingerprint"])
        label = job.settings.data.label
        self._features = frame.drop(columns=[label]) if label else frame
        self._rows = rows["parts"]
        self.odd = {part: np.array(flags, dtype=bool) for part, flags in rows["odd"].items()}
        self.schema = Schema.load(job.folder / "schema.yaml")
        self.seed = job.settings.training.random_state

    def part(self, name: str) -> Any:
        """Features of fit, validation or test."""
        return self._features.iloc[self._rows[name]].reset_index(drop=True)

    def truth(self, name: str) -> np.ndarray | None:
        """Anomaly marks of a part; None where it holds one kind only."""
        odd = self.odd[name]
        return odd if odd.any() and not odd.all() else None

    def judged(self, name: str) -> tuple[Any, np.ndarray, str, float]:
        """What candidates are measured on: rows, truths, the measure's name and its chance level.

        With known anomalies these rows; without, the rows and the same rows with permuted columns.
        """
        import pandas as pd

        from ganlib.detect import permuted_columns

        rows, truth = self.part(name), self.truth(name)
        if truth is not None:
            return rows, truth, "AUPRC", float(truth.mean())
        columns = [c.name for c in self.schema.features]
        broken = permuted_columns(rows, self.seed, columns=columns)
        both = pd.concat([rows, broken], ignore_index=True)
        return both, np.repeat([False, True], len(rows)), "AUROC against permuted columns", 0.5


def train_candidate(folder: str, model: str) -> dict[str, Any]:
    """Fit one model on the training rows (a slice of which calibrates), measure it, seal it through the parity gate."""
    from ganlib.detect import as_detector
    from ganlib.export import seal

    job = Job.open(folder)
    rows, facts = _Rows(job), job.read("facts")
    parameters = job.settings.detector_parameters() | {"schema": rows.schema, "verbose": True}
    parameters.pop("group")
    detector = as_detector(model, **parameters).fit(rows.part("fit"))
    judged, truth, measure, chance = rows.judged("validation")
    report = seal(
        detector,
        job.folder / model / f"{job.name}.onnx",
        training={"fingerprint": facts["fingerprint"], "rows": len(rows.part("fit")), "data": job.data},
    )
    detector.schema_.save(job.folder / model / "schema.yaml")
    done = {
        "model": model,
        "measure": measure,
        "chance": chance,
        "value": measured(measure, detector.anomaly_score(judged), truth),
        "test": reported_figures(detector, rows),
        "calibration": calibration_figures(detector, rows),
        "config": detector.algorithm_.config.to_dict(),
        "curves": {k: [float(v) for v in values] for k, values in detector.history_.curves.items()},
        "calibration_rows": detector.calibration_.n,
        "stopped": detector.history_.stopped,
        "steps": detector.history_.steps,
        "parity_ratio": report.parity_max_abs / max(report.parity_bound, 1e-30),
        **{k: getattr(report, k) for k in ("sha256", "parity_max_abs", "parity_bound", "alpha_min", "exporter")},
    }
    job.write(f"candidate-{model}", done)
    return {key: done[key] for key in ("model", "measure", "value", "parity_ratio", "sha256")}


def choose(folder: str, models: list[str]) -> dict[str, Any]:
    """The best candidate by validation rows, with baselines and the present champion on the same rows beside it."""
    from pipelines.privacy import check_privacy

    job = Job.open(folder)
    rows, done = _Rows(job), {m: job.read(f"candidate-{m}") for m in models}
    best = max(models, key=lambda m: done[m]["value"])
    judged, truth, measure, chance = rows.judged("validation")
    choice = {
        "best": best,
        "measure": measure,
        "chance": chance,
        "values": {m: done[m]["value"] for m in models},
        "baselines": _baselines(rows, judged, truth, measure),
        "champion": _champion(job, judged, truth, measure),
        "privacy": check_privacy(job.folder / best / f"{job.name}.onnx", rows.part("fit")),
    }
    job.write("choice", choice)
    return choice


def _baselines(rows: _Rows, judged: Any, truth: np.ndarray, measure: str) -> dict[str, float]:
    """PCA reconstruction and IsolationForest on the same encoded rows."""
    import torch
    from sklearn.ensemble import IsolationForest

    from ganlib.data.encoder import TableEncoder
    from ganlib.metrics.detection import pca_scores

    fit = rows.part("fit")
    encoder = TableEncoder(rows.schema).fit(fit)
    x, z = encoder.transform(fit), encoder.transform(judged)
    pca = pca_scores(torch.from_numpy(x), torch.from_numpy(z)).numpy()
    forest = -IsolationForest(random_state=rows.seed).fit(x).score_samples(z)
    return {"PCA": measured(measure, pca, truth), "IsolationForest": measured(measure, forest, truth)}


def _champion(job: Job, judged: Any, truth: np.ndarray, measure: str) -> dict[str, Any] | None:
    """The present champion on the same rows; None where there is none or it needs other columns."""
    from serving.artifact import load_artifact
    from serving.errors import DataError, UsageError
    from serving.scorer import Scorer

    registry = job.registry()
    if job.name not in registry.names() or "champion" not in registry.aliases(job.name):
        return None
    found = registry.resolve(f"models:/{job.name}@champion")
    try:
        scores = Scorer(load_artifact(found.path, found.sha256)).score(judged).anomaly_score
    except (DataError, UsageError):
        return None
    return {"version": found.version, "quality": measured(measure, scores, truth)}


def register(folder: str) -> dict[str, Any]:
    """Log the run and register the chosen artifact as ``challenger``. Not idempotent: each call is a new version."""
    from pipelines.report import log_parameters, log_training
    from serving.artifact import load_artifact

    job = Job.open(folder)
    facts, choice, registry = job.read("facts"), job.read("choice"), job.registry()
    done = {m: job.read(f"candidate-{m}") for m in choice["values"]}
    best = done[choice["best"]]
    file = job.folder / choice["best"] / f"{job.name}.onnx"
    artifact, tags = load_artifact(file), _tags(job, facts, choice, best)
    with registry.run(job.settings.registry.experiment, f"train {job.name}") as run:
        log_parameters(registry, run.info.run_id, job, facts, choice, best)
        # Figures come after the model: it would be given all that its run has by then, those of other candidates too.
        logged = registry.log_model(file)
        log_training(registry, logged, artifact, job, facts, choice, done)
        text = card(artifact, job.name, tags, run.info.run_id, PICTURES)
        registry.describe(logged, text)
        version = registry.register(job.name, logged, tags, text)
    kept = registry.resolve(f"models:/{job.name}/{version.version}")
    trained = Trained(
        job.name, version.version, run.info.run_id, choice["best"], choice["measure"], facts["rule"],
        {**choice["values"], **choice["baselines"]}, best["test"], str(kept.path), best["sha256"], best["alpha_min"],
        {"privacy": choice["privacy"], "champion": choice["champion"], "rows": facts["rows"],
         "alpha": job.settings.calibration.alpha, "calibration_rows": best["calibration_rows"],
         "doubt": facts["doubt"], "findings": facts["findings"]},
    )  # fmt: skip
    return trained.to_dict()


def _tags(job: Job, facts: Mapping[str, Any], choice: Mapping[str, Any], best: Mapping[str, Any]) -> dict[str, str]:
    """What a version says of itself; the gates read it."""
    from serving.artifact import load_artifact

    tags = artifact_tags(load_artifact(job.folder / choice["best"] / f"{job.name}.onnx"))
    tags |= {
        "privacy": choice["privacy"],
        "alpha": job.settings.calibration.alpha,
        "alpha_min": best["alpha_min"],
        "quality": choice["values"][choice["best"]],
        "quality_measure": choice["measure"],
        "quality_chance": choice["chance"],
        "baseline_pca": choice["baselines"]["PCA"],
    }
    if choice["champion"]:
        tags |= {f"champion_{key}": value for key, value in choice["champion"].items()}
    return texts(tags)


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())


def score(chosen: ScoreSettings, registry: Registry | None = None, new_run: bool = False) -> Summary:
    """Score a file or folder with ``models:/NAME@ALIAS`` or a bare artifact; running it again continues.

    Raises UsageError where model, input or output are not given, and what ``serving.batch.score_batch`` raises.
    """
    from serving.batch import score_batch

    for name in ("model", "input", "output"):
        if getattr(chosen, name) is None:
            raise UsageError(f"--{name} is missing: give it, or score.{name} in the configuration (--config)")
    identity: dict[str, Any] = {}
    path: str | Path = str(chosen.model)
    if str(path).startswith("models:/"):
        registry = registry or Registry()
        found = followed(registry, str(path))
        path, identity = found.path, {"sha256": found.sha256, "model_name": found.name, "model_version": found.version}
    summary = score_batch(
        path, str(chosen.input), str(chosen.output), alpha=chosen.alpha, explain=chosen.explain, fdr=chosen.fdr,
        keep=chosen.keep, bad_rows=chosen.bad_rows, max_bad_share=chosen.max_bad_share,
        require_rows=chosen.require_rows, max_alarm_share=chosen.max_alarm_share,
        max_missing_share=chosen.max_missing_share, date=chosen.date, workers=chosen.workers, new_run=new_run,
        wait=chosen.wait, **identity,
    )  # fmt: skip
    if registry is not None and identity:
        note_scored(registry, found)
    return summary
