"""The stability study as a page that GitHub shows, and as a table for the terminal."""

from pathlib import Path
from statistics import fmean

from rich.console import Group, RenderableType

from hlynr.records.base import write_text
from hlynr.records.stability import StabilityGroup, StabilityRecord, Stretch
from hlynr.report import stability_figures as figures
from hlynr.report import tables, text

RECORD, PAGE = "study.json", "README.md"
TOLERANCE = 0.1
"""By how much of its time an evaluation may lie outside a stretch of the document and still count as in it."""


def write(record: StabilityRecord, folder: Path) -> Path:
    """Write record, figures and page into ``folder``; returns the page."""
    record.write(folder / RECORD)
    figures.learning(record, folder / "learning.png")
    figures.stability(record, folder / "stability.png")
    figures.spread(record, folder / "spread.png")
    write_text(folder / PAGE, _page(record))
    return folder / PAGE


def summary(record: StabilityRecord) -> RenderableType:
    """The result of each strategy, and the runs without one."""
    strategies = tables.grid(f"Stability study, {len(record.runs)} runs", _strategies(record))
    return Group(strategies, tables.grid("Missing", _missing(record))) if record.missing else strategies


def _missing(record: StabilityRecord) -> list[dict[str, str]]:
    return [{"run": name, "why it is missing": reason} for name, reason in record.missing.items()]


def _page(record: StabilityRecord) -> str:
    parts = [
        "# Stability study",
        _opening(record),
        tables.markdown(_missing(record)),
        "## Findings",
        "\n".join(f"- {_finding(record, group)}" for group in record.strategies),
        tables.markdown(_strategies(record)),
        f"End / peak: the mean of the last {record.runs[0].window} evaluations over the best such mean. In brackets: "
        f"the least of the runs. Held-out: the best checkpoint on {record.heldout_episodes:,} engagements that neither "
        "a training nor the choice of the checkpoint has used.",
        "## Over time, beside the analysis this project started from",
        "![Success and mean reward of every run over its timesteps](learning.png)",
        tables.markdown(_over_time(record)),
        f"The analysis counts ticks, {record.document.ticks_per_timestep} to a timestep, and its reward had another "
        f"scale. Ours: means over the runs' evaluations in that time, give or take a tenth; {text.UNKNOWN}: none.",
        "## Every run",
        "![Best and last window of every run, and its best bundle on the held-out engagements](stability.png)",
        tables.markdown(_runs(record)),
        "Nothing but NaN ends a training of the study, so that its whole course is recorded. *Would have ended*: when "
        "the strategy's own `monitor.stop_on` would have ended it.",
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
        f"{_with_least(group.mean_final_over_peak, group.min_final_over_peak)} of its peak; on the held-out "
        f"engagements it is {_with_least(group.mean_heldout_success_rate, group.min_heldout_success_rate)}. The "
        f"monitor's other alerts: {others}. It would have ended {len(stops)} of them{when}."
    )


def _origin(record: StabilityRecord) -> str:
    trained = text.listed(sorted({text.commit(run.git_commit, run.git_dirty) for run in record.runs}))
    versions = text.listed(f"{package} {version}" for package, version in record.versions.items())
    written = text.commit(record.git_commit, record.git_dirty)
    return (
        f"Written on {record.created[:10]} at commit {written}; trained at commit {trained}, on the CPU with "
        f"one thread each, {text.duration(sum(run.seconds for run in record.runs))} in all. {versions}."
    )


def _strategies(record: StabilityRecord) -> list[dict[str, str]]:
    return [
        {
            "strategy": group.strategy,
            "algorithm": text.ALGORITHMS[group.algorithm],
            "timesteps": text.timesteps(group.timesteps),
            "collapsed": f"{group.collapsed} of {group.runs}",
            "end / peak": _with_least(group.mean_final_over_peak, group.min_final_over_peak),
            "held-out": _with_least(group.mean_heldout_success_rate, group.min_heldout_success_rate),
        }
        for group in record.strategies
    ]


def _runs(record: StabilityRecord) -> list[dict[str, str]]:
    return [
        {
            "run": run.name,
            "timesteps": text.timesteps(run.timesteps),
            "peak": f"{text.percent(run.peak_success)} at {text.timesteps(run.peak_timesteps)}",
            "end": text.percent(run.final_success),
            "end / peak": text.percent(run.final_over_peak),
            "held-out": text.success(run.heldout_success_rate, run.heldout_success_rate_ci),
            "collapsed": "yes" if run.collapsed else "no",
            "alerts, first at": text.listed(f"{kind} {text.timesteps(at)}" for kind, at in run.alerts.items()),
            "would have ended": "never" if run.stopped_at is None else f"at {text.timesteps(run.stopped_at)}",
            "trained in": f"{text.duration(run.seconds)}, {run.timesteps_per_second:,.0f}/s",
        }
        for run in record.runs
    ]


def _over_time(record: StabilityRecord) -> list[dict[str, str]]:
    """The document's table with what each strategy's runs had at the same time."""
    document, names = record.document, [group.strategy for group in record.strategies]
    rows = []
    for stretch in document.success:
        begin, end = (ticks // document.ticks_per_timestep for ticks in stretch.ticks)
        ours = {name: text.percent(_mean_within(record, name, begin, end)) for name in names}
        rows.append(_row(_span(begin, end), _rates(stretch), ours))
    finals = {
        name: text.percent(fmean(run.final_success for run in record.runs if run.strategy == name)) for name in names
    }
    rows.append(_row("the end", text.percent(document.final_success_rate), finals))
    heldout = {group.strategy: text.percent(group.mean_heldout_success_rate) for group in record.strategies}
    rows.append(_row("best checkpoint, evaluated separately", text.percent(document.inference_success_rate), heldout))
    return rows


def _with_least(mean: float | None, least: float | None) -> str:
    """A mean rate with the least of the runs in brackets, where that is another: ``98.8 % (98.1)``."""
    shown = text.percent(mean)
    return shown if least is None or text.percent(least) == shown else f"{shown} ({100 * least:.1f})"


def _row(time: str, document: str, ours: dict[str, str]) -> dict[str, str]:
    return {"timesteps": time, "the analysed run": document, **ours}


def _mean_within(record: StabilityRecord, strategy: str, begin: int, end: int) -> float | None:
    low, high = begin * (1 - TOLERANCE), end * (1 + TOLERANCE)
    points = [point for run in record.runs if run.strategy == strategy for point in run.points]
    rates = [point.success_rate for point in points if low <= point.timesteps <= high]
    return fmean(rates) if rates else None


def _span(begin: int, end: int) -> str:
    return text.timesteps(begin) if begin == end else f"{text.timesteps(begin)} to {text.timesteps(end)}"


def _rates(stretch: Stretch) -> str:
    low, high = (f"{100 * rate:.0f}" for rate in stretch.success_rate)
    return f"{low} %" if low == high else f"{low} to {high} %"
