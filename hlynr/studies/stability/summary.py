"""The record of a stability study: its runs, figures by strategy, and those of the analysis before this project."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from statistics import fmean

from hlynr.records.stability import StabilityDocument, StabilityGroup, StabilityRecord, StabilityRun, Stretch
from hlynr.studies.stability.assignments import Assignment

DOCUMENT = StabilityDocument(
    ticks_per_timestep=10,
    success=(
        Stretch(ticks=(226_000, 226_000), success_rate=(0.22, 0.22)),
        Stretch(ticks=(340_000, 690_000), success_rate=(0.17, 0.20)),
        Stretch(ticks=(1_300_000, 3_000_000), success_rate=(0.12, 0.17)),
        Stretch(ticks=(8_000_000, 10_000_000), success_rate=(0.0, 0.01)),
    ),
    final_success_rate=0.0,
    inference_success_rate=0.33,
)
"""Source: the training analysis of 2025-10-23, "Training Divergence Pattern"; its steps are ticks."""


def summarise(
    runs: Sequence[Assignment], records: Sequence[StabilityRun], missing: Mapping[str, str], command: str
) -> StabilityRecord:
    """The record of the whole study.

    Args:
        runs: all of it, in the order of params.yaml.
        records: of those that have ended, in that order.
        missing: by run, why it has not ended.
    """
    from hlynr.ops.tracking import lineage
    from hlynr.rl import bundle

    config = runs[0].config
    commit, dirty = lineage.state(Path(runs[0].root))
    return StabilityRecord(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=commit,
        git_dirty=dirty,
        versions={"python": platform.python_version(), **bundle.versions()},
        capture_radius={record.scenario: record.capture_radius for record in records},
        heldout_episodes=config.evaluation.heldout_episodes,
        strategies=tuple(_group(name, records) for name in dict.fromkeys(record.strategy for record in records)),
        runs=tuple(records),
        missing=dict(missing),
        document=DOCUMENT,
    )


def _group(strategy: str, records: Iterable[StabilityRun]) -> StabilityGroup:
    runs = [record for record in records if record.strategy == strategy]
    ratios = [run.final_over_peak for run in runs if run.final_over_peak is not None]
    heldout = [run.heldout_success_rate for run in runs]
    return StabilityGroup(
        strategy=strategy,
        algorithm=runs[0].algorithm,
        runs=len(runs),
        collapsed=sum(run.collapsed for run in runs),
        timesteps=max(run.timesteps for run in runs),
        mean_final_over_peak=fmean(ratios) if ratios else None,
        min_final_over_peak=min(ratios, default=None),
        mean_heldout_success_rate=fmean(heldout),
        min_heldout_success_rate=min(heldout),
        alerts=dict(Counter(chain.from_iterable(run.alerts for run in runs))),
    )
