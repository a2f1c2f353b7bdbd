"""Training an augmenter: ``train_augmenter`` calls the steps in order.

A step takes the job's folder, reads the results of earlier steps there and saves its own as JSON.
``register_augmenter`` adds a version at each call; calling any other step again gives the same result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pipelines.card import PICTURES
from pipelines.classes import LEAST_CLASS, learnable_classes
from pipelines.copying import artifact_tags, texts
from pipelines.errors import UsageError
from pipelines.job import Job
from pipelines.registry import Registry, check_name
from pipelines.results import AugmenterData, AugmenterDetails, AugmenterRows, FittedAugmenter, Preview, Trained
from pipelines.settings import Settings
from pipelines.steps.common import Runner, enter, model_for, new_job
from serving.wording import counted

if TYPE_CHECKING:
    import pandas as pd

TEST_SHARE = 0.25


def train_augmenter(registry: Registry | None, settings: Settings, name: str, runner: Runner | None = None) -> Trained:
    """Fit a generator on the training rows, measure what it adds on held-out rows, seal it and register it.

    ``registry`` None opens the one that the settings name.
    Raises DataError (4), ConfigError or UsageError (2), ParityError (6), RegistryDown (5); nothing is registered then.
    """
    check_name(name)
    model = model_for(settings.augment.model, "augmenter")
    registry, runner = registry or Registry(settings=settings.registry), runner or Runner()
    with new_job(registry, settings, name) as job:
        work = str(job.folder)
        data: AugmenterData = runner.call(prepare_augmenter, work)
        sizes = f"{data.fit:,} train, {data.test:,} judge"
        runner.report(f"{counted(data.rows, 'row')} of {len(data.classes)} classes: {sizes}")
        registry.client()  # fail before training if the registry is unreachable
        runner.report(f"training {model}")
        done: FittedAugmenter = runner.call(fit_augmenter, work)
        runner.report(f"{done.model} sealed, parity {done.parity_ratio:.2g} of 1; {_one_split(done.lift, data.test)}")
        trained: Trained = runner.call(register_augmenter, work)
        return trained


def plan_augmenter(registry: Registry | None, settings: Settings, name: str) -> Preview:
    """Everything that training an augmenter does before the fit."""
    check_name(name)
    with new_job(registry, settings, name) as job:
        data, reader = prepare_augmenter(str(job.folder)), job.read()
        model = model_for(settings.augment.model, "augmenter", reader.modality)
        columns = reader.described(job.folder, ())
    facts = {"model": model, **reader.facts(), "rows": data.rows, "classes": data.classes}
    return Preview(facts | {"fit": data.fit, "test": data.test}, columns)


def _one_split(lift: Mapping[str, float], test: int) -> str:
    """The figures of this one model on the held-out rows; ``augment`` reports the mean over several splits instead."""
    from ganlib.augment.arms import NAMES

    if not lift:
        return "not measured: no row could be held out"
    figures = ", ".join(f"{NAMES[arm]} {figure:.4f}" for arm, figure in lift.items())
    return f"this model on one split, {counted(test, 'held-out row')} (macro AUPRC): {figures}"


def prepare_augmenter(folder: str) -> AugmenterData:
    """Read the data, hold out rows of each class, and learn from the training rows what the data are."""
    from ganlib.data.values import as_strings

    job = Job.open(folder)
    label, reader = job.settings.data.label, job.read()
    if label is None:
        raise UsageError("an augmenter generates rows by class: name the column with --label or data.label")
    classes = learnable_classes(reader.columns, label)
    texts = as_strings(reader.columns[label])
    fit, test = _hold_out(reader.content(True), texts, np.array(list(classes)), job.settings.training.random_state)
    reader.learn(fit.tolist(), None, job.folder)
    job.save("rows", AugmenterRows(fit.tolist(), test.tolist()))
    facts = AugmenterData(
        rows=len(reader), fingerprint=reader.fingerprint, classes=classes, fit=len(fit), test=len(test)
    )
    job.save("facts", facts)
    return facts


def _hold_out(frame: pd.DataFrame, texts: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows; all rows of a very small class are training rows."""
    from ganlib.data.split import split_rows
    from ganlib.errors import DataError

    fit, test = [], []
    for label in labels:
        rows = np.flatnonzero(texts == label)
        try:
            if len(rows) < LEAST_CLASS:
                raise DataError("too few")
            parts = split_rows(frame.iloc[rows], {"fit": 1 - TEST_SHARE, "test": TEST_SHARE}, seed=seed)
        except DataError:  # too few, or copies of one row
            parts = {"fit": np.arange(len(rows)), "test": np.arange(0)}
        fit.append(rows[parts["fit"]])
        test.append(rows[parts["test"]])
    return np.sort(np.concatenate(fit)), np.sort(np.concatenate(test))


def fit_augmenter(folder: str) -> FittedAugmenter:
    """Fit on the training rows, measure the lift on the held-out rows, seal through the parity gate."""
    from ganlib.augment import as_augmenter
    from ganlib.augment.auto import from_noise
    from ganlib.export import seal

    job = Job.open(folder)
    data, rows = job.load("facts", AugmenterData), job.load("rows", AugmenterRows)
    reader = job.read(data.fingerprint)
    model = model_for(job.settings.augment.model, "augmenter", reader.modality)
    parameters = job.settings.augmenter_parameters() | reader.parameters(job.folder) | {"verbose": True}
    if model == "auto":
        parameters["members"] = from_noise(reader.modality)
    augmenter = as_augmenter(model, **parameters).fit(*reader.labelled(rows.fit))
    training = {"fingerprint": data.fingerprint, "rows": len(rows.fit), "data": job.data}
    report = seal(augmenter, job.folder / f"{job.name}.onnx", training=training)
    reader.drawn(augmenter, job.folder)
    done = FittedAugmenter(
        model=model,
        lift=reader.lift(augmenter, rows.fit, rows.test),
        config=augmenter.algorithm_.config.to_dict(),
        curves={k: [float(v) for v in values] for k, values in augmenter.history_.curves.items()},
        parity_ratio=report.parity_max_abs / max(report.parity_bound, 1e-30),
        sha256=report.sha256,
    )
    job.save("candidate", done)
    return done


def register_augmenter(folder: str) -> Trained:
    """Log the run and register the augmenter as ``challenger``; each call adds a version."""
    from pipelines.report import log_augmenter
    from serving.artifact import load_artifact

    job = Job.open(folder)
    data, done, registry = job.load("facts", AugmenterData), job.load("candidate", FittedAugmenter), job.registry()
    file = job.folder / f"{job.name}.onnx"
    artifact = load_artifact(file)
    privacy = job.read(data.fingerprint).privacy(file, job.load("rows", AugmenterRows).fit)
    with registry.run(job.settings.registry.experiment, f"train {job.name}") as run:
        logged = log_augmenter(registry, run.info.run_id, artifact, job, data, done)
        tags = artifact_tags(artifact) | {"privacy": privacy}
        tags = texts(tags | {f"macro_auprc_{k}": v for k, v in done.lift.items()})
        pictures = [name for name in PICTURES if (job.folder / name).exists()]
        entered = enter(registry, job, artifact, logged, tags, pictures)
    return Trained(
        **entered,
        model=done.model,
        measure="macro AUPRC on held-out real rows",
        rule=f"classes of column {job.settings.data.label}",
        validation={},
        test=done.lift,
        sha256=done.sha256,
        alpha_min=None,
        extra=AugmenterDetails(privacy=privacy, rows=data.rows, classes=data.classes),
    )
