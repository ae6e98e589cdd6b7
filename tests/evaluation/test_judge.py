"""Judging: the right seed sets, the same engagements for all, targets beside the figures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from support import ROOT

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.envs.observation import SIZE
from hlynr.evaluation.judge import (
    BASELINES,
    Rerun,
    SeedSet,
    baselines,
    evaluate,
    example_histories,
    heldout_set,
    report_on,
    report_set,
    rerun,
    run_seed_set,
    samples,
)
from hlynr.evaluation.laws import law
from hlynr.evaluation.rollout import EpisodeResults
from hlynr.evaluation.statistics import wilson_interval
from hlynr.records.evaluation import EvaluationReport
from hlynr.records.training import Lineage

LINEAGE = Lineage(id="test", created="2026-01-01T00:00:00+00:00", retraining=0, params_digest="0" * 64)
CONFIG = params.load(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def small(configure: Callable[..., Config]) -> Config:
    return configure("evaluation.report_episodes=60", "evaluation.heldout_episodes=120", "evaluation.batch_size=50")


@pytest.fixture(scope="module")
def judged(small: Config) -> tuple[EvaluationReport, dict[str, EpisodeResults]]:
    return evaluate(law("pn", small, "reference"), small, LINEAGE, "0" * 64)


def test_seed_sets_never_meet(small: Config, configure: Callable[..., Config]) -> None:
    used = {small.train_seed, small.monitor.selection_seed, report_set(small).seed, heldout_set(small).seed}
    assert len(used) == 4
    tomorrow = configure("run.retraining=1")
    assert heldout_set(tomorrow).seed == heldout_set(small).seed + 1
    assert report_set(tomorrow).seed == report_set(small).seed + 1


def test_report_and_heldout_use_the_configured_engagements(
    judged: tuple[EvaluationReport, dict[str, EpisodeResults]], small: Config
) -> None:
    report, _ = judged
    assert (report.report.episodes, report.report.seed) == (60, small.report_seed)
    assert (report.heldout.episodes, report.heldout.seed) == (120, small.heldout_seed)
    assert report.report.scenario == report.heldout.scenario == small.evaluation.scenario
    assert (report.lineage, report.bundle_sha256) == (LINEAGE, "0" * 64)


def test_baselines_meet_the_same_engagements(judged: tuple[EvaluationReport, dict[str, EpisodeResults]]) -> None:
    report, results = judged
    assert tuple(report.baselines) == BASELINES
    assert set(results) == {"policy", *BASELINES}
    for name in BASELINES:
        assert report.baselines[name].seed == report.heldout.seed
        np.testing.assert_array_equal(results[name].final["spawn_range"], results["policy"].final["spawn_range"])
        np.testing.assert_array_equal(results[name].final["spawn_azimuth"], results["policy"].final["spawn_azimuth"])


def test_a_law_judged_as_a_policy_equals_itself_as_a_baseline(
    judged: tuple[EvaluationReport, dict[str, EpisodeResults]],
) -> None:
    report, results = judged
    assert report.heldout == report.baselines["pn"]
    np.testing.assert_array_equal(results["policy"].reward, results["pn"].reward)


def test_baselines_stay_on_the_radar_estimate(small: Config) -> None:
    """A policy may be judged on the truth; what it is compared with may not."""
    chosen = SeedSet("reference", 5, 200)
    on_truth, _ = report_on(law("pn", small, "reference"), small, chosen, omniscient=True)
    reports, _ = baselines(small, chosen)
    assert on_truth.success_rate > reports["pn"].success_rate > reports["random"].success_rate


def test_every_seed_set_runs_with_the_configured_batch(small: Config, configure: Callable[..., Config]) -> None:
    chosen = heldout_set(small)
    policy = law("pn", small, "reference")
    other = configure("evaluation.batch_size=7")
    np.testing.assert_array_equal(
        run_seed_set(policy, small, chosen).reward, run_seed_set(policy, other, chosen).reward
    )


def test_targets_of_the_three_figures(judged: tuple[EvaluationReport, dict[str, EpisodeResults]]) -> None:
    report, _ = judged
    rows = {row.metric: row for row in report.targets}
    assert list(rows) == ["success rate", "mean reward", "average final distance"]
    assert rows["success rate"].value == report.report.success_rate
    assert rows["mean reward"].value == report.report.mean_reward
    assert rows["average final distance"].value == report.report.mean_final_distance
    assert rows["success rate"].target == "30 % to 40 %"
    assert rows["average final distance"].target == "< 2000 m"


@pytest.mark.parametrize(
    ("override", "metric", "met"),
    [
        ("evaluation.target_success=[0.0, 0.1]", "success rate", True),  # better than the target's range is met
        ("evaluation.target_success=[0.99, 1.0]", "success rate", False),
        ("evaluation.target_mean_reward=-2.0", "mean reward", True),
        ("evaluation.target_mean_reward=2.0", "mean reward", False),
        ("evaluation.target_final_distance=5000.0", "average final distance", True),
        ("evaluation.target_final_distance=1.0", "average final distance", False),
    ],
)
def test_targets_are_met_or_not(configure: Callable[..., Config], override: str, metric: str, met: bool) -> None:
    config = configure("evaluation.report_episodes=40", "evaluation.heldout_episodes=20", override)
    report, _ = evaluate(law("pn", config, "reference"), config, LINEAGE, "0" * 64)
    assert {row.metric: row.met for row in report.targets}[metric] == met


def test_samples_are_the_first_heldout_engagements(
    small: Config, judged: tuple[EvaluationReport, dict[str, EpisodeResults]]
) -> None:
    paths = samples(law("pn", small, "reference"), small)
    assert [path.episode for path in paths] == list(range(6))
    np.testing.assert_array_equal([path.miss_distance for path in paths], judged[1]["policy"].miss_distance[:6])


def test_example_histories_have_the_shape_of_an_input(small: Config) -> None:
    histories = example_histories(small)
    assert (histories.shape, histories.dtype) == ((1, 2, SIZE), np.float32)
    assert (histories[:, 0] != histories[:, 1]).any()


def test_the_rerun_of_the_same_policy_has_the_same_result() -> None:
    policy = law("pn", CONFIG, "reference")
    report, _ = report_on(policy, CONFIG, report_set(CONFIG))
    found = rerun(policy, CONFIG, report.success_rate)
    assert (found.successes, found.episodes) == (round(100 * report.success_rate), 100)
    assert found.fault(CONFIG.gate) is None
    assert str(found) == f"{found.successes} of 100 episodes succeed again ({found.successes} % recorded)"


@pytest.mark.parametrize("episodes", [20, 100, 1000])
def test_a_rerun_is_significantly_worse_where_the_interval_leaves_the_record(episodes: int) -> None:
    recorded = 0.9
    allowed = [count for count in range(episodes + 1) if Rerun(count, episodes, recorded).fault(CONFIG.gate) is None]
    assert allowed == list(range(min(allowed), episodes + 1))
    assert min(allowed) < recorded * episodes  # a little worse is chance
    assert wilson_interval(min(allowed), episodes, 0.95)[1] >= recorded
    assert wilson_interval(min(allowed) - 1, episodes, 0.95)[1] < recorded


def test_a_rerun_names_both_figures() -> None:
    assert Rerun(80, 100, 0.985).fault(CONFIG.gate) == (
        "80 of 100 episodes succeed under today's configuration, 98.5 % are on record"
    )
    assert Rerun(33, 100, 0.33).fault(CONFIG.gate) == (
        "33 of 100 episodes succeed, which does not exceed the baseline of 33 %"
    )
    assert str(Rerun(98, 100, 0.98)) == "98 of 100 episodes succeed again (98 % recorded)"


def test_a_rerun_without_a_record_is_judged_by_the_baseline() -> None:
    assert Rerun(34, 100, None).fault(CONFIG.gate) is None
    assert str(Rerun(34, 100, None)) == "34 of 100 episodes succeed (no earlier figure is on record)"
    assert Rerun(33, 100, None).fault(CONFIG.gate) is not None
    assert Rerun(100, 100, 1.0).fault(CONFIG.gate) is None
