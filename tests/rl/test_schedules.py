"""Each value of a schedule reaches the update for which it is meant."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.trainings import Finished, finish

from hlynr.config.config import Config
from hlynr.rl.algorithms import BoundedPPO

Configure = Callable[..., Config]
PHASES = "{phases: [{until: 2048, value: 0.3}, {until: 3072, value: 0.2}, {value: 0.1}]}"


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
