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
from hlynr.studies.stability import training
from hlynr.studies.stability.assignments import Assignment
from hlynr.studies.stability.parallel_runs import StabilityBoard
from hlynr.studies.stability.training import first_alerts, judge_run, train_and_judge

# Falls below half of its peak of 60 % and comes back.
DIP = (0.2, 0.6, 0.6, 0.6, 0.1, 0.1, 0.1, 0.6, 0.6, 0.6)


@pytest.fixture(scope="module")
def config(configure: Callable[..., Config]) -> Config:
    return configure("monitor.window=3", "monitor.collapse_fraction=0.5", "evaluation.heldout_episodes=30")


@pytest.fixture
def given(tmp_path: Path, config: Config) -> Assignment:
    return stability_samples.assignment(tmp_path, config)


@pytest.fixture
def judged(given: Assignment, monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainResult], StabilityRun]:
    """With a guidance law in place of the bundle."""
    law = laws.law("pn", given.config, "reference")
    monkeypatch.setattr(bundle, "digest", lambda folder: stability_samples.SHA)
    monkeypatch.setattr(bundle, "load_policy", lambda folder, threads: law)

    def call(result: TrainResult) -> StabilityRun:
        return judge_run(given, result)

    return call


def test_a_collapse_counts_even_if_the_training_recovers(judged: Any) -> None:
    found = judged(stability_samples.result(DIP))
    assert found.collapsed
    assert found.alerts["collapse"] == found.stopped_at == 6 * stability_samples.INTERVAL
    assert found.peak_window_success == pytest.approx(0.6)
    assert found.final_window_success == pytest.approx(0.6)
    assert found.final_over_peak == pytest.approx(1.0)


def test_a_training_that_holds_has_not_collapsed(judged: Any) -> None:
    found = judged(stability_samples.result((0.2, 0.6, 0.6, 0.6, 0.4, 0.35, 0.4)))
    assert not found.collapsed
    assert found.stopped_at is None
    assert found.final_over_peak == pytest.approx((0.4 + 0.35 + 0.4) / 3 / 0.6)


@pytest.mark.parametrize("success", [(0.5, 0.5), (0.0, 0.0, 0.0)], ids=["too few", "all zero"])
def test_without_a_peak_window_there_is_no_ratio(judged: Any, success: tuple[float, ...]) -> None:
    assert judged(stability_samples.result(success)).final_over_peak is None


def test_the_record_is_beside_the_training(judged: Any, given: Assignment) -> None:
    found = judged(stability_samples.result())
    assert StabilityRun.read(given.out / "run.json") == found
    assert found.digest == training_digest(given.config)
    assert [point.success_rate for point in found.points] == list(stability_samples.RISING)
    assert given.out.relative_to(given.root) == Path("outputs/study/default-1")


def test_the_bundle_is_judged_on_the_heldout_engagements(judged: Any, config: Config) -> None:
    found = judged(stability_samples.result())
    law = laws.law("pn", config, "reference")
    expected, _ = judge.report_on(law, config, judge.SeedSet("reference", config.evaluation.heldout_seed, 30))
    assert found.heldout_success_rate == expected.success_rate
    assert found.heldout_success_rate_ci == expected.success_rate_ci
    assert (found.heldout_episodes, found.capture_radius) == (30, expected.capture_radius)


def test_only_the_bundle_of_the_training_is_judged(judged: Any) -> None:
    with pytest.raises(InputError, match="not the bundle of the training"):
        judged(stability_samples.result(bundle_sha256="cd" * 32))


def test_an_interrupted_training_is_not_judged(given: Assignment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_train", lambda *_: stability_samples.result(interrupted=True))
    with pytest.raises(KeyboardInterrupt):
        train_and_judge(given, StabilityBoard([given], 1).by_name[given.name])
    assert not (given.out / "run.json").exists()


def test_not_a_number_in_a_weight_is_an_alert_although_no_evaluation_shows_it(config: Config) -> None:
    verdict = stability_samples.result().verdict.model_copy(update={"status": "nan", "at_timesteps": 77})
    assert first_alerts(stability_samples.result(verdict=verdict), config.monitor)["nan"] == 77


def test_what_an_earlier_version_did_not_record_is_none(judged: Any) -> None:
    found = judged(stability_samples.result(evaluations=stability_samples.points(stability_samples.RISING, std=None)))
    assert {point.std for point in found.points} == {None}
    assert "runaway_std" not in found.alerts
