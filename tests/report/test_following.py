"""Following a training: until it ends, until nothing is left of it, or until Ctrl-C."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

import pytest
from support import statuses
from support.statuses import RISING

from hlynr.config.config import Config
from hlynr.records.training import TrainingStatus
from hlynr.report import training as view

Looker = Callable[[], TrainingStatus | None]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture
def training(config: Config) -> list[TrainingStatus]:
    """A training's statuses, one per look."""
    running = [statuses.status(config.monitor, RISING[:count]) for count in (1, 1, 3)]
    return [*running, statuses.status(config.monitor, RISING[:4], state="finished")]


def looker(seen: list[TrainingStatus | None]) -> Looker:
    following: Iterator[TrainingStatus | None] = iter(seen)
    return lambda: next(following)


def test_looking_ends_with_the_training(training: list[TrainingStatus]) -> None:
    assert list(view.looks(looker([*training, None]))) == training


def test_a_status_that_is_away_for_a_moment_is_waited_for(training: list[TrainingStatus]) -> None:
    assert list(view.looks(looker([training[0], None, None, None, *training[1:]]))) == training


def test_a_status_that_stays_away_ends_the_looking(training: list[TrainingStatus]) -> None:
    asked: list[None] = []

    def gone() -> TrainingStatus | None:
        asked.append(None)
        return training[0] if len(asked) == 1 else None

    assert list(view.looks(gone)) == training[:1]
    assert len(asked) > view.PATIENCE / 2


def test_a_log_gets_one_view_and_then_lines(training: list[TrainingStatus], capsys: pytest.CaptureFixture[str]) -> None:
    view.follow(looker(list(training)), 0.33)
    printed = capsys.readouterr().out
    assert printed.count("Training 2026") == 1
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines[-4:-1]] == ["400,000", "600,000", "800,000"]
    assert lines[-1].startswith("finished after 800,000 timesteps. Verdict: healthy")


def test_another_training_in_the_same_folder_gets_a_view_of_its_own(
    training: list[TrainingStatus], capsys: pytest.CaptureFixture[str]
) -> None:
    lineage = statuses.LINEAGE.model_copy(update={"id": "20261123-190000-000000"})
    view.follow(looker([training[0], training[3].model_copy(update={"lineage": lineage})]), 0.33)
    printed = capsys.readouterr().out
    assert "Training 20261123-190000-000000: finished" in printed
    assert printed.count("Training 2026") == 2


def test_ctrl_c_is_the_end_of_looking_and_no_error(
    training: list[TrainingStatus], capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> Iterator[TrainingStatus]:
        yield training[0]
        raise KeyboardInterrupt

    view.follow(interrupted().__next__, 0.33)
    assert "running" in capsys.readouterr().out
