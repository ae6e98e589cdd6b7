"""A training's status in words: its state, the monitor's verdict, the trend of its success."""

import math
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from hlynr.records.training import FATAL, TrainingStatus, clock
from hlynr.report import text
from hlynr.rl.monitor import trend, window_means

SILENCE = 10.0
"""[s] without a new status after which the state says so; a training writes one every 2 s."""
GO_ON = "hlynr train --resume or hlynr retrain --resume goes on"
STYLES = {"rising": "bold green", "flat": "", "falling": "bold red"}


class Fact(NamedTuple):
    """A named fact in words, and its style."""

    name: str
    words: str
    style: str = ""


def state(status: TrainingStatus, at: datetime) -> str:
    """The training's state."""
    after = f"after {status.progress.timesteps:,} timesteps"
    if status.state == "running":
        silent = (at - status.updated).total_seconds()
        return "running" if silent <= SILENCE else f"running, but without a new status for {text.duration(silent)}"
    return {
        "finished": f"ended by the monitor {after}" if status.verdict.stopped else f"finished {after}",
        "interrupted": f"interrupted {after}; {GO_ON}",
        "failed": f"failed {after}",
        "lost": f"no longer running: killed or crashed {after}; {GO_ON}",
    }[status.state]


def origin(status: TrainingStatus) -> str:
    """What is trained, in two lines, or three where the plan gave a reason."""
    lineage = status.lineage
    run = f", MLflow run {lineage.mlflow_run_id}" if lineage.mlflow_run_id else ""
    reason = f"\nmade because {lineage.reason}" if lineage.attempt > 1 and lineage.reason else ""
    return (
        f"strategy {status.strategy}, {text.ALGORITHMS[status.algorithm]}, scenario {status.scenario}, "
        f"seed {status.seed}, on {status.progress.device}\n"
        f"retraining {lineage.retraining}, attempt {lineage.attempt}{run}{reason}"
    )


def speed(status: TrainingStatus) -> str:
    """Rate, duration and ETA."""
    eta = f", ETA {clock(status.progress.eta_seconds)}" if status.state == "running" else ""
    return f"{status.progress.timesteps_per_second:,.0f} timesteps/s, {clock(status.seconds)} of training{eta}"


def verdict(status: TrainingStatus) -> list[Fact]:
    """The monitor's verdict and its meaning, then every alert with its gravity."""
    found = status.verdict
    if not found.alerts:
        words = named(found.status) if status.evaluations else found.reason
        return [Fact("Verdict", words, "bold green" if status.evaluations else ""), Fact("Alerts", "none")]
    meaning = "the training counts as failed" if found.failed else "no more than a warning"
    ended = "the monitor ended it" if found.stopped else "the monitor did not end it"
    words = f"{named(found.status)}: {meaning}, and {ended}"
    facts = [Fact("Verdict", words, "bold red" if found.failed else "bold yellow")]
    for alert in found.alerts:
        gravity, style = ("FATAL", "red") if alert.kind in FATAL else ("warning", "yellow")
        facts.append(Fact("Alert", f"{gravity}, {named(alert.kind)}: {alert.reason}", style))
    return facts


def standing(status: TrainingStatus) -> list[Fact]:
    """The newest evaluation, the peak, the window and the trend, after at least one evaluation."""
    found, points, window = status.verdict, status.evaluations, status.window
    newest = f"{text.percent(points[-1].success_rate)} at {points[-1].timesteps:,} timesteps"
    means = window_means(points, window)
    mean = f"known after {window} evaluations, {len(points)} so far"
    if means:
        mean = f"mean of the last {window}: {text.percent(means[-1])} (the best such mean: {text.percent(max(means))})"
    return [
        Fact("Success", f"{newest}, peak {text.percent(found.peak_success)} at {found.peak_timesteps:,}"),
        Fact("Window", mean),
        _trend(status),
    ]


def _trend(status: TrainingStatus) -> Fact:
    going = trend(status.evaluations, status.window)
    if going is None:
        return Fact("Trend", "known after 2 evaluations" if len(status.evaluations) < 2 else text.UNKNOWN)
    slope, chance = 100 * going.slope, 100 * going.chance
    words = f"{going.word}, {slope:+,.1f} points per million timesteps (+-{chance:,.1f} may be chance)"
    return Fact("Trend", words, STYLES[going.word])


def news(before: TrainingStatus, status: TrainingStatus, at: datetime) -> Iterator[str]:
    """A line for each evaluation since ``before``, and one if the training has ended."""
    known = {point.timesteps for point in before.evaluations}
    found = status.verdict
    for point in status.evaluations:
        if point.timesteps not in known:
            yield (
                f"{point.timesteps:>10,} / {status.progress.budget:,} timesteps  "
                f"success {text.percent(point.success_rate):>7}  reward {text.signed(point.mean_reward)}  "
                f"peak {text.percent(found.peak_success)}  {named(found.status)}"
            )
    if status.state != "running":
        yield f"{state(status, at)}. Verdict: {named(found.status)}, {found.reason}"


def named(kind: str) -> str:
    """An alert's kind in words."""
    return kind.replace("_", " ")


class Sign(NamedTuple):
    """A figure that changes before success does."""

    name: str
    values: list[float]
    write: Callable[[float], str]

    def range(self) -> tuple[str, str, str]:
        """The newest, lowest and highest value; the last two among those that are numbers."""
        known = [value for value in self.values if math.isfinite(value)] or [math.nan]
        return self.write(self.values[-1]), self.write(min(known)), self.write(max(known))


def signs(status: TrainingStatus) -> list[Sign]:
    """The measured ones."""
    found = []
    for field, (name, write) in _SIGNS.items():
        values = [value for point in status.evaluations if (value := getattr(point, field)) is not None]
        if values:
            found.append(Sign(name, values, write))
    return found


def _figure(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")


_SIGNS: dict[str, tuple[str, Callable[[float], str]]] = {
    "std": ("action std", _figure),
    "action_saturation": ("action saturation", text.percent),
    "approx_kl": ("approx_kl", _figure),
    "value_loss": ("value loss", _figure),
    "explained_variance": ("explained variance", _figure),
    "training_radius": ("training radius", text.metres),
    "mean_final_distance": ("final distance", text.metres),
}
