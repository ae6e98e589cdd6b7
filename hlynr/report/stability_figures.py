"""Figures of the stability study, from its record alone, as PNG files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hlynr.records.stability import StabilityDocument, StabilityGroup, StabilityRecord, StabilityRun
from hlynr.report import style, text

Quantity = Literal["success_rate", "mean_reward", "std", "action_saturation"]
LOOKS: dict[Quantity, tuple[str, str]] = {
    "success_rate": ("success rate", style.BLUE),
    "mean_reward": ("mean reward", style.GREEN),
    "std": ("standard deviation", style.ORANGE),
    "action_saturation": ("action saturation", style.PURPLE),
}
"""Label and colour."""
ROW = 2.7
"""[in] height of one strategy's panels."""


def learning(record: StabilityRecord, path: Path) -> Path:
    """Success and mean reward over timesteps, a row for each strategy, with the analysed run beside the success."""
    figure = style.canvas(
        "Success and mean reward over training",
        "Thin: one seed each. Thick: their mean; the band is their range. On the selection engagements. Dashed: the "
        f"table of the analysis before this project, at {record.document.ticks_per_timestep} ticks to a timestep",
        height=ROW * len(record.strategies) + 1.0,
    )
    for axes, _ in _panels(figure, record, record.strategies, "success_rate", "mean_reward"):
        _document(axes, record.document)
        style.rate_axis(axes)
        style.legend_above(axes, columns=2)
    return style.save(figure, path)


def spread(record: StabilityRecord, path: Path) -> Path:
    """The actions' standard deviation and saturation over timesteps, a row for each strategy that has them."""
    known = {run.strategy for run in record.runs if any(point.std is not None for point in run.points)}
    groups = [group for group in record.strategies if group.strategy in known] or record.strategies[:1]
    missing = ", ".join(group.strategy for group in record.strategies if group.strategy not in known)
    figure = style.canvas(
        "What foretells a collapse: the spread of the actions",
        "Standard deviation: of the policy, mean over the actions, whose box is [-1, 1]. Saturation: share of the "
        "training's action components outside that box" + (f". Not recorded: {missing}" if missing else ""),
        height=ROW * len(groups) + 1.0,
    )
    for left, right in _panels(figure, record, groups, "std", "action_saturation"):
        left.set_ylim(bottom=0.0)
        style.rate_axis(right)
    return style.save(figure, path)


def _panels(
    figure: Figure, record: StabilityRecord, groups: Sequence[StabilityGroup], *quantities: Quantity
) -> list[list[Axes]]:
    """A row of panels for each strategy, one for each quantity, with its curves over the timesteps."""
    panels: list[list[Axes]] = figure.subplots(len(groups), len(quantities), squeeze=False).tolist()
    for row, group in zip(panels, groups, strict=True):
        runs = [run for run in record.runs if run.strategy == group.strategy]
        for axes, quantity in zip(row, quantities, strict=True):
            _curves(axes, runs, quantity)
            label = LOOKS[quantity][0]
            style.tidy(axes, "timesteps", f"{group.strategy}\n{label}" if axes is row[0] else label)
            style.timestep_axis(axes, group.timesteps)
    return panels


def _curves(axes: Axes, runs: Sequence[StabilityRun], quantity: Quantity) -> None:
    """A thin line per run, and mean and range of those that were evaluated at the same time."""
    colour = LOOKS[quantity][1]
    at: dict[int, list[float]] = {}
    for run in runs:
        points = [(point.timesteps, value) for point in run.points if (value := getattr(point, quantity)) is not None]
        for timesteps, value in points:
            at.setdefault(timesteps, []).append(value)
        axes.plot(*zip(*points, strict=True) if points else ([], []), color=colour, linewidth=0.7, alpha=0.5)
    if not at:
        style.nothing(axes, "not recorded")
        return
    times = sorted(at)
    low, mean, high = np.array([(min(at[time]), np.mean(at[time]), max(at[time])) for time in times]).T
    if len(runs) > 1:
        axes.fill_between(times, low, high, color=colour, alpha=0.2, linewidth=0)
    label = f"mean of {len(runs)} seeds" if len(runs) > 1 else f"seed {runs[0].seed}"
    axes.plot(times, mean, color=colour, linewidth=2.2, label=label)


def _document(axes: Axes, document: StabilityDocument) -> None:
    middles = []
    for stretch in document.success:
        begin, end = (ticks / document.ticks_per_timestep for ticks in stretch.ticks)
        low, high = stretch.success_rate
        axes.fill_between([begin, end], [low, low], [high, high], color=style.RED, alpha=0.35, linewidth=0)
        middles += [(begin, (low + high) / 2), (end, (low + high) / 2)]
    axes.plot(*zip(*middles, strict=True), color=style.RED, linestyle="--", linewidth=1.5, label="the analysed run")


def stability(record: StabilityRecord, path: Path) -> Path:
    """Best and last window of each run, and its best bundle on the held-out engagements."""
    figure = style.canvas(
        "The end of each training beside its peak",
        f"Means of {record.runs[0].window} evaluations on the selection engagements. Held-out: the best bundle on "
        f"{record.heldout_episodes:,} engagements that no training saw, with its interval",
        height=2.2 + 0.36 * len(record.runs),
    )
    axes = style.tidy(figure.subplots(), "success rate")
    for row, run in enumerate(record.runs):
        _ending(axes, row, run)
    axes.set_xlim(_floor(record.runs), 1.09)
    style.rows(axes, [run.name for run in record.runs], rates=True)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False)
    axes.text(1.085, -0.75, "end / peak", ha="right", fontsize=10, color=style.GREY)
    return style.save(figure, path)


def _ending(axes: Axes, row: int, run: StabilityRun) -> None:
    peak, final, heldout = run.peak_window_success, run.final_window_success, run.heldout_success_rate
    colour = style.RED if run.collapsed else style.BLUE
    if peak is not None and final is not None:
        axes.plot([final, peak], [row, row], color=style.GREY, linewidth=1.5, zorder=1)
        axes.scatter([peak], [row], facecolor="white", edgecolor=colour, s=60, label="best window", zorder=2)
        axes.scatter([final], [row], color=colour, s=26, label="last window", zorder=3)
    spread = style.around(heldout, run.heldout_success_rate_ci)
    axes.errorbar(
        [heldout], [row + 0.26], xerr=spread, fmt="D", color=style.GREEN, markersize=4, linewidth=1.2, label="held-out"
    )
    result = "collapsed" if run.collapsed else text.percent(run.final_over_peak)
    axes.text(1.085, row, result, va="center", ha="right", fontsize=10, color=colour)


def _floor(runs: Sequence[StabilityRun]) -> float:
    """The left end of the axis: a tenth below the least that is shown, so that similar runs can be distinguished."""
    shown = [value for run in runs for value in (run.final_window_success, run.heldout_success_rate_ci[0]) if value]
    return max(min(shown, default=0.0) - 0.1, 0.0)
