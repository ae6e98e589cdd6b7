"""Figures of recorded engagements, from arrays, as PNG files.

Both functions return the path written and say in the figure if there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogFormatter, PercentFormatter

from hlynr.report import style, text

if TYPE_CHECKING:
    from hlynr.evaluation.recording import Trajectory

Projection = Callable[[np.ndarray], np.ndarray]

NEAREST = 1.0
"""Misses below this [m] are drawn here: the axis is logarithmic."""


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
    for axes, project in ((plan, _from_above), (side, _from_the_side)):
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


def _from_above(positions: np.ndarray) -> np.ndarray:
    """East and north, (T, 2) [m]."""
    return positions[:, :2]


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
