"""Figures of one retraining from its records and recorded engagements, as PNG files.

All functions return the path written and draw empty, NaN or single-point data as what it is, without raising.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatter, PercentFormatter

from hlynr.config.sections import Monitor
from hlynr.evaluation.recording import Trajectory
from hlynr.records.evaluation import EvaluationReport, PolicyReport, Slice
from hlynr.records.training import TrainResult
from hlynr.report import style, text

Projection = Callable[[np.ndarray], np.ndarray]

NEAREST = 1.0
"""Misses below this [m] are drawn here: the axis is logarithmic."""
SLICE_LABELS = {
    "range": "spawn range [m]",
    "azimuth": "azimuth [deg]",
    "elevation": "elevation [deg]",
    "target_speed": "target speed [m/s]",
}


def learning_curve(train: TrainResult, monitor: Monitor, baseline: float, path: Path) -> Path:
    """Success and mean reward over timesteps, with the best checkpoint and the bound below which a run is collapsed."""
    verdict = train.verdict
    name = f"{text.ALGORITHMS[train.algorithm]} on {train.scenario}"
    figure = style.canvas(
        f"{name}: best success {text.percent(train.best_success)}, monitor says {verdict.status}",
        f"Monitor: {verdict.reason}",
        height=6.0,
    )
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    _success_curve(upper, train, monitor, baseline)
    lower.plot(*_series(train, "mean_reward"), "o-", color=style.GREEN, markersize=4)
    style.tidy(lower, "timesteps", "mean reward")
    for axes in (upper, lower):
        if train.evaluations:
            axes.axvline(train.best_timesteps, color=style.BLUE, linewidth=0.8, linestyle=":")
        else:
            style.nothing(axes, "no evaluation took place")
    style.timestep_axis(lower, train.timesteps)
    return style.save(figure, path)


def _success_curve(axes: Axes, train: TrainResult, monitor: Monitor, baseline: float) -> None:
    times, success = _series(train, "success_rate")
    axes.axhline(baseline, color=style.GREY, linestyle="--", label=f"baseline {text.percent(baseline)}")
    if len(success) >= monitor.window:
        means = np.convolve(success, np.full(monitor.window, 1.0 / monitor.window), mode="valid")
        bound = monitor.collapse_fraction * np.fmax.accumulate(means)
        label = f"collapse bound, {monitor.collapse_fraction:g} x best mean"
        ends = times[monitor.window - 1 :]
        axes.plot(ends, means, color=style.SKY, linewidth=2.5, label=f"mean of {monitor.window} evaluations")
        axes.step(ends, bound, where="post", color=style.RED, label=label)
    axes.plot(times, success, "o-", color=style.BLUE, markersize=4, linewidth=1, label="success, selection seeds")
    if train.evaluations:
        label = f"best checkpoint, {text.timesteps(train.best_timesteps)}"
        axes.plot([train.best_timesteps], [train.best_success], "*", color=style.INK, markersize=14, label=label)
    style.tidy(axes, ylabel="success rate")
    style.rate_axis(axes)
    style.legend_above(axes, columns=3)


def _series(train: TrainResult, name: Literal["success_rate", "mean_reward"]) -> tuple[np.ndarray, np.ndarray]:
    points = train.evaluations
    return np.array([p.timesteps for p in points], float), np.array([getattr(p, name) for p in points], float)


def comparison(evaluation: EvaluationReport, baseline: float, path: Path) -> Path:
    """Success with its interval for the policy and the baselines."""
    report, heldout = evaluation.report, evaluation.heldout
    bars = [(f"policy, {report.episodes:,} episodes", style.SKY, report), ("policy, held-out", style.BLUE, heldout)]
    ranked = sorted(evaluation.baselines.items(), key=lambda item: -item[1].success_rate)
    bars += [(text.policy_name(key), style.POLICY_COLOURS.get(key, style.GREY), item) for key, item in ranked]
    figure = style.canvas(
        f"The policy succeeds in {text.percent(heldout.success_rate)} of {heldout.episodes:,} held-out engagements",
        f"Scenario {heldout.scenario}, capture radius {heldout.capture_radius:g} m; with Wilson intervals; "
        "all but the first bar on the held-out engagements",
        height=2.0 + 0.5 * len(bars),
    )
    axes = style.tidy(figure.subplots(), "success rate")
    for row, (_, colour, item) in enumerate(bars):
        _bar(axes, row, colour, item)
    axes.axvline(baseline, color=style.INK, linestyle="--", linewidth=1.2, label=f"baseline {text.percent(baseline)}")
    axes.set_xlim(0.0, 1.0)
    style.rows(axes, [name for name, _, _ in bars], rates=True)
    style.legend_above(axes, columns=1)
    return style.save(figure, path)


def _bar(axes: Axes, row: int, colour: str, report: PolicyReport) -> None:
    rate = report.success_rate
    axes.barh(row, rate, color=colour, height=0.62)
    spread = style.around(rate, report.success_rate_ci)
    axes.errorbar(rate, row, xerr=spread, color=style.INK, capsize=4, linewidth=1.4)
    label = text.report_success(report)
    axes.text(1.02, row, label, transform=axes.get_yaxis_transform(), va="center", fontsize=11)


def slices(report: PolicyReport, path: Path) -> Path:
    """Success with its interval over each sliced quantity."""
    keys = [key for key, parts in report.slices.items() if parts]
    rows = max(1, math.ceil(len(keys) / 2))
    figure = style.canvas(
        f"{text.title(report.policy)} by slice: {text.report_success(report)} overall",
        f"{report.episodes:,} engagements of {report.scenario}; dots with Wilson intervals, dashed: overall",
        height=1.0 + 2.5 * rows,
    )
    grid = figure.subplots(rows, 2, squeeze=False, sharey=True).ravel()
    for axes, key in zip(grid, keys, strict=False):
        _slice_panel(axes, report.slices[key])
        axes.axhline(report.success_rate, color=style.GREY, linestyle="--", linewidth=1)
        style.tidy(axes, SLICE_LABELS.get(key, key), "success rate" if axes.get_subplotspec().is_first_col() else "")
        style.rate_axis(axes)
    for axes in grid[len(keys) :]:
        axes.set_axis_off()
    if not keys:
        style.nothing(grid[0], "no slices recorded")
    return style.save(figure, path)


def _slice_panel(axes: Axes, parts: Sequence[Slice]) -> None:
    for part in parts:
        middle, rate = (part.low + part.high) / 2, part.success_rate
        axes.plot([part.low, part.high], [rate, rate], color=style.SKY, linewidth=3)
        spread = style.around(rate, part.success_rate_ci)
        axes.errorbar(middle, rate, yerr=spread, fmt="o", color=style.BLUE, capsize=4, linewidth=1.6)
        height = 0.6 if rate < 0.4 else 0.03
        label = f"{text.percent(rate)}\nn = {part.episodes:,}"
        axes.text(middle, height, label, ha="center", va="bottom", fontsize=10, color=style.INK)
    start, end = min(part.low for part in parts), max(part.high for part in parts)
    margin = 0.04 * (end - start) or 1.0
    axes.set_xlim(start - margin, end + margin)


def miss_distance(distances: Mapping[str, np.ndarray], capture_radius: float, path: Path) -> Path:
    """How miss distances spread, as shares per distance and as cumulative shares, by policy.

    Args:
        distances: by policy, each (N,) [m]; the first is named in the title. What is not finite is left out.
    """
    finite = {key: np.maximum(values[np.isfinite(values)], NEAREST) for key, values in distances.items()}
    drawn = {key: values for key, values in finite.items() if values.size}
    figure = style.canvas(
        _miss_title(drawn, capture_radius),
        f"Logarithmic axis; misses below {NEAREST:g} m are drawn at {NEAREST:g} m",
        height=6.0,
    )
    upper, lower = figure.subplots(2, 1, sharex=True)
    low = min([0.5 * capture_radius, *(float(values.min()) for values in drawn.values())])
    high = max([2.0 * capture_radius, *(float(values.max()) for values in drawn.values())])
    bins = np.geomspace(0.95 * low, 1.05 * high, 41)
    for row, (key, values) in enumerate(drawn.items()):
        colour = style.POLICY_COLOURS.get(key, style.SERIES[row % len(style.SERIES)])
        name = f"{text.policy_name(key)}, n = {values.size:,}"
        weights = np.full(values.size, 1.0 / values.size)
        upper.hist(values, bins, weights=weights, histtype="stepfilled", alpha=0.35, color=colour)
        upper.hist(values, bins, weights=weights, histtype="step", linewidth=1.6, color=colour, label=name)
        lower.ecdf(values, color=colour, linewidth=2)
    for axes in (upper, lower):
        axes.axvline(capture_radius, color=style.INK, linestyle="--", label=f"capture radius {capture_radius:g} m")
        if not drawn:
            style.nothing(axes, "no engagements")
    style.tidy(upper, ylabel="share per bin")
    upper.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=" %"))
    style.tidy(lower, "miss distance [m]", "share at most this far")
    style.rate_axis(lower)
    lower.set(xscale="log", xlim=(bins[0], bins[-1]))
    lower.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    lower.xaxis.set_minor_formatter(LogFormatter())
    style.legend_above(upper, columns=3)
    return style.save(figure, path)


def _miss_title(drawn: Mapping[str, np.ndarray], capture_radius: float) -> str:
    if not drawn:
        return "Miss distance"
    key, values = next(iter(drawn.items()))
    within = text.percent(float(np.mean(values <= capture_radius)))
    median = text.metres(float(np.median(values)))
    return f"{text.title(key)}: {within} of engagements within {capture_radius:g} m, median {median}"


def trajectories(samples: Sequence[Trajectory], path: Path) -> Path:
    """Sample engagements from above and from the side, with launch, spawn and closest approach."""
    won = sum(sample.outcome == "intercept" for sample in samples)
    figure = style.canvas(f"Sample engagements: {won} of {len(samples)} are intercepts", height=5.8)
    plan, side = figure.subplots(1, 2)
    for axes, project in ((plan, lambda positions: positions[:, :2]), (side, _from_the_side)):
        for row, sample in enumerate(samples):
            _engagement(axes, sample, project, style.SERIES[row % len(style.SERIES)])
        paths = [project(positions) for sample in samples for positions in (sample.target, sample.own)]
        _limits(axes, paths, square=axes is plan)
        if not samples:
            style.nothing(axes, "no engagements")
    style.tidy(plan, "east [m]", "north [m]")
    style.tidy(side, "ground range from the defended point [m]", "height [m]")
    if samples:
        entries = plan.get_legend_handles_labels()[0] + _key()
        figure.legend(handles=entries, loc="outside lower left", ncols=3, fontsize=9.5, edgecolor="none")
    return style.save(figure, path)


def _engagement(axes: Axes, sample: Trajectory, project: Projection, colour: str) -> None:
    nearest = int(np.argmin(np.linalg.norm(sample.target - sample.own, axis=1)))
    target, own, estimate = project(sample.target), project(sample.own), project(sample.estimate)
    outcome = sample.outcome.replace("_", " ")
    label = f"{sample.policy} #{sample.episode}: {outcome}, {text.metres(sample.miss_distance)}"
    axes.plot(*own.T, color=colour, linewidth=1.8, label=label)
    axes.plot(*target.T, color=colour, linewidth=1.2, linestyle="--")
    axes.plot(*estimate.T, color=colour, linewidth=0.9, linestyle=":")
    axes.plot(*own[0], marker="s", color=style.INK, markersize=6)
    axes.plot(*target[0], marker="v", color=colour, markersize=8)
    axes.plot(*own[nearest], marker="x", color=colour, markersize=9, markeredgewidth=2)


def _limits(axes: Axes, paths: Sequence[np.ndarray], square: bool) -> None:
    """Axis limits around target and interceptor; an estimate may start far away."""
    points = np.concatenate([*paths, np.zeros((1, 2))])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    half = np.maximum(0.55 * (high - low), 50.0)
    if square:
        half = np.full(2, half.max())
        axes.set_aspect("equal")
    (left, bottom), (right, top) = (low + high) / 2 - half, (low + high) / 2 + half
    axes.set(xlim=(left, right), ylim=(bottom, top))


def _from_the_side(positions: np.ndarray) -> np.ndarray:
    """Ground range and height, (T, 2) [m]."""
    return np.column_stack([np.hypot(positions[:, 0], positions[:, 1]), positions[:, 2]])


def _key() -> list[Line2D]:
    marks = (("s", "launch"), ("v", "spawn"), ("x", "closest approach"))
    return [
        Line2D([], [], color=style.INK, linestyle="-", label="interceptor"),
        Line2D([], [], color=style.INK, linestyle="--", label="target"),
        Line2D([], [], color=style.INK, linestyle=":", label="estimated target"),
        *(Line2D([], [], color=style.INK, linestyle="", marker=mark, label=name) for mark, name in marks),
    ]
