"""Figures of a diagnosis, from its record alone, as PNG files; each says in its title what it shows."""

from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from hlynr.records.diagnosis import Diagnosis
from hlynr.report import style, text

VARIANTS = {
    "policy": "the policy",
    "pn_estimate": "PN, on the estimate",
    "pn_truth": "PN, on the truth",
    "learned_on_truth": "same class, brief, on the truth",
    "stochastic": "the policy with its noise",
    "dropped": "the policy, memory dropped",
    "turned": "the policy, turned to resemble PN",
}
"""The policies run on the same engagements, by the figure that holds their success."""


def causes(diagnosis: Diagnosis, path: Path) -> Path:
    """How many of the sampled episodes ended for which cause."""
    counts = Counter(episode.cause for episode in diagnosis.sampled)
    names = [name for name, _ in counts.most_common()]
    success = text.success(diagnosis.success_rate, diagnosis.success_rate_ci)
    figure = style.canvas(
        f"{diagnosis.episodes} sampled episodes: {success} succeed", height=1.6 + 0.42 * max(len(names), 1)
    )
    axes = style.tidy(figure.subplots(), "episodes")
    for row, name in enumerate(names):
        axes.barh(row, counts[name], color=style.BLUE if name == "intercept" else style.ORANGE, height=0.62)
        axes.text(counts[name], row, f" {counts[name]}", va="center", fontsize=11)
    style.rows(axes, names)
    axes.set_xlim(0, 1.1 * max(counts.values(), default=1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not names:
        style.nothing(axes, "no episodes")
    return style.save(figure, path)


def reward(diagnosis: Diagnosis, path: Path) -> Path:
    """Episode rewards of successes and failures, and what each term contributes on average."""
    figures = diagnosis.finding("reward").figures
    figure = style.canvas("Reward of the policy's episodes, and the terms it is made of", height=4.2)
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    groups = {
        "successes": np.array([e.reward for e in diagnosis.sampled if e.outcome == "intercept"]),
        "failures": np.array([e.reward for e in diagnosis.sampled if e.outcome != "intercept"]),
    }
    finite = {name: values[np.isfinite(values)] for name, values in groups.items()}
    everything = np.concatenate([*finite.values()])
    bins = np.linspace(everything.min() - 0.01, everything.max() + 0.01, 41) if everything.size else np.zeros(2)
    for (name, values), colour in zip(finite.items(), (style.BLUE, style.ORANGE), strict=True):
        if values.size:
            left.hist(values, bins, color=colour, alpha=0.6, label=f"{values.size} {name}")
    if everything.size:
        style.legend_above(left, columns=2)
    else:
        style.nothing(left, "no rewards")
    style.tidy(left, "reward of the episode", "episodes")
    terms = {name.removeprefix("term_"): value for name, value in figures.items() if name.startswith("term_")}
    for row, value in enumerate(terms.values()):
        right.barh(row, value, color=style.GREEN if value >= 0 else style.RED, height=0.62)
    right.set_yticks(range(len(terms)), list(terms))
    right.invert_yaxis()
    right.axvline(0.0, color=style.INK, linewidth=1)
    style.tidy(right, "mean per episode")
    return style.save(figure, path)


def tracker(diagnosis: Diagnosis, path: Path) -> Path:
    """The tracker's NEES with its bounds, and its error, where the target moves as it assumes."""
    figure = style.canvas(
        "Tracker, where the target moves as it assumes",
        "NEES: squared error in units of the filter's covariance, mean over the engagements after each scan; "
        "a consistent filter stays in the band 95 % of the time",
        height=4.4,
    )
    left, right = figure.subplots(1, 2)
    seconds = np.array([scan.seconds for scan in diagnosis.scans])
    nees = np.array([scan.nees for scan in diagnosis.scans])
    if seconds.size:
        low, high = np.array([scan.nees_bounds for scan in diagnosis.scans]).T
        left.fill_between(seconds, low, high, color=style.SKY, alpha=0.4, label="95 % bounds")
        left.plot(seconds, nees, color=style.BLUE, linewidth=1.8, label="mean NEES")
        left.set_ylim(0, max(12.0, 1.1 * float(np.nanmax(nees, initial=0.0))))
        right.plot(seconds, [scan.position_error for scan in diagnosis.scans], color=style.BLUE, linewidth=1.8)
        right.set_ylim(bottom=0)
        style.legend_above(left, columns=2)
    else:
        style.nothing(left, "no scans")
    style.tidy(left, "time [s]", "NEES, expected 6")
    style.tidy(right, "time [s]", "median position error [m]")
    return style.save(figure, path)


def success(diagnosis: Diagnosis, path: Path) -> Path:
    """Success on the same engagements, with one thing changed at a time."""
    found = {name: value for finding in diagnosis.findings for name, value in finding.figures.items()}
    rows = [(label, found[name]) for name, label in VARIANTS.items() if name in found]
    figure = style.canvas(
        "The same engagements, one thing changed at a time",
        f"{diagnosis.episodes} engagements of {diagnosis.scenario}, seed {diagnosis.seed}",
        height=1.8 + 0.42 * max(len(rows), 1),
    )
    axes = style.tidy(figure.subplots(), "success rate")
    for row, (label, rate) in enumerate(rows):
        axes.barh(row, rate, color=style.BLUE if label == VARIANTS["policy"] else style.SKY, height=0.62)
        axes.text(min(rate, 1.0), row, f" {text.percent(rate)}", va="center", fontsize=11)
    axes.set(xlim=(0.0, 1.12), xticks=np.linspace(0, 1, 6))
    style.rows(axes, [label for label, _ in rows], rates=True)
    return style.save(figure, path)


def observations(diagnosis: Diagnosis, limit: float, path: Path) -> Path:
    """Range, mean and deviation of each channel between the limits at which it is clipped."""
    figure = style.canvas(
        "The policy's observations, in scaled units",
        "Thin: least to greatest value. Thick: mean plus and minus one standard deviation. Dashed: where it is clipped",
        height=2.0 + 0.24 * max(len(diagnosis.channels), 1),
    )
    axes = style.tidy(figure.subplots())
    for row, channel in enumerate(diagnosis.channels):
        axes.plot([channel.min, channel.max], [row, row], color=style.SKY, linewidth=1.5)
        axes.plot([channel.mean - channel.std, channel.mean + channel.std], [row, row], color=style.BLUE, linewidth=5)
        if channel.clipped > 0.0:
            label = f"clipped {text.percent(channel.clipped)}"
            axes.text(1.01, row, label, transform=axes.get_yaxis_transform(), va="center", fontsize=9.5)
    for side in (-limit, limit):
        axes.axvline(side, color=style.GREY, linestyle="--", linewidth=1)
    style.rows(axes, [channel.channel for channel in diagnosis.channels])
    axes.set_xlim(-1.05 * limit, 1.05 * limit)
    return style.save(figure, path)
