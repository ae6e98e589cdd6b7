"""Numbering the retrainings, going on with one, and one at a time."""

from __future__ import annotations

from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import projects, samples

from hlynr.config.project import Project
from hlynr.ops.registry import journal, versions
from hlynr.ops.tracking import abandoned, lineage, runs, store
from hlynr.pipeline import retraining
from hlynr.records.training import Lineage
from hlynr.rl import checkpoint
from hlynr.runtime.errors import EnvironmentNotReady, InputError

History = Callable[..., None]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """With a store that is not asked for anything but its history, and opens a retraining's run."""
    monkeypatch.setattr(store, "open_store", lambda config, root: None)
    monkeypatch.setattr(journal, "history", lambda opened: [])
    monkeypatch.setattr(runs, "failed_retrainings", lambda opened: set())
    monkeypatch.setattr(journal, "unfinished", lambda opened: None)
    monkeypatch.setattr(runs, "concluded", lambda opened: {})
    monkeypatch.setattr(versions, "numbers", lambda opened: set())
    monkeypatch.setattr(runs, "start_retraining", lambda opened, begun, plan, owner: "parent")
    monkeypatch.setattr(abandoned, "close", lambda opened, root, keep: None)
    return Project(tmp_path, projects.config(projects.OURS))


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> History:
    """Set the decisions taken so far, as (action, lineage id)."""

    def be(*decisions: tuple[str, str]) -> None:
        entries = [SimpleNamespace(action=action, lineage_id=lineage_id) for action, lineage_id in decisions]
        monkeypatch.setattr(journal, "history", lambda opened: entries)

    return be


@pytest.fixture
def left(project: Project, monkeypatch: pytest.MonkeyPatch) -> Lineage:
    """The lineage of a checkpoint that lies in the project."""
    begun = lineage.start(project.config, project.root, "flow-1")
    monkeypatch.setattr(checkpoint, "lineage_of", lambda folder, digest: begun)
    return begun


def test_every_decision_advances_the_retraining_and_a_rollback_does_not(project: Project, history: History) -> None:
    assert retraining.begin([project]).lineage.retraining == 0
    history(("promoted", "a"), ("not_promoted", "b"), ("rolled_back", "a"))
    current = retraining.begin([project], "flow-1")
    assert current.projects[0].config.run.retraining == current.lineage.retraining == 2
    assert current.lineage.params_digest == current.projects[0].config.digest()
    assert current.lineage.flow_run_id == "flow-1"
    assert current.lineage.mlflow_parent_run_id == "parent"


def test_a_retraining_whose_every_attempt_failed_advances_the_retraining(
    project: Project, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same seeds the next one would fail in the same way."""
    history(("promoted", "a"))
    monkeypatch.setattr(runs, "failed_retrainings", lambda opened: {"b"})
    assert retraining.begin([project]).lineage.retraining == 2


@pytest.mark.parametrize(
    ("in_the_file", "in_versions", "in_runs", "number"),
    [
        (0, {0, 1, 2}, {}, 3),
        (2, {0, 1, 2}, {}, 3),  # dvc exp apply of the newest
        (1, {0, 1, 2}, {}, 3),  # of an earlier one, or another branch
        (7, set(), {}, 7),  # the first of all, where the file begins
        (7, {7}, {}, 8),
        (0, set(), {"a": 4, "b": None}, 5),  # the registered model was deleted or renamed
        (0, {2}, {"a": 4}, 5),
    ],
)
def test_the_number_follows_the_highest_in_the_store(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    in_the_file: int,
    in_versions: set[int],
    in_runs: Any,
    number: int,
) -> None:
    monkeypatch.setattr(versions, "numbers", lambda opened: in_versions)
    monkeypatch.setattr(runs, "concluded", lambda opened: in_runs)
    assert retraining.begin([project.at_retraining(in_the_file)]).lineage.retraining == number


def test_an_unattended_retraining_gives_up_one_that_failed_again_and_says_why(project: Project, left: Lineage) -> None:
    """Every scheduled retraining would resume it, and fail."""
    begun = retraining.begin([project], resume=True, unattended=True)
    assert begun.resumed
    with pytest.raises(KeyError), retraining.given_up_on_error(begun):
        raise KeyError("hlynr.retraining.number")
    with pytest.raises(InputError, match=r"given up, it failed with KeyError: 'hlynr\.retraining\.number'"):
        retraining.begin([project], resume=True, unattended=True)
    assert retraining.begin([project], resume=True).lineage.id == left.id  # a person may try again
    assert retraining.begin([project], unattended=True).lineage.id != left.id


@pytest.mark.parametrize("error", [EnvironmentNotReady("MLflow is away"), OSError(ENOSPC, "full")])
def test_what_was_only_not_ready_is_resumed_again(project: Project, left: Lineage, error: Exception) -> None:
    begun = retraining.begin([project], resume=True, unattended=True)
    with pytest.raises(type(error)), retraining.given_up_on_error(begun):
        raise error
    assert retraining.begin([project], resume=True, unattended=True).lineage.id == left.id


def test_a_first_failure_is_resumed(project: Project, left: Lineage) -> None:
    with pytest.raises(KeyError), retraining.given_up_on_error(retraining.begin([project])):
        raise KeyError
    assert retraining.begin([project], resume=True, unattended=True).lineage.id == left.id


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"retraining": 1}'])
def test_a_note_of_giving_up_that_is_none_is_passed_over(project: Project, left: Lineage, text: str) -> None:
    (project.root / ".hlynr").mkdir()
    (project.root / ".hlynr" / "given-up.json").write_text(text)
    assert retraining.begin([project], resume=True, unattended=True).lineage.id == left.id


def test_a_retraining_that_is_concluded_in_mlflow_alone_is_not_resumed(
    project: Project, left: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history went with the registered model."""
    monkeypatch.setattr(runs, "concluded", lambda opened: {left.retraining_id: 0})
    monkeypatch.setattr(retraining.TrainResult, "read", lambda path: SimpleNamespace(lineage=left))
    assert retraining.begin([project], resume=True).lineage.id != left.id


def test_resume_goes_on_with_the_interrupted_retraining(project: Project, left: Lineage) -> None:
    assert retraining.begin([project], "flow-2", resume=True).lineage == left.model_copy(
        update={"flow_run_id": "flow-2"}
    )
    assert retraining.begin([project]).lineage.id != left.id


def test_resume_begins_a_new_retraining_where_none_was_interrupted(
    project: Project, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert retraining.begin([project], resume=True).lineage.retraining == 0  # there is no checkpoint at all
    decided = lineage.start(project.config, project.root)
    history(("not_promoted", decided.id))
    finished = SimpleNamespace(lineage=decided)
    monkeypatch.setattr(retraining.TrainResult, "read", lambda path: finished)
    monkeypatch.setattr(checkpoint, "lineage_of", lambda *_: pytest.fail("another retraining's checkpoint was opened"))
    assert retraining.begin([project], resume=True).lineage.retraining == 1


def test_resume_ends_a_retraining_that_was_killed_after_its_decision(
    project: Project, left: Lineage, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the decision that was carried out, under its number: a new gate would compare the champion with itself."""
    decided = left.model_copy(update={"mlflow_run_id": "run", "mlflow_parent_run_id": "parent"})
    samples.training().model_copy(update={"lineage": decided}).write(project.train / "result.json")
    history(("promoted", decided.id))
    monkeypatch.setattr(runs, "logged_decision", lambda opened, run_id: samples.decision())
    monkeypatch.setattr(runs, "is_concluded", lambda opened, run_id: False)
    resumed = retraining.begin([project], resume=True)
    assert (resumed.lineage.id, resumed.lineage.retraining) == (decided.id, 0)
    assert resumed.projects[0].config.run.retraining == 0
    assert resumed.decision == samples.decision()
    assert retraining.begin([project]).lineage.retraining == 1

    monkeypatch.setattr(runs, "is_concluded", lambda opened, run_id: True)
    following = retraining.begin([project], resume=True)
    assert (following.lineage.retraining, following.decision) == (1, None)


def test_resume_rejects_a_retraining_begun_under_other_settings(project: Project, left: Lineage) -> None:
    changed = Project(project.root, projects.config(projects.OURS, "gate.baseline=0.5"))
    with pytest.raises(InputError, match="the configuration has changed since"):
        retraining.begin([changed], resume=True)


def test_a_retry_takes_no_other_retrainings_checkpoint(project: Project, left: Lineage) -> None:
    """The child was killed before it had cleared what an earlier retraining had left."""
    other = lineage.start(project.config, project.root)
    assert retraining.begun(project, other, project.train) is None
    assert retraining.begun(project, left, project.train) == left
    assert retraining.begun(project, None, project.train) == left


def test_a_retry_is_not_stopped_by_a_checkpoint_it_cannot_use(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(folder: Path, digest: str) -> Any:
        raise checkpoint.CheckpointError("belongs to another configuration")

    monkeypatch.setattr(checkpoint, "lineage_of", damaged)
    given = lineage.start(project.config, project.root)
    assert retraining.begun(project, given, project.train) is None
    with pytest.raises(checkpoint.CheckpointError):
        retraining.begun(project, None, project.train)
