"""Verbs about what keeps running on a machine, and what it keeps on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hlynr.cli import options
from hlynr.cli.output import say, show
from hlynr.runtime.errors import DONE, NOT_READY

if TYPE_CHECKING:
    from hlynr.config.project import Project


def up(params: options.Params = options.PARAMS, set_: options.Set = [], detach: options.Detach = False) -> None:
    """Keep Prefect's server, MLflow's and a worker running, with the nightly schedule; Ctrl-C stops them."""
    from flows.service import COMMANDS
    from hlynr.config import calendar
    from hlynr.pipeline import preflight
    from hlynr.service import control

    project = options.project(params, set_)
    preflight.require_ready(project)
    say(calendar.upcoming(project.config.schedule.cron, project.config.schedule.timezone))
    control.up(project, params.name, set_, COMMANDS, detach=detach, say=say)
    if detach:
        _status(project, None)


def down(params: options.Params = options.PARAMS, set_: options.Set = []) -> None:
    """Stop what `hlynr up` keeps running; a retraining that is under way writes its checkpoint first."""
    from hlynr.service import control

    say("stopped" if control.down(options.project(params, set_)) else "nothing was up")


def status(params: options.Params = options.PARAMS, set_: options.Set = [], json: options.Json = None) -> None:
    """Show the services, the next and the last retrainings, champion and disk; exits with 0 if all services run."""
    raise typer.Exit(DONE if _status(options.project(params, set_), json) else NOT_READY)


def _status(project: Project, json: Path | None) -> bool:
    from hlynr.report import service as view
    from hlynr.service import status as service

    found = service.look(project)
    show(view.status(found), found, json)
    return found.healthy


def prune(
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    dry_run: options.DryRun = False,
    json: options.Json = None,
) -> None:
    """Remove what has no decision and is older than retention.days; what the registry points to stays for good."""
    from hlynr.ops.retention import prune as retention_prune
    from hlynr.report import service as view

    record = retention_prune.prune(options.project(params, set_), dry_run=dry_run)
    show(view.pruned(record), record, json)
    raise typer.Exit(NOT_READY if record.faults else DONE)
