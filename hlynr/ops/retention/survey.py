"""Which of MLflow's runs may be pruned, and which are kept, and why.

Runs are judged in families, a retraining with its attempts or a search with its trials: one that is kept keeps all.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hlynr.ops.retention import inventory
from hlynr.ops.retention.inventory import ModelEntry, RunEntry, retraining_id
from hlynr.ops.tracking import mlflow_private
from hlynr.ops.tracking.runs import FOLDER_TAG, LINEAGE_TAG, OUTCOME_TAG, PARENT_TAG, RETRAINING_TAG, STUDY_TAG
from hlynr.ops.tracking.search_mirror import TRIAL_TAG
from hlynr.ops.tracking.store import Store
from hlynr.ops.versioning.experiments import PREFIXES

POINTED_TO = "a registered version or a decision points to them"
DECIDED = "their retraining ended with a decision"
NEWEST = "the newest training, which can be resumed"
YOUNG = "younger than retention.days"
FOREIGN = "not made by this pipeline"
MARKED = "marked as deleted, for the server's operator to erase"

Kind = Literal["retraining", "search", "training", "run"]


@dataclass(frozen=True)
class RunFamily:
    """Runs that are kept or go together, the parent of all others first, and the models logged by them."""

    kind: Kind
    runs: tuple[RunEntry, ...]
    models: tuple[ModelEntry, ...]
    reason: str = ""

    @property
    def head(self) -> RunEntry:
        return self.runs[0]

    @property
    def active_at(self) -> int:
        return max(run.active_at for run in self.runs)

    @property
    def experiments(self) -> set[str]:
        return {name for run in self.runs for name in run.experiments}

    @property
    def names(self) -> set[str]:
        """All by which `inventory.pointers` may point to it."""
        lineages = [run.tags[tag] for run in self.runs for tag in (LINEAGE_TAG, RETRAINING_TAG) if tag in run.tags]
        ids = {run.id for run in self.runs} | {model.id for model in self.models}
        return ids | set(map(retraining_id, lineages)) | self.experiments


@dataclass(frozen=True)
class Survey:
    """What goes, and how many runs are kept for which reason."""

    going: tuple[RunFamily, ...] = ()
    kept: Mapping[str, int] = field(default_factory=dict)
    experiments: frozenset[str] = frozenset()
    """DVC's experiments that only runs that go belong to."""
    known: frozenset[str] = frozenset()
    """DVC's experiments of runs that are kept."""
    erasable: bool = False
    """Whether MLflow's database can be reached; a server only marks runs as deleted."""


def survey(store: Store, folder: Path, before: int) -> Survey:
    """Judge every run of the experiment.

    Args:
        folder: where the project trains; the newest training there can be resumed or promoted, and is kept.
        before: runs that were active since then are kept [ms since the epoch].
    """
    database, pointers = mlflow_private.database(store.client), inventory.pointers(store)
    runs, deleted = inventory.runs(store, before), database.deleted_runs(before) if database else set()
    trained_here = (run for run in runs if run.tags.get(FOLDER_TAG) == str(folder))
    newest = max(trained_here, key=lambda run: run.active_at, default=None)
    going: list[RunFamily] = []
    kept: Counter[str] = Counter()
    known = {name for name in pointers if name.startswith(PREFIXES)}
    for family in _families(runs, inventory.models(store, database)):
        reason = _reason_to_keep(family, pointers, newest, before)
        if reason is None and database is None and all(run.deleted for run in family.runs):
            reason = MARKED
        if reason is None:
            going.append(replace(family, reason=_reason_to_go(family)))
            continue
        single = set() if reason in (POINTED_TO, DECIDED) else deleted
        gone = [run for run in family.runs if run.id in single and run.active_at < before]
        for run in gone:
            models = tuple(model for model in family.models if model.run_id == run.id)
            going.append(RunFamily("run", (run,), models, "deleted in the UI"))
        stay = [run for run in family.runs if run not in gone]
        kept[reason] += len(stay)
        known |= {name for run in stay for name in run.experiments}
    names = {name for family in going for name in family.experiments}
    return Survey(tuple(going), kept, frozenset(names - known), frozenset(known), database is not None)


def _reason_to_keep(family: RunFamily, pointers: frozenset[str], newest: RunEntry | None, before: int) -> str | None:
    if not pointers.isdisjoint(family.names):
        return POINTED_TO
    if family.head.tags.get(OUTCOME_TAG) in ("promoted", "not_promoted"):
        return DECIDED
    if newest in family.runs:
        return NEWEST
    if family.active_at >= before:
        return YOUNG
    return FOREIGN if family.kind == "run" else None


def _reason_to_go(family: RunFamily) -> str:
    if family.kind == "retraining":
        return "every attempt failed" if family.head.tags.get(OUTCOME_TAG) == "failed" else "ended without a decision"
    return "a search of hyperparameters" if family.kind == "search" else "no registered version came from it"


def _families(runs: list[RunEntry], models: list[ModelEntry]) -> Iterator[RunFamily]:
    by_id = {run.id: run for run in runs}
    members: dict[str, list[RunEntry]] = {}
    for run in runs:
        members.setdefault(_root(run, by_id).id, []).append(run)
    for root, family in members.items():
        ids = {run.id for run in family}
        family.sort(key=lambda run: run.id != root)  # stable: the root first
        yield RunFamily(_kind(family[0]), tuple(family), tuple(model for model in models if model.run_id in ids))


def _root(run: RunEntry, by_id: Mapping[str, RunEntry]) -> RunEntry:
    """The topmost parent run; a run whose parent is gone is its own."""
    passed = {run.id}
    while (parent := by_id.get(run.tags.get(PARENT_TAG, ""))) is not None and parent.id not in passed:
        passed.add(parent.id)
        run = parent
    return run


def _kind(head: RunEntry) -> Kind:
    if RETRAINING_TAG in head.tags:
        return "retraining"
    if STUDY_TAG in head.tags or TRIAL_TAG in head.tags:
        return "search"
    return "training" if LINEAGE_TAG in head.tags else "run"
