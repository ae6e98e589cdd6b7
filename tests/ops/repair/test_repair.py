"""`hlynr doctor --repair`: what only a dead process can have left goes, each in a line, and nothing else."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest
from support import projects, stores

from hlynr.config.project import Project
from hlynr.ops.registry.journal import PENDING_TAG
from hlynr.ops.repair import repair
from hlynr.ops.tracking import abandoned, runs
from hlynr.ops.tracking.store import Store
from hlynr.pipeline import leftovers
from hlynr.runtime import locks
from hlynr.runtime.locks import BusyError


@pytest.fixture
def own(project: Path, store: Store) -> Project:
    """A project in git with a store."""
    projects.checked(project, "git", "init", "--quiet", "--initial-branch=main")
    (project / ".gitignore").write_text("/mlruns/\n/.hlynr/\n")
    projects.commit(project, "x")
    return Project(project, stores.config())


def left_running(store: Store, root: Path) -> list[str]:
    """A retraining with its attempt, and a training and a search of processes that are gone."""
    parent = runs.start_retraining(store, stores.lineage(), ["default"], abandoned.of_project(root))
    lineages = stores.lineage(mlflow_parent_run_id=parent), stores.lineage(1)
    made = [parent, *(runs.start_run(store, each, stores.config()) for each in lineages)]
    made.append(runs.start_search(store, "search", stores.config()))
    for each in made[1:]:
        abandoned.claim(store, each)
    for each in made[2:]:
        store.client.set_tag(each, abandoned.PROCESS_TAG, f"{os.getpid()} 1")  # the number is another process' now
    return made


def statuses(store: Store, made: list[str]) -> list[str]:
    return [store.client.get_run(each).info.status for each in made]


def test_a_sound_project_has_nothing_to_mend(own: Project, store: Store) -> None:
    assert repair.look(own, store) == repair.repair(own) == []


def test_everything_goes_at_once_and_a_second_time_does_nothing(own: Project, store: Store) -> None:
    made = left_running(store, own.root)
    store.client.create_registered_model(store.model)
    store.client.set_registered_model_tag(store.model, PENDING_TAG, '{"oops":1}')
    lock = own.root / ".git" / "index.lock"
    lock.touch()
    os.utime(lock, (time.time() - 3600,) * 2)
    (own.root / ".hlynr" / "worktrees" / "ab12").mkdir(parents=True)
    (own.root / ".dvc" / "tmp").mkdir(parents=True)
    (own.root / ".dvc" / "tmp" / "rwlock").write_text('{"a": {"wri')
    found = repair.look(own, store)
    assert len(found) == len(made) + 4
    assert all(finding.repairable and "doctor --repair" in finding.remedy for finding in found)
    assert [check.ok for check in leftovers.checks(own)] == [False] * len(found)
    assert [check.ok for check in leftovers.repaired(own)] == [True] * len(found)
    assert statuses(store, made) == ["KILLED"] * 4
    assert not lock.exists()
    assert repair.repair(own) == repair.look(own, store) == leftovers.checks(own) == []


def test_while_a_retraining_goes_on_its_things_are_not_touched(own: Project, store: Store) -> None:
    made = left_running(store, own.root)[:2]
    (own.root / ".hlynr" / "worktrees" / "ab12").mkdir(parents=True)
    with locks.one_at_a_time(own.root):
        assert repair.look(own, store) == []
        with pytest.raises(BusyError, match="another retraining is going on here"):
            repair.repair(own)
    assert statuses(store, made) == ["RUNNING"] * 2
    assert (own.root / ".hlynr" / "worktrees" / "ab12").exists()


def test_runs_of_living_processes_and_of_other_machines_stay(
    own: Project, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = runs.start_run(store, stores.lineage(2), stores.config())
    abandoned.claim(store, alive)
    unknown = runs.start_run(store, stores.lineage(3), stores.config())
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "another")
        elsewhere = left_running(store, own.root)
    assert repair.repair(own) == []
    assert set(statuses(store, [alive, unknown, *elsewhere])) == {"RUNNING"}


def test_what_cannot_be_mended_says_why_and_holds_nothing_back(
    own: Project, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = left_running(store, own.root)

    def all_but_the_first(opened: Store, run_id: str) -> None:
        if run_id == made[0]:
            raise OSError("the disk\nis full")
        runs.finish_run(opened, run_id, "KILLED", "")

    monkeypatch.setattr(abandoned, "close_run", all_but_the_first)
    assert [each.remedy for each in repair.repair(own) if not each.repaired] == ["not mended: the disk is full"]
    assert statuses(store, made) == ["RUNNING", "KILLED", "KILLED", "KILLED"]


def test_what_a_person_has_to_decide_is_not_repaired(own: Project, store: Store, project: Path) -> None:
    version, _ = stores.retraining(store, project)
    store.client.set_registered_model_alias(store.model, "champion", str(version))
    store.client.delete_model_version_tag(store.model, str(version), "hlynr.bundle_sha256")
    (finding,) = repair.repair(own)
    assert (finding.repairable, finding.repaired) == (False, False)
    assert "rollback" in finding.remedy


@pytest.mark.parametrize("text", ["{}", '{"out": {"write": {"pid": 1, "cmd": "dvc repro"}}}'])
def test_a_sound_file_of_dvc_stays(own: Project, text: str) -> None:
    file = own.root / ".dvc" / "tmp" / "rwlock"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert repair.repair(own) == []
    assert file.exists()


def test_without_git_and_without_a_store_there_is_nothing(tmp_path: Path) -> None:
    bare = Project(tmp_path, stores.config())
    assert repair.repair(bare) == repair.look(bare, None) == []
