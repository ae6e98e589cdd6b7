"""Verbs about a project as a whole: its configuration, the machine, the recorded runs in a browser."""

from typing import Annotated

import typer

from hlynr.cli import options
from hlynr.cli.output import show
from hlynr.runtime.errors import NOT_READY


def validate(
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    strategy: options.Strategy = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema for editors instead.")] = False,
) -> None:
    """Check params.yaml, under each strategy unless --strategy or --set narrows it; every fault is one line."""
    from hlynr.config import calendar
    from hlynr.config.params import json_schema, load_strategies

    if schema:
        import json

        print(json.dumps(json_schema(), indent=2))
        return
    config = options.project(params, set_, strategy).config
    if not (set_ or strategy):
        load_strategies(params)
    print(f"{params} is valid: {len(config.flat())} settings, digest {config.digest()[:12]}")
    print(calendar.upcoming(config.schedule.cron, config.schedule.timezone))


def doctor(
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what only a dead process can have left; each in a line.")
    ] = False,
    json: options.Json = None,
) -> None:
    """Check what a retraining needs, from configuration to DVC remote, and what has to be mended in the stores."""
    from hlynr.pipeline import leftovers, preflight
    from hlynr.report import tables

    project = options.project(params, set_)
    mended = leftovers.repaired(project) if repair else []
    found = [*preflight.examine(project), *mended, *leftovers.checks(project)]
    show(tables.checks(found), found, json)
    if any(check.required and not check.ok for check in found):
        raise typer.Exit(NOT_READY)


def ui(
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    port: options.Port = 5000,
    tune: options.Tune = False,
) -> None:
    """Open the MLflow UI on localhost, or optuna-dashboard on the searches of hyperparameters."""
    project = options.project(params, set_)
    if tune:
        from hlynr.studies.tuning import dashboard

        dashboard.serve(project, port)
    else:
        from hlynr.service import ui as service_ui

        service_ui.serve(project, port)
