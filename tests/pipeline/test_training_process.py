"""The border between the flow and the training process, with a stand-in for the training itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import projects, samples

from hlynr.config.project import Project
from hlynr.ops.tracking import lineage
from hlynr.pipeline import training_process
from hlynr.records.training import TrainProgress, TrainResult
from hlynr.runtime import processes
from hlynr.runtime.errors import EnvironmentNotReady, InputError, TrainingError

PREAMBLE = """
import os, signal, sys, time
from pathlib import Path
from hlynr.pipeline import steps
from hlynr.runtime import errors
from hlynr.pipeline.training_process import main
from hlynr.records.training import TrainProgress

def progress(timesteps):
    return TrainProgress(device="cpu", timesteps=timesteps, budget=10, success_rate=None, best_success=None,
                         mean_reward=None, timesteps_per_second=1.0, eta_seconds=1.0)

def train(project, lineage, *, resume, observers):
    observers[0].progress(progress(1))
    {body}

steps.train = train
sys.exit(main())
"""


class Witness:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def progress(self, progress: TrainProgress) -> None:
        self.seen.append(progress.timesteps)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, projects.config(projects.OURS))


@pytest.fixture
def witness() -> Witness:
    return Witness()


@pytest.fixture
def run(project: Project, witness: Witness, monkeypatch: pytest.MonkeyPatch) -> Any:
    def call(body: str) -> TrainResult:
        monkeypatch.setattr(training_process, "COMMAND", [sys.executable, "-c", PREAMBLE.format(body=body)])
        begun = lineage.start(project.config, project.root)
        return training_process.train(project, begun, resume=False, observers=[witness])

    return call


def _result(project: Project, interrupted: bool) -> TrainResult:
    begun = lineage.start(project.config, project.root)
    result = samples.training(lineage=begun, timesteps=10, interrupted=interrupted)
    result.write(project.train / "result.json")
    return result


def test_progress_arrives_whatever_libraries_print(run: Any, project: Project, witness: Witness) -> None:
    result = _result(project, interrupted=False)
    assert run("print('a library says exit_code'); os.write(1, b'noise'); observers[0].progress(progress(2))") == result
    assert witness.seen == [1, 2]


@pytest.mark.parametrize(
    ("body", "kind", "message"),
    [
        ("raise errors.InputError('train.x: is wrong')", InputError, "train.x: is wrong"),
        ("raise errors.TrainingError('no usable policy')", TrainingError, "no usable policy"),
        ("raise errors.EnvironmentNotReady('no GPU')", EnvironmentNotReady, "no GPU"),
        ("raise OSError(28, 'No space left on device', 'x.pt')", EnvironmentNotReady, "x.pt: No space left on device"),
    ],
)
def test_what_repeating_cannot_mend_comes_back_as_itself(run: Any, body: str, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        run(body)
    assert not isinstance(raised.value, processes.TrainingCrashedError)


@pytest.mark.parametrize(
    ("body", "ending"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        ("os._exit(7)", "exit code 7"),
        ("raise RuntimeError('a fault of the program')", "exit code 1"),
    ],
)
def test_a_crash_is_worth_repeating(run: Any, body: str, ending: str) -> None:
    with pytest.raises(processes.TrainingCrashedError, match=ending):
        run(body)


def test_a_child_that_is_gone_before_it_is_asked_has_crashed(project: Project) -> None:
    with processes.start([sys.executable, "-c", "raise SystemExit(7)"]) as process:
        process.wait()
        with pytest.raises(processes.TrainingCrashedError, match="exit code 7"):
            processes.converse(process, lineage.start(project.config, project.root), [])


def test_a_training_stopped_by_a_signal_is_no_result(run: Any, project: Project) -> None:
    _result(project, interrupted=True)
    with pytest.raises(processes.TrainingCrashedError, match="stopped from outside after 10 timesteps"):
        run("pass")


def test_an_interrupt_waits_for_the_training_to_stop_by_itself(run: Any, tmp_path: Path) -> None:
    body = f"""
    stopped = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    Path({str(tmp_path / "ready")!r}).touch()
    while not stopped: time.sleep(0.05)
    time.sleep(0.5)
    Path({str(tmp_path / "saved")!r}).touch()
    """

    def interrupt() -> None:
        projects.until((tmp_path / "ready").exists, "the child")
        os.kill(os.getpid(), signal.SIGINT)

    before = set(psutil.Process().children())  # other tests' servers
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(body)
    thread.join()
    assert (tmp_path / "saved").exists()
    assert set(psutil.Process().children()) <= before


def test_a_training_whose_parent_is_gone_stops_by_itself(project: Project, tmp_path: Path) -> None:
    body = f"""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    while not stopped:
        observers[0].progress(progress(2))
        time.sleep(0.05)
    observers[0].progress(progress(3))
    Path({str(tmp_path / "saved")!r}).touch()
    """
    request = training_process.TrainingRequest(
        root=str(project.root), config=project.config, lineage=lineage.start(project.config, tmp_path), resume=False
    )
    parent = (
        "import os, subprocess, sys\n"
        "process = subprocess.Popen(sys.argv[1:3] + [sys.argv[3]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "process.stdin.write(sys.stdin.buffer.read()); process.stdin.close(); process.stdout.readline()\n"
        "os._exit(0)\n"
    )
    command = [sys.executable, "-c", parent, sys.executable, "-c", PREAMBLE.format(body=body)]
    projects.checked(tmp_path, *command, stdin=request.model_dump_json())
    projects.until((tmp_path / "saved").exists, "the orphan's end", 30)
