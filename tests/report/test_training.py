"""The view of a training fits 80 columns and any height, and says in words what its colours say."""

from __future__ import annotations

import io
import math
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console
from support import statuses
from support.statuses import INTERVAL, NOW, RISING, points

from hlynr.config.config import Config
from hlynr.config.sections import Monitor
from hlynr.records.training import TrainingStatus
from hlynr.report import status as words
from hlynr.report.charts import BRAILLES
from hlynr.report.training import TrainingView

BASELINE = 0.33
COLLAPSE = (0.3, 0.9, 0.9, 0.9, 0.3, 0.15, 0.05)


@pytest.fixture(scope="module")
def settings(config: Config) -> Monitor:
    return config.monitor


def shown(status: TrainingStatus, width: int = 80, *, fit: bool = False, **options: Any) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, **options).print(TrainingView(status, BASELINE, NOW, fit=fit))
    return stream.getvalue()


def one_line(printed: str) -> str:
    return " ".join(printed.split())


def test_a_running_training_at_a_glance(settings: Monitor) -> None:
    printed = shown(statuses.status(settings))
    assert max(map(len, printed.splitlines())) <= 80
    assert "\x1b" not in printed
    output = one_line(printed)
    for expected in (
        "Training 20261123-180530-4f2a9c: running",
        "strategy default, PPO, scenario reference, seed 4, on cpu",
        f"retraining 3, attempt 1, MLflow run {statuses.RUN_ID}",
        "47 % 1,400,000 / 3,000,000 timesteps",
        "21,500 timesteps/s, 1:05 of training, ETA 1:14",
        "Verdict healthy Alerts none",
        "Success 93.0 % at 1,400,000 timesteps, peak 93.0 % at 1,400,000",
        "Window mean of the last 3: 89.7 % (the best such mean: 89.7 %)",
        "Trend rising, +17.5 points per million timesteps (+-12.5 may be chance)",
        "Success on 200 engagements each (◆ peak, ┄ baseline)",
        "Mean reward, +0.86 now (┄ zero)",
        "action std 0.540 0.540 0.600",
        "action saturation 10.0 %",
        "approx_kl 0.0120",
        "value loss 0.0500",
        "explained variance 0.900",
        "training radius 150 m",
        "final distance 63.0 m 63.0 m 855 m",
    ):
        assert expected in output


def test_the_charts_show_baseline_and_peak(settings: Monitor) -> None:
    rows = shown(statuses.status(settings, (0.1, 0.6, 0.2, 0.2))).splitlines()
    baseline = next(row for row in rows if row.count("┄") > 40)
    assert baseline.startswith(" 33 % ┤")
    peak = next(row for row in rows if "◆" in row and "peak" not in row)
    assert rows.index(peak) < rows.index(baseline)
    assert peak.index("◆") == pytest.approx(7 + 73 * 2 * INTERVAL / 1_500_000, abs=1)  # half the budget is enough


@pytest.mark.parametrize(("success", "top"), [((0.05, 0.22, 0.01), " 50 % ┤"), ((0.05, 0.52, 0.2), "100 % ┤")])
def test_low_rates_get_a_scale_of_their_own(settings: Monitor, success: tuple[float, ...], top: str) -> None:
    assert any(row.startswith(top) for row in shown(statuses.status(settings, success)).splitlines())


def test_every_alert_has_its_gravity_and_reason(settings: Monitor) -> None:
    status = statuses.status(settings, COLLAPSE, evaluations=points(COLLAPSE, std=5.0), state="finished")
    assert [alert.kind for alert in status.verdict.alerts] == ["collapse", "runaway_std", "plateau"]
    output = one_line(shown(status))
    assert "collapse: the training counts as failed, and the monitor ended it" in output
    for alert in status.verdict.alerts:
        gravity = "FATAL" if alert.kind == "collapse" else "warning"
        assert f"Alert {gravity}, {alert.kind.replace('_', ' ')}: {alert.reason}" in output
    assert "ended by the monitor after 1,400,000 timesteps" in output
    assert "ETA" not in output
    assert "falling, -" in output


def test_a_warning_is_no_failure(settings: Monitor) -> None:
    output = one_line(shown(statuses.status(settings, [0.5] * 8)))
    assert "plateau: no more than a warning, and the monitor did not end it" in output
    assert "FATAL" not in output
    assert "Trend flat, " in output


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("finished", "finished after 1,400,000 timesteps"),
        (
            "interrupted",
            "interrupted after 1,400,000 timesteps; hlynr train --resume or hlynr retrain --resume goes on",
        ),
        ("failed", "failed after 1,400,000 timesteps"),
        (
            "lost",
            "no longer running: killed or crashed after 1,400,000 timesteps; hlynr train --resume or hlynr retrain "
            "--resume goes on",
        ),
    ],
)
def test_the_state_in_words(settings: Monitor, state: str, expected: str) -> None:
    status = statuses.status(settings, state=state)
    assert f"{status.lineage.id}: {expected} strategy" in one_line(shown(status))


def test_a_status_that_is_not_renewed_is_reported(settings: Monitor) -> None:
    quiet = statuses.status(settings, updated=NOW - timedelta(seconds=90))
    assert "running, but without a new status for 1 min 30 s" in one_line(shown(quiet))


def test_a_plan_s_reason_is_shown(settings: Monitor) -> None:
    reason = "attempt 1, default, ended in collapse: success fell"
    lineage = statuses.LINEAGE.model_copy(update={"attempt": 2, "reason": reason})
    assert f"made because {reason}" in one_line(shown(statuses.status(settings, lineage=lineage)))


def test_before_the_first_evaluation(settings: Monitor) -> None:
    output = one_line(shown(statuses.status(settings, ())))
    assert output.endswith("Verdict no evaluation yet Alerts none")
    assert "0 % 0 / 3,000,000 timesteps" in output


@pytest.mark.parametrize(
    ("count", "window", "trend"),
    [(1, "known after 3 evaluations, 1 so far", "known after 2 evaluations"), (2, "known after 3 evaluations, 2", "+")],
)
def test_what_needs_more_evaluations_says_so(settings: Monitor, count: int, window: str, trend: str) -> None:
    output = one_line(shown(statuses.status(settings, RISING[:count])))
    assert f"Window {window}" in output
    assert trend in output.partition("Trend ")[2].partition(" Success on")[0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_shown_as_such(settings: Monitor, value: float) -> None:
    broken = (*points(RISING), *points((*RISING, 0.9), mean_reward=value, value_loss=value, approx_kl=value)[-1:])
    output = one_line(shown(statuses.status(settings, evaluations=broken)))
    assert "FATAL, nan" in output
    assert f"value loss {value} 0.0500 0.0500 ▁▁▁▁▁▁▁!" in output


def test_signs_that_were_not_measured_are_left_out(settings: Monitor) -> None:
    old = points(RISING, **dict.fromkeys(("std", "training_radius", "approx_kl")))
    output = shown(statuses.status(settings, evaluations=old))
    assert "value loss" in output
    assert not any(name in output for name in ("action std", "training radius", "approx_kl"))


def test_colour_only_underlines_what_words_say(settings: Monitor) -> None:
    status = statuses.status(settings, COLLAPSE)
    coloured = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard", record=True)
    coloured.print(TrainingView(status, BASELINE, NOW))
    assert coloured.export_text() == shown(status)


def test_an_output_without_unicode_gets_ascii(settings: Monitor) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=stream, width=80).print(TrainingView(statuses.status(settings), BASELINE, NOW))
    stream.seek(0)
    output = stream.read()
    assert "(P peak, - baseline)" in output
    assert max(map(len, output.splitlines())) <= 80


@pytest.mark.parametrize("width", [50, 80, 200])
def test_the_view_is_as_wide_as_it_can_be_but_no_wider_than_80(settings: Monitor, width: int) -> None:
    longest = max(len(row.rstrip()) for row in shown(statuses.status(settings), width).splitlines())
    assert longest == min(width, 80)


@pytest.mark.parametrize("height", [50, 40, 30, 24, 16, 12])
def test_a_low_terminal_gets_the_verdict_and_less_of_the_rest(settings: Monitor, height: int) -> None:
    status = statuses.status(settings, COLLAPSE)
    printed = shown(status, height=height, fit=True)
    assert len(printed.splitlines()) <= max(height, 15)
    assert "collapse: the training counts as failed" in one_line(printed)
    assert (printed == shown(status)) == (height == 50)
    assert (BRAILLES.mark in printed) == (height >= 24)
    assert ("Mean reward" in printed) == (height >= 30)
    assert ("Leading signs" in printed) == (height >= 40)


def test_news_are_a_line_each(settings: Monitor) -> None:
    before, after = statuses.status(settings, RISING[:3]), statuses.status(settings, RISING[:5])
    assert list(words.news(before, after, NOW)) == [
        "   800,000 / 3,000,000 timesteps  success  80.0 %  reward +0.60  peak 86.0 %  healthy",
        " 1,000,000 / 3,000,000 timesteps  success  86.0 %  reward +0.72  peak 86.0 %  healthy",
    ]
    assert list(words.news(after, after, NOW)) == []
    ended = statuses.status(settings, COLLAPSE, state="finished")
    assert list(words.news(ended, ended, NOW)) == [
        f"ended by the monitor after 1,400,000 timesteps. Verdict: collapse, {ended.verdict.reason}"
    ]
