"""What MLflow holds, read for pruning: runs, logged models, and what the registry points to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hlynr.ops.registry import journal
from hlynr.ops.registry.versions import MODEL_ID_TAG
from hlynr.ops.tracking import migration
from hlynr.ops.tracking.calls import pages
from hlynr.ops.tracking.runs import LINEAGE_TAG
from hlynr.ops.tracking.store import Store
from hlynr.ops.versioning.experiments import experiment_names

if TYPE_CHECKING:
    from mlflow.entities import Run

    from hlynr.ops.tracking.mlflow_private import Database

EXPERIMENT_TAG = "hlynr.lineage.dvc_experiment"

_RETRAINING_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True)
class RunEntry:
    """One run."""

    id: str
    name: str
    tags: Mapping[str, str]
    deleted: bool
    active_at: int
    """When it last started, ended or logged [ms since the epoch]: a resumed run keeps its first start."""
    artifacts: str

    @property
    def experiments(self) -> frozenset[str]:
        """Names that its lineage may have among DVC's experiments."""
        named = [self.tags.get(EXPERIMENT_TAG), *experiment_names(self.tags.get(LINEAGE_TAG, ""))]
        return frozenset(filter(None, named))


@dataclass(frozen=True)
class ModelEntry:
    """One logged model."""

    id: str
    run_id: str
    deleted: bool
    location: str


def runs(store: Store, before: int) -> list[RunEntry]:
    """All runs of the experiment, deleted ones included.

    Args:
        before: the metrics of runs that seem older are asked when they were logged [ms since the epoch].
    """
    from mlflow.entities import ViewType

    experiment = [store.experiment_id]
    found = pages(store.client.search_runs, experiment_ids=experiment, run_view_type=ViewType.ALL, max_results=1000)
    return [_entry(store, run, before) for run in found]


def _entry(store: Store, run: Run, before: int) -> RunEntry:
    info, active_at = run.info, max(run.info.start_time or 0, run.info.end_time or 0)
    if info.status == "RUNNING" and active_at < before:  # a dead process, or one resumed after a long time
        histories = (store.client.get_metric_history(info.run_id, key) for key in run.data.metrics)
        active_at = max((entry.timestamp for history in histories for entry in history), default=active_at)
    tags, deleted = migration.present(run.data.tags), info.lifecycle_stage == "deleted"
    return RunEntry(info.run_id, info.run_name or info.run_id, tags, deleted, active_at, info.artifact_uri or "")


def models(store: Store, database: Database | None) -> list[ModelEntry]:
    """Logged models of the experiment, including those that an interrupted pruning has only marked as deleted."""
    found = [(model, False) for model in pages(store.client.search_logged_models, experiment_ids=[store.experiment_id])]
    found += [(model, True) for model in (database.deleted_models() if database else ())]
    return [
        ModelEntry(model.model_id, model.source_run_id or "", deleted, model.artifact_location)
        for model, deleted in found
    ]


def pointers(store: Store) -> frozenset[str]:
    """All that versions and histories of all registered models point to, whatever their model's name.

    Ids of runs and of logged models, names of DVC's experiments, and ids of retrainings.
    """
    versions = list(pages(store.client.search_model_versions))
    registries = [replace(store, model=model.name) for model in pages(store.client.search_registered_models)]
    decisions = [entry for each in registries for entry in (*journal.history(each), journal.unfinished(each)) if entry]
    found: list[str | None] = [entry.mlflow_run_id for entry in decisions]
    lineages = [entry.lineage_id for entry in decisions]
    for version in versions:
        found += [version.run_id, version.tags.get(MODEL_ID_TAG), version.tags.get(EXPERIMENT_TAG)]
        found += _MODEL_ID.findall(version.source or "")
        lineages.append(version.tags.get(LINEAGE_TAG, ""))
    for lineage_id in lineages:
        found += [retraining_id(lineage_id), *experiment_names(lineage_id)]
    return frozenset(filter(None, found))


def retraining_id(lineage_id: str) -> str:
    """The id of the retraining's first attempt."""
    found = _RETRAINING_ID.match(lineage_id)
    return found[0] if found else lineage_id
