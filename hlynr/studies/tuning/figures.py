"""Figures of a study as Optuna draws them: history, importances, parallel coordinates."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

MOST = 6
"""Parameters in the parallel coordinates."""
LEAST = 4
"""Complete trials from which on the figures mean anything."""


def write(study: optuna.Study, folder: Path) -> list[str]:
    """Write the figures that the study has trials enough for; returns their names."""
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) < LEAST:
        return []
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as draw

    drawings: dict[str, Callable[[optuna.Study], Any]] = {
        "history.png": draw.plot_optimization_history,
        "importances.png": draw.plot_param_importances,
        "parallel.png": lambda known: _parallel(known, draw.plot_parallel_coordinate),
    }
    written = []
    with warnings.catch_warnings(), matplotlib.rc_context():  # Optuna changes the style of all figures
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)  # of layouts that do not fit, and of the interface being new
        for name, drawing in drawings.items():
            try:
                figure = drawing(study).figure
            except (ValueError, RuntimeError):  # trials that all came to the same
                continue
            figure.set_size_inches(9, 5)
            figure.savefig(folder / name, dpi=100, bbox_inches="tight", metadata={"Software": None})
            pyplot.close(figure)
            written.append(name)
    return written


def _parallel(study: optuna.Study, drawing: Callable[..., Any]) -> Any:
    """Of the parameters that matter most: with all of them nothing can be read."""
    importances = optuna.importance.get_param_importances(study)
    axes = drawing(study, params=list(importances)[:MOST])
    for every in axes.figure.axes:
        every.grid(False)
        every.minorticks_off()
    axes.set_title("")  # the legend stands there
    return axes
