"""The stability study as a page that GitHub shows, and as a table for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hlynr.records.base import write_text
from hlynr.records.stability import StabilityGroup, StabilityRecord, StabilityRun
from hlynr.report import stability_figures as figures
from hlynr.report import stability_rows, tables, text
from hlynr.report.stability_rows import with_least

if TYPE_CHECKING:
    from rich.console import RenderableType

RECORD, PAGE = "study.json", "README.md"


def write(record: StabilityRecord, folder: Path) -> Path:
    """Write record, figures and page into ``folder``; returns the page."""
    record.write(folder / RECORD)
    figures.learning(record, folder / "learning.png")
    figures.stability(record, folder / "stability.png")
    figures.spread(record, folder / "spread.png")
    write_text(folder / PAGE, _page(record))
    return folder / PAGE


def summary(record: StabilityRecord) -> RenderableType:
    """What each strategy came to, and what has come to nothing."""
    from rich.console import Group

    strategies = tables.grid(f"Stability study, {len(record.runs)} runs", stability_rows.strategies(record))
    return Group(strategies, tables.grid("Without an end", _missing(record))) if record.missing else strategies


def _missing(record: StabilityRecord) -> list[dict[str, str]]:
    return [{"run": name, "why it is missing": reason} for name, reason in record.missing.items()]


def _page(record: StabilityRecord) -> str:
    parts = [
        "# Stability study",
        _opening(record),
        tables.markdown(_missing(record)),
        "## What was found",
        "\n".join(f"- {_finding(record, group)}" for group in record.strategies),
        tables.markdown(stability_rows.strategies(record)),
        f"End / peak: the mean of the last {record.runs[0].window} evaluations over the best such mean. In brackets: "
        f"the least of the runs. Held-out: the best checkpoint on {record.heldout_episodes:,} engagements that neither "
        "a training nor the choice of the checkpoint has seen.",
        "## Over time, beside the analysis this project started from",
        "![Success and mean reward of every run over its timesteps](learning.png)",
        tables.markdown(stability_rows.over_time(record)),
        f"The analysis counts ticks, {record.document.ticks_per_timestep} to a timestep, and its reward had another "
        f"scale. Ours: means over the runs' evaluations in that time, give or take a tenth; {text.UNKNOWN}: there was "
        "none.",
        "## Every run",
        "![Best and last window of every run, and its best bundle on the held-out engagements](stability.png)",
        tables.markdown(stability_rows.runs(record)),
        "Nothing but NaN ends a training of the study, so that its whole course is seen. *Would have ended*: when the "
        "strategy's own `monitor.stop_on` would have ended it.",
        "## The spread of the actions",
        "![Standard deviation and saturation of the actions over the timesteps](spread.png)",
        "## How it was made",
        _origin(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(record: StabilityRecord) -> str:
    radii = text.listed(f"{radius:g} m in `{scenario}`" for scenario, radius in record.capture_radius.items())
    missing = f" of {len(record.runs) + len(record.missing)}" if record.missing else ""
    return (
        f"{len(record.runs)}{missing} trainings, each watched to its end. Success is to come within {radii}. Made by "
        f"`{record.command}`; [{RECORD}]({RECORD}) holds every figure."
    )


def _finding(record: StabilityRecord, group: StabilityGroup) -> str:
    others = text.listed(f"{kind} in {count}" for kind, count in group.alerts.items() if kind != "collapse")
    stops = [run.stopped_at for run in record.runs if run.strategy == group.strategy and run.stopped_at is not None]
    when = f", the first at {text.timesteps(min(stops))} timesteps" if stops else ""
    return (
        f"`{group.strategy}` ({text.ALGORITHMS[group.algorithm]}, {text.timesteps(group.timesteps)} timesteps): "
        f"{group.collapsed} of {group.runs} collapsed. Success at the end is "
        f"{with_least(group.mean_final_over_peak, group.min_final_over_peak)} of its peak; on the held-out engagements "
        f"it is {with_least(group.mean_heldout_success_rate, group.min_heldout_success_rate)}. The monitor's other "
        f"alarms: {others}. It would have ended {len(stops)} of them{when}."
    )


def _origin(record: StabilityRecord) -> str:
    trained = text.listed(sorted({_commit(run) for run in record.runs}))
    versions = text.listed(f"{package} {version}" for package, version in record.versions.items())
    return (
        f"Written on {record.created[:10]} at commit {_commit(record)}; trained at commit {trained}, on the CPU with "
        f"one thread each, {text.duration(sum(run.seconds for run in record.runs))} in all. {versions}."
    )


def _commit(made: StabilityRecord | StabilityRun) -> str:
    name = text.UNKNOWN if made.git_commit is None else f"`{made.git_commit[:12]}`"
    return f"{name} with uncommitted changes" if made.git_dirty else name
