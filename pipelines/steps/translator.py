"""Training a translator: ``train_translator`` calls the steps in order.

A step takes the job's folder, reads the results of earlier steps there and saves its own as JSON.
``register_translator`` adds a version at each call; calling any other step again gives the same result.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.copying import artifact_tags, texts
from pipelines.errors import UsageError
from pipelines.job import Job
from pipelines.readers import JobData
from pipelines.readers.pairs import pairs_of
from pipelines.registry import Registry, check_name
from pipelines.results import FittedTranslator, Preview, Trained, TranslatorData, TranslatorDetails, TranslatorRows
from pipelines.settings import Settings
from pipelines.steps.common import Runner, enter, model_for, new_job
from serving.wording import counted

TEST_SHARE = 0.25
OTHER = "b"  # the folder in a job's folder of what was learned about domain b


def train_translator(registry: Registry | None, settings: Settings, name: str, runner: Runner | None = None) -> Trained:
    """Fit a translator on the training rows of both domains, measure it on held-out rows, seal and register it.

    ``registry`` None opens the one that the settings name.
    Raises DataError (4), ConfigError or UsageError (2), ParityError (6), RegistryDown (5); nothing is registered then.
    """
    check_name(name)
    translator_of(settings)
    registry, runner = registry or Registry(settings=settings.registry), runner or Runner()
    with new_job(registry, settings, name) as job:
        work = str(job.folder)
        data: TranslatorData = runner.call(prepare_translator, work)
        runner.report(_said(data))
        registry.client()  # fail before training if the registry is unreachable
        runner.report(f"training {data.model}")
        done: FittedTranslator = runner.call(fit_translator, work)
        ways = "both ways" if done.back else "the way to domain b"
        runner.report(f"{done.model} sealed {ways}, parity {done.parity_ratio:.2g} of 1; {_figures(done)}")
        trained: Trained = runner.call(register_translator, work)
        return trained


def plan_translator(registry: Registry | None, settings: Settings, name: str) -> Preview:
    """Everything that training a translator does before the fit."""
    check_name(name)
    translator_of(settings)
    with new_job(registry, settings, name) as job:
        data, domains = prepare_translator(str(job.folder)), job.read_domains()
        folders = job.folder, job.folder / OTHER
        columns = [
            {**column, "column": f"{letter}: {column['column']}"}
            for letter, reader, folder in zip("ab", domains, folders, strict=True)
            for column in reader.described(folder, ())
        ]
    facts: dict[str, Any] = {"model": data.model, "pairs": data.pairs or "none"}
    for letter, reader, rows in zip("ab", domains, (data.rows, data.rows_b), strict=True):
        facts |= {f"domain {letter}": "; ".join([*(f"{k} {v}" for k, v in reader.facts().items()), f"{rows:,} rows"])}
    return Preview(facts | {"fit": data.fit, "test": data.test}, columns)


def translator_of(settings: Settings, modality: str | None = None) -> str:
    """The registry name of the translator that the settings name.

    For ``auto``: ``discogan`` for tables, ``pix2pix`` for pairs of examples, else ``cyclegan``. Raises UsageError for
    settings of detectors, and what ``model_for`` raises.
    """
    chosen, data = settings.model, settings.data
    if chosen.candidates:
        raise UsageError("translators are not compared: name one by --model or model.name, not model.candidates")
    if data.split != "hash":
        raise UsageError("a translator's examples are held out by content: leave data.split out")
    if chosen.name != "auto":
        return model_for(chosen.name, "translator", modality)
    return "discogan" if modality == "table" else "pix2pix" if data.pairs else "cyclegan"


def prepare_translator(folder: str) -> TranslatorData:
    """Read both domains, find pairs if they are needed, hold out rows, and learn from the others what the data are."""
    from ganlib.registry import entry

    job = Job.open(folder)
    a, b = job.read_domains()
    data, seed = job.settings.data, job.settings.training.random_state
    model = translator_of(job.settings, a.modality)
    if data.pairs or getattr(entry(model).build, "paired", False):
        first, second, how = pairs_of(a, b)
        fit, test = _split(a, seed)
        place = np.argsort(first)  # the pair of each row of domain a
        rows = TranslatorRows(*(r.tolist() for r in (fit, second[place[fit]], test, second[place[test]])))
    else:
        how, (fit, test), (fit_b, test_b) = "", _split(a, seed), _split(b, seed)
        rows = TranslatorRows(*(r.tolist() for r in (fit, fit_b, test, test_b)))
    (job.folder / OTHER).mkdir(exist_ok=True)
    a.learn(rows.fit, None, job.folder)
    b.learn(rows.fit_b, None, job.folder / OTHER)
    job.save("rows", rows)
    facts = TranslatorData(
        model=model, rows=len(a), rows_b=len(b), fingerprint=a.fingerprint, fingerprint_b=b.fingerprint, pairs=how,
        fit=len(rows.fit), test=len(rows.test), test_b=len(rows.test_b), modality=a.modality,
    )  # fmt: skip
    job.save("facts", facts)
    return facts


def _split(domain: JobData, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out rows of a domain; equal rows stay together."""
    from ganlib.data.split import split_rows

    parts = split_rows(domain.content(), {"fit": 1 - TEST_SHARE, "test": TEST_SHARE}, seed=seed)
    return parts["fit"], parts["test"]


def fit_translator(folder: str) -> FittedTranslator:
    """Fit on the training rows, measure on the held-out rows, seal each direction through the parity gate."""
    from ganlib.abilities import TranslatesBack, can
    from ganlib.export import save_sealed, seal_translator
    from ganlib.translate import as_translator

    job = Job.open(folder)
    data, rows = job.load("facts", TranslatorData), job.load("rows", TranslatorRows)
    a, b = job.read_domains((data.fingerprint, data.fingerprint_b))
    parameters = job.settings.translator_parameters() | a.parameters(job.folder) | {"verbose": True}
    if (schema := b.parameters(job.folder / OTHER).get("schema")) is not None:
        parameters["schema_b"] = schema
    model = translator_of(job.settings, a.modality)  # loads a user's own code too
    translator = as_translator(model, **parameters).fit(a.part(rows.fit), b.part(rows.fit_b))
    training = {"fingerprint": _fingerprint(data), "rows": data.fit, "data": _data(job)}
    files = {to: job.folder / name for to, name in _files(job.name).items()}
    if not can(translator.algorithm_, TranslatesBack):
        del files["a"]
    reports = {to: save_sealed(seal_translator(translator, to), file, training=training) for to, file in files.items()}
    done = FittedTranslator(
        model=model,
        **_measured(translator, (a, b), rows, bool(data.pairs)),
        config=translator.algorithm_.config.to_dict(),
        curves={k: [float(v) for v in values] for k, values in translator.history_.curves.items()},
        parity_ratio=max(r.parity_max_abs / max(r.parity_bound, 1e-30) for r in reports.values()),
        sha256=reports["b"].sha256,
        back=files["a"].name if "a" in files else "",
    )
    job.save("candidate", done)
    return done


def _measured(translator: Any, domains: tuple[JobData, JobData], rows: TranslatorRows, pairs: bool) -> dict[str, Any]:
    """The figures on held-out rows, or why there are none."""
    from ganlib.errors import DataError
    from ganlib.translate import measure_translation
    from ganlib.translate.measure import TRANSLATED

    a, b = domains
    train, test = (a.part(rows.fit), b.part(rows.fit_b)), (a.part(rows.test), b.part(rows.test_b))
    try:
        found = measure_translation(translator, train, test, pairs)
    except DataError as error:
        nothing: dict[str, Any] = {"measure": "", "figures": {}, "saved": None, "baseline": "", "cycle": {}}
        return nothing | {"unmeasured": str(error)}
    figures = {translator.model if name == TRANSLATED else name: value for name, value in found.figures.items()}
    return {"measure": found.measure, "figures": figures, "saved": found.saved, "baseline": found.baseline,
            "cycle": dict(found.cycle), "unmeasured": ""}  # fmt: skip


def register_translator(folder: str) -> Trained:
    """Log the run and register both directions as one version, ``challenger``; each call adds a version."""
    from pipelines.report import log_translator
    from serving.artifact import load_artifact

    job = Job.open(folder)
    data, done, registry = job.load("facts", TranslatorData), job.load("candidate", FittedTranslator), job.registry()
    files = [job.folder / _files(job.name)["b"], *([job.folder / done.back] if done.back else [])]
    artifact, privacy = load_artifact(files[0]), _privacy(job, data, files)
    with registry.run(job.settings.registry.experiment, f"train {job.name}") as run:
        logged = log_translator(registry, run.info.run_id, artifact, job, data, done)
        tags = texts(artifact_tags(artifact) | dict(logged.facts) | _tags(done) | {"privacy": privacy})
        entered = enter(registry, job, artifact, logged, tags, ["curves.png"])
    return Trained(
        **entered,
        model=done.model,
        measure=f"{done.measure}, held-out {'pairs' if data.pairs else 'examples'} (lower is better)",
        rule=f"pairs {data.pairs}" if data.pairs else "no pairs",
        validation={},
        test=done.figures,
        sha256=done.sha256,
        alpha_min=None,
        extra=TranslatorDetails(
            privacy=privacy, rows=data.rows, rows_b=data.rows_b, pairs=data.pairs, both_ways=bool(done.back),
            cycle=done.cycle, saved=done.saved,
        ),
    )  # fmt: skip


def _tags(done: FittedTranslator) -> dict[str, Any]:
    """What the gates and the card read; a translator that was not measured has no quality."""
    tags: dict[str, Any] = {"parity_ratio": done.parity_ratio}
    if done.saved is None:
        return tags
    return tags | {
        "quality": done.saved,
        "quality_measure": f"saved of {done.baseline}",
        "error_measure": done.measure,
        **{f"error {name}": value for name, value in done.figures.items()},
        **{f"error {name}": value for name, value in done.cycle.items()},
    }


def _privacy(job: Job, data: TranslatorData, files: list[Path]) -> str:
    """``passed``, or what the sealed files reveal of the training rows of both domains."""
    rows = job.load("rows", TranslatorRows)
    domains = job.read_domains((data.fingerprint, data.fingerprint_b))
    found = [
        reader.privacy(file, fit) for file in files for reader, fit in zip(domains, (rows.fit, rows.fit_b), strict=True)
    ]
    return next((verdict for verdict in found if verdict != "passed"), "passed")


def _files(name: str) -> dict[str, str]:
    """The name of each direction's file, by the domain that it leads to."""
    return {"b": f"{name}.onnx", "a": f"{name}-to-a.onnx"}


def _fingerprint(data: TranslatorData) -> str:
    return hashlib.sha256(f"{data.fingerprint} {data.fingerprint_b}".encode()).hexdigest()


def _data(job: Job) -> str:
    return f"{job.data} to {Path(str(job.settings.data.path_b)).name}"


def _said(data: TranslatorData) -> str:
    sizes = f"{data.fit:,} train, {data.test:,} judge"
    if data.pairs:
        return f"{counted(data.rows, 'pair')} {data.pairs}: {sizes}"
    return f"{counted(data.rows, 'row')} of domain a and {data.rows_b:,} of domain b, no pairs: {sizes}"


def _figures(done: FittedTranslator) -> str:
    if done.unmeasured:
        return f"not measured: {done.unmeasured}"
    return f"{done.measure}: {shown_figures(done.figures)}"


def shown_figures(figures: Mapping[str, float]) -> str:
    """``name 0.1234, name 0.5678``."""
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
