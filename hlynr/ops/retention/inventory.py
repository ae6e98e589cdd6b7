"""What MLflow holds, read for the pruning: runs, logged models, and what the registry points to."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hlynr.ops.registry import journal
from hlynr.ops.registry.versions import MODEL_ID_TAG
from hlynr.ops.tracking import migration
from hlynr.ops.tracking.migration import pages
from hlynr.ops.tracking.runs import LINEAGE_TAG
from hlynr.ops.tracking.store import Store
from hlynr.ops.versioning.experiments import experiment_names

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT_TAG = "hlynr.lineage.dvc_experiment"

_RETRAINING_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}")


@dataclass(frozen=True)
class Entry:
    """One run."""

    id: str
    name: str
    tags: Mapping[str, str]
    deleted: bool
    seen: int
    """Its newest sign of life [ms since the epoch]: a run that is gone on with keeps its first start."""
    artifacts: str

    @property
    def experiments(self) -> set[str]:
        """Names that its lineage may have among DVC's experiments."""
        saved = self.tags.get(EXPERIMENT_TAG)
        return {*experiment_names(self.tags.get(LINEAGE_TAG, "")), *([saved] if saved else [])}


@dataclass(frozen=True)
class LoggedModel:
    id: str
    run_id: str
    deleted: bool
    location: str


@dataclass(frozen=True)
class Pointers:
    """What versions, aliases and histories of all registered models point to, whatever their model's name."""

    runs: frozenset[str]
    models: frozenset[str]
    experiments: frozenset[str]
    retrainings: frozenset[str]


def database(store: Store) -> Any | None:
    """MLflow's own door to a database, which alone can erase; None where a server stands before it."""
    behind = store.client._tracking_client.store
    return behind if hasattr(behind, "_hard_delete_run") else None


def runs(store: Store, before: int) -> list[Entry]:
    from mlflow.entities import ViewType

    found = pages(
        store.client.search_runs, experiment_ids=[store.experiment_id], run_view_type=ViewType.ALL, max_results=1000
    )
    return [_entry(store, run, before) for run in found]


def _entry(store: Store, run: Run, before: int) -> Entry:
    seen = max(run.info.start_time or 0, run.info.end_time or 0)
    if run.info.status == "RUNNING" and seen < before:  # a dead process, or one resumed after a long time
        histories = (store.client.get_metric_history(run.info.run_id, key) for key in run.data.metrics)
        seen = max((entry.timestamp for history in histories for entry in history), default=seen)
    deleted = run.info.lifecycle_stage == "deleted"
    name = run.info.run_name or run.info.run_id
    return Entry(run.info.run_id, name, migration.present(run.data.tags), deleted, seen, run.info.artifact_uri or "")


def forgotten(behind: Any | None, before: int) -> set[str]:
    """Runs deleted in the UI before that time; a server does not tell when."""
    return set() if behind is None else set(behind._get_deleted_runs(older_than=round(1000 * time.time()) - before))


def models(store: Store, behind: Any | None) -> list[LoggedModel]:
    """Logged models of the experiment, those included that an interrupted pruning has only marked as deleted."""
    found = [(model, False) for model in pages(store.client.search_logged_models, experiment_ids=[store.experiment_id])]
    if behind is not None:
        deleted = behind._get_deleted_logged_models()
        found += [(behind.get_logged_model(key, allow_deleted=True), True) for key in deleted]
    return [
        LoggedModel(model.model_id, model.source_run_id or "", gone, model.artifact_location) for model, gone in found
    ]


def pointers(store: Store) -> Pointers:
    versions = list(pages(store.client.search_model_versions))
    registries = [replace(store, model=model.name) for model in pages(store.client.search_registered_models)]
    decisions = [entry for each in registries for entry in (*journal.history(each), journal.unfinished(each)) if entry]
    lineages = [version.tags.get(LINEAGE_TAG) for version in versions] + [entry.lineage_id for entry in decisions]
    runs = [version.run_id for version in versions] + [entry.mlflow_run_id for entry in decisions]
    models = {version.tags.get(MODEL_ID_TAG, "") for version in versions}
    models |= {found for version in versions for found in _MODEL_ID.findall(version.source or "")}
    experiments = [version.tags.get(EXPERIMENT_TAG) for version in versions]
    experiments += [name for each in lineages for name in experiment_names(each or "")]
    return Pointers(
        _known(runs), _known(models), _known(experiments), _known(map(retraining_id, filter(None, lineages)))
    )


def _known(values: Iterable[str | None]) -> frozenset[str]:
    return frozenset(value for value in values if value)


def retraining_id(lineage_id: str) -> str:
    """The id of the retraining's first attempt."""
    found = _RETRAINING_ID.match(lineage_id)
    return found[0] if found else lineage_id
