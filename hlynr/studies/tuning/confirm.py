"""Confirmation of the best trials beside the strategy: trained on fresh seeds, judged on held-out engagements."""

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
"""Trial number, None for the strategy searched around, and its changes of the section train."""


def entries(trials: Sequence[TrialRecord]) -> list[Entry]:
    """The strategy searched around, then the given trials."""
    return [(None, {}), *((trial.number, trial.train) for trial in trials)]


def assignments(search: SearchConfig, found: Sequence[Entry]) -> list[Assignment]:
    """A run for each candidate and fresh seed."""
    folder = search.folder / "confirm"
    return [
        assigned(Path(search.root), folder, search.candidate(number, changes, seed))
        for number, changes in found
        for seed in search.config.tune.confirm.seeds
    ]


def candidates(search: SearchConfig, found: Sequence[Entry], records: Sequence[StabilityRun]) -> list[Candidate]:
    """Every candidate that has a run.

    Raises:
        TrainingError: if the strategy searched around has none: nothing can be compared with it.
    """
    names = [search.named(number) for number, _ in found]
    runs = {name: [run for run in records if run.strategy == name] for name in names}
    base = runs[names[0]]
    if not base:
        raise TrainingError(f"{names[0]}: no training on a fresh seed has ended")
    return [
        _candidate(search, entry, runs[name], base if entry is not found[0] else None)
        for name, entry in zip(names, found, strict=True)
        if runs[name]
    ]


def _candidate(
    search: SearchConfig, entry: Entry, runs: Sequence[StabilityRun], base: Sequence[StabilityRun] | None
) -> Candidate:
    from hlynr.evaluation.statistics import wilson_interval

    confidence = search.config.gate.confidence
    episodes = sum(run.heldout_episodes for run in runs)
    successes = sum(round(run.heldout_success_rate * run.heldout_episodes) for run in runs)
    gain, interval = _gain(runs, base, confidence) if base is not None else (None, None)
    return Candidate(
        name=search.named(entry[0]),
        trial=entry[0],
        train=dict(entry[1]),
        runs=tuple(runs),
        collapsed=sum(run.collapsed for run in runs),
        success=fmean(run.heldout_success_rate for run in runs),
        success_ci=wilson_interval(successes, episodes, confidence),
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
    """The winner and the reason: the candidate of the greatest gain without a collapse, if it gains at all."""
    base, *others = found
    stable = [candidate for candidate in others if not candidate.collapsed and candidate.gain is not None]
    best = max(stable, key=lambda candidate: candidate.gain or 0.0, default=None)
    if best is None:
        reason = "every candidate collapsed on a fresh seed" if others else "no trial was feasible"
        return base.name, f"{base.name} is kept: {reason}"
    gain, interval = best.gain or 0.0, best.gain_ci
    measured = f"{best.name} gains {100 * gain:+.1f} points on fresh seeds"
    if interval:
        measured += f" ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"
    if gain <= 0:
        return base.name, f"{base.name} is kept: the best candidate, {measured}"
    chance = "" if interval and interval[0] > 0 else ", which may be chance"
    return best.name, f"{measured}{chance}"
