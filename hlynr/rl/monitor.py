"""Watching a training: pure judgement over its stream of evaluations.

Evaluations come at equal distances in timesteps, at the declared difficulty, with 100 or more engagements each.
With window 3, n >= 100 and fraction 0.5 the collapse rule raises a false alarm in 0.5 % of flat 22 % runs and
finds a slide from 22 % to 1 % every time (`tests/rl/test_monitor.py` simulates both).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hlynr.records import EvaluationPoint, MonitorVerdict

if TYPE_CHECKING:
    from hlynr.config import Monitor


def judge(points: Sequence[EvaluationPoint], settings: Monitor) -> MonitorVerdict:
    """The verdict after the newest of ``points`` (ordered by timesteps).

    The first condition that holds gives the verdict, in this order: nan (a reward that is no number), abort
    (success below the bound from the abort point on), collapse (the newest window below a fraction of the best
    earlier window), plateau (no improvement for ``plateau_patience`` evaluations). Too few points for a window
    are healthy. No points at all are healthy with zero success.
    """
    if not points:
        return MonitorVerdict(
            status="healthy",
            reason="no evaluation yet",
            stopped=False,
            at_timesteps=0,
            peak_success=0.0,
            peak_timesteps=0,
            final_success=0.0,
        )
    status, reason = _status(points, settings)
    peak = max(points, key=lambda point: (point.success_rate, -point.timesteps))
    return MonitorVerdict(
        status=status,  # type: ignore[arg-type]  # one of the literals, see _status
        reason=reason,
        stopped=status in settings.stop_on,
        at_timesteps=points[-1].timesteps,
        peak_success=peak.success_rate,
        peak_timesteps=peak.timesteps,
        final_success=points[-1].success_rate,
    )


def not_a_number(points: Sequence[EvaluationPoint], settings: Monitor, timesteps: int, what: str) -> MonitorVerdict:
    """The verdict when the training itself produced NaN or infinity in ``what``."""
    so_far = judge(points, settings)
    return so_far.model_copy(
        update={
            "status": "nan",
            "reason": f"{what} is not finite at {timesteps:,} timesteps",
            "stopped": True,
            "at_timesteps": timesteps,
        }
    )


def _status(points: Sequence[EvaluationPoint], settings: Monitor) -> tuple[str, str]:
    newest = points[-1]
    if not all(math.isfinite(value) for value in (newest.mean_reward, newest.success_rate)):
        return "nan", f"mean reward is {newest.mean_reward} at {newest.timesteps:,} timesteps"
    if newest.timesteps >= settings.abort_after and newest.success_rate < settings.abort_below:
        return "abort", (
            f"success {newest.success_rate:.1%} at {newest.timesteps:,} timesteps is below {settings.abort_below:.1%}"
        )
    means = window_means(points, settings.window)
    if len(means) > 1 and means[-1] < settings.collapse_fraction * max(means):
        return "collapse", (
            f"success fell to {means[-1]:.1%} over the last {settings.window} evaluations, below "
            f"{settings.collapse_fraction:.0%} of the peak of {max(means):.1%}"
        )
    stale = _evaluations_without_gain(points, settings.plateau_min_delta)
    if stale >= settings.plateau_patience:
        return "plateau", f"no gain of {settings.plateau_min_delta:.1%} in {stale} evaluations"
    return "healthy", f"success {newest.success_rate:.1%} at {newest.timesteps:,} timesteps"


def window_means(points: Sequence[EvaluationPoint], window: int) -> list[float]:
    """Mean success of every ``window`` consecutive points; empty if there are fewer."""
    rates = [point.success_rate for point in points]
    return [sum(rates[end - window : end]) / window for end in range(window, len(rates) + 1)]


def _evaluations_without_gain(points: Sequence[EvaluationPoint], min_delta: float) -> int:
    best, since = -math.inf, 0
    for point in points:
        if point.success_rate >= best + min_delta:
            best, since = point.success_rate, 0
        else:
            since += 1
    return since
