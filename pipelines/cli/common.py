"""What the verbs share: their common options, extras, tables, and how a model is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.errors import Interrupted, UsageError, cannot_write
from pipelines.references import in_registry
from serving.cli_support import Options, Terminated, was_interrupted
from serving.options import LOCATION
from serving.secrets import without_secrets
from serving.wording import shown

if TYPE_CHECKING:
    from pipelines.registry import Registry
    from pipelines.settings import Settings

EXITS = (
    "Exit codes: 0 ok, 1 unexpected, 2 usage or configuration, 3 gate refused, 4 input data invalid, "
    "5 dependency down, 6 integrity, 75 try again later, 130/143 interrupted."
)
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")]
Config = Annotated[Path | None, typer.Option(help="Configuration file; `ganlib config init` writes one.")]
Tracking = Annotated[
    str | None, typer.Option(help="MLflow tracking URI. Default: MLFLOW_TRACKING_URI, or sqlite:///runs/mlflow.db.")
]
EXAMPLES = f"{LOCATION} Or images and series: a folder of images, .npz, .npy."
Modality = Annotated[str | None, typer.Option(help="image or series: what arrays are that could be either.")]
Time = Annotated[
    str | None, typer.Option(help="Column of times: the table holds readings, and the model reads windows of them.")
]
Key = Annotated[str | None, typer.Option(help="With --time: column that separates machines. Default: one machine.")]
Window = Annotated[int | None, typer.Option(help="With --time: rows of a window.")]
Stride = Annotated[
    int | None, typer.Option(help="With --time: rows from one training window to the next; default: a quarter window.")
]
LargestGap = Annotated[
    float | None, typer.Option(help="With --time: steps between rows above which a window does not go on; default 5.")
]
Level = Annotated[
    str | None,
    typer.Option(
        help="With --key: key reads windows relative to each key's own level, none as they are. Default: key if each "
        "key has enough rows."
    ),
]
ModelUri = Annotated[str | None, typer.Option(help="models:/NAME@ALIAS, models:/NAME/VERSION, or FILE.onnx.")]


# What the same command does after an interrupt.
_AFTERWARDS = {
    "score": "the same command continues after the last committed part",
    "stream": "the same command continues after the last committed record",
    "train": "training does not continue: the same command starts anew, but finished trials of --tune are kept",
    "translate": "translating does not continue: the same command starts anew",
    "augment": "augmenting does not continue: the same command starts anew",
    "demo": "the same command keeps the parts that were finished and starts this one anew",
    "promote": "the same command finishes or undoes it",
    "rollback": "the next `ganlib promote` or `ganlib rollback` finishes or undoes it",
}


class Verbs(Options):
    """The verbs; an interrupt or a failed write becomes one line that says what to do next."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _interrupted("interrupted", ctx, 130) from error
        except Terminated as error:
            raise _interrupted("terminated", ctx, 143) from error
        except Exception as error:
            if was_interrupted(error):
                raise _interrupted("interrupted", ctx, 130) from error
            # Without a file name: a closed pipe or a service.
            if not isinstance(error, OSError) or error.filename is None:
                raise
            fix = "fix its permissions or choose another place"
            raise cannot_write(error.filename, error, fix, "read or write") from error


def _interrupted(how: str, ctx: Any, code: int) -> Interrupted:
    return Interrupted(f"{how}; {_AFTERWARDS.get(ctx.invoked_subcommand, 'run the same command again')}", code)


def example(command: str) -> str:
    """The epilog of a verb: one command to copy, and the exit codes."""
    return f"Example: {command}\n\n{EXITS}"


def settings(config: Path | None, **given: Any) -> Settings:
    """The configuration with the options that were given; ``data__path`` stands for ``data.path``."""
    from pipelines.settings import load_settings

    return load_settings(config, {key.replace("__", "."): value for key, value in given.items()})


def required(value: Any, option: str, key: str) -> Any:
    """A value that an option or the configuration must give; raises UsageError naming both."""
    if value is None:
        raise UsageError(f"{option} is missing: give it, or {key} in the configuration (--config)")
    return value


def registry(chosen: Settings) -> Registry:
    """The registry that the configuration names."""
    need("mlflow.tracking", "pipelines")
    from pipelines.registry import Registry

    return Registry(settings=chosen.registry)


def need(module: str, extra: str) -> None:
    """Raise UsageError naming the extra that brings a module."""
    import importlib.util

    try:
        found = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        raise UsageError(f'this verb needs {module.split(".")[0]}; pip install "ganlib[{extra}]"')


def registry_for(model: str, chosen: Settings) -> Registry | None:
    """The registry, if the model is in it; None for a file."""
    return registry(chosen) if in_registry(model) else None


def model_source(model: str, chosen: Settings) -> Any:
    """A model source that follows an alias in the registry; a file name unchanged."""
    if (where := registry_for(model, chosen)) is None:
        return model
    from pipelines.following import RegistrySource

    return RegistrySource(where, model)


def show(result: Any) -> None:
    """A result as one line of JSON."""
    print(without_secrets(json.dumps(result, default=str)))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table that fits the terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        drawn.add_column(column, overflow="fold", no_wrap=position == 0)
    for row in rows:
        # Text, since values and names may look like markup.
        drawn.add_row(*(Text(shown(cell)) for cell in row))
    Console(soft_wrap=False).print(drawn)
