"""Which of MLflow's runs came to nothing and may go, and which stay, and why.

Runs are judged in families, a retraining with its attempts or a search with its trials: one that must stay keeps all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from hlynr.ops.retention import inventory
from hlynr.ops.retention.inventory import Entry, LoggedModel, Pointers, retraining_id
from hlynr.ops.tracking.runs import FOLDER_TAG, LINEAGE_TAG, OUTCOME_TAG, PARENT_TAG, RETRAINING_TAG
from hlynr.ops.tracking.search_mirror import TRIAL_TAG
from hlynr.ops.tracking.store import Store

STUDY_TAG = "hlynr.study"
POINTED_TO = "a registered version or a decision points to them"
DECIDED = "their retraining came to a decision"
NEWEST = "the newest training, which can be gone on with"
YOUNG = "younger than retention.days"
FOREIGN = "not of this pipeline's making"
MARKED = "marked as deleted, for the server's operator to erase"

Kind = Literal["retraining", "search", "training", "run"]


@dataclass(frozen=True)
class RunFamily:
    """Runs that stay or go together, the one above all others first, and the models logged by them."""

    kind: Kind
    runs: tuple[Entry, ...]
    models: tuple[LoggedModel, ...]
    reason: str = ""
    """Why it goes."""

    @property
    def head(self) -> Entry:
        return self.runs[0]

    @property
    def seen(self) -> int:
        return max(run.seen for run in self.runs)

    @property
    def experiments(self) -> set[str]:
        return {name for run in self.runs for name in run.experiments}


@dataclass(frozen=True)
class Survey:
    """What goes, and how many runs stay for which reason."""

    going: tuple[RunFamily, ...] = ()
    kept: Mapping[str, int] = field(default_factory=dict)
    experiments: frozenset[str] = frozenset()
    """DVC's experiments of which only what goes knows."""
    known: frozenset[str] = frozenset()
    """DVC's experiments of what stays."""


def survey(store: Store, folder: Path, before: int) -> Survey:
    """Judge every run of the experiment.

    Args:
        folder: where the project trains; the newest training there can be gone on with, or promoted, and stays.
        before: what has shown a sign of life since then stays [ms since the epoch].
    """
    behind, pointers = inventory.database(store), inventory.pointers(store)
    runs, forgotten = inventory.runs(store, before), inventory.forgotten(behind, before)
    newest = max((run for run in runs if run.tags.get(FOLDER_TAG) == str(folder)), key=lambda r: r.seen, default=None)
    going: list[RunFamily] = []
    kept: Counter[str] = Counter()
    known: set[str] = set(pointers.experiments)
    for family in _families(runs, inventory.models(store, behind)):
        reason = _reason_to_stay(family, pointers, newest, before)
        if reason is None and behind is None and all(run.deleted for run in family.runs):
            reason = MARKED
        if reason is None:
            going.append(replace(family, reason=_reason_to_go(family)))
            continue
        single = set() if reason in (POINTED_TO, DECIDED) else forgotten
        gone = [run for run in family.runs if run.id in single and run.seen < before]
        going += [_alone(family, run) for run in gone]
        stay = [run for run in family.runs if run not in gone]
        kept[reason] += len(stay)
        known |= {name for run in stay for name in run.experiments}
    names = {name for family in going for name in family.experiments}
    return Survey(tuple(going), kept, frozenset(names - known), frozenset(known))


def _reason_to_stay(family: RunFamily, pointers: Pointers, newest: Entry | None, before: int) -> str | None:
    if _pointed_to(pointers, family):
        return POINTED_TO
    if family.head.tags.get(OUTCOME_TAG) in ("promoted", "not_promoted"):
        return DECIDED
    if newest in family.runs:
        return NEWEST
    if family.seen >= before:
        return YOUNG
    return FOREIGN if family.kind == "run" else None


def _pointed_to(pointers: Pointers, family: RunFamily) -> bool:
    lineages = {run.tags.get(tag, "") for run in family.runs for tag in (LINEAGE_TAG, RETRAINING_TAG)} - {""}
    return bool(
        pointers.runs & {run.id for run in family.runs}
        or pointers.models & {model.id for model in family.models}
        or pointers.retrainings & {retraining_id(lineage) for lineage in lineages}
        or pointers.experiments & family.experiments
    )


def _reason_to_go(family: RunFamily) -> str:
    if family.kind == "retraining":
        return "every attempt failed" if family.head.tags.get(OUTCOME_TAG) == "failed" else "came to no decision"
    return "a search of hyperparameters" if family.kind == "search" else "no registered version came from it"


def _alone(family: RunFamily, run: Entry) -> RunFamily:
    models = tuple(model for model in family.models if model.run_id == run.id)
    return RunFamily("run", (run,), models, "deleted in the UI")


def _families(runs: list[Entry], models: list[LoggedModel]) -> Iterator[RunFamily]:
    known = {run.id: run for run in runs}
    below: dict[str, list[Entry]] = {}
    for run in runs:
        below.setdefault(_top(run, known).id, []).append(run)
    for top, members in below.items():
        ids = {run.id for run in members}
        head, others = known[top], [run for run in members if run.id != top]
        yield RunFamily(_kind(head), (head, *others), tuple(model for model in models if model.run_id in ids))


def _top(run: Entry, known: Mapping[str, Entry]) -> Entry:
    """The uppermost run above; one whose run above is gone stands for itself."""
    passed = {run.id}
    while (above := known.get(run.tags.get(PARENT_TAG, ""))) is not None and above.id not in passed:
        passed.add(above.id)
        run = above
    return run


def _kind(head: Entry) -> Kind:
    if RETRAINING_TAG in head.tags:
        return "retraining"
    if STUDY_TAG in head.tags or TRIAL_TAG in head.tags:
        return "search"
    return "training" if LINEAGE_TAG in head.tags else "run"
