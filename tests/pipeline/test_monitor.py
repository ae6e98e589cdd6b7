"""Watching a training from another process: the right training, its status, and whether its process still runs."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import projects, statuses
from support.projects import RetrainedProject
from support.statuses import RISING
from support.trainings import Child

from hlynr.config.config import Config
from hlynr.config.project import Project
from hlynr.ops.tracking import runs, store
from hlynr.pipeline import monitor
from hlynr.records.training import STATUS, TrainingStatus
from hlynr.runtime.errors import InputError

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path, config: Config) -> Project:
    return Project(tmp_path / "project", config)


@pytest.fixture
def make(config: Config) -> Callable[..., TrainingStatus]:
    """A status under the project's own monitor settings, of this moment."""
    return lambda *args, **changes: statuses.status(config.monitor, *args, **{"updated": datetime.now(UTC), **changes})


def left(folder: Path, status: TrainingStatus) -> Path:
    """What a training leaves."""
    status.write(folder / STATUS)
    return folder


# Which training


def test_the_newest_training_is_the_one_in_the_outputs(project: Project, make: Callable[..., TrainingStatus]) -> None:
    status = make()
    left(project.train, status)
    assert monitor.look(project, None) == status


def test_after_a_retraining_that_failed_the_newest_is_among_those_put_aside(
    project: Project, make: Callable[..., TrainingStatus]
) -> None:
    for number, name in enumerate(("1-default", "2-large-mlp", "3-two-phase")):
        made = datetime.now(UTC) + timedelta(seconds=[0, 9, 5][number])
        left(project.attempts / name, make(state="finished", strategy=name[2:], updated=made))
    assert monitor.look(project, None).strategy == "large-mlp"


def test_a_folder_names_its_training(project: Project, make: Callable[..., TrainingStatus], tmp_path: Path) -> None:
    left(project.train, make())
    elsewhere = left(tmp_path / "elsewhere", make(RISING[:2]))
    assert len(monitor.look(project, str(elsewhere)).evaluations) == 2


def test_where_there_is_no_training(project: Project, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train/status\.json: is missing; no training has begun in this project"):
        monitor.look(project, None)
    with pytest.raises(InputError, match=r"holds no status\.json"):
        monitor.look(project, str(tmp_path))
    for run in ("6f4e34", "nowhere"):
        with pytest.raises(InputError, match=f"RUN: {run}: is no folder, and there is no MLflow run yet"):
            monitor.look(project, run)
    assert not project.root.exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "Invalid JSON"),
        (b'{"lineage": ', "Invalid JSON"),
        (b"\xff\xfe\x00", "Invalid JSON"),
        (b"[1, 2]", "object"),
        (b'{"seed": 1}', "lineage: Field required"),
    ],
)
def test_a_damaged_status_is_one_line(project: Project, content: bytes, complaint: str) -> None:
    project.train.mkdir(parents=True)
    (project.train / STATUS).write_bytes(content)
    with pytest.raises(InputError, match=complaint) as refused:
        monitor.look(project, None)
    assert str(refused.value).startswith(f"{project.train / STATUS}: is no TrainingStatus of this version: ")
    assert "\n" not in str(refused.value)


def test_a_time_without_zone_and_a_folder_are_damage_too(project: Project, make: Callable[..., TrainingStatus]) -> None:
    path = left(project.train, make()) / STATUS
    status = json.loads(path.read_text())
    del status["sha256"]  # as an earlier version wrote it
    path.write_text(json.dumps(status | {"updated": "2026-01-01T00:00:00"}))
    with pytest.raises(InputError, match="updated: "):
        monitor.look(project, None)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        monitor.look(project, None)


def test_reading_while_it_is_replaced_never_fails(project: Project, make: Callable[..., TrainingStatus]) -> None:
    written = [make(RISING[:count]) for count in range(1, len(RISING))]
    left(project.train, written[0])
    done = threading.Event()

    def replace() -> None:
        for number in range(600):
            left(project.train, written[number % len(written)])
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen = {len(monitor.look(project, None).evaluations) for _ in iter(done.is_set, True)}
    writer.join()
    assert len(seen) > 1


# Whether anybody still trains


def _ended() -> int:
    """A number that no process has."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def state(project: Project, status: TrainingStatus) -> str:
    return monitor.look(project, str(left(project.train, status))).state


def test_a_process_that_is_gone_has_lost_its_training(project: Project, make: Callable[..., TrainingStatus]) -> None:
    silent, gone = datetime.now(UTC) - timedelta(seconds=60), _ended()
    assert state(project, make(process=gone, updated=silent)) == "lost"
    assert state(project, make(process=gone)) == "running"  # it has only just been heard of
    assert state(project, make(process=gone, updated=silent, machine="another")) == "running"
    assert state(project, make(process=gone, updated=silent, machine=None)) == "running"
    for ended in ("finished", "interrupted", "failed"):
        assert state(project, make(process=gone, updated=silent, state=ended)) == ended


def test_a_silent_process_that_is_there_goes_on(
    project: Project, make: Callable[..., TrainingStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "SILENCE", 0.0)
    status = make(process=os.getpid(), updated=datetime.now(UTC) - timedelta(seconds=0.5))
    assert state(project, status) == "running"


def test_a_number_that_another_process_has_been_given(project: Project, make: Callable[..., TrainingStatus]) -> None:
    assert state(project, make(process=os.getpid(), updated=LONG_AGO)) == "lost"


def test_a_zombie_process_is_dead(
    project: Project, make: Callable[..., TrainingStatus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "SILENCE", 0.0)
    process = subprocess.Popen([sys.executable, "-c", ""])
    projects.until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "its end")
    assert state(project, make(process=process.pid, updated=datetime.now(UTC))) == "lost"
    process.wait()


def test_a_training_in_another_process(
    project: Project, tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at while it trains, and after it has been killed."""
    out = tmp_path / "out"
    child = Child(tiny("train.timesteps=10000000"), out, "hlynr.rl.callbacks.TrainingCallback.write_status", 3)
    running = projects.run(projects.OURS, "hlynr", "monitor", str(out), "--once", "--json", "-")
    assert running.returncode == 0, running.stderr
    status = TrainingStatus.model_validate_json(running.stdout)
    assert (status.state, status.process, status.progress.budget) == ("running", child.process.pid, 10_000_000)
    assert status.evaluations
    assert status.evaluations[-1].timesteps <= status.progress.timesteps
    child.kill()
    monkeypatch.setattr(monitor, "SILENCE", 0.0)
    lost = monitor.look(project, str(out))
    assert (lost.state, lost.evaluations) == ("lost", status.evaluations)


# From MLflow


def test_a_recorded_run_shows_what_its_status_showed(
    retraining: RetrainedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingStatus.read(retraining.outputs / "train" / STATUS)
    run_id = str(original.lineage.mlflow_run_id)
    monkeypatch.setattr(monitor, "STATUS", "no-such-file.json")
    rebuilt = monitor.look(retraining.project, run_id[:8])
    for field in ("strategy", "algorithm", "scenario", "seed", "state", "window", "verdict", "evaluations"):
        assert getattr(rebuilt, field) == getattr(original, field), field
    same = ("device", "timesteps", "budget", "success_rate", "best_success", "mean_reward", "eta_seconds")
    for field in same:
        assert getattr(rebuilt.progress, field) == getattr(original.progress, field), field
    assert (rebuilt.lineage.id, rebuilt.lineage.mlflow_run_id) == (original.lineage.id, run_id)
    assert rebuilt.seconds == pytest.approx(original.seconds, abs=10)


def test_a_run_is_read_from_its_folder_where_that_is_still_its_own(
    retraining: RetrainedProject, make: Callable[..., TrainingStatus], tmp_path: Path
) -> None:
    run_id = str(retraining.record.train.lineage.mlflow_run_id)
    elsewhere = Project(retraining.root, projects.config(retraining.root, f"run.outputs={tmp_path}"))
    own = make(lineage=retraining.record.train.lineage, seed=99)
    opened = store.open_store(retraining.project.config, retraining.root)
    runs.set_device(opened, run_id, "cpu", tmp_path / "moved")
    try:
        left(elsewhere.train, make(seed=98))  # another's
        assert monitor.look(elsewhere, run_id).seed == retraining.record.train.seed
        left(elsewhere.train, own)
        assert monitor.look(elsewhere, run_id).seed == 99
        left(tmp_path / "moved", own.model_copy(update={"seed": 97}))
        assert monitor.look(elsewhere, run_id).seed == 97
    finally:
        runs.set_device(opened, run_id, "cpu", retraining.project.train)


# On a terminal


class Terminal:
    """`hlynr monitor` of a folder on a terminal of 80 columns and 24 rows."""

    def __init__(self, folder: Path) -> None:
        self._leader, follower = pty.openpty()
        self.said = ""
        self.process = subprocess.Popen(
            [str(projects.BIN / "hlynr"), "monitor", str(folder)],
            cwd=projects.OURS,
            env=projects.environment(TERM="xterm-256color", COLUMNS="80", LINES="24", PYTHONIOENCODING="utf-8"),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                self.said += os.read(self._leader, 65536).decode(errors="replace")
            except OSError:  # what Linux says when nobody is left on the other side
                return

    def shows(self, words: str) -> None:
        """Wait for them."""
        projects.until(lambda: words in self.said, words, 30)

    def ends(self) -> str:
        """Everything that was said after the whole screen had been given back."""
        assert self.process.wait(30) == 0, self.said
        self._reader.join(30)
        os.close(self._leader)
        _, given_back, after = self.said.partition("\x1b[?1049l")
        assert given_back
        return after


def test_a_terminal_is_redrawn_until_the_training_ends(tmp_path: Path, make: Callable[..., TrainingStatus]) -> None:
    left(tmp_path, make(RISING[:2]))
    terminal = Terminal(tmp_path)
    terminal.shows("30.0 % at 400,000")
    left(tmp_path, make(RISING[:4]))
    terminal.shows("80.0 % at 800,000")
    left(tmp_path, make(RISING, state="finished"))
    after = terminal.ends()
    assert "finished after 1,400,000" in after
    assert "Leading signs" in after  # the whole of it, though the terminal is low
    assert "Leading signs" not in terminal.said.removesuffix(after)


def test_ctrl_c_leaves_the_view_and_no_traceback(tmp_path: Path, make: Callable[..., TrainingStatus]) -> None:
    left(tmp_path, make(RISING[:2]))
    terminal = Terminal(tmp_path)
    terminal.shows("30.0 % at 400,000")
    os.killpg(terminal.process.pid, signal.SIGINT)
    after = terminal.ends()
    assert "running" in after
    assert "Traceback" not in terminal.said
    assert "Aborted" not in terminal.said


def test_a_pipe_gets_one_view_and_lines(tmp_path: Path, make: Callable[..., TrainingStatus]) -> None:
    left(tmp_path, make(RISING[:2]))
    viewer = projects.start(projects.OURS, "hlynr", "monitor", str(tmp_path))
    assert viewer.stdout is not None
    first = viewer.stdout.readline()
    left(tmp_path, make(RISING[:3], state="interrupted"))
    rest = viewer.stdout.read()
    _, complaints = viewer.communicate(timeout=30)
    assert (viewer.returncode, complaints) == (0, "")
    lines = [first.rstrip(), *rest.splitlines()]
    assert lines[0] == "Training 20261123-180530-4f2a9c: running"
    assert [line.split()[0] for line in lines[-2:]] == ["600,000", "interrupted"]
    assert "\x1b" not in first + rest
    assert sum("Leading signs" in line for line in lines) == 1


def test_ctrl_c_ends_a_pipe_too(tmp_path: Path, make: Callable[..., Any]) -> None:
    left(tmp_path, make(RISING[:2]))
    viewer = projects.start(projects.OURS, "hlynr", "monitor", str(tmp_path))
    assert viewer.stdout is not None
    viewer.stdout.readline()
    os.killpg(viewer.pid, signal.SIGINT)
    _, complaints = viewer.communicate(timeout=30)
    assert (viewer.returncode, complaints) == (0, "")
