"""Which results of a retraining are alerts: a new champion, a failed training, a run that failed or crashed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import Flow, runtime
from prefect.client.schemas.objects import FlowRun, State

from hlynr.config import params
from hlynr.config.project import Project
from hlynr.config.sections import Alerts, NotifiedEvent
from hlynr.records.retraining import Attempt, Promotion
from hlynr.runtime.errors import UserError
from hlynr.service.alerts import notify

PROJECT = "HLYNR_PROJECT"
"""Environment variable with the project's folder, for runs of prefect.yaml, which do not have it as a parameter."""

_ALL = Alerts(send=("failed", "crashed", "collapsed", "promoted"), timeout=10.0)
"""Used if params.yaml itself is invalid."""


def decided(project: Project, promotion: Promotion) -> None:
    """Alert if there is a new champion."""
    if promotion.action == "promoted":
        number = project.config.run.retraining
        text = f"retraining {number}: version {promotion.version} is champion. {promotion.reason}"
        notify(project.root, project.config.alerts, "promoted", text, runtime.flow_run.id)


def attempted(project: Project, attempt: Attempt) -> None:
    """Alert if a training has failed, even if the next strategy of the plan may succeed."""
    if attempt.failed:
        kind: NotifiedEvent = "collapsed" if attempt.status == "collapse" else "failed"
        lineage = attempt.lineage
        which = f"retraining {lineage.retraining}, attempt {lineage.attempt}, {lineage.strategy}"
        notify(project.root, project.config.alerts, kind, f"{which}: {attempt.outcome}", runtime.flow_run.id)


def ended(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Alert if an unattended run failed or crashed; where its process was killed, Prefect's worker calls this hook."""
    given = flow_run.parameters
    if not given.get("unattended"):
        return
    kind: NotifiedEvent = "crashed" if state.is_crashed() else "failed"
    root = Path(given.get("root") or os.environ.get(PROJECT, ".")).resolve()
    try:
        settings = params.load(root / given.get("params_file", "params.yaml"), given.get("overrides") or []).alerts
    except UserError:
        settings = _ALL
    notify(root, settings, kind, f"run {flow_run.name} {kind}: {state.message}", str(flow_run.id))
