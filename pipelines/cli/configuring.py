"""Verbs about the installation: config and doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.common import Config, Json, Tracking, example, show, table
from pipelines.cli.common import settings as configured
from pipelines.errors import UsageError
from pipelines.files import check_output, written
from serving.wording import say

config_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None,
    help="Write, describe or resolve the configuration of a job. Options of a verb win over GANLIB__SECTION__KEY in "
    "the environment, which wins over the file, which wins over MLFLOW_TRACKING_URI and the defaults.",
)  # fmt: skip


_OTHER = "name another file"


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    app.add_typer(config_app, name="config")
    app.command(epilog=example("ganlib doctor"))(doctor)


@config_app.command(epilog=example("ganlib config init job.yaml"))
def init(
    output: Annotated[Path | None, typer.Argument(help="File to write; printed if left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a commented YAML file with every default."""
    from pipelines.settings import commented_yaml

    if output is None:
        print(commented_yaml(), end="")
        return
    if output.exists() and not force:
        raise UsageError(f"{output} exists already; name another file, or --force to overwrite it")
    check_output(output, fix=_OTHER)
    with written(output, _OTHER) as temporary:
        temporary.write_text(commented_yaml(), encoding="utf-8")
    print(f"{output}: every key and its default; next: ganlib config show --config {output}")


@config_app.command(epilog=example("ganlib config schema > ganlib.schema.json"))
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from pipelines.settings import schema_json

    print(schema_json())


@config_app.command("show", epilog=example("ganlib config show --config job.yaml"))
def show_resolved(config: Config = None, tracking: Tracking = None, as_json: Json = False) -> None:
    """Print every value and where it came from; secrets stay masked."""
    from pipelines.settings import resolved

    rows = resolved(configured(config, registry__tracking_uri=tracking))
    if as_json:
        show([row._asdict() for row in rows])
        return
    table("configuration", ["key", "value", "from"], [[r.key, _plain(r.value), r.source] for r in rows])


def _plain(value: object) -> str:
    return "-" if value is None else str(value)


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Correct the paths of artifacts in a registry that was moved.")
    ] = False,
    config: Config = None,
    tracking: Tracking = None,
    as_json: Json = False,
) -> None:
    """Check this installation and its registry.

    It checks versions, conflicts, GPU, registry, and whether the artifacts are where the registry says.
    """
    from pipelines.doctor import examine, repair

    chosen = configured(config, registry__tracking_uri=tracking).registry
    if fix:
        for line in repair(chosen) or ["nothing to correct"]:
            say(line)
    checks = examine(chosen)
    if as_json:
        show([c.__dict__ for c in checks])
    else:
        table("doctor", ["check", "state", "found", "fix"], [[c.name, c.state, c.found, c.mend] for c in checks])
    if any(c.state == "error" for c in checks):
        raise typer.Exit(2)
