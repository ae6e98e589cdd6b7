"""The Optuna study of a search: its storage, definition, sampler and pruner."""

import math
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from hlynr.config.sections import Tune
from hlynr.runtime import database_uri, locks, outside
from hlynr.runtime.errors import EnvironmentNotReady, InputError
from hlynr.studies.tuning import foreign
from hlynr.studies.tuning.retries import TrialRetrier, experimental
from hlynr.studies.tuning.search_config import SearchConfig, point

GRACE = 3
"""Missed heartbeats after which a trial is stale."""
SEARCHED = (TrialState.COMPLETE, TrialState.PRUNED)
"""States that count as done; a failed trial is retried."""
DEFINITION, RUN = "definition", "mlflow_run_id"
"""Attributes of a study: all that its trials depend on, and its MLflow run."""


class NoSuchStudyError(InputError):
    """There is no study of this name, or it has another definition."""


class MedianFractionPruner(BasePruner):
    """Prunes a trial whose success is below a fraction of the median of the finished trials at that time.

    Never before ``after`` timesteps, nor while fewer than ``startup`` trials have a value there. Steps are those of
    `hlynr.studies.tuning.trial`: timesteps, counted on from one training of a trial to the next.
    """

    def __init__(self, tune: Tune) -> None:
        self._after, self._below, self._budget = tune.prune_after, tune.prune_below, tune.timesteps
        self._startup = max(tune.startup, 1)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial ends now."""
        step = trial.last_step
        if step is None or (step - 1) % self._budget + 1 < self._after:
            return False
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False, states=SEARCHED)
            if math.isfinite(other.intermediate_values.get(step, math.nan)) and foreign.was_run(other)
        ]
        if len(others) < self._startup:
            return False
        return trial.intermediate_values[step] < self._below * statistics.median(others)


def begin(search: SearchConfig) -> optuna.Study:
    """The study, created if it is missing; its first trial is the strategy that is searched around.

    Raises:
        NoSuchStudyError: if a study of this name has another definition.
        EnvironmentNotReady: if the storage cannot be used.
    """
    tune = search.config.tune
    with usable(search):
        study = optuna.create_study(
            storage=_storage(search), study_name=tune.study, direction="maximize", load_if_exists=True
        )
        if DEFINITION not in study.user_attrs and not study.get_trials(deepcopy=False):
            study.set_user_attr(DEFINITION, search.definition())
            study.enqueue_trial(point(tune.space, search.config.train), skip_if_exists=True)
        _require_definition(study, search)
    return study


def join(search: SearchConfig, worker: int = 0) -> optuna.Study:
    """The study for a worker.

    Args:
        worker: its number; each worker's sampler has a seed of its own, and another one when the study is resumed.
    """
    study, tune = find(search), search.config.tune
    with usable(search):
        entropy = [tune.sampler_seed, worker, len(study.get_trials(deepcopy=False))]
    seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
    study.sampler = TPESampler(seed=seed, n_startup_trials=tune.startup)
    study.pruner = MedianFractionPruner(tune)
    return study


def find(search: SearchConfig) -> optuna.Study:
    """The study, to read; raises the errors of `begin`, and `NoSuchStudyError` also if there is none of this name."""
    name = search.config.tune.study
    uri = _location(search)
    database = database_uri.file(uri)
    if database and not database.exists():
        raise NoSuchStudyError(f"tune.study: {name}: there is no study yet in {uri}; hlynr tune begins one")
    with usable(search):
        storage = _storage(search)
        names = optuna.get_all_study_names(storage)
        if name not in names:
            known = f"; known: {', '.join(sorted(names))}" if names else ""
            raise NoSuchStudyError(f"tune.study: {name}: is no study in {uri}{known}")
        study = optuna.load_study(study_name=name, storage=storage)
        _require_definition(study, search)
        return study


def retrier(study: optuna.Study, search: SearchConfig) -> TrialRetrier:
    """For a worker of the study, to retry the stale trials of others."""
    with usable(search):
        return TrialRetrier(study, _storage(search), GRACE * search.config.tune.heartbeat)


def _storage(search: SearchConfig) -> RDBStorage:
    """A connection; heartbeats need a database, also where one machine does all."""
    uri, heartbeat = _location(search), search.config.tune.heartbeat
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    database = database_uri.file(uri)
    if database:
        database.parent.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": 120.0}}  # several workers write to one file
    else:
        arguments["connect_args"] = {"connect_timeout": 10}  # [s]; libpq's own would be minutes
    lock = Path(search.root) / ".hlynr" / "optuna.lock"  # the first connection makes the tables: one at a time
    with experimental(), locks.hold(lock):
        return RDBStorage(uri, engine_kwargs=arguments, heartbeat_interval=heartbeat, grace_period=GRACE * heartbeat)


@contextmanager
def usable(search: SearchConfig) -> Iterator[None]:
    """Around all that asks the database: what it does not do is one line that names it.

    Raises:
        EnvironmentNotReady: that line.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, UnicodeDecodeError) as error:
        reason = outside.first(error, outside.database_fault) or outside.brief(error.__cause__ or error)
        where = outside.masked(_location(search))
        raise EnvironmentNotReady(f"tune.storage: {where} cannot be used: {reason}") from error


def _location(search: SearchConfig) -> str:
    return database_uri.absolute(search.config.tune.storage, Path(search.root))


def _require_definition(study: optuna.Study, search: SearchConfig) -> None:
    """Raises `NoSuchStudyError`, naming a difference, if the study's definition is not that of ``search``."""
    known, wanted = study.user_attrs.get(DEFINITION), search.definition()
    if not isinstance(known, dict) or study.directions != [StudyDirection.MAXIMIZE]:
        raise NoSuchStudyError(
            f"tune.study: {study.study_name}: the study of this name in {_location(search)} was not begun by hlynr "
            "tune; give the search another name"
        )
    differing = [key for key in sorted({*known, *wanted}) if known.get(key) != wanted.get(key)]
    if differing:
        first, name = differing[0], study.study_name
        more = f" (and {len(differing) - 1} more)" if len(differing) > 1 else ""
        raise NoSuchStudyError(
            f"tune.study: {name} was begun with {first} = {known.get(first)}, not {wanted.get(first)}{more}; "
            "give the new one another name, or undo the change"
        )
