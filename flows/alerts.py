"""When a retraining makes somebody's phone ring: a new champion, a training that failed, a run that failed or crashed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from prefect import Flow, runtime
from prefect.client.schemas.objects import FlowRun, State

from hlynr.config import params
from hlynr.config.project import Project
from hlynr.config.service import AlertKind, Alerts
from hlynr.records.retraining import Attempt, Promotion
from hlynr.runtime.errors import UserError
from hlynr.service import alerts

PROJECT = "HLYNR_PROJECT"
"""Where prefect.yaml lets a worker find the project, if the run itself does not say."""

_ALL = Alerts(send=("failed", "crashed", "collapsed", "promoted"), timeout=10.0)
"""Where params.yaml itself is the fault."""


def decided(project: Project, promotion: Promotion) -> None:
    """A new champion is worth a message; a refusal is in the history."""
    if promotion.action == "promoted":
        text = (
            f"retraining {project.config.run.retraining}: version {promotion.version} is champion. {promotion.reason}"
        )
        alerts.tell(project.root, project.config.alerts, "promoted", text, runtime.flow_run.id)


def attempted(project: Project, attempt: Attempt) -> None:
    """A training that came to nothing, even if the next strategy makes up for it."""
    if attempt.failed:
        kind: AlertKind = "collapsed" if attempt.status == "collapse" else "failed"
        text = (
            f"retraining {attempt.lineage.retraining}, attempt {attempt.lineage.attempt}, {attempt.lineage.strategy}: "
        )
        alerts.tell(project.root, project.config.alerts, kind, text + attempt.outcome, runtime.flow_run.id)


def failed(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook of the flow."""
    _ended("failed", flow_run, state)


def crashed(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook of the flow; where its process was killed, Prefect's worker calls it."""
    _ended("crashed", flow_run, state)


def _ended(kind: AlertKind, flow_run: FlowRun, state: State[Any]) -> None:
    """Who runs a retraining by hand sees how it ends."""
    given = flow_run.parameters
    if not given.get("unattended"):
        return
    root = Path(given.get("root") or os.environ.get(PROJECT, ".")).resolve()
    try:
        settings = params.load(root / given.get("params_file", "params.yaml"), given.get("overrides") or []).alerts
    except UserError:
        settings = _ALL
    alerts.tell(root, settings, kind, f"run {flow_run.name} {kind}: {state.message}", str(flow_run.id))
