"""A search from params.yaml to its winner: the study's trials, the best of them confirmed, all of it written down."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from hlynr.evaluation import judge
from hlynr.ops.tracking import search_mirror
from hlynr.records.tuning import Candidate, TrialRecord, TuneRecord
from hlynr.runtime import locks
from hlynr.runtime.errors import TrainingError
from hlynr.studies import live_board
from hlynr.studies.stability import parallel_runs
from hlynr.studies.stability import stability_board as boards
from hlynr.studies.stability.assignments import finished
from hlynr.studies.tuning import confirm, figures, optuna_study, trial
from hlynr.studies.tuning.search_board import SearchBoard
from hlynr.studies.tuning.search_config import SearchConfig
from hlynr.studies.tuning.search_worker import TrialRequest, work
from hlynr.studies.tuning.worker_pool import run_workers

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hlynr.records.stability import StabilityRun

RECORD = "tune.json"


def tune(search: SearchConfig, *, trials: int, workers: int, command: str) -> tuple[TuneRecord, Path]:
    """Carry out the search; interrupted or killed, it goes on where it was, and done, it is only written down again.

    Args:
        trials: of the whole study, whoever works on it.
        workers: processes on this machine.
        command: as a person would give it, for the record.

    Returns:
        The record, and the page that shows it.

    Raises:
        hlynr.studies.tuning.optuna_study.LostStudyError: if a study of this name is of something else.
        EnvironmentNotReady: if another search is going on in the project, or a store cannot be used.
        TrainingError: if workers keep crashing, or nothing could be confirmed.
        KeyboardInterrupt: after every training has stopped cleanly.
    """
    from hlynr.report import tuning as pages

    root = Path(search.root)
    with locks.one_at_a_time(root, "search"):
        study = optuna_study.begin(search)
        judge.compile_kernels(search.config)  # before several processes at once would try to
        mirror = search_mirror.Mirror(
            search.config, root, search.config.tune.study, study.user_attrs.get(optuna_study.RUN)
        )
        study.set_user_attr(optuna_study.RUN, mirror.run_id)
        with mirror.reported():
            found = _searched(search, study, trials, workers, mirror)
            chosen = trial.best(found, search.config.tune.confirm.top)
            candidates, missing = _confirmed(search, chosen, workers)
            record = _record(search, study, found, candidates, missing, trials, command)
            page = _write(record, search.folder / "report", study)
            mirror.conclude(record, page.parent, pages.description(record))
    shutil.rmtree(search.folder / "trials", ignore_errors=True)  # of workers that were killed
    return record, page


def join(search: SearchConfig, *, trials: int) -> None:
    """Work on a study that another process or machine has begun, until it has its trials.

    Raises:
        hlynr.studies.tuning.optuna_study.LostStudyError: if there is none, or it is of something else.
        KeyboardInterrupt: once the trial at hand is back in the line.
    """
    judge.compile_kernels(search.config)
    work(TrialRequest(search=search, worker=os.getpid(), trials=trials))


def read(study: optuna.Study) -> list[TrialRecord]:
    """All trials in the order of their numbers."""
    return [trial.recorded(found) for found in study.get_trials(deepcopy=False)]


def _searched(
    search: SearchConfig, study: optuna.Study, trials: int, workers: int, mirror: search_mirror.Mirror
) -> list[TrialRecord]:
    def look() -> list[TrialRecord]:
        found = read(study)
        mirror.update(found)
        return found

    board = SearchBoard(study.study_name, trials, look)
    if board.done < trials:
        run_workers(search, trials, workers, board)
    return look()


def _confirmed(
    search: SearchConfig, chosen: Sequence[TrialRecord], workers: int
) -> tuple[list[Candidate], dict[str, str]]:
    tried = confirm.entries(chosen)
    runs = confirm.assignments(search, tried)
    board = boards.StabilityBoard(runs, workers, f"Confirming {search.config.tune.study}")
    records: dict[str, StabilityRun | None] = {run.name: finished(run) for run in runs}
    for known in filter(None, records.values()):
        board.done(known, now=False)
    left = [run for run in runs if records[run.name] is None]
    if left:
        with live_board.shown(board) as look:
            parallel_runs.work(left, board, look)
    done = [row.record for row in board.rows.values() if row.record]
    if not done:
        raise TrainingError("; ".join(f"{name}: {reason}" for name, reason in board.missing.items()))
    return confirm.candidates(search, tried, done), dict(board.missing)


def _record(
    search: SearchConfig,
    study: optuna.Study,
    trials: Sequence[TrialRecord],
    candidates: Sequence[Candidate],
    missing: dict[str, str],
    wanted: int,
    command: str,
) -> TuneRecord:
    from hlynr.ops.tracking import lineage
    from hlynr.rl import bundle

    config = search.config
    commit, dirty = lineage.state(Path(search.root))
    winner, reason = confirm.decide(candidates)
    times = [datetime.fromisoformat(moment) for found in trials for moment in (found.started, found.ended) if moment]
    return TuneRecord(
        command=command,
        study=study.study_name,
        strategy=config.run.strategy,
        algorithm=config.train.algorithm,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_commit=commit,
        git_dirty=dirty,
        versions={"python": platform.python_version(), "optuna": optuna.__version__, **bundle.versions()},
        wanted=wanted,
        timesteps=config.tune.timesteps,
        seeds=config.tune.seeds,
        confirm_seeds=config.tune.confirm.seeds,
        confirm_timesteps=config.tune.confirm.timesteps,
        heldout_seed=config.tune.confirm.heldout_seed,
        heldout_episodes=config.evaluation.heldout_episodes,
        confidence=config.gate.confidence,
        search_seconds=(max(times) - min(times)).total_seconds() if times else 0.0,
        trials=tuple(trials),
        importances=_importances(study),
        candidates=tuple(candidates),
        winner=winner,
        reason=reason,
        missing=missing,
    )


def _importances(study: optuna.Study) -> dict[str, float]:
    """By Optuna; empty where there are too few trials to tell."""
    try:
        return {name: float(share) for name, share in optuna.importance.get_param_importances(study).items()}
    except (ValueError, RuntimeError):
        return {}


def _write(record: TuneRecord, folder: Path, study: optuna.Study) -> Path:
    from hlynr.report import tuning as page

    shutil.rmtree(folder, ignore_errors=True)  # no figure of fewer trials beside the new page
    folder.mkdir(parents=True)
    record.write(folder / RECORD)
    return page.write(record, folder, figures.write(study, folder))


def rows(record: TuneRecord) -> list[dict[str, str]]:
    """One row per candidate, for a table."""
    from hlynr.report import tuning as page

    return page.candidate_rows(record)


def summary(record: TuneRecord) -> RenderableType:
    """The record for a terminal."""
    from hlynr.report import tuning as page

    return page.summary(record)
