"""The stability study: trains its runs as params.yaml describes them, and writes record and page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hlynr.config import params
from hlynr.records.stability import StabilityRecord
from hlynr.runtime import locks
from hlynr.runtime.errors import InputError
from hlynr.studies.stability import parallel_runs
from hlynr.studies.stability.assignments import assignments
from hlynr.studies.stability.stability_board import StabilityBoard
from hlynr.studies.stability.summary import summarise


def run(path: Path, overrides: Sequence[str], command: str) -> tuple[StabilityRecord, Path]:
    """Run the stability study of ``path``; resumes one that was interrupted or killed.

    A run whose process keeps crashing, or whose training leaves no policy, is missing from the record and the page.

    Args:
        command: as a person would give it, for the record.

    Returns:
        The record, and the page that shows it.

    Raises:
        hlynr.config.params.ConfigError: if the configuration of any run is invalid.
        InputError: if stability.folder is a file.
        hlynr.runtime.locks.BusyError: if another stability study runs in the project.
        TrainingError: if no run has ended.
        KeyboardInterrupt: after every training has written its checkpoint.
    """
    from hlynr.report import stability as page

    config, runs = params.load(path, overrides), assignments(path, overrides)
    root = Path(runs[0].root)
    folder = _folder(root / config.stability.folder)
    with locks.one_at_a_time(root, "stability study"):
        board = StabilityBoard(runs, config.stability.workers or os.cpu_count() or 1)
        records = parallel_runs.complete(runs, board)
        record = summarise(runs, records, board.missing, command)
        return record, page.write(record, folder)


def _folder(folder: Path) -> Path:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        raise InputError(f"stability.folder: {existing} is a file; a folder is needed")
    return folder
