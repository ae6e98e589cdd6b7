"""Monitoring a training: rules over its evaluations, as pure functions.

Evaluations come at equal distances in timesteps, at the declared difficulty, with 100 or more engagements each.
With window 3, n >= 100 and fraction 0.5 the collapse rule raises a false alert in 0.5 % of flat 22 % runs and
finds a slide from 22 % to 1 % every time (`tests/rl/test_monitor.py` simulates this and every other rule).
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, linear_regression, median
from typing import Literal, NamedTuple

from hlynr.config.sections import Monitor
from hlynr.records.training import AlertKind, EvaluationPoint, MonitorAlert, MonitorVerdict

Points = Sequence[EvaluationPoint]
WEIGHT = "a network weight"
"""The argument of `not_a_number` where no evaluation has shown it first."""


def judge(points: Points, settings: Monitor) -> MonitorVerdict:
    """The verdict after the newest of ``points`` (ordered by timesteps).

    All rules are evaluated and all alerts kept, the gravest first, which is the status; one in ``stop_on`` ends the
    training. A rule without enough points, or without its figure, gives no alert. No points are healthy with zero
    success.
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
    newest = points[-1]
    alerts = tuple(
        MonitorAlert(kind=kind, reason=reason) for kind, rule in _RULES if (reason := rule(points, settings))
    )
    peak = max(points, key=lambda point: (point.success_rate, -point.timesteps))
    gravest = alerts[0] if alerts else None
    return MonitorVerdict(
        status=gravest.kind if gravest else "healthy",
        reason=gravest.reason if gravest else f"success {newest.success_rate:.1%} at {newest.timesteps:,} timesteps",
        stopped=any(alert.kind in settings.stop_on for alert in alerts),
        alerts=alerts,
        at_timesteps=newest.timesteps,
        peak_success=peak.success_rate,
        peak_timesteps=peak.timesteps,
        final_success=newest.success_rate,
    )


def not_a_number(points: Points, settings: Monitor, timesteps: int, what: str) -> MonitorVerdict:
    """The verdict when the training itself produced NaN or infinity in ``what``."""
    so_far = judge(points, settings)
    alert = MonitorAlert(kind="nan", reason=f"{what} is not finite at {timesteps:,} timesteps")
    others = tuple(known for known in so_far.alerts if known.kind != "nan")
    return so_far.model_copy(
        update={
            "status": alert.kind,
            "reason": alert.reason,
            "stopped": True,
            "alerts": (alert, *others),
            "at_timesteps": timesteps,
        }
    )


def _nan(points: Points, settings: Monitor) -> str | None:
    """A figure of the evaluation or of the update that is no number."""
    newest = points[-1]
    figures = {
        "success": newest.success_rate,
        "mean reward": newest.mean_reward,
        "value loss": newest.value_loss,
        "std": newest.std,
    }
    for name, value in figures.items():
        if value is not None and not math.isfinite(value):
            return f"{name} is {value} at {newest.timesteps:,} timesteps"
    return None


def _exploding_loss(points: Points, settings: Monitor) -> str | None:
    """Relative to the training's own past, since a loss has the scale of the squared rewards."""
    *before, newest = [point.value_loss for point in points if point.value_loss is not None] or [0.0]
    if len(before) < settings.window or points[-1].value_loss is None:
        return None
    usual = median(before)
    if not newest > settings.loss_factor * usual:
        return None
    return f"value loss {newest:.3g} is above {settings.loss_factor:g} times its median so far, {usual:.3g}"


def _abort(points: Points, settings: Monitor) -> str | None:
    newest = points[-1]
    if newest.timesteps < settings.abort_after or newest.success_rate >= settings.abort_below:
        return None
    return f"success {newest.success_rate:.1%} at {newest.timesteps:,} timesteps is below {settings.abort_below:.1%}"


def _collapse(points: Points, settings: Monitor) -> str | None:
    """The newest window below a fraction of the best one."""
    means = window_means(points, settings.window)
    if len(means) < 2 or means[-1] >= settings.collapse_fraction * max(means):
        return None
    return (
        f"success fell to {means[-1]:.1%} over the last {settings.window} evaluations, below "
        f"{settings.collapse_fraction:.0%} of the peak of {max(means):.1%}"
    )


def _reward_farming(points: Points, settings: Monitor) -> str | None:
    """The reward no longer pays for success: the newest window has less of it than the best, and more reward."""
    success = window_means(points, settings.window)
    if len(success) < 2:
        return None
    rewards = _means([point.mean_reward for point in points], settings.window)
    best = max(range(len(success)), key=success.__getitem__)
    if success[-1] >= success[best] - settings.farming_drop or rewards[-1] <= rewards[best]:
        return None
    return (
        f"success fell from {success[best]:.1%} to {success[-1]:.1%} while the mean reward went from "
        f"{rewards[best]:+.2f} to {rewards[-1]:+.2f}"
    )


def _runaway_std(points: Points, settings: Monitor) -> str | None:
    std = points[-1].std
    if std is None or not std > settings.std_limit:
        return None
    return f"the actions' standard deviation is {std:.2f}, above {settings.std_limit:g}; their box is [-1, 1]"


def _action_saturation(points: Points, settings: Monitor) -> str | None:
    shares = [point.action_saturation for point in points[-settings.window :]]
    known = [share for share in shares if share is not None]
    if len(known) < settings.window or not fmean(known) > settings.saturation_limit:
        return None
    return f"{fmean(known):.0%} of the action components lie outside their box, above {settings.saturation_limit:.0%}"


def _plateau(points: Points, settings: Monitor) -> str | None:
    best, stale = -math.inf, 0
    for point in points:
        if point.success_rate >= best + settings.plateau_min_delta:
            best, stale = point.success_rate, 0
        else:
            stale += 1
    if stale < settings.plateau_patience:
        return None
    return f"no gain of {settings.plateau_min_delta:.1%} in {stale} evaluations"


_RULES: tuple[tuple[AlertKind, Callable[[Points, Monitor], str | None]], ...] = (
    ("nan", _nan),
    ("exploding_loss", _exploding_loss),
    ("abort", _abort),
    ("collapse", _collapse),
    ("reward_farming", _reward_farming),
    ("runaway_std", _runaway_std),
    ("action_saturation", _action_saturation),
    ("plateau", _plateau),
)
"""The gravest first."""


def window_means(points: Points, window: int) -> list[float]:
    """Mean success of every ``window`` consecutive points; empty if there are fewer."""
    return _means([point.success_rate for point in points], window)


Direction = Literal["rising", "flat", "falling"]


class Trend(NamedTuple):
    """The direction of success."""

    word: Direction
    slope: float
    """Change of the success rate per million timesteps."""
    chance: float
    """Half the 90 % interval of the slope of an unchanged policy: a smaller one may be chance."""
    evaluations: int


def trend(points: Points, window: int) -> Trend | None:
    """The least-squares line through the newest ``window`` evaluations, two at least.

    Flat is a slope that the number of engagements per evaluation leaves to chance. None if there are fewer than two
    evaluations, or a rate is no number.
    """
    newest = points[-max(window, 2) :]
    times, rates = [point.timesteps / 1e6 for point in newest], [point.success_rate for point in newest]
    if len(set(times)) < 2 or not all(map(math.isfinite, rates)):
        return None
    slope, mean = linear_regression(times, rates).slope, fmean(rates)
    spread = sum((time - fmean(times)) ** 2 for time in times)
    chance = NormalDist().inv_cdf(0.95) * math.sqrt(mean * (1 - mean) / (newest[-1].episodes * spread))
    word: Direction = "flat" if abs(slope) <= chance else "rising" if slope > 0 else "falling"
    return Trend(word, slope, chance, len(newest))


def _means(values: Sequence[float], window: int) -> list[float]:
    return [fmean(values[end - window : end]) for end in range(window, len(values) + 1)]
