"""The stability study as rows of text: by strategy, by run, and by time beside the analysed run."""

from __future__ import annotations

from statistics import fmean

from hlynr.records.stability import StabilityRecord, Stretch
from hlynr.report import text

TOLERANCE = 0.1
"""By how much of its time an evaluation may lie outside a stretch of the document and still count as in it."""


def strategies(record: StabilityRecord) -> list[dict[str, str]]:
    """One row per strategy."""
    return [
        {
            "strategy": group.strategy,
            "algorithm": text.ALGORITHMS[group.algorithm],
            "timesteps": text.timesteps(group.timesteps),
            "collapsed": f"{group.collapsed} of {group.runs}",
            "end / peak": with_least(group.mean_final_over_peak, group.min_final_over_peak),
            "held-out": with_least(group.mean_heldout_success_rate, group.min_heldout_success_rate),
        }
        for group in record.strategies
    ]


def runs(record: StabilityRecord) -> list[dict[str, str]]:
    """One row per run."""
    return [
        {
            "run": run.name,
            "timesteps": text.timesteps(run.timesteps),
            "peak": f"{text.percent(run.peak_success)} at {text.timesteps(run.peak_timesteps)}",
            "end": text.percent(run.final_success),
            "end / peak": text.percent(run.final_over_peak),
            "held-out": text.success(run.heldout_success_rate, run.heldout_success_rate_ci),
            "collapsed": "yes" if run.collapsed else "no",
            "alarms, first at": text.listed(f"{kind} {text.timesteps(at)}" for kind, at in run.alerts.items()),
            "would have ended": "never" if run.stopped_at is None else f"at {text.timesteps(run.stopped_at)}",
            "trained in": f"{text.duration(run.seconds)}, {run.timesteps_per_second:,.0f}/s",
        }
        for run in record.runs
    ]


def over_time(record: StabilityRecord) -> list[dict[str, str]]:
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
    rows.append(_row("best checkpoint, judged apart", text.percent(document.inference_success_rate), heldout))
    return rows


def with_least(mean: float | None, least: float | None) -> str:
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
