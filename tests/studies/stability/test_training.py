"""The record of a finished training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import stability_samples

from hlynr.config.config import Config
from hlynr.evaluation import judge, laws
from hlynr.records.stability import StabilityRun
from hlynr.records.training import TrainResult
from hlynr.rl import bundle
from hlynr.rl.train import training_digest
from hlynr.runtime.errors import InputError
from hlynr.studies.stability.assignments import Assignment
from hlynr.studies.stability.training import conclude_run, first_alerts

# Falls below half of its peak of 60 % and comes back.
DIP = (0.2, 0.6, 0.6, 0.6, 0.1, 0.1, 0.1, 0.6, 0.6, 0.6)


@pytest.fixture(scope="module")
def config(configure: Callable[..., Config]) -> Config:
    return configure("monitor.window=3", "monitor.collapse_fraction=0.5", "evaluation.heldout_episodes=30")


@pytest.fixture
def given(tmp_path: Path, config: Config) -> Assignment:
    return stability_samples.assignment(tmp_path, config)


@pytest.fixture
def conclude(given: Assignment, monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainResult], StabilityRun]:
    """With a guidance law in place of the bundle."""
    law = laws.law("pn", given.config, "reference")
    monkeypatch.setattr(bundle, "digest", lambda folder: stability_samples.SHA)
    monkeypatch.setattr(bundle, "load_policy", lambda folder, threads: law)

    def call(result: TrainResult) -> StabilityRun:
        result.write(given.out / "result.json")
        return conclude_run(given)

    return call


def test_a_collapse_counts_even_if_the_training_recovers(conclude: Any) -> None:
    found = conclude(stability_samples.result(DIP))
    assert found.collapsed
    assert found.alerts["collapse"] == found.stopped_at == 6 * stability_samples.INTERVAL
    assert found.peak_window_success == pytest.approx(0.6)
    assert found.final_window_success == pytest.approx(0.6)
    assert found.final_over_peak == pytest.approx(1.0)


def test_a_training_that_holds_has_not_collapsed(conclude: Any) -> None:
    found = conclude(stability_samples.result((0.2, 0.6, 0.6, 0.6, 0.4, 0.35, 0.4)))
    assert not found.collapsed
    assert found.stopped_at is None
    assert found.final_over_peak == pytest.approx((0.4 + 0.35 + 0.4) / 3 / 0.6)


@pytest.mark.parametrize("success", [(0.5, 0.5), (0.0, 0.0, 0.0)], ids=["too few", "all zero"])
def test_without_a_peak_window_there_is_no_ratio(conclude: Any, success: tuple[float, ...]) -> None:
    assert conclude(stability_samples.result(success)).final_over_peak is None


def test_the_record_is_beside_the_training(conclude: Any, given: Assignment) -> None:
    found = conclude(stability_samples.result())
    assert StabilityRun.read(given.out / "run.json") == found
    assert found.digest == training_digest(given.config)
    assert [point.success_rate for point in found.points] == list(stability_samples.RISING)
    assert given.out.relative_to(given.root) == Path("outputs/study/default-1")


def test_the_bundle_is_judged_on_the_heldout_engagements(conclude: Any, config: Config) -> None:
    found = conclude(stability_samples.result())
    law = laws.law("pn", config, "reference")
    expected, _ = judge.report_on(law, config, judge.SeedSet("reference", config.evaluation.heldout_seed, 30))
    assert found.heldout_success_rate == expected.success_rate
    assert found.heldout_success_rate_ci == expected.success_rate_ci
    assert (found.heldout_episodes, found.capture_radius) == (30, expected.capture_radius)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"interrupted": True}, "interrupted after 1,200,000 timesteps"),
        ({"bundle_sha256": "cd" * 32}, "not the bundle of the training"),
    ],
)
def test_only_a_finished_training_with_its_own_bundle_counts(conclude: Any, changes: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        conclude(stability_samples.result(**changes))


def test_not_a_number_in_a_weight_is_an_alert_although_no_evaluation_shows_it(config: Config) -> None:
    verdict = stability_samples.result().verdict.model_copy(update={"status": "nan", "at_timesteps": 77})
    assert first_alerts(stability_samples.result(verdict=verdict), config.monitor)["nan"] == 77


def test_what_an_earlier_version_did_not_record_is_none(conclude: Any) -> None:
    found = conclude(stability_samples.result(evaluations=stability_samples.points(stability_samples.RISING, std=None)))
    assert {point.std for point in found.points} == {None}
    assert "runaway_std" not in found.alerts
