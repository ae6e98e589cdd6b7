"""How MLflow's UI shows the experiment: as model training, with a description and a saved view of the retrainings."""

from __future__ import annotations

import json
import time

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""By default the UI guesses, and guesses generative AI."""

NOTE_TAG = "mlflow.note.content"
NOTE = (
    "One run per retraining, with its attempts below it. **Views > Retrainings** shows their results; the "
    "attempts hold curves, figures and the gate's table."
)

VIEW = "retrainings"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
WIDTHS = {
    "attributes.`Run Name`": 300,
    "runDateAndNestInfo": 130,
    "duration": 80,
    "tags.`hlynr.attempt`": 260,
    "metrics.`heldout/success_rate`": 160,
    "metrics.`heldout/success_rate_low`": 190,
    "metrics.`report/success_rate`": 150,
}
"""Columns from left to right [px]; together they fit a window 1600 px wide."""


def tags() -> dict[str, str]:
    """The experiment's tags for the UI."""
    return KIND | {NOTE_TAG: NOTE, VIEW_TAG: _view()}


def address(server: str, experiment_id: str) -> str:
    """URL of the retrainings' view; without the workflow's name the UI shows that of generative AI."""
    return f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={VIEW}"


def _view() -> str:
    """A saved view of the list of runs, in the form of MLflow's own UI."""
    state = {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [column for column in WIDTHS if column.startswith(("tags.", "metrics."))],
        "columnOrder": list(WIDTHS),
        "columnWidths": WIDTHS,
    }
    now = int(time.time() * 1000)
    return json.dumps({"name": "Retrainings", "createdAt": now, "updatedAt": now, "state": json.dumps(state)})
