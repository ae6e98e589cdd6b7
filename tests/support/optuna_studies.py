"""The trials of a search while it runs, read from its Optuna study."""

from typing import Any

from hlynr.records.tuning import FINISHED, TrialRecord
from hlynr.studies.tuning import optuna_study
from hlynr.studies.tuning import trial as trials
from hlynr.studies.tuning.search_config import SearchConfig

_OPEN: dict[tuple[str, str, str], Any] = {}
"""Studies by project, storage and name: each one opened holds connections, of which PostgreSQL has a hundred."""


def trials_of(found: SearchConfig) -> list[TrialRecord]:
    """The trials so far; none while there is no study."""
    key = (str(found.root), found.config.tune.storage, found.config.tune.study)
    try:
        _OPEN[key] = _OPEN.get(key) or optuna_study.find(found)
    except optuna_study.NoSuchStudyError:
        return []
    return trials.read(_OPEN[key])


def finished(found: SearchConfig) -> int:
    return sum(trial.state in FINISHED for trial in trials_of(found))
