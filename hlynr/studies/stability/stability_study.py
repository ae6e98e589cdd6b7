"""The study from params.yaml to its page: what has not come to its end is trained, then all of it is written down."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hlynr.config import params
from hlynr.records.stability import StabilityRecord
from hlynr.runtime import locks
from hlynr.runtime.errors import InputError, TrainingError
from hlynr.studies.live_board import shown
from hlynr.studies.stability import parallel_runs
from hlynr.studies.stability.assignments import assignments, finished
from hlynr.studies.stability.stability_board import StabilityBoard
from hlynr.studies.stability.summary import summarise

if TYPE_CHECKING:
    from rich.console import RenderableType


def study(path: Path, overrides: Sequence[str], command: str) -> tuple[StabilityRecord, Path]:
    """Carry out the study that ``path`` describes; interrupted or killed, it goes on where it was.

    A run whose process keeps crashing, or whose training leaves no policy, is missing from the record and the page.

    Args:
        command: as a person would give it, for the record.

    Returns:
        The record, and the page that shows it.

    Raises:
        hlynr.config.params.ConfigError: if the configuration of any run cannot be.
        InputError: if the page cannot be written where it belongs.
        EnvironmentNotReady: if another study is going on in the project.
        TrainingError: if no run at all has come to its end.
        KeyboardInterrupt: after every training has written its checkpoint.
    """
    from hlynr.evaluation import judge
    from hlynr.report import stability as page

    config, runs = params.load(path, overrides), assignments(path, overrides)
    root = Path(runs[0].root)
    folder = _folder(root / config.stability.folder)
    with locks.one_at_a_time(root, "study"):
        board = StabilityBoard(runs, config.stability.workers or os.cpu_count() or 1)
        records = {run.name: finished(run) for run in runs}
        for known in filter(None, records.values()):
            board.done(known, now=False)
        left = [run for run in runs if records[run.name] is None]
        if left:
            judge.compile_kernels(left[0].config)  # before several processes at once would try to
            with shown(board) as look:
                parallel_runs.work(left, board, look)
        done = [row.record for row in board.rows.values() if row.record]
        if not done:
            raise TrainingError("; ".join(f"{name}: {reason}" for name, reason in board.missing.items()))
        record = summarise(runs, done, board.missing, command)
        return record, page.write(record, folder)


def summary(record: StabilityRecord) -> RenderableType:
    """The record for a terminal."""
    from hlynr.report import stability as page

    return page.summary(record)


def _folder(folder: Path) -> Path:
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir():
        raise InputError(f"stability.folder: {existing} is a file; a folder is needed")
    return folder
