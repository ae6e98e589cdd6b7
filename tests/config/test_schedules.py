"""Schedules: their values, and that each reaches the update for which it is meant."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.trainings import Finished, finish

from hlynr.config.config import Config
from hlynr.config.schedules import at
from hlynr.rl.algorithms import BoundedPPO

Configure = Callable[..., Config]
PHASES = "{phases: [{until: 2048, value: 0.3}, {until: 3072, value: 0.2}, {value: 0.1}]}"


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("0.25", {0: 0.25, 500: 0.25, 1000: 0.25, 1300: 0.25}),
        ("{start: 0.3, end: 0.1}", {0: 0.3, 500: 0.2, 1000: 0.1, 1300: 0.1}),
        ("{phases: [{value: 0.3}]}", {0: 0.3, 1000: 0.3}),
        (
            "{phases: [{until: 10, value: 0.3}, {until: 20, value: 0.7}, {value: 0.1}]}",
            {0: 0.3, 9: 0.3, 10: 0.7, 19: 0.7, 20: 0.1, 1000: 0.1},
        ),
    ],
)
@pytest.mark.parametrize("key", ["learning_rate", "clip_range", "ent_coef"])
def test_a_schedule_has_its_values(configure: Configure, key: str, written: str, values: dict[int, float]) -> None:
    schedule = getattr(configure(f"train.{key}={written}").train, key)
    assert {timesteps: at(schedule, timesteps, 1000) for timesteps in values} == pytest.approx(values)
    assert at(schedule, 0, 1000) == values[0]
    assert at(schedule, 1000, 1000) == values[1000]


def _logged(run: Finished, name: str) -> list[float]:
    return [values[name] for _, values in run.witness.metrics_seen if name in values]


def test_every_update_is_made_and_logged_under_its_values(tiny: Configure, algorithm: str, tmp_path: Path) -> None:
    config = tiny(
        f"train.algorithm={algorithm}",
        "train.timesteps=4096",
        "train.n_epochs=1",
        f"train.clip_range={PHASES}",
        "train.learning_rate={start: 0.001, end: 0.0002}",
        "train.ent_coef={start: 0.01, end: 0.0}",
    )
    run = finish(config, tmp_path)
    expected = {  # the last update's are made and, as SB3 logs at the next rollout, not logged
        "train/clip_range": [0.3, 0.2, 0.1],
        "train/learning_rate": [0.0008, 0.0006, 0.0004],
        "train/ent_coef": [0.0075, 0.005, 0.0025],
    }
    for name, values in expected.items():
        assert _logged(run, name) == pytest.approx(values), name


def test_the_rate_does_not_turn_negative_when_the_last_rollout_overshoots(
    tiny: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 timesteps are 4.9 rollouts; the update after the fifth lies beyond the budget."""
    original, rates = BoundedPPO.train, []

    def watched(self: BoundedPPO) -> None:
        original(self)
        rates.append(self.policy.optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(BoundedPPO, "train", watched)
    finish(tiny("train.timesteps=5000", "train.learning_rate={start: 0.001, end: 0.0}"), tmp_path)
    assert len(rates) == 5
    assert rates[-1] == 0.0


@pytest.mark.parametrize("bound", [-0.3, -2.0])
def test_log_std_never_falls_below_its_bound(
    tiny: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: float
) -> None:
    original, seen = BoundedPPO.train, []

    def watched(self: BoundedPPO) -> None:
        self.policy.log_std.data.fill_(-1.0)  # as if the updates had brought it there
        original(self)
        seen.append(float(self.policy.log_std.detach().min()))

    monkeypatch.setattr(BoundedPPO, "train", watched)
    finish(tiny("train.timesteps=2048", "train.log_std_init=-0.2", f"train.log_std_min={bound}"), tmp_path)
    assert (min(seen) >= -0.3 - 1e-6) == (bound == -0.3)
