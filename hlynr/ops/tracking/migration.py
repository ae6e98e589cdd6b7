"""Stores of earlier versions, which called a retraining a night, brought to the present names.

The former tags stay. All machines that share a store have to be updated together: what an earlier version writes
afterwards keeps its former names.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hlynr.ops.tracking import views
from hlynr.ops.tracking.calls import pages, set_tags

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

DONE = {"hlynr.store_format": "2"}
"""The experiment's tag by which a migrated store is known."""
FORMER_KEYS = {
    "hlynr.lineage.night": "hlynr.lineage.retraining",
    "hlynr.lineage.mlflow_night_id": "hlynr.lineage.mlflow_parent_run_id",
    "hlynr.night": "hlynr.retraining",  # and all that begin like it
}
RESULTS = ("hlynr.gate", "hlynr.retraining.outcome")
FORMER_RESULT, RESULT = "refused", "not_promoted"
FORMER_NOTE = "One run per night"
_RUN_NAME = re.compile(r"night (?=\d+ · )")

_log = logging.getLogger(__name__)


def present(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags with all former ones also under their present names."""
    renamed = {_present(key): value for key, value in tags.items()} | dict(tags)
    return renamed | {key: RESULT for key in RESULTS if renamed.get(key) == FORMER_RESULT}


def _present(key: str) -> str:
    found = next((former for former in FORMER_KEYS if key == former or key.startswith(f"{former}.")), None)
    return key if found is None else FORMER_KEYS[found] + key.removeprefix(found)


def migrate(client: MlflowClient, experiment: Experiment) -> None:
    """Write the present names beside the former ones; the whole can be repeated after a kill at any write."""
    key, value = next(iter(DONE.items()))
    if experiment.tags.get(key) == value:
        return
    changed = _runs(client, experiment.experiment_id) + _models(client, experiment.experiment_id) + _versions(client)
    for name, text in _missing(experiment.tags).items():
        client.set_experiment_tag(experiment.experiment_id, name, text)
    if experiment.tags.get(views.NOTE_TAG, "").startswith(FORMER_NOTE):
        client.set_experiment_tag(experiment.experiment_id, views.NOTE_TAG, views.NOTE)
    client.set_experiment_tag(experiment.experiment_id, key, value)
    if changed:
        _log.warning("the MLflow store is of an earlier version: %d entries got their present names", changed)


def _missing(tags: Mapping[str, str]) -> dict[str, str]:
    return dict(present(tags).items() - tags.items())


def _runs(client: MlflowClient, experiment_id: str) -> int:
    changed = 0
    for run in pages(client.search_runs, experiment_ids=[experiment_id], max_results=1000):
        run_id, name = run.info.run_id, _RUN_NAME.sub("#", run.info.run_name or "")
        if missing := _missing(run.data.tags):
            set_tags(client, run_id, missing)
            changed += 1
        if name != (run.info.run_name or ""):
            client.update_run(run_id, name=name.replace("· refused ·", "· not promoted ·"))
    return changed


def _models(client: MlflowClient, experiment_id: str) -> int:
    changed = 0
    for model in pages(client.search_logged_models, experiment_ids=[experiment_id]):
        if missing := _missing(model.tags):
            client.set_logged_model_tags(model.model_id, missing)
            changed += 1
    return changed


def _versions(client: MlflowClient) -> int:
    changed = 0
    for version in pages(client.search_model_versions):
        missing = _missing(version.tags)
        for key, value in missing.items():
            client.set_model_version_tag(version.name, version.version, key, value)
        changed += bool(missing)
    return changed
