"""The runs of a killed retraining are closed by the next one; those of other projects, and its own, are not."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from support import stores
from support.mortal import Killed, mortal

from hlynr.ops.tracking import abandoned
from hlynr.ops.tracking.runs import finish_run, start_retraining, start_run
from hlynr.ops.tracking.store import Store

ROOT = Path("/project")


def _retraining(store: Store, number: int, root: Path = ROOT) -> tuple[str, str]:
    """A retraining and its attempt, both running."""
    lineage = stores.lineage(id=f"20261123-18053{number}-abcdef", retraining=number)
    parent = start_retraining(store, lineage, ["default"], abandoned.of_project(root))
    return parent, start_run(store, lineage.model_copy(update={"mlflow_parent_run_id": parent}), stores.config())


def _status(store: Store, *runs: str) -> set[str]:
    return {store.client.get_run(run).info.status for run in runs}


def test_a_lost_retraining_is_closed_with_its_attempts(store: Store) -> None:
    gone, present, elsewhere = _retraining(store, 1), _retraining(store, 2), _retraining(store, 3, Path("/another"))
    alone = start_run(store, stores.lineage(id="20261123-180539-abcdef"), stores.config())
    abandoned.close(store, ROOT, keep=present[0])
    assert _status(store, *gone) == {"KILLED"}
    assert _status(store, *present, *elsewhere, alone) == {"RUNNING"}
    note = store.client.get_run(gone[0]).data.tags["mlflow.note.content"]
    assert note == "Lost: its process was killed, or its machine."


def test_a_retraining_and_a_training_killed_after_the_first_write_are_closed(store: Store, tmp_path: Path) -> None:
    parent = start_retraining(mortal(store, 1), stores.lineage(), ["default"], abandoned.of_project(ROOT))
    dead = {**abandoned.of_process(), abandoned.PROCESS_TAG: f"{os.getpid()} 1"}
    with pytest.raises(Killed):
        start_run(mortal(store, 1), stores.lineage(1), stores.config(), dead)
    abandoned.close(store, ROOT, keep=None)
    assert _status(store, parent) == {"KILLED"}
    assert not store.client.search_runs([store.experiment_id], "attributes.status = 'RUNNING'")


def test_an_attempt_that_was_left_when_its_retraining_was_closed_is_closed(store: Store) -> None:
    """The store did not answer when the training failed, and answered again when the retraining did."""
    dead = {**abandoned.of_process(), abandoned.PROCESS_TAG: f"{os.getpid()} 1"}
    parents = [start_retraining(store, stores.lineage(n), ["x"], abandoned.of_project(ROOT)) for n in range(3)]
    owners = (dead, abandoned.of_process(), dead)
    attempts = [
        start_run(store, stores.lineage(n, mlflow_parent_run_id=parent), stores.config(), owner)
        for n, (parent, owner) in enumerate(zip(parents, owners, strict=True))
    ]
    for ended in parents[:2]:  # starting an attempt shows its retraining as running again
        finish_run(store, ended, "FAILED", "No answer.")
    abandoned.close(store, ROOT, keep=parents[2])
    assert [_status(store, attempt) for attempt in attempts] == [{"KILLED"}, {"RUNNING"}, {"RUNNING"}]


def test_a_retraining_of_another_machine_is_left_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    retraining = _retraining(store, 1)
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    abandoned.close(store, ROOT, keep=None)
    assert _status(store, *retraining) == {"RUNNING"}
