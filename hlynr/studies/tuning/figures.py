"""Optuna's figures of a study: history, importances, parallel coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from hlynr.studies.tuning.retries import experimental

MAX_PARAMETERS = 6
"""In the parallel coordinates, unreadable with more."""
MIN_TRIALS = 4
"""Complete trials, below which the figures show nothing."""


def write(study: optuna.Study, folder: Path) -> list[str]:
    """Write the figures that the study has enough trials for; returns their names."""
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
