"""Runs in processes that crash, report errors, are interrupted, and outlive the study, and how they are shown."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from rich.console import Console
from support import projects, stability_samples

from hlynr.config.config import Config
from hlynr.records.training import TrainProgress
from hlynr.runtime.errors import TrainingError
from hlynr.studies import live_board
from hlynr.studies.live_board import shown
from hlynr.studies.stability import parallel_runs
from hlynr.studies.stability.assignments import Assignment
from hlynr.studies.stability.parallel_runs import StabilityBoard

PREAMBLE = """
import os, signal, sys, time
from pathlib import Path
from hlynr.runtime import errors, processes
from hlynr.records.training import TrainProgress
from hlynr.records.stability import StabilityRun
from hlynr.studies.stability.assignments import Assignment

def done(run):
    sample = StabilityRun.read(Path({sample!r}))
    changes = {{"strategy": run.config.run.strategy, "seed": run.config.train_seed}}
    sample.model_copy(update=changes).write(run.out / "run.json")

def count(run):
    with open(run.out / "begun", "a") as file:
        file.write("x")
    return (run.out / "begun").stat().st_size

def work(text, channel):
    run = Assignment.model_validate_json(text)
    begun = count(run)
    channel.progress(TrainProgress(device="cpu", timesteps=500, budget=1000, success_rate=0.5, best_success=0.6,
                                   mean_reward=0.0, timesteps_per_second=10.0, eta_seconds=50.0))
    {body}

sys.exit(processes.serve(work))
"""
Run = Callable[[str], StabilityBoard]


@pytest.fixture
def runs(configure: Callable[..., Config], tmp_path: Path) -> list[Assignment]:
    config = configure()
    return [stability_samples.assignment(tmp_path, config, seed=seed) for seed in (1, 2, 3)]


@pytest.fixture
def command(tmp_path: Path) -> Callable[[str], list[str]]:
    sample = stability_samples.run().write(tmp_path / "sample.json")
    return lambda body: [sys.executable, "-c", PREAMBLE.format(sample=str(sample), body=body)]


@pytest.fixture
def complete(runs: list[Assignment], command: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> Run:
    def call(body: str) -> StabilityBoard:
        monkeypatch.setattr(parallel_runs, "COMMAND", command(body))
        board = StabilityBoard(runs, workers=2)
        parallel_runs.complete(runs, board)
        return board

    return call


def begun(run: Assignment) -> int:
    """How often the run's process was started."""
    return (run.out / "begun").stat().st_size if (run.out / "begun").exists() else 0


def test_every_run_is_started_once(complete: Run, runs: list[Assignment]) -> None:
    board = complete("done(run)")
    assert [row.record.seed for row in board.by_name.values() if row.record] == [1, 2, 3]
    assert {row.state for row in board.by_name.values()} == {"done"}
    assert [begun(run) for run in runs] == [1, 1, 1]
    assert board.missing == {}


def test_a_crash_is_survived_twice(complete: Run, runs: list[Assignment]) -> None:
    board = complete("begun == 3 or run.name == 'default-2' or os.kill(os.getpid(), signal.SIGKILL); done(run)")
    assert [begun(run) for run in runs] == [3, 1, 3]
    assert board.missing == {}


def test_a_run_that_keeps_crashing_is_named_and_the_others_go_on(
    complete: Run, runs: list[Assignment], capsys: pytest.CaptureFixture[str]
) -> None:
    board = complete("print('last words', file=sys.stderr); run.name != 'default-1' or os._exit(7); done(run)")
    lines = capsys.readouterr().err.splitlines()
    assert [begun(run) for run in runs] == [3, 1, 1]
    assert [row.state for row in board.by_name.values()] == ["FAILED", "done", "done"]
    messages = runs[0].out / "messages.log"
    reason = f"the training process ended with exit code 7, in the last of 3 tries; see {messages}"
    assert board.missing == {"default-1": reason}
    assert f"default-1 failed: {reason}" in lines
    note = "default-1: the training process ended with exit code 7; it resumes from its last checkpoint"
    assert lines.count(note) == 2
    assert messages.read_text() == 3 * "last words\n"


def test_a_reported_error_is_not_retried(complete: Run, runs: list[Assignment]) -> None:
    board = complete("if run.name == 'default-2': raise errors.TrainingError('no usable policy')\n    done(run)")
    assert [begun(run) for run in runs] == [1, 1, 1]
    assert board.missing == {"default-2": "no usable policy"}


def test_an_interrupt_lets_the_running_ones_stop_and_starts_no_other(complete: Run, runs: list[Assignment]) -> None:
    body = """
    stopped = []
    signal.signal(signal.SIGINT, lambda *_: stopped.append(1))
    (run.out / "ready").touch()
    while not stopped: time.sleep(0.05)
    time.sleep(0.3)
    (run.out / "saved").touch()
    raise KeyboardInterrupt
    """
    before = set(psutil.Process().children())

    def interrupt() -> None:
        projects.until(lambda: all((run.out / "ready").exists() for run in runs[:2]), "both at work")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        complete(body)
    thread.join()
    assert [(run.out / "saved").exists() for run in runs] == [True, True, False]
    assert [begun(run) for run in runs] == [1, 1, 0]
    assert set(psutil.Process().children()) <= before


def test_a_killed_study_leaves_no_processes(runs: list[Assignment], command: Callable[[str], list[str]]) -> None:
    body = "(run.out / 'process').write_text(str(os.getpid())); time.sleep(60)"
    parent = (
        "import json, sys\n"
        "from hlynr.studies.stability import parallel_runs\n"
        "from hlynr.studies.stability.parallel_runs import StabilityBoard\n"
        "from hlynr.studies.stability.assignments import Assignment\n"
        "command, given = json.load(open(sys.argv[1]))\n"
        "parallel_runs.COMMAND = command\n"
        "runs = [Assignment.model_validate_json(text) for text in given]\n"
        "parallel_runs.complete(runs, StabilityBoard(runs, 2))\n"
    )
    root = Path(runs[0].root)
    request = root / "request.json"
    request.write_text(json.dumps([command(body), [run.model_dump_json() for run in runs]]))
    with projects.start(root, sys.executable, "-c", parent, str(request)) as process:
        written = [run.out / "process" for run in runs[:2]]
        projects.until(lambda: all(path.exists() and path.read_text() for path in written), "both at work")
        children = [psutil.Process(int(path.read_text())) for path in written]
        process.kill()
        process.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert begun(runs[2]) == 0


WHY = TrainingError("why")


@pytest.fixture
def board(configure: Callable[..., Config], tmp_path: Path) -> StabilityBoard:
    """Two strategies with two seeds each, a million timesteps; two at a time."""
    config = configure("train.timesteps=1000000")
    named = [("default", 1), ("default", 2), ("large-mlp", 1), ("large-mlp", 2)]
    return StabilityBoard(
        [stability_samples.assignment(tmp_path, config, name, seed) for name, seed in named], workers=2
    )


def progress(timesteps: int, speed: float) -> TrainProgress:
    return TrainProgress(
        device="cpu",
        timesteps=timesteps,
        budget=1_000_000,
        success_rate=0.5,
        best_success=0.6,
        mean_reward=0.1,
        timesteps_per_second=speed,
        eta_seconds=(1_000_000 - timesteps) / speed,
    )


def at_work(board: StabilityBoard) -> None:
    """One is done, one is half through at 1,000 timesteps a second."""
    record = stability_samples.run("large-mlp", 1, timesteps_per_second=2000.0)
    record.write(board.by_name[record.name].run.out / "run.json")
    board.ended(record.name)
    board.by_name["default-1"].state = "running"
    board.by_name["default-1"].progress(progress(500_000, 1000.0))


def test_the_time_left_follows_from_the_speeds_of_each_strategy(board: StabilityBoard) -> None:
    assert math.isinf(board.eta())
    at_work(board)
    # 500 s of the one at work, 1,000 s of its like, 500 s of the other strategy's, on two workers.
    assert board.eta() == pytest.approx((500 + 1000 + 500) / 2)
    board.by_name["large-mlp-2"].state = board.by_name["default-1"].state = "done"
    assert board.eta() == pytest.approx(1000)  # one run is not shared by two workers
    board.failed("default-2", WHY)
    assert board.eta() == 0.0


def test_a_strategy_that_has_not_begun_is_expected_to_be_like_the_others(board: StabilityBoard) -> None:
    board.by_name["default-1"].progress(progress(500_000, 1000.0))
    board.failed("default-2", WHY)
    board.failed("large-mlp-1", WHY)
    assert board.eta() == pytest.approx(1000)


def test_a_log_has_the_state_and_every_event(
    board: StabilityBoard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(live_board.time, "monotonic", lambda: now)
    with shown(board) as update:
        update()
        update()
        at_work(board)
        update()
        now += live_board.LINE_INTERVAL
        update()
    lines = capsys.readouterr().err.splitlines()
    begun, happened, later, last = lines
    assert begun == "Stability study: 0 done, 0 running, 4 waiting, 0 FAILED; ETA -"
    assert happened.startswith("large-mlp-1 is done: success 90.0% at the end")
    assert later == (
        "Stability study: 1 done, 1 running, 2 waiting, 0 FAILED; ETA 16:40; default-1 50% of 1.00 M, success 50.0%"
    )
    assert last == later


def test_the_table_fits_a_terminal(board: StabilityBoard) -> None:
    at_work(board)
    stream = io.StringIO()
    Console(file=stream, width=80).print(board.table())
    text = stream.getvalue()
    assert "Stability study, 2 at a time, ETA 16:40" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("default-1"))
    assert row == ["default-1", "running", "50%", "of", "1.00", "M", "50.0%", "60.0%", "1,000", "8:20"]
    assert "…" not in text


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_table_lives_below_what_happens(
    board: StabilityBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with shown(board) as update:
        at_work(board)
        board.notes.append("a [note]")
        update()
    text = terminal.getvalue()
    assert "large-mlp-1 is done" in text
    assert "a [note]" in text
    assert text.rindex("default-2") > text.rindex("a [note]")
