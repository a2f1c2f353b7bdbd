"""The steps of training an augmenter and of augmenting a table, as plain functions: no Prefect here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.card import card
from pipelines.copying import artifact_tags, texts
from pipelines.errors import GateRefused, UsageError
from pipelines.files import check_output
from pipelines.formulas import checked
from pipelines.job import Job
from pipelines.real_rows import FORMATS, check_real_rows, check_unchanged, write_augmented
from pipelines.registry import Registry, check_name
from pipelines.schemas import schema_of, unused_columns, with_schema
from pipelines.settings import AugmentSettings, DataSettings, Settings, with_date
from pipelines.steps import Run, Tell, Trained, check_model, direct, quiet, workshop
from serving.inputs import Input
from serving.wording import counted, listed

if TYPE_CHECKING:
    import pandas as pd

    from ganlib.data.schema import Schema

TEST_SHARE = 0.25
LEAST_CLASS = 4  # rows that a class needs before one of them can be kept back


def train_augmenter(
    registry: Registry | None, name: str, settings: Settings, tell: Tell = quiet, run: Run = direct
) -> Trained:
    """Fit a generator on the training rows, measure what it adds on real rows kept back, seal, register.

    Raises DataError (4), ConfigError or UsageError (2), ParityError (6), RegistryDown (5); nothing is registered then.
    """
    check_name(name)
    check_model(settings.augment.model, "augmenter")
    settings = with_schema(with_date(settings))
    registry = registry or Registry(settings=settings.registry)
    with workshop(name) as folder:
        work = str(Job.create(folder, name, settings, registry).folder)
        facts = run(prepare_augmenter, work)
        sizes = f"{facts['fit']:,} train, {facts['test']:,} judge"
        tell(f"{counted(facts['rows'], 'row')} of {len(facts['classes'])} classes: {sizes}")
        registry.client()  # what keeps it from being opened is better known before training
        tell(f"training {settings.augment.model}")
        done = run(fit_augmenter, work)
        tell(f"{done['model']} sealed, parity {done['parity_ratio']:.2g} of 1; {_one_split(done['lift'], facts)}")
        return Trained(**run(register_augmenter, work))


def _one_split(lift: Mapping[str, float], facts: Mapping[str, Any]) -> str:
    """What the rows kept back say of this very model: another measure than ``augment``'s mean over splits."""
    from ganlib.augment.lift import TITLES

    if not lift:
        return "no row could be kept back to judge it"
    figures = ", ".join(f"{TITLES[arm]} {figure:.4f}" for arm, figure in lift.items())
    return f"this model on one split, {counted(facts['test'], 'row')} kept back (macro AUPRC): {figures}"


def prepare_augmenter(folder: str) -> dict[str, Any]:
    """Read, and keep rows of each class back before anything is fitted."""
    from ganlib.data.values import as_strings

    job = Job.open(folder)
    data, frame = job.settings.data, job.table()
    if data.label is None:
        raise UsageError("an augmenter generates rows by class: name the column with --label or data.label")
    classes = learnable_classes(frame, data.label)
    texts = as_strings(frame[data.label])
    fit, test = _kept_back(frame, texts, np.array(list(classes)), job.settings.training.random_state)
    schema = schema_of(data, frame, fit.tolist(), for_generation=True)
    schema.save(job.folder / "schema.yaml")
    job.write("rows", {"fit": fit.tolist(), "test": test.tolist()})
    facts = {
        "rows": len(frame),
        "fingerprint": job.fingerprint(),
        "classes": classes,
        "fit": len(fit),
        "test": len(test),
    }
    job.write("facts", facts)
    return facts


def learnable_classes(frame: pd.DataFrame, label: str) -> dict[str, int]:
    """Rows by class; raises DataError where the column is absent or no class of it can be learned."""
    from ganlib.data.read import need_column
    from ganlib.data.values import as_strings
    from ganlib.errors import DataError

    texts = as_strings(need_column(frame, label)).astype(str)
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    if len(names) == 0:
        raise DataError(f"label column {label!r} holds no value: all of them are missing; name another by --label")
    if len(names) == 1:
        raise DataError(
            f"label column {label!r} holds one class, {str(names[0])!r}; an augmenter needs two or more: name another "
            "column by --label"
        )
    if counts.max() < LEAST_CLASS:
        raise DataError(
            f"label column {label!r} parts {counted(len(frame), 'row')} into {len(names)} classes, none of "
            f"{LEAST_CLASS} rows or more: no class can be learned; add rows, or name another column by --label"
        )
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def _kept_back(frame: pd.DataFrame, texts: np.ndarray, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows; a class of very few rows trains whole."""
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


def fit_augmenter(folder: str) -> dict[str, Any]:
    """Fit on the training rows, measure the lift on the others, seal through the parity gate."""
    import pandas as pd

    from ganlib.augment import as_augmenter
    from ganlib.data.schema import Schema
    from ganlib.export import seal

    job = Job.open(folder)
    facts, rows, label = job.read("facts"), job.read("rows"), str(job.settings.data.label)
    frame = job.table(facts["fingerprint"])
    schema, model = Schema.load(job.folder / "schema.yaml"), job.settings.augment.model
    augmenter = as_augmenter(model, **job.settings.augmenter_parameters() | {"schema": schema, "verbose": True})
    used = frame.drop(columns=unused_columns(job.settings.data, frame))
    real = used.iloc[rows["fit"]].reset_index(drop=True)
    y = pd.Series(real[label].to_numpy(), name=label)
    augmenter.fit(real.drop(columns=[label]), y)
    training = {"fingerprint": facts["fingerprint"], "rows": len(real), "data": job.data}
    report = seal(augmenter, job.folder / f"{job.name}.onnx", training=training)
    done = {
        "model": model,
        "lift": _lift(augmenter, real, used.iloc[rows["test"]], label),
        "config": augmenter.algorithm_.config.to_dict(),
        "curves": {k: [float(v) for v in values] for k, values in augmenter.history_.curves.items()},
        "parity_ratio": report.parity_max_abs / max(report.parity_bound, 1e-30),
        "sha256": report.sha256,
    }
    job.write("candidate", done)
    return {key: done[key] for key in ("model", "lift", "parity_ratio", "sha256")}


def _lift(augmenter: Any, real: pd.DataFrame, test: pd.DataFrame, label: str) -> dict[str, float]:
    """Each arm's figure on the rows kept back; empty where there is nothing to judge or to add."""
    from ganlib.augment.counts import to_balance
    from ganlib.augment.lift import judge_split

    wanted = to_balance(augmenter.class_counts_)
    if len(test) == 0 or not wanted.any():
        return {}
    made = augmenter.sample(conditions={c: int(n) for c, n in zip(augmenter.classes_, wanted, strict=True) if n})
    return judge_split(real, made, test, label)


def register_augmenter(folder: str) -> dict[str, Any]:
    """Log the run and register the augmenter as ``challenger``. Not idempotent: each call is a new version."""
    from pipelines.privacy import check_privacy
    from pipelines.report import log_dataset, plot_curves
    from serving.artifact import load_artifact

    job = Job.open(folder)
    facts, done, rows, registry = job.read("facts"), job.read("candidate"), job.read("rows"), job.registry()
    file, curves = job.folder / f"{job.name}.onnx", job.folder / "curves.png"
    artifact = load_artifact(file)
    privacy = check_privacy(file, job.table(facts["fingerprint"]).iloc[rows["fit"]])
    with registry.run(job.settings.registry.experiment, f"train {job.name}") as run:
        run_id = run.info.run_id
        settings = job.settings.to_json()
        flat = {f"{section}.{k}": v for section in ("training", "augment") for k, v in settings[section].items()}
        options = {f"option.{k}": v for k, v in done["config"].items()}
        mark = {"fingerprint": facts["fingerprint"], "rows": facts["rows"], "classes": len(facts["classes"])}
        registry.log_params(run_id, flat | options | mark)
        logged = registry.log_model(file)
        lift = {f"test/macro_auprc_{k}": v for k, v in done["lift"].items()}
        figures = lift | {f"{done['model']}/{k}": v for k, v in done["curves"].items()}
        registry.log_metrics(run_id, figures, log_dataset(registry, logged, artifact, {"num_rows": facts["rows"]}))
        plot_curves({done["model"]: done["curves"]}, curves)
        registry.log_files(run_id, [curves, job.folder / "schema.yaml"])
        tags = artifact_tags(artifact) | {"privacy": privacy}
        tags = texts(tags | {f"macro_auprc_{k}": v for k, v in done["lift"].items()})
        text = card(artifact, job.name, tags, run_id, [curves.name])
        registry.describe(logged, text)
        version = registry.register(job.name, logged, tags, text)
    kept = registry.resolve(f"models:/{job.name}/{version.version}")
    trained = Trained(
        job.name, version.version, run_id, done["model"], "macro AUPRC on held-out real rows",
        f"classes of column {job.settings.data.label}", {}, done["lift"], str(kept.path), done["sha256"],
        extra={"privacy": privacy, "rows": facts["rows"], "classes": facts["classes"]},
    )  # fmt: skip
    return trained.to_dict()


def plan_augmenter(registry: Registry, name: str, settings: Settings) -> dict[str, Any]:
    """What training an augmenter would look at, up to the first fit; ``columns`` hold examples, for a terminal only."""
    from ganlib.data.describing import describe_columns
    from ganlib.data.schema import Schema

    check_name(name)
    settings = with_schema(with_date(settings))
    with workshop(name) as folder:
        job = Job.create(folder, name, settings, registry)
        facts, schema = prepare_augmenter(str(job.folder)), Schema.load(job.folder / "schema.yaml")
        columns = describe_columns(job.table().drop(columns=[str(settings.data.label)]), schema)
    plan = {"model": settings.augment.model} | {k: facts[k] for k in ("rows", "classes", "fit", "test")}
    return plan | {"columns": columns}


def augment(settings: Settings, tell: Tell = quiet) -> dict[str, Any]:
    """Write the real rows, unchanged, then generated ones, with the boolean column ``_synthetic``.

    The gate measures first what the rows add: ``report`` says it beside the output, ``on`` refuses a model that does
    not measurably help, ``off`` does not measure. Raises GateRefused (3), DataError (4), ConfigError or UsageError (2);
    the output file is whole or absent.
    """
    settings = with_schema(with_date(settings))
    chosen, data, output, inputs, frame = _opened(settings)
    from ganlib.augment import MARK

    if _is_sealed(chosen.model):
        (made, kept), lift = _sealed_rows(settings, frame), None
        tell("the gate measures models that are fitted here; what a sealed one learned from is not known")
    else:
        lift = _measured(settings, frame, tell)
        tell(f"training {chosen.model} on all {counted(len(frame), 'real row')}")
        named = data.schema_file or data.drop or data.ids
        augmenter = _augmenter(settings, schema_of(data, frame, for_generation=True) if named else None)
        made = augmenter.augment(
            frame, data.label, chosen.rows, condition=chosen.condition, only_synthetic=chosen.only_synthetic
        )
        kept = augmenter.constraint_report_
    synthetic = int(made[MARK].sum())
    done: dict[str, Any] = {
        "output": str(output), "real": len(made) - synthetic, "synthetic": synthetic, "model": chosen.model,
        "classes": _counts(made, data.label, MARK), "lift": [], "verdict": "not measured", "report": "",
        "constraints": kept,
    }  # fmt: skip
    if lift is not None:
        done |= _reported(lift, done, output)
        if chosen.gate == "on" and lift.verdict != "helps":
            raise GateRefused(f"{done['verdict']}; {output} was not written, {done['report']} shows the figures")
    check_unchanged(str(data.path), inputs)
    write_augmented(checked(made, MARK, output, chosen.spreadsheet_safe, tell), MARK, inputs, output)
    return done


def plan_augmentation(settings: Settings) -> dict[str, Any]:
    """What ``augment`` would add to which classes, without fitting anything."""
    from ganlib.data.values import as_strings

    chosen, data, output, _, frame = _opened(with_schema(with_date(settings)))
    facts: dict[str, Any] = {"real rows": len(frame), "model": chosen.model, "gate": chosen.gate, "output": str(output)}
    if data.label is None:
        return facts | {"synthetic rows": chosen.rows}
    texts = as_strings(frame[data.label]).astype(str)
    names, counts = np.unique(texts[texts != ""], return_counts=True)
    facts["classes"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return facts | {"synthetic rows": _lacking(chosen, facts["classes"]) if chosen.rows is None else chosen.rows}


def _opened(settings: Settings) -> tuple[AugmentSettings, DataSettings, Path, list[Input], pd.DataFrame]:
    """Checked settings, the files and their table; nothing heavy is imported before the request makes sense."""
    chosen, data, output = _request(settings)
    sealed = _is_sealed(chosen.model)
    if not sealed:
        check_model(chosen.model, "augmenter")
    from ganlib.data.read import files_of, need_column, read_table

    inputs = files_of(str(data.path))
    frame = read_table(str(data.path))
    check_real_rows(inputs, output)
    if sealed and data.label is not None:
        need_column(frame, data.label)
    elif not sealed:
        _check_learnable(frame, data.label, chosen)
    return chosen, data, output, inputs, frame


def _request(settings: Settings) -> tuple[AugmentSettings, DataSettings, Path]:
    """What was asked for, as far as it can be judged without the data; raises UsageError."""
    chosen, data = settings.augment, settings.data
    if not data.path or not chosen.output:
        raise UsageError("augmenting needs the data and an output file: give --data and --output")
    if "://" in chosen.output:
        raise UsageError(f"--output {chosen.output} is a URL; write a file on this machine, and copy it")
    output = Path(chosen.output)
    check_output(output, tuple(FORMATS), source=data.path)
    if chosen.spreadsheet_safe and output.suffix.lower() not in (".csv", ".tsv"):
        raise UsageError(f"--spreadsheet-safe is for CSV, and {output} is none; leave it out")
    if data.label is None and chosen.gate == "on":
        raise UsageError("the gate measures by class: name the column with --label, or leave --gate at report")
    if data.label is None and chosen.rows is None and not _is_sealed(chosen.model):
        raise UsageError("without --label there is nothing to balance: name the column, or say how many rows by --rows")
    return chosen, data, output


def _check_learnable(frame: pd.DataFrame, label: str | None, chosen: AugmentSettings) -> None:
    """Refuse, before anything is fitted, a table that nothing can be learned from or that lacks nothing."""
    from ganlib.errors import DataError

    if label is None:
        if len(frame) < LEAST_CLASS:
            raise DataError(f"{counted(len(frame), 'row')}: an augmenter needs {LEAST_CLASS} or more; add rows")
        return
    classes = learnable_classes(frame, label)
    if chosen.rows is None and _lacking(chosen, classes) == 0:
        what = "the classes" if chosen.condition is None else f"class {chosen.condition!r}"
        raise DataError(f"{what} of {label!r} lack no rows to the largest class; say how many to add by --rows")


def _lacking(chosen: AugmentSettings, classes: Mapping[str, int]) -> int:
    """Rows that would balance the classes, or the one that was asked for."""

    most, wanted = max(classes.values(), default=0), chosen.condition
    if wanted is None:
        return sum(most - held for held in classes.values())
    if wanted not in classes:
        raise UsageError(f"there is no class {wanted!r}; the classes are {listed(list(classes))}")
    return most - classes[wanted]


def _augmenter(settings: Settings, schema: Schema | None, verbose: bool = True) -> Any:
    """An augmenter with a schema; without one it infers its own from the rows it is fitted on."""
    from ganlib.augment import as_augmenter

    given = dict[str, Any](verbose=verbose) | ({} if schema is None else {"schema": schema})
    return as_augmenter(settings.augment.model, **settings.augmenter_parameters() | given)


def _measured(settings: Settings, frame: pd.DataFrame, tell: Tell) -> Any:
    """The lift, or None where it is not asked for or cannot be measured, which is then said."""
    from ganlib.augment.lift import measure_lift
    from ganlib.errors import DataError

    chosen, label = settings.augment, settings.data.label
    if chosen.gate == "off" or label is None:
        return None
    # Generated rows lack them, by which alone they would differ from real ones.
    used = frame.drop(columns=unused_columns(settings.data, frame))
    # Only a file's schema holds for all splits: one that is inferred knows the bounds of the rows it is inferred from.
    schema = schema_of(settings.data, frame, for_generation=True) if settings.data.schema_file else None
    tell(f"measuring what generated rows add: {chosen.repeats} splits of the real rows, a model trained in each")
    try:
        return measure_lift(
            _augmenter(settings, schema, verbose=False), used, label, chosen.rows, condition=chosen.condition,
            repeats=chosen.repeats, seed=settings.training.random_state,
            tell=lambda done, total: tell(f"split {done} of {total}"),
        )  # fmt: skip
    except DataError as error:
        if chosen.gate == "on":
            raise
        tell(f"the lift was not measured: {error}")
        return None


def _reported(lift: Any, done: Mapping[str, Any], output: Path) -> dict[str, Any]:
    """The figures as a table, the verdict in words, and the page beside the output."""
    from ganlib.augment.lift import MODEL, NONE, TITLES
    from pipelines.report import lift_page

    rows = []
    for arm, title in TITLES.items():
        gap = lift.over(arm)
        above = "" if arm == MODEL else f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"
        rows.append([title, f"{lift.mean(arm):.4f}", above])
    gap = lift.over(NONE)
    words = {"helps": "generated rows help", "hurts": "generated rows hurt"}.get(
        lift.verdict, "generated rows make no measurable difference"
    )
    verdict = (
        f"{words}: {gap.mean:+.4f} macro AUPRC over real rows alone (mean of {len(lift.arms[NONE])} splits, "
        f"95 % interval {gap.low:+.4f} to {gap.high:+.4f})"
    )
    report = output.with_suffix(".report.html")
    lift_page(report, output.name, verdict, lift, rows, done)
    return {"lift": rows, "verdict": verdict, "measure": lift.measure, "report": str(report)}


def _is_sealed(model: str) -> bool:
    return model.startswith("models:/") or model.endswith(".onnx")


def _sealed_rows(settings: Settings, frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, dict[str, int]]]:
    """Rows of a sealed augmenter below the real ones, and its report on constraints; its classes are the labels."""
    from ganlib.augment import mark
    from ganlib.augment.counts import counts_for, share_out, to_balance
    from ganlib.augment.originals import likes_of
    from ganlib.data.schema import Schema
    from ganlib.data.values import as_strings
    from serving.artifact import load_artifact
    from serving.generator import Generator

    chosen, label, seed = settings.augment, settings.data.label, settings.training.random_state
    path, sha256 = Path(chosen.model), None
    if chosen.model.startswith("models:/"):
        found = Registry(settings=settings.registry).resolve(chosen.model)
        path, sha256 = found.path, found.sha256
    artifact = load_artifact(path, sha256)
    generator, likes = Generator(artifact), likes_of(frame, Schema.from_dict(artifact.schema))
    if not generator.conditions:
        if chosen.rows is None:
            raise UsageError("this augmenter knows no classes, so there is nothing to balance: say how many --rows")
        made = generator.frame(chosen.rows, None, seed, likes)
        rows = mark(frame, made.reindex(columns=frame.columns), chosen.only_synthetic)
        return rows, generator.constraint_report
    if label is None:
        raise UsageError(f"this augmenter knows the classes {listed(generator.conditions)}: name the --label")
    texts, names = as_strings(frame[label]).astype(str), np.array(generator.conditions)
    held = np.array([int((texts == name).sum()) for name in names])
    wanted = to_balance(held)
    if chosen.condition is not None:
        _, one = counts_for(1, chosen.condition, names, list(names), held)
        wanted = one * (int((wanted * one).sum()) if chosen.rows is None else chosen.rows)
    elif chosen.rows is not None:
        wanted = share_out(chosen.rows, wanted if wanted.sum() else np.ones(len(names)))
    classes = np.repeat(names, wanted).tolist()
    made = generator.frame(len(classes), classes, seed, likes)
    made[label] = _as_labels(classes, frame[label])
    return mark(frame, made.reindex(columns=frame.columns), chosen.only_synthetic), generator.constraint_report


def _as_labels(classes: list[str], real: pd.Series) -> pd.Series:
    """Class names as the values that the real labels have for them."""
    import pandas as pd

    from ganlib.data.values import as_strings

    known = dict(zip(as_strings(real), real, strict=True))
    return pd.Series([known.get(name, name) for name in classes], dtype=object).infer_objects()


def _counts(made: pd.DataFrame, label: str | None, mark: str) -> Mapping[str, int]:
    if label is None:
        return {}
    return {str(k): int(v) for k, v in made.loc[made[mark], label].value_counts().items()}
