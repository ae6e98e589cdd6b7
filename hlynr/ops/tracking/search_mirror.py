"""A search in MLflow: a parent run, and a child run for each trial.

It mirrors the Optuna study: what is missing here is added by the next update.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from pathlib import Path
from statistics import fmean

from hlynr.config.config import Config
from hlynr.ops.tracking import abandoned, runs
from hlynr.ops.tracking import store as stores
from hlynr.records.tuning import FINISHED, Candidate, TrialRecord, TuneRecord

TRIAL_TAG, STATE_TAG = "hlynr.trial.number", "hlynr.trial.state"
CURVE = "eval/success_rate"


class SearchMirror:
    """The runs of one search.

    Args:
        run_id: of the parent run; it is created if this is None or not in the store.
    """

    def __init__(self, config: Config, root: Path, study: str, run_id: str | None) -> None:
        self._store = stores.open_store(config, root)
        if run_id is None or not runs.has_run(self._store, run_id):
            run_id = runs.start_search(self._store, study, config, abandoned.of_process())
        self.run_id: str = run_id
        runs.reopen(self._store, run_id)
        abandoned.claim(self._store, run_id)
        self._known = self._found()

    def update(self, trials: Sequence[TrialRecord]) -> None:
        """Add the trials that have ended; an error of the store is ignored until `conclude`."""
        with suppress(Exception):
            self._add(trials)

    def reported(self) -> AbstractContextManager[None]:
        """Close the parent run when the search is interrupted or fails."""
        return runs.closed_on_error(self._store, [self.run_id], "Ended without a winner; the same command resumes it")

    def conclude(self, record: TuneRecord, folder: Path, description: str) -> None:
        """Log the result, the files of ``folder`` and the description in markdown to the parent run, and close it."""
        self._add(record.trials)
        for candidate in record.candidates:
            if candidate.trial is not None:
                runs.log_figures(self._store, self._known[candidate.trial], _confirmed(candidate))
        values = [trial.value or 0.0 for trial in record.trials if trial.state == "complete"]
        done = sum(trial.state in FINISHED for trial in record.trials)
        figures = {"trials": float(done), "best_value": max(values, default=0.0), **_confirmed(record.won)}
        runs.log_figures(self._store, self.run_id, figures)
        self._store.client.set_tag(self.run_id, "hlynr.winner", record.winner)
        runs.log_folder(self._store, self.run_id, folder, "report")
        runs.finish_run(self._store, self.run_id, "FINISHED", description)

    def _add(self, trials: Sequence[TrialRecord]) -> None:
        for trial in trials:
            if trial.number not in self._known and trial.has_ended:
                self._known[trial.number] = self._run_of(trial)

    def _found(self) -> dict[int, str]:
        """Run ids by trial; the unfinished run of a killed search is deleted, and created again later."""
        found: dict[int, str] = {}
        children = f"tags.`{runs.PARENT_TAG}` = '{self.run_id}'"
        for run in self._store.client.search_runs([self._store.experiment_id], children, max_results=50_000):
            if run.info.status == "RUNNING":
                self._store.client.delete_run(run.info.run_id)
            elif (number := run.data.tags.get(TRIAL_TAG, "")).isdecimal():  # else a run of others, or edited
                found[int(number)] = str(run.info.run_id)
        return found

    def _run_of(self, trial: TrialRecord) -> str:
        from mlflow.entities import Metric, Param

        client = self._store.client
        name = f"trial {trial.number} · {trial.state}"
        tags = {
            runs.PARENT_TAG: self.run_id,
            TRIAL_TAG: str(trial.number),
            STATE_TAG: trial.state,
            "hlynr.trial.place": trial.place or "",
            "hlynr.trial.retry_of": "" if trial.retry_of is None else str(trial.retry_of),
        }
        began, ended = _milliseconds(trial.started), _milliseconds(trial.ended)
        run = client.create_run(self._store.experiment_id, start_time=began, run_name=name, tags=tags)
        run_id = str(run.info.run_id)
        now = ended or run.info.start_time
        metrics = [Metric(key, value, now, step) for key, step, value in _curves(trial)]
        metrics += [Metric(key, value, now, 0) for key, value in _figures(trial).items()]
        params = [Param(f"train.{key}", json.dumps(value)) for key, value in trial.train.items()]
        client.log_batch(run_id, metrics=metrics[:1000], params=params[:100])
        client.set_terminated(run_id, status="FAILED" if trial.state == "failed" else "FINISHED", end_time=ended)
        return run_id


def _curves(trial: TrialRecord) -> Iterator[tuple[str, int, float]]:
    """Metric, timesteps and value: a curve for each seed, and their mean."""
    at: dict[int, list[float]] = {}
    for run in trial.runs:
        for point in run.points:
            yield f"{CURVE}/seed_{run.seed}", point.timesteps, point.success_rate
            at.setdefault(point.timesteps, []).append(point.success_rate)
    if not trial.runs:  # pruned or failed in its first training
        at = {timesteps: [rate] for timesteps, rate in trial.course.items()}
    for timesteps, rates in sorted(at.items()):
        yield CURVE, timesteps, fmean(rates)


def _figures(trial: TrialRecord) -> dict[str, float]:
    figures = {f"constraint/{name}": value for name, value in trial.constraints.items()}
    if trial.runs:
        figures |= {
            "final_success": fmean(run.final for run in trial.runs),
            "peak_success": fmean(run.peak for run in trial.runs),
        }
    if trial.value is not None:
        figures["objective"] = trial.value
    if trial.seconds is not None:
        figures["seconds"] = trial.seconds
    return figures


def _confirmed(candidate: Candidate) -> dict[str, float]:
    figures = {"confirmed/success_rate": candidate.success, "confirmed/collapsed": float(candidate.collapsed)}
    return figures if candidate.gain is None else figures | {"confirmed/gain": candidate.gain}


def _milliseconds(moment: str | None) -> int | None:
    return None if moment is None else round(1000 * datetime.fromisoformat(moment).timestamp())
