"""The ``ganlib`` command. Everything heavy is imported inside the verbs, so that ``--help`` is quick."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.errors import UsageError
from serving.cli_support import run_cli, setup_logging

EXITS = (
    "Exit codes: 0 ok, 1 unexpected, 2 usage or configuration, 3 gate refused, 4 input data invalid, "
    "5 dependency down, 6 integrity, 75 try again later, 130/143 interrupted."
)
app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, epilog=EXITS,
    help="Anomaly detection and data augmentation with generative models: train, promote, score, augment.",
)  # fmt: skip

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change; change nothing.")]
Tracking = Annotated[
    str | None, typer.Option(help="MLflow tracking URI. Default: MLFLOW_TRACKING_URI, or sqlite:///runs/mlflow.db.")
]
ModelUri = Annotated[str, typer.Option(help="models:/NAME@ALIAS, models:/NAME/VERSION, or FILE.onnx.")]


def _registry(uri: str | None) -> Any:
    _need("mlflow.tracking", "pipelines")
    from pipelines.registry import Registry

    return Registry(uri)


def _need(module: str, extra: str) -> None:
    """Raise UsageError naming the extra that brings a module."""
    import importlib.util

    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise UsageError(f'this verb needs {module.split(".")[0]}; pip install "ganlib[{extra}]"')


def _table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=False).print(table)


def _open_model(uri: str, tracking: str | None) -> tuple[Path, str | None, str, str]:
    """(file, sha-256, name, version) of a registered model or a bare file."""
    if uri.startswith("models:/"):
        resolved = _registry(tracking).resolve(uri)
        return resolved.path, resolved.sha256 or None, resolved.name, resolved.version
    return Path(uri), None, Path(uri).stem, ""


def _version(show: bool) -> None:
    if show:
        import ganlib

        print(f"ganlib {ganlib.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log more, on stderr.")] = False,
) -> None:
    """Options of every verb."""
    setup_logging(verbose)


@app.command(epilog="Example: ganlib models --task detector")
def models(
    task: Annotated[str | None, typer.Option(help="detector, augmenter, translator, sequence, density.")] = None,
    modality: Annotated[str | None, typer.Option(help="table, image, series, tokens, points, trajectory.")] = None,
    as_json: Json = False,
) -> None:
    """List the models: task, data, what can be exported, paper."""
    _need("torch", "train")
    from ganlib.registry import entries

    found = entries(task, modality)
    if as_json:
        fields = ("name", "tasks", "modalities", "exports", "paper")
        print(json.dumps([{f: getattr(e, f) for f in fields} for e in found]))
        return
    rows = [[e.name, ", ".join(e.tasks), ", ".join(e.modalities), ", ".join(e.exports) or "-", e.paper] for e in found]
    _table(f"{len(rows)} models", ["name", "task", "data", "exports", "paper"], rows)


@app.command(epilog="Example: ganlib train --data sensors.csv --name pump --label fault\n\n" + EXITS)
def train(
    data: Annotated[Path, typer.Option(help="CSV or Parquet file, or a folder of them.")],
    name: Annotated[str, typer.Option(help="Name in the registry.")],
    label: Annotated[str | None, typer.Option(help="Column that marks known anomalies.")] = None,
    normal: Annotated[str | None, typer.Option(help="Label value that means normal.")] = None,
    model: Annotated[str, typer.Option(help="auto compares several; or a name from `ganlib models`.")] = "auto",
    alpha: Annotated[float, typer.Option(help="Alarm budget: share of normal rows that may alarm.")] = 0.01,
    steps: Annotated[int | None, typer.Option(help="Training steps; default: from the data's size.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Train detectors, keep the best as a sealed artifact, register it as challenger."""
    _need("torch", "train")
    registry = _registry(tracking)
    from pipelines.steps import train_detector

    parameters = {"steps": steps} if steps else {}
    trained = train_detector(
        registry, data, name, label=label, normal=normal, model=model, parameters=parameters, alpha=alpha, seed=seed,
        tell=lambda text: print(text, file=sys.stderr),
    )  # fmt: skip
    if as_json:
        print(json.dumps(trained.__dict__, default=str))
        return
    rows = [[k, f"{v:.4f}", "chosen" if k == trained.model else ""] for k, v in trained.validation.items()]
    _table(trained.measure, ["model", "figure", ""], rows)
    print(f"registered {name} version {trained.version} as challenger ({trained.model})")
    print(f"artifact {trained.artifact}\nnext: ganlib promote {name}")


@app.command(epilog="Example: ganlib promote pump\n\n" + EXITS)
def promote(
    name: str,
    version: Annotated[str | None, typer.Option(help="Version to promote; default: the challenger.")] = None,
    gates: Annotated[Path | None, typer.Option(help="Gates file; default: the policy that came with ganlib.")] = None,
    dry_run: DryRun = False,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Judge the challenger by the gates and make it champion."""
    registry = _registry(tracking)
    from pipelines.promotion import promote as move

    verdict = move(registry, name, version, gates, dry_run)
    if as_json:
        print(json.dumps({"name": name, "version": verdict.version, "gates": [g.__dict__ for g in verdict.gates]}))
        return
    rows = [[g.name, "passed" if g.passed else "refused", g.found, g.needed] for g in verdict.gates]
    _table(f"{name} version {verdict.version}", ["gate", "verdict", "found", "needed"], rows)
    print("dry run: nothing was moved" if dry_run else f"{name} version {verdict.version} is champion")


@app.command(epilog="Example: ganlib rollback pump\n\n" + EXITS)
def rollback(name: str, dry_run: DryRun = False, tracking: Tracking = None) -> None:
    """Give the alias champion back to the version before."""
    registry = _registry(tracking)
    from pipelines.promotion import rollback as back

    before, after = back(registry, name, dry_run)
    print(f"{name}: version {before} {'would give' if dry_run else 'gave'} way to version {after}")


@app.command(epilog="Example: ganlib history pump")
def history(name: str, tracking: Tracking = None, as_json: Json = False) -> None:
    """Who moved the champion, when, from where to where."""
    registry = _registry(tracking)
    from pipelines.promotion import history as ledger

    rows = ledger(registry, name)
    if as_json:
        print(json.dumps(rows))
        return
    fields = ["when", "action", "from", "to", "who", "state"]
    _table(f"ledger of {name}", fields, [[row[f] or "-" for f in fields] for row in rows])


@app.command(epilog="Example: ganlib export --model models:/pump@champion --output pump.onnx\n\n" + EXITS)
def export(
    model: ModelUri,
    output: Annotated[Path, typer.Option(help="File to write, FILE.onnx; FILE.onnx.sha256 comes beside it.")],
    tracking: Tracking = None,
) -> None:
    """Copy a registered artifact to a file, verified."""
    from serving.artifact import load_artifact

    path, sha256, name, version = _open_model(model, tracking)
    artifact = load_artifact(path, sha256)
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent}; make it first")
    temporary = output.with_name(f".{output.name}.tmp")
    temporary.write_bytes(path.read_bytes())
    temporary.replace(output)
    output.with_name(output.name + ".sha256").write_text(f"{artifact.sha256}  {output.name}\n")
    print(f"{output}: {name} {version or '(file)'}, sha-256 {artifact.sha256}")


@app.command(
    epilog="Example: ganlib score --model models:/pump@champion --input new.parquet --output scores\n\n" + EXITS
)
def score(
    model: ModelUri,
    input: Annotated[Path, typer.Option(help="CSV or Parquet file, or a folder of them.")],
    output: Annotated[Path, typer.Option(help="Folder for the score parts and manifest.json.")],
    alpha: Annotated[float | None, typer.Option(help="Alarm budget; default: 0.01, or what is supported.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Add a contribution column per feature.")] = False,
    new_run: Annotated[bool, typer.Option("--new-run", help="Replace a folder made for something else.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for another worker.")] = 0.0,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Score rows into a folder; run the same command again to continue after a crash."""
    from serving.batch import score_batch

    path, sha256, name, version = _open_model(model, tracking)
    summary = score_batch(
        path, input, output, alpha=alpha, explain=explain, new_run=new_run, wait=wait, sha256=sha256,
        model_name=name, model_version=version,
    )  # fmt: skip
    if as_json:
        print(json.dumps(summary.to_dict()))
        return
    print(f"{summary.rows:,} rows scored, {summary.anomalies:,} anomalies at alpha {summary.alpha:g}: {summary.output}")


@app.command(epilog="Example: ganlib verify scores\n\n" + EXITS)
def verify(folder: Path, as_json: Json = False) -> None:
    """Recount a folder of scores: each source row exactly once, each part as committed."""
    from serving.verify import verify as recount

    counts = recount(folder)
    print(json.dumps(counts) if as_json else f"{counts['rows']:,} rows in {counts['parts']} parts: each exactly once")


@app.command(epilog="Example: ganlib doctor")
def doctor(tracking: Tracking = None, as_json: Json = False) -> None:
    """Check this installation: versions, known clashes, GPU, disk, registry."""
    from pipelines.doctor import examine

    checks = examine(tracking)
    if as_json:
        print(json.dumps([c.__dict__ for c in checks]))
    else:
        _table("doctor", ["check", "state", "found", "mend"], [[c.name, c.state, c.found, c.mend] for c in checks])
    if any(c.state == "error" for c in checks):
        raise typer.Exit(2)


def main() -> int:
    """Entry point of the command; returns the exit code."""
    return run_cli(lambda: app(standalone_mode=True))


if __name__ == "__main__":
    sys.exit(main())
