"""Figures of one retraining from its records, as PNG files; `hlynr.report.engagements` draws single engagements.

All functions return the path written and draw empty, NaN or single-point data as what it is, without raising.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from hlynr.config.sections import Monitor
from hlynr.records.evaluation import EvaluationReport, PolicyReport, Slice
from hlynr.records.training import TrainResult
from hlynr.report import style, text

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


def comparison(evaluation: EvaluationReport, baseline: float, path: Path, champion: PolicyReport | None = None) -> Path:
    """Success with its interval for the policy, the champion if there is one, and the baselines."""
    report, heldout = evaluation.report, evaluation.heldout
    bars = [(f"policy, {report.episodes:,} episodes", style.SKY, report), ("policy, held-out", style.BLUE, heldout)]
    if champion is not None:
        bars.append(("champion", style.POLICY_COLOURS["champion"], champion))
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
    axes.set_yticks(range(len(bars)), [name for name, _, _ in bars])
    axes.axvline(baseline, color=style.INK, linestyle="--", linewidth=1.2, label=f"baseline {text.percent(baseline)}")
    axes.set(xlim=(0.0, 1.0), ylim=(len(bars) - 0.4, -0.6))
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0, symbol=" %"))
    style.legend_above(axes, columns=1)
    return style.save(figure, path)


def _bar(axes: Axes, row: int, colour: str, report: PolicyReport) -> None:
    rate, (low, high) = report.success_rate, report.success_rate_ci
    axes.barh(row, rate, color=colour, height=0.62)
    axes.errorbar(
        rate, row, xerr=[[max(rate - low, 0.0)], [max(high - rate, 0.0)]], color=style.INK, capsize=4, linewidth=1.4
    )
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
        middle, rate, (low, high) = (part.low + part.high) / 2, part.success_rate, part.success_rate_ci
        axes.plot([part.low, part.high], [rate, rate], color=style.SKY, linewidth=3)
        below, above = max(rate - low, 0.0), max(high - rate, 0.0)
        axes.errorbar(middle, rate, yerr=[[below], [above]], fmt="o", color=style.BLUE, capsize=4, linewidth=1.6)
        height = 0.6 if rate < 0.4 else 0.03
        label = f"{text.percent(rate)}\nn = {part.episodes:,}"
        axes.text(middle, height, label, ha="center", va="bottom", fontsize=10, color=style.INK)
    start, end = min(part.low for part in parts), max(part.high for part in parts)
    margin = 0.04 * (end - start) or 1.0
    axes.set_xlim(start - margin, end + margin)
