"""Whether the best trials hold: trained again on fresh seeds, judged on held-out engagements, beside the strategy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hlynr.records.stability import StabilityRun
from hlynr.records.tuning import Candidate, TrialRecord
from hlynr.runtime.errors import TrainingError
from hlynr.studies.stability.assignments import Assignment, assigned
from hlynr.studies.tuning.search_config import SearchConfig

Entry = tuple[int | None, Mapping[str, Any]]


def entries(trials: Sequence[TrialRecord]) -> list[Entry]:
    """What is tried again: the strategy searched around, then the given trials; by number and changes."""
    return [(None, {}), *((trial.number, trial.train) for trial in trials)]


def name(entry: Entry, search: SearchConfig) -> str:
    """As which strategy a candidate is trained."""
    number = entry[0]
    return search.config.run.strategy if number is None else search.named(number)


def assignments(search: SearchConfig, tried: Sequence[Entry]) -> list[Assignment]:
    """A training for each candidate and fresh seed, to be watched to its end."""
    folder = search.folder / "confirm"
    return [
        assigned(Path(search.root), folder, search.candidate(number, changes, seed))
        for number, changes in tried
        for seed in search.config.tune.confirm.seeds
    ]


def candidates(search: SearchConfig, tried: Sequence[Entry], records: Sequence[StabilityRun]) -> list[Candidate]:
    """What came of each candidate that has a run.

    Raises:
        TrainingError: if the strategy searched around has none: nothing can be compared with it.
    """
    runs = {name(entry, search): [run for run in records if run.strategy == name(entry, search)] for entry in tried}
    base = runs[name(tried[0], search)]
    if not base:
        raise TrainingError(f"{name(tried[0], search)}: no training on a fresh seed has come to its end")
    return [
        _candidate(search, entry, runs[name(entry, search)], base if entry is not tried[0] else None)
        for entry in tried
        if runs[name(entry, search)]
    ]


def _candidate(
    search: SearchConfig, entry: Entry, runs: Sequence[StabilityRun], base: Sequence[StabilityRun] | None
) -> Candidate:
    from hlynr.evaluation.statistics import wilson_interval

    confidence = search.config.gate.confidence
    flown = sum(run.heldout_episodes for run in runs)
    won = sum(round(run.heldout_success_rate * run.heldout_episodes) for run in runs)
    gain, interval = _gain(runs, base, confidence) if base is not None else (None, None)
    return Candidate(
        name=name(entry, search),
        trial=entry[0],
        train=dict(entry[1]),
        runs=tuple(runs),
        collapsed=sum(run.collapsed for run in runs),
        success=fmean(run.heldout_success_rate for run in runs),
        success_ci=wilson_interval(won, flown, confidence),
        drop=fmean((run.peak_window_success or 0.0) - (run.final_window_success or 0.0) for run in runs),
        gain=gain,
        gain_ci=interval,
    )


def _gain(
    runs: Sequence[StabilityRun], base: Sequence[StabilityRun], confidence: float
) -> tuple[float | None, tuple[float, float] | None]:
    """Mean difference over the seeds that both have, with Student's t interval; no interval from a single seed."""
    from scipy import stats

    known = {run.seed: run.heldout_success_rate for run in base}
    gains = [run.heldout_success_rate - known[run.seed] for run in runs if run.seed in known]
    if not gains:
        return None, None
    mean = fmean(gains)
    if len(gains) < 2:
        return mean, None
    half = float(stats.t.ppf((1 + confidence) / 2, len(gains) - 1)) * stdev(gains) / math.sqrt(len(gains))
    return mean, (mean - half, mean + half)


def decide(found: Sequence[Candidate]) -> tuple[str, str]:
    """The winner and why: the candidate of most success without a collapse, if it has more than the first one."""
    base, *others = found
    sound = [candidate for candidate in others if not candidate.collapsed and candidate.gain is not None]
    best = max(sound, key=lambda candidate: candidate.gain or 0.0, default=None)
    if best is None:
        fate = "each collapsed on a fresh seed" if others else "no trial was feasible"
        return base.name, f"{base.name} stands: {fate}"
    gain, interval = best.gain or 0.0, best.gain_ci
    told = f"{best.name} gains {100 * gain:+.1f} points on fresh seeds"
    if interval:
        told += f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    if gain <= 0:
        return base.name, f"{base.name} stands: the best candidate, {told}"
    chance = "" if interval and interval[0] > 0 else ", which may be chance"
    return best.name, f"{told}{chance}"
