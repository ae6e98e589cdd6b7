"""What a stability study shows while it runs."""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from support import stability_samples

from hlynr.config.config import Config
from hlynr.records.training import TrainProgress
from hlynr.runtime.errors import TrainingError
from hlynr.studies import live_board
from hlynr.studies.live_board import shown
from hlynr.studies.stability.stability_board import StabilityBoard

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
