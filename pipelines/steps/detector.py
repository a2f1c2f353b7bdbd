"""Training a detector: ``train_detector`` calls the steps in order.

A step takes the job's folder, reads the results of earlier steps there and saves its own as JSON. ``register`` adds a
version at each call; calling any other step again gives the same result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.card import PICTURES, fused
from pipelines.copying import artifact_tags, texts
from pipelines.errors import UsageError
from pipelines.figures import (
    Parts,
    baseline_figures,
    calibration_figures,
    champion_figures,
    measured,
    reported_figures,
)
from pipelines.job import Job
from pipelines.readers import JobData
from pipelines.registry import Registry, check_name
from pipelines.results import Candidate, Choice, DetectorData, DetectorDetails, DetectorRows, Preview, Trained, Tuned
from pipelines.rows import spare_for_tuning, spare_for_weights, split_for_detection
from pipelines.schemas import print_findings
from pipelines.settings import Settings
from pipelines.steps.common import Runner, enter, model_for, new_job
from pipelines.steps.tuning import check_tuning, tune
from pipelines.tuning import in_words
from serving.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serving.artifact import Artifact


FEW_RUNS = 10  # runs behind a calibration, below which a run is a tenth of it or more
TUNED = "-tuned"
"""Ends the name of a candidate with tuned options."""


def train_detector(registry: Registry | None, settings: Settings, name: str, runner: Runner | None = None) -> Trained:
    """Train candidates, compare them on validation rows, register the best as ``challenger``.

    ``registry`` None opens the one that the settings name.
    Raises DataError (4), ConfigError or UsageError (2), ParityError (6), RegistryDown (5); nothing is registered then.
    """
    check_name(name)
    check_models(settings)
    runner = runner or Runner()
    registry = registry or Registry(settings=settings.registry)
    with new_job(registry, settings, name) as job:
        work = str(job.folder)
        data: DetectorData = runner.call(prepare, work)
        _report_data(data, runner)
        models = candidates_of(settings, job.read(data.fingerprint), data.labelled)
        registry.client()  # fail before training if the registry is unreachable
        trainings = {model: (named,) for model, named in models.items()} | _tuned_trainings(
            settings, models, work, runner
        )
        for model, arguments in trainings.items():
            runner.report(f"training {model}")
            done: Candidate = runner.call(train_candidate, work, *arguments)
            figures = f"{done.measure} {done.value:.4f}, sealed, parity {done.parity_ratio:.2g} of 1"
            runner.report(f"{model}: {figures}")
            for line in fused(done.config):
                runner.report(line)
            if done.calibration_runs is not None:
                runner.report(_of_runs(done.calibration_rows, done.calibration_runs))
        choice: Choice = runner.call(choose, work, list(trainings))
        values = _figures({**choice.values, **choice.baselines})
        by = f"chosen by {choice.measure}: {choice.best}" if len(trainings) > 1 else choice.measure
        runner.report(f"{by}; {values}")
        if choice.tuning:
            runner.report(choice.tuning)
        trained: Trained = runner.call(register, work)
        return trained


def _tuned_trainings(
    settings: Settings, models: Mapping[str, str], work: str, runner: Runner
) -> dict[str, tuple[str, bool]]:
    """The training with the best options of the trials, if these are asked for and better than the defaults."""
    if settings.model.tune is None:
        return {}
    ((model, named),) = models.items()
    found: Tuned = runner.call(tune, work)
    return {f"{model}{TUNED}": (named, True)} if found.options else {}


def plan_detector(registry: Registry | None, settings: Settings, name: str) -> Preview:
    """Everything that training a detector does before the first fit."""
    check_name(name)
    check_models(settings)
    with new_job(registry, settings, name) as job:
        data, reader = prepare(str(job.folder)), job.read()
        models = candidates_of(settings, reader, data.labelled)
        columns = reader.described(job.folder, data.findings)
    doubts = [*([data.doubt] if data.doubt else []), *data.differences]
    facts: dict[str, Any] = {"rule": data.rule} | ({"warning": "; ".join(doubts)} if doubts else {})
    if settings.model.tune:
        facts["tune"] = f"{counted(settings.model.tune, 'trial')}, judged by the rows of the part tuning"
    facts |= {**reader.facts(), "rows": data.rows, **data.parts, "model": _named(settings, reader.modality, models)}
    return Preview(facts, columns, data.findings)


def check_models(settings: Settings, modality: str | None = None) -> list[str]:
    """Registry names of the models that the settings name, ``auto`` among them.

    Raises ConfigError or UsageError on others, and on settings that those named would ignore.
    """
    model, auto = settings.model, settings.model.name == "auto"
    names = (auto and model.candidates) or (model.name,)
    if settings.model.tune:
        check_tuning(settings)
    if settings.training.checkpoint and (len(set(names)) > 1 or names == ("auto",)):
        raise UsageError("training.checkpoint holds the training of one model: name it by --model or model.name")
    if auto and not model.candidates:
        _check_fused(settings)
    elif not auto:
        _check_single(settings, f"and {model.name} is another model")
    return [model_for(name, "detector", modality) for name in names]


def _check_fused(settings: Settings) -> None:
    """Raise UsageError on settings of one model, and ConfigError on a budget that is no time."""
    from ganlib.recipe import seconds_of

    seconds_of(settings.model.budget)
    for option in ("learning_rate", "latent_dim"):
        if getattr(settings.training, option) is not None:
            raise UsageError(f"training.{option} is of one model, and auto fuses several: name one by --model")


def _check_single(settings: Settings, why: str) -> None:
    """Raise UsageError on settings of a fusion."""
    for option, usual in (("budget", None), ("contamination", "auto")):
        if getattr(settings.model, option) != usual:
            raise UsageError(f"model.{option} is for auto, which fuses models, {why}: leave it out")


def candidates_of(settings: Settings, reader: JobData, labelled: bool) -> dict[str, str]:
    """The detectors to train, by registry name as the settings name them.

    That is the model named, or ``auto``, a fusion. Candidates that the settings list are compared if validation rows
    hold known anomalies; nothing could choose one of them otherwise, so that they are fused.
    Raises ConfigError or UsageError on models that do not detect anomalies in this kind of data, and on settings that
    those named would ignore.
    """
    names = check_models(settings, reader.modality)
    if settings.model.name != "auto":
        return {names[0]: settings.model.name}
    listed = settings.model.candidates or ()
    if listed and (labelled or len(listed) == 1):
        _check_single(settings, "and candidates are compared by known anomalies" if labelled else "and one is named")
        return dict(zip(names, listed, strict=True))
    _check_fused(settings)
    return {"auto": "auto"}


def prepare(folder: str) -> DetectorData:
    """Read the data, find known anomalies, split, and learn from the training rows what the data are."""
    job = Job.open(folder)
    settings, reader = job.settings.data, job.read()
    labels = reader.labels()
    seed = job.settings.training.random_state
    parts = split_for_detection(reader.content(), labels, settings, seed, reader.runs, reader.levelled)
    if list(candidates_of(job.settings, reader, bool(labels.anomalous[parts["validation"]].any()))) == ["auto"]:
        parts = spare_for_weights(parts, reader.content(), labels.anomalous, seed)
    elif job.settings.model.tune:
        parts = spare_for_tuning(parts, reader.content(), labels.anomalous, seed)
    learned = reader.learn(parts["fit"], labels.anomalous, job.folder)
    anomalous = {part: labels.anomalous[rows].tolist() for part, rows in parts.items()}
    job.save("rows", DetectorRows(parts, anomalous))
    facts = DetectorData(
        rule=labels.rule,
        doubt=labels.doubt,
        rows=len(reader),
        fingerprint=reader.fingerprint,
        labelled=any(anomalous["validation"]),
        parts={part: len(rows) for part, rows in parts.items()},
        findings=learned.findings,
        differences=learned.differences,
        modality=reader.modality,
        noun=reader.noun,
        level=learned.level,
    )
    job.save("findings", facts.findings)
    job.save("facts", facts)
    return facts


def train_candidate(folder: str, model: str, with_tuned: bool = False) -> Candidate:
    """Fit one model on the training rows, measure it, and seal it through the parity gate.

    ``with_tuned`` uses the options that the step ``tune`` found; the candidate's name then ends with ``-tuned``.

    ``model`` is named as in the settings: a process that runs only this step loads a user's own code by it. A fraction
    of the training rows is held out for calibration.
    """
    from ganlib.detect import as_detector
    from ganlib.export import seal

    job, model = Job.open(folder), model_for(model, "detector")
    parts = Parts(job)
    parameters = _parameters(job.settings, model) | parts.reader.parameters(job.folder) | {"verbose": True}
    name = model
    if with_tuned:
        name, parameters = f"{model}{TUNED}", parameters | dict(job.load("tuned", Tuned).options)
    examples, known, runs = parts.learned()
    detector = as_detector(model, **parameters).fit(examples, known, runs=runs)
    windows = parts.reader.windows
    judged, truth, measure, chance = parts.judged("validation")
    report = seal(
        detector,
        job.folder / name / f"{job.name}.onnx",
        training={"fingerprint": parts.data.fingerprint, "rows": len(parts.part("fit")), "data": job.data},
        windows=None if windows is None else windows.entry(),
    )
    done = Candidate(
        model=name,
        measure=measure,
        chance=chance,
        value=measured(measure, detector.anomaly_score(judged), truth),
        test=reported_figures(detector, parts),
        calibration=calibration_figures(detector, parts),
        config=detector.algorithm_.config.to_dict(),
        curves={k: [float(v) for v in values] for k, values in detector.history_.curves.items()},
        calibration_rows=detector.calibration_.n,
        stopped=detector.history_.stopped,
        steps=detector.history_.steps,
        parity_ratio=report.parity_max_abs / max(report.parity_bound, 1e-30),
        sha256=report.sha256,
        parity_max_abs=report.parity_max_abs,
        parity_bound=report.parity_bound,
        alpha_min=report.alpha_min,
        exporter=report.exporter,
        calibration_runs=detector.calibration_runs_,
    )
    job.save(f"candidate-{name}", done)
    return done


def _named(settings: Settings, modality: str, models: Mapping[str, str]) -> str:
    """The models to train, in words."""
    from ganlib.detect.members import MEMBERS

    if list(models) != ["auto"]:
        return ", ".join(models)
    usual = [member.model for member in MEMBERS[modality]]
    return f"auto, which fuses {', '.join(settings.model.candidates or usual)}"


def _parameters(settings: Settings, model: str) -> dict[str, Any]:
    """Constructor parameters of a detector."""
    given = settings.detector_parameters()
    if model != "auto":
        return given
    members = [model_for(name, "detector") for name in settings.model.candidates or ()]
    own = {"members": members or None, "contamination": settings.model.contamination, "budget": settings.model.budget}
    return {name: value for name, value in given.items() if name not in ("latent_dim", "learning_rate")} | own


def choose(folder: str, models: list[str]) -> Choice:
    """The best candidate on validation rows, compared with baselines and the current champion on the same rows."""
    job = Job.open(folder)
    parts = Parts(job)
    candidates = {model: job.load(f"candidate-{model}", Candidate) for model in models}
    values = {model: candidate.value for model, candidate in candidates.items()}
    best = max(models, key=lambda model: values[model])  # of equals the first: the default options
    judged, truth, measure, chance = parts.judged("validation")
    choice = Choice(
        best=best,
        measure=measure,
        chance=chance,
        values=values,
        baselines=baseline_figures(parts, judged, truth, measure),
        champion=champion_figures(job, parts, judged, truth, measure),
        privacy=parts.reader.privacy(job.folder / best / f"{job.name}.onnx", parts.rows["fit"]),
        tuning=_tuning(job.load("tuned", Tuned), list(candidates.values())) if job.settings.model.tune else "",
    )
    job.save("choice", choice)
    return choice


def _tuning(found: Tuned, candidates: Sequence[Candidate]) -> str:
    """What trials found, and how it does beside the default options on rows that chose nothing."""
    tried = (
        f"{counted(found.trials, 'trial')} ({found.ended_early} ended early), judged by {found.known} known anomalies"
    )
    if not found.options:
        return f"default options: {tried}, found no better ones (AUPRC {found.default:.3f})"
    default, tuned = candidates
    verdict = "tuned options" if tuned.value > default.value else "default options, since tuned ones were not better"
    others = f"on other validation rows {tuned.value:.3f} and {default.value:.3f}"
    if "auprc" in tuned.test:
        others += f", on test rows, which choose nothing, {tuned.test['auprc']:.3f} and {default.test['auprc']:.3f}"
    return (
        f"{verdict}: {tried}, found {in_words(found.options)}. AUPRC of tuned and default options: "
        f"{found.best:.3f} and {found.default:.3f} on the rows that chose, {others}"
    )


def register(folder: str) -> Trained:
    """Log the run and register the chosen artifact as ``challenger``; each call adds a version."""
    from pipelines.report import log_parameters, log_training
    from serving.artifact import load_artifact

    job = Job.open(folder)
    data, choice, registry = job.load("facts", DetectorData), job.load("choice", Choice), job.registry()
    candidates = {model: job.load(f"candidate-{model}", Candidate) for model in choice.values}
    best = candidates[choice.best]
    file = job.folder / choice.best / f"{job.name}.onnx"
    artifact = load_artifact(file)
    tags = _tags(artifact, job.settings.calibration.alpha, data, choice, best)
    with registry.run(job.settings.registry.experiment, f"train {job.name}") as run:
        log_parameters(registry, run.info.run_id, job, data, choice, best)
        # Log figures after the model: MLflow would attach all figures of the run to it, other candidates' too.
        logged = registry.log_model(file)
        log_training(registry, logged, artifact, job, data, choice, candidates)
        entered = enter(registry, job, artifact, logged, tags, PICTURES)
    return Trained(
        **entered,
        model=choice.best,
        measure=choice.measure,
        rule=data.rule,
        validation={**choice.values, **choice.baselines},
        test=best.test,
        sha256=best.sha256,
        alpha_min=best.alpha_min,
        extra=DetectorDetails(
            privacy=choice.privacy,
            champion=choice.champion,
            rows=data.rows,
            alpha=job.settings.calibration.alpha,
            calibration_rows=best.calibration_rows,
            doubt=data.doubt,
            findings=data.findings,
            tuning=choice.tuning,
        ),
    )


def _tags(artifact: Artifact, alpha: float, data: DetectorData, choice: Choice, best: Candidate) -> dict[str, str]:
    """The tags of a version; the gates read them."""
    tags = artifact_tags(artifact) | {
        "privacy": choice.privacy,
        "alpha": alpha,
        "alpha_min": best.alpha_min,
        "quality": choice.values[choice.best],
        "quality_measure": choice.measure,
        "quality_chance": choice.chance,
        "baseline_pca": choice.baselines["PCA"],
    }
    if choice.tuning:
        tags["tuning"] = choice.tuning
    if data.level:
        tags["level"] = data.level
    if choice.champion:
        tags |= {f"champion_{key}": value for key, value in choice.champion.items()}
    return texts(tags)


def _report_data(data: DetectorData, runner: Runner) -> None:
    runner.report(f"rule: {data.rule}")
    if data.doubt:
        runner.report(f"warning: {data.doubt}")
    if data.level:
        runner.report(f"level {data.level}")
    print_findings(data, runner.report)
    sizes = ", ".join(f"{n:,} {part}" for part, n in data.parts.items())
    runner.report(f"{counted(data.rows, data.noun)}: {sizes}")


def _of_runs(rows: int, runs: int) -> str:
    """What the calibration of windows is made of, with a warning if runs are few."""
    text = f"calibration: {counted(rows, 'window')} of {counted(runs, 'run')}"
    few = "; if runs differ, a new one may alarm several times as often as the budget says"
    return f"warning: {text}{few}" if runs < FEW_RUNS else text


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in values.items())
