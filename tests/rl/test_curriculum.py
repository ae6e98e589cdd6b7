"""The curriculum: when the radius changes, that the training meets it, and that the judge never does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.trainings import Child, Finished, finish

from hlynr.config.config import Config
from hlynr.rl.curriculum import RadiusCurriculum

Tiny = Callable[..., Config]

SCHEDULE = (
    "train.scenario=precision",
    "train.curriculum={mode: schedule, radii: [2500, 1500, 50], until: [2048, 5000], success: 0.9, episodes: 100}",
)
MASTERY = (
    "train.scenario=precision",
    "train.curriculum={mode: mastery, radii: [2500, 1500, 50], until: [], success: 0.8, episodes: 100}",
)


def course(config: Config, rollouts: list[tuple[int, int, int]]) -> list[float]:
    """The radius after each rollout of (timesteps, episodes, successes)."""
    curriculum, radii = RadiusCurriculum(config), []
    for rollout in rollouts:
        before = curriculum.radius
        assert curriculum.advance(*rollout) == (curriculum.radius != before)
        radii.append(curriculum.radius)
    return radii


def test_frozen_is_the_declared_radius_throughout(tiny: Tiny) -> None:
    assert course(tiny(), [(k * 10**6, 1000, 1000) for k in range(9)]) == [150.0] * 9
    assert RadiusCurriculum(tiny("train.scenario=precision")).radius == 50.0


def test_a_schedule_changes_at_its_timesteps(tiny: Tiny) -> None:
    rollouts = [(timesteps, 0, 0) for timesteps in (1024, 2047, 2048, 4999, 5000, 10**9)]
    assert course(tiny(*SCHEDULE), rollouts) == [2500, 2500, 1500, 1500, 50, 50]


def test_a_rollout_across_two_changes_ends_at_the_later_radius(tiny: Tiny) -> None:
    assert course(tiny(*SCHEDULE), [(6000, 0, 0)]) == [50]


def test_mastery_needs_enough_episodes_and_enough_success(tiny: Tiny) -> None:
    few_then_enough = [(1, 99, 99), (2, 1, 0)]
    assert course(tiny(*MASTERY), few_then_enough) == [2500, 1500]
    assert course(tiny(*MASTERY), [(1, 100, 79)]) == [2500]
    assert course(tiny(*MASTERY), [(1, 100, 80)]) == [1500]


def test_no_success_at_an_easier_radius_counts_for_a_harder_one(tiny: Tiny) -> None:
    assert course(tiny(*MASTERY), [(1, 1000, 1000), (2, 50, 50), (3, 50, 50)]) == [1500, 1500, 50]


def test_old_failures_are_forgotten(tiny: Tiny) -> None:
    assert course(tiny(*MASTERY), [(1, 1000, 0), (2, 60, 60), (3, 60, 60)]) == [2500, 2500, 1500]


def test_the_last_radius_is_kept(tiny: Tiny) -> None:
    assert course(tiny(*MASTERY), [(k, 200, 200) for k in range(5)]) == [1500, 50, 50, 50, 50]


def test_its_state_is_all_there_is(tiny: Tiny) -> None:
    config = tiny(*MASTERY)
    first, second = RadiusCurriculum(config), RadiusCurriculum(config)
    for rollout in ((1, 150, 150), (2, 60, 60)):
        first.advance(*rollout)
    second.load_state_dict(first.state_dict())
    assert second.radius == first.radius == 1500
    assert [it.advance(3, 40, 40) for it in (first, second)] == [True, True]


@pytest.fixture(scope="module")
def eased(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A training whose radius shrinks by schedule."""
    return finish(tiny(*SCHEDULE), tmp_path_factory.mktemp("eased"))


def logged(run: Finished, name: str) -> list[tuple[int, float]]:
    return [(timesteps, values[name]) for timesteps, values in run.witness.metrics_seen if name in values]


def test_the_radius_of_each_rollout_is_logged(eased: Finished) -> None:
    radii = dict(logged(eased, "rollout/capture_radius"))
    assert radii == {k: 2500 if k <= 2048 else 1500 if k <= 5120 else 50 for k in range(1024, 8193, 1024)}


def test_training_succeeds_at_its_own_radius_and_is_judged_at_the_declared_one(
    eased: Finished, tiny: Tiny, tmp_path: Path
) -> None:
    """The seed run was trained at one radius and judged at another, undeclared one."""
    frozen = finish(tiny("train.scenario=precision"), tmp_path)
    success = [np.mean([value for step, value in logged(run, "rollout/success_rate")]) for run in (eased, frozen)]
    assert success[0] > success[1] + 0.05  # episodes end at 2,500 m, at first
    assert [point.training_radius for point in eased.result.evaluations] == [1500, 1500, 50, 50]
    judged = [point.success_rate for point in eased.result.evaluations]
    assert max(judged) < 0.05  # within 50 m, by a beginner


def test_a_training_killed_in_the_middle_goes_on_at_its_radius(eased: Finished, tmp_path: Path) -> None:
    child = Child(eased.config, tmp_path, "hlynr.rl.adapter.InterceptVecEnv.step_wait", 4 * 32 + 5)
    child.kill()
    resumed = finish(eased.config, tmp_path, resume=True)
    assert resumed.result.resumed_from == 4096
    assert logged(resumed, "rollout/capture_radius")[0] == (5120, 1500)
    assert resumed.weights == eased.weights


def test_mastery_survives_a_kill_too(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(*MASTERY, "train.curriculum.success=0.5")
    whole = finish(config, tmp_path / "whole")
    assert len(dict(logged(whole, "rollout/capture_radius"))) == 8
    assert {radius for _, radius in logged(whole, "rollout/capture_radius")} >= {2500, 1500}
    Child(config, tmp_path / "killed", "hlynr.rl.adapter.InterceptVecEnv.step_wait", 5 * 32 + 5).kill()
    assert finish(config, tmp_path / "killed", resume=True).weights == whole.weights
