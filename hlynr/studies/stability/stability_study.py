"""The stability study of params.yaml: trains its runs, and writes record and page."""

import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from statistics import fmean

from hlynr.config import params
from hlynr.config.project import Project
from hlynr.records.stability import StabilityDocument, StabilityGroup, StabilityRecord, StabilityRun, Stretch
from hlynr.runtime import locks
from hlynr.runtime.output_files import require_folder
from hlynr.studies.stability import parallel_runs
from hlynr.studies.stability.assignments import assignments

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


def run(path: Path, overrides: Sequence[str], command: str) -> tuple[StabilityRecord, Path]:
    """Run the stability study of ``path``, or resume it; returns the record, and the page that shows it.

    A run whose process keeps crashing, or whose training leaves no policy, is missing from both.

    Args:
        command: as a person would give it, for the record.

    Raises:
        InputError: if the configuration of any run is invalid, or stability.folder is a file.
        hlynr.runtime.locks.BusyError: if another stability study runs in the project.
        TrainingError: if no run has ended.
        KeyboardInterrupt: after every training has written its checkpoint.
    """
    from hlynr.report import stability as page

    config, runs = params.load(path, overrides), assignments(path, overrides)
    root = Path(runs[0].root)
    folder = root / config.stability.folder
    require_folder("stability.folder", folder)
    require_folder("run.outputs", root / config.run.outputs)
    with locks.one_at_a_time(root, "stability study"):
        board = parallel_runs.StabilityBoard(runs, config.stability.workers or os.cpu_count() or 1)
        records = parallel_runs.complete(runs, board)
        record = _record(Project(root, runs[0].config), records, board.missing, command)
        return record, page.write(record, folder)


def _record(
    project: Project, records: Sequence[StabilityRun], missing: Mapping[str, str], command: str
) -> StabilityRecord:
    from hlynr.ops.tracking import lineage
    from hlynr.rl import bundle

    commit, dirty = lineage.state(project.root)
    return StabilityRecord(
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=commit,
        git_dirty=dirty,
        versions={"python": platform.python_version(), **bundle.versions()},
        capture_radius={record.scenario: record.capture_radius for record in records},
        heldout_episodes=project.config.evaluation.heldout_episodes,
        strategies=tuple(_group(name, records) for name in dict.fromkeys(record.strategy for record in records)),
        runs=tuple(records),
        missing=dict(missing),
        document=DOCUMENT,
    )


def _group(strategy: str, records: Sequence[StabilityRun]) -> StabilityGroup:
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
