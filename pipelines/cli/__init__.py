"""The ``ganlib`` command. Heavy imports are inside the verbs, so that ``--help`` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli import (
    auditing,
    augmenting,
    configuring,
    describing,
    letters,
    operating,
    registered,
    registering,
    scoring,
    service,
    training,
    translating,
)
from pipelines.cli.common import EXITS, Verbs
from serving.cli_support import leave, run_cli, setup_logging

app = typer.Typer(
    cls=Verbs, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, epilog=EXITS,
    help="Anomaly detection and data augmentation with generative models: train, promote, score, augment, translate.",
)  # fmt: skip
for _module in (
    training,
    augmenting,
    auditing,
    translating,
    scoring,
    service,
    operating,
    letters,
    registering,
    registered,
    describing,
    configuring,
):
    _module.add_to(app)


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


def main() -> int:
    """The command; returns the exit code."""
    return run_cli(lambda: app(standalone_mode=True))


def script() -> None:
    """Entry point: the command, then the end of the process."""
    leave(main())
