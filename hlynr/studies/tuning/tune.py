"""A search from params.yaml to its winner: runs the study's trials, confirms the best, writes record and page."""

import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from hlynr.evaluation import judge
from hlynr.ops.tracking import search_mirror
from hlynr.records.tuning import Candidate, TrialRecord, TuneRecord
from hlynr.runtime import locks
from hlynr.studies import process_pool
from hlynr.studies.process_pool import Task
from hlynr.studies.stability import parallel_runs
from hlynr.studies.tuning import confirm, foreign, optuna_study, trial
from hlynr.studies.tuning.retries import experimental
from hlynr.studies.tuning.search_board import SearchBoard
from hlynr.studies.tuning.search_config import SearchConfig
from hlynr.studies.tuning.search_worker import COMMAND, TrialRequest, work

RECORD = "tune.json"
MAX_PARAMETERS = 6
"""In the parallel coordinates, unreadable with more."""
MIN_TRIALS = 4
"""Complete trials, below which the figures show nothing."""


def tune(search: SearchConfig, *, trials: int, workers: int, command: str) -> tuple[TuneRecord, Path]:
    """Run the search, or resume it; returns the record, and the page that shows it.

    Args:
        trials: of the whole study, including those of other machines.
        workers: processes on this machine.
        command: as a person would give it, for the record.

    Raises:
        hlynr.studies.tuning.optuna_study.NoSuchStudyError: if a study of this name has another definition.
        hlynr.runtime.errors.EnvironmentNotReady: if another search runs in the project, or a store cannot be used.
        TrainingError: if workers keep crashing, or nothing could be confirmed.
        KeyboardInterrupt: after every training has stopped cleanly.
    """
    from hlynr.report import tuning as page

    root = Path(search.root)
    with locks.one_at_a_time(root, "search"), optuna_study.usable(search):
        study = optuna_study.begin(search)
        judge.compile_kernels(search.config)  # before several processes at once would try to
        mirror = search_mirror.SearchMirror(
            search.config, root, study.study_name, study.user_attrs.get(optuna_study.RUN)
        )
        study.set_user_attr(optuna_study.RUN, mirror.run_id)
        with mirror.reported():
            found = _searched(search, study, trials, workers, mirror.update)
            chosen = trial.best(found, search.config.tune.confirm.top)
            candidates, missing = _confirmed(search, chosen, workers)
            record = _record(search, study, found, candidates, missing, trials, command)
            written = _write(record, search.folder / "report", study)
            mirror.conclude(record, written.parent, page.description(record))
    shutil.rmtree(search.folder / "trials", ignore_errors=True)  # of workers that were killed
    return record, written


def join(search: SearchConfig, *, trials: int) -> None:
    """Work on a study that another process or machine has begun, until it has its trials.

    Raises:
        hlynr.studies.tuning.optuna_study.NoSuchStudyError: if there is none, or it has another definition.
        KeyboardInterrupt: once the current trial is back in the queue.
    """
    judge.compile_kernels(search.config)
    work(TrialRequest(search=search, worker=os.getpid(), trials=trials))


def _searched(
    search: SearchConfig,
    study: optuna.Study,
    wanted: int,
    workers: int,
    publish: Callable[[Sequence[TrialRecord]], None],
) -> list[TrialRecord]:
    """All trials, once the study has enough."""

    def read() -> list[TrialRecord]:
        found = trial.read(study)
        publish(found)
        return found

    board = SearchBoard(study.study_name, wanted, read)
    if board.progress() < wanted:
        process_pool.run([_worker(search, number, wanted) for number in range(workers)], workers, board)
        if board.errors and board.progress() < wanted:
            raise board.errors[0]
    return read()


def _worker(search: SearchConfig, number: int, trials: int) -> Task:
    request = TrialRequest(search=search, worker=number, trials=trials)
    return Task(f"worker {number}", COMMAND, request, search.folder / f"worker-{number}.log")


def _confirmed(
    search: SearchConfig, chosen: Sequence[TrialRecord], workers: int
) -> tuple[list[Candidate], Mapping[str, str]]:
    """The candidates, and by run why it has no record."""
    entries = confirm.entries(chosen)
    runs = confirm.assignments(search, entries)
    board = parallel_runs.StabilityBoard(runs, workers, f"Confirming {search.config.tune.study}")
    records = parallel_runs.complete(runs, board)
    return confirm.candidates(search, entries, records), board.missing


def _record(
    search: SearchConfig,
    study: optuna.Study,
    trials: Sequence[TrialRecord],
    candidates: Sequence[Candidate],
    missing: Mapping[str, str],
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
        importances=_importances(foreign.without(study)),
        candidates=tuple(candidates),
        winner=winner,
        reason=reason,
        missing=dict(missing),
    )


def _importances(study: optuna.Study) -> dict[str, float]:
    """Optuna's; empty where there are too few trials."""
    try:
        return {name: float(share) for name, share in optuna.importance.get_param_importances(study).items()}
    except (ValueError, RuntimeError):
        return {}


def _write(record: TuneRecord, folder: Path, study: optuna.Study) -> Path:
    from hlynr.report import tuning as page

    shutil.rmtree(folder, ignore_errors=True)  # no figure of fewer trials beside the new page
    record.write(folder / RECORD)
    return page.write(record, folder, draw_figures(study, folder))


def draw_figures(study: optuna.Study, folder: Path) -> list[str]:
    """Write the figures that the study has enough trials for; returns their names."""
    study = foreign.without(study)
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < MIN_TRIALS:
        return []
    from optuna.visualization import matplotlib as plots

    from hlynr.report import tuning as page

    with experimental():
        drawings = {
            "history.png": lambda: plots.plot_optimization_history(study),
            "importances.png": lambda: plots.plot_param_importances(study),
            "parallel.png": lambda: _parallel(study),
        }
        return page.draw(drawings, folder)


def _parallel(study: optuna.Study) -> Any:
    """Of the most important parameters."""
    from optuna.visualization.matplotlib import plot_parallel_coordinate

    importances = optuna.importance.get_param_importances(study)
    axes = plot_parallel_coordinate(study, params=list(importances)[:MAX_PARAMETERS])
    for every in axes.figure.axes:
        every.grid(False)
        every.minorticks_off()
    axes.set_title("")  # the legend is there
    return axes
