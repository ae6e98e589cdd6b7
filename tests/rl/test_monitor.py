"""The monitor: its operating characteristics by simulation, and its rules one by one."""

import typing
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from support import samples
from support.statuses import INTERVAL, points, stream

from hlynr.config.config import Config
from hlynr.config.sections import Monitor
from hlynr.evaluation.gate import decide
from hlynr.records.training import AlertKind, EvaluationPoint, MonitorVerdict
from hlynr.rl.monitor import _RULES, judge, not_a_number, trend, window_means

RUNS = 1000
LENGTH = 15  # evaluations of a default training
EPISODES = 200


@pytest.fixture(scope="module")
def settings(config: Config) -> Monitor:
    return config.monitor


def verdicts(points: list[EvaluationPoint], settings: Monitor) -> list[str]:
    """The status after each point."""
    return [judge(points[: k + 1], settings).status for k in range(len(points))]


def drawn(rates: Sequence[float], seed: int, episodes: int = EPISODES) -> list[list[float]]:
    """Measured success of ``RUNS`` trainings whose true success is ``rates``."""
    wins = np.random.default_rng(seed).binomial(episodes, rates, (RUNS, len(rates)))
    return (wins / episodes).tolist()


def share_with(status: str, runs: list[list[float]], settings: Monitor) -> float:
    return float(np.mean([status in verdicts(stream(run), settings) for run in runs]))


@pytest.mark.parametrize("rate", [0.22, 0.50])
def test_a_flat_run_raises_no_false_alert(settings: Monitor, rate: float) -> None:
    assert share_with("collapse", drawn([rate] * LENGTH, seed=1), settings) <= 0.01
    assert share_with("abort", drawn([rate] * LENGTH, seed=2), settings) == 0.0


def test_false_alerts_stay_rare_with_the_fewest_engagements_allowed(settings: Monitor) -> None:
    assert share_with("collapse", drawn([0.22] * LENGTH, seed=3, episodes=100), settings) <= 0.01


def test_a_slide_from_22_to_1_percent_is_always_found(settings: Monitor) -> None:
    slide = [0.22] * 5 + np.linspace(0.22, 0.01, 5).tolist() + [0.01] * 5
    without_abort = settings.model_copy(update={"abort_below": 0.0})
    assert share_with("collapse", drawn(slide, seed=4), without_abort) == 1.0


def test_a_rising_run_is_never_called_a_collapse(settings: Monitor) -> None:
    rising = np.linspace(0.05, 0.95, LENGTH).tolist()
    assert share_with("collapse", drawn(rising, seed=5), settings) == 0.0


def test_no_points_are_healthy(settings: Monitor) -> None:
    verdict = judge([], settings)
    assert (verdict.status, verdict.stopped, verdict.peak_success) == ("healthy", False, 0.0)


def test_collapse_needs_a_whole_window_before_and_after(settings: Monitor) -> None:
    """Window 3: the third point fills the first window, the fourth the first that can be compared."""
    assert verdicts(stream([0.9, 0.0, 0.0]), settings.model_copy(update={"abort_below": 0.0})) == ["healthy"] * 3
    falling = stream([0.9, 0.9, 0.9, 0.9, 0.0, 0.0])
    late_abort = settings.model_copy(update={"abort_after": 10**9})
    assert verdicts(falling, late_abort) == ["healthy"] * 5 + ["collapse"]
    assert judge(falling, settings).status == "abort"  # where both hold, abort comes first


def test_the_collapse_bound_itself_is_no_collapse(settings: Monitor) -> None:
    assert judge(stream([0.8] * 3 + [0.4] * 3), settings).status != "collapse"
    assert judge(stream([0.8] * 3 + [0.4, 0.4, 0.39]), settings).status == "collapse"


def test_window_means_have_one_entry_per_full_window() -> None:
    points = stream([0.0, 0.3, 0.6, 0.9])
    assert window_means(points, 3) == pytest.approx([0.3, 0.6])
    assert window_means(points, 4) == pytest.approx([0.45])
    assert window_means(points, 5) == []
    assert window_means(points, 1) == pytest.approx([0.0, 0.3, 0.6, 0.9])


def test_abort_looks_only_from_its_point_on(settings: Monitor) -> None:
    first = settings.abort_after // INTERVAL
    assert verdicts(stream([0.0] * first), settings) == ["healthy"] * (first - 1) + ["abort"]
    at_bound = stream([settings.abort_below] * first)
    assert judge(at_bound, settings).status == "healthy"


def test_plateau_after_patience_without_gain(settings: Monitor) -> None:
    patience, gain = settings.plateau_patience, settings.plateau_min_delta
    flat = [0.5] * (patience + 1)
    assert verdicts(stream(flat), settings) == ["healthy"] * patience + ["plateau"]
    assert judge(stream([*flat[:-1], 0.5 + gain]), settings).status == "healthy"
    creeping = [0.5 + 0.5 * gain * k for k in range(patience + 1)]
    assert judge(stream(creeping), settings).status == "healthy"  # every second point is a whole gain


def test_a_plateau_is_recorded_and_does_not_stop_by_default(settings: Monitor) -> None:
    verdict = judge(stream([0.5] * 20), settings)
    assert (verdict.status, verdict.stopped) == ("plateau", False)


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), -float("inf")])
def test_a_reward_that_is_no_number_comes_before_all_else(settings: Monitor, reward: float) -> None:
    everything = [*stream([0.9] * 10), *stream([0.0] * 12, reward=reward)[10:]]
    verdict = judge(everything, settings)
    assert (verdict.status, verdict.stopped) == ("nan", True)


def test_collapse_comes_before_plateau(settings: Monitor) -> None:
    rates = [0.9] * 4 + [0.1] * 8
    verdict = judge(stream(rates), settings)
    assert verdict.status == "collapse"
    assert "10.0%" in verdict.reason
    assert "90.0%" in verdict.reason


STREAMS = {
    "collapse": [0.9] * 4 + [0.1] * 4,
    "abort": [0.01] * 10,
    "plateau": [0.5] * 10,
}


@pytest.mark.parametrize("status", STREAMS)
@pytest.mark.parametrize("listed", [True, False])
def test_stop_on_decides_what_ends_the_training(configure: Callable[..., Config], status: str, listed: bool) -> None:
    others = [name for name in typing.get_args(AlertKind) if name not in (status, "plateau")]
    settings = configure(f"monitor.stop_on={[status] if listed else others}").monitor
    verdict = judge(stream(STREAMS[status]), settings)
    assert (verdict.status, verdict.stopped) == (status, listed)


def test_any_alert_can_end_the_training_and_the_gravest_names_it(configure: Callable[..., Config]) -> None:
    verdict = judge(stream(STREAMS["collapse"]), configure("monitor.stop_on=[plateau]").monitor)
    assert [alert.kind for alert in verdict.alerts] == ["collapse", "plateau"]
    assert (verdict.status, verdict.stopped) == ("collapse", True)


def alarming(kind: str) -> tuple[EvaluationPoint, ...]:
    """Evaluations of a training about which the monitor says ``kind``."""
    if kind == "reward_farming":
        return (*stream([0.95] * 4, reward=0.1), *points([0.7] * 8, mean_reward=0.9)[4:])
    sign = {"runaway_std": {"std": 10.5}, "action_saturation": {"action_saturation": 0.99}}
    return points([0.5, 0.7, 0.9, 0.94], **sign[kind])


@pytest.mark.parametrize("kind", ["reward_farming", "runaway_std", "action_saturation"])
def test_the_gate_promotes_after_a_warning_of_the_monitor(config: Config, kind: str) -> None:
    verdict = judge(alarming(kind), config.monitor)
    assert (verdict.status, verdict.stopped, verdict.failed) == (kind, False, False)
    assert decide(samples.evaluation(), verdict, None, config.gate).promote


def test_every_rule_of_the_monitor_has_the_gravity_of_its_alert() -> None:
    assert [kind for kind, _ in _RULES] == list(typing.get_args(AlertKind))


def test_the_peak_is_the_first_of_equals(settings: Monitor) -> None:
    verdict = judge(stream([0.2, 0.7, 0.7, 0.6]), settings)
    assert (verdict.peak_success, verdict.peak_timesteps) == (0.7, 2 * INTERVAL)
    assert (verdict.final_success, verdict.at_timesteps) == (0.6, 4 * INTERVAL)


def test_weights_that_are_no_numbers_always_stop(settings: Monitor) -> None:
    verdict: MonitorVerdict = not_a_number(
        stream([0.2, 0.4]), settings.model_copy(update={"stop_on": ()}), 500_000, "a network weight"
    )
    assert (verdict.status, verdict.stopped, verdict.at_timesteps) == ("nan", True, 500_000)
    assert verdict.peak_success == 0.4
    assert "a network weight" in verdict.reason


@pytest.mark.parametrize("rate", [0.22, 0.50])
def test_the_trend_of_a_flat_run_is_flat(rate: float) -> None:
    """One run in ten is called otherwise."""
    words = [found.word for run in drawn([rate] * 3, seed=6) if (found := trend(stream(run), 3))]
    assert len(words) == RUNS
    assert 0.86 <= words.count("flat") / RUNS <= 0.94


@pytest.mark.parametrize(("rates", "word"), [([0.1, 0.3, 0.5], "rising"), ([0.9, 0.7, 0.5], "falling")])
def test_a_clear_trend_is_named(rates: list[float], word: str) -> None:
    words = [found.word for run in drawn(rates, seed=7) if (found := trend(stream(run), 3))]
    assert words.count(word) / RUNS >= 0.99


def test_the_trend_is_that_of_the_newest_window() -> None:
    found = trend(stream([0.9, 0.1, 0.2, 0.3]), 3)
    assert found is not None
    assert found.slope == pytest.approx(0.1 / (INTERVAL / 1e6))
    assert found.evaluations == 3
    shortest = trend(stream([0.3, 0.9, 0.1]), 1)  # two are the fewest that have a slope
    assert shortest is not None
    assert (shortest.slope, shortest.evaluations) == (pytest.approx(-0.8 / (INTERVAL / 1e6)), 2)


@pytest.mark.parametrize("rates", [[], [0.4], [0.4, float("nan"), 0.5]])
def test_too_few_evaluations_have_no_trend(rates: list[float]) -> None:
    assert trend(stream(rates), 3) is None
