"""The verb that scores by HTTP: serve. The extra `serve` is enough, unless a model is in a registry."""

from __future__ import annotations

import typer

from pipelines.cli.common import Config, Tracking, example, model_source
from pipelines.cli.common import settings as configured
from serving import options


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command(epilog=example("ganlib serve --model models:/pump@champion --port 8080"))(serve)


def serve(
    model: options.ServedModels = None,
    host: options.Host = None,
    port: options.Port = None,
    alpha: options.Alpha = None,
    max_rows: options.MostRows = None,
    max_body: options.MostBytes = None,
    max_wait_ms: options.MostWait = None,
    max_queue: options.MostQueue = None,
    token_file: options.TokenFile = None,
    log_format: options.LogFormat = "text",
    config: Config = None,
    tracking: Tracking = None,
) -> None:
    """Score requests by HTTP, until SIGTERM.

    Implements the v2 inference protocol and MLflow's conventions. A model named by its alias is followed: a promotion
    or a rollback takes effect without a restart.
    """
    from serving.service.command import run_service

    settings = configured(config, registry__tracking_uri=tracking)
    sources = [model_source(one, settings) for one in model or ()]
    limits = options.service_limits(
        max_wait_ms, host=host, port=port, alpha=alpha, max_rows=max_rows, max_body=max_body, max_queue=max_queue
    )
    raise typer.Exit(run_service(sources, token_file=token_file, log_format=log_format, **limits))
