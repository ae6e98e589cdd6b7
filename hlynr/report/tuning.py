"""A hyperparameter search as a page, as tables for the terminal, and as the description of its MLflow run."""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from rich.console import Group, RenderableType

from hlynr.records.base import write_text
from hlynr.records.tuning import FINISHED, Candidate, TrialRecord, TuneRecord
from hlynr.report import style, tables, text

PAGE, LEARNING = "README.md", "learning.png"
SHOWN = 10
"""Trials in the page's table."""
FIGURES = {
    "history.png": "Value of every trial, and the best so far",
    "importances.png": "Share of each parameter in how the trials differ",
    "parallel.png": "Every trial as a line through its parameters",
}


def write(record: TuneRecord, folder: Path, drawn: Sequence[str] = ()) -> Path:
    """Write page and learning curves into ``folder``; returns the page.

    Args:
        drawn: names of `FIGURES` that are there already.
    """
    learning(record, folder / LEARNING)
    write_text(folder / PAGE, _page(record, drawn))
    return folder / PAGE


def draw(drawings: Mapping[str, Callable[[], Any]], folder: Path) -> list[str]:
    """Write the axes that another library draws with pyplot, by file name; returns the names it could draw."""
    from matplotlib import pyplot

    matplotlib.use("agg")
    drawn = []
    with warnings.catch_warnings(), matplotlib.rc_context():  # the library changes the style of all figures
        warnings.simplefilter("ignore", UserWarning)  # of layouts that do not fit
        for name, drawing in drawings.items():
            try:
                figure = drawing().figure
            except (ValueError, RuntimeError):  # all trials have the same value
                continue
            figure.set_size_inches(9, 5)
            style.save_in_true_colour(figure, folder / name, dpi=100, bbox_inches="tight")
            pyplot.close(figure)
            drawn.append(name)
    return drawn


def summary(record: TuneRecord) -> RenderableType:
    """Winner, candidates and best trials."""
    changes = [] if record.strategy_kept else [tables.grid("What the winner changes", change_rows(record.won))]
    return Group(
        tables.grid(f"Search {record.study}: {record.winner}", [{"why": record.reason}]),
        tables.grid("Confirmed on fresh seeds and engagements", candidate_rows(record)),
        tables.grid("Best trials", trial_rows(record.trials, 5)),
        *changes,
    )


def description(record: TuneRecord) -> str:
    """Markdown for the search's MLflow run."""
    return "\n\n".join([f"**{record.winner}**: {record.reason}.", *_tables(record)])


def candidate_rows(record: TuneRecord) -> list[dict[str, str]]:
    return [
        {
            "candidate": candidate.name,
            "success": text.success(candidate.success, candidate.success_ci),
            "gain": _points(candidate),
            "drop from peak": text.percent(candidate.drop),
            "collapsed": f"{candidate.collapsed} of {len(candidate.runs)}",
            "by seed": ", ".join(text.percent(run.heldout_success_rate) for run in candidate.runs),
        }
        for candidate in record.candidates
    ]


def trial_rows(trials: Sequence[TrialRecord], most: int) -> list[dict[str, str]]:
    """The best feasible trials."""
    feasible = sorted((trial for trial in trials if trial.state == "complete"), key=lambda trial: -(trial.value or 0.0))
    return [
        {
            "trial": str(trial.number),
            "value": f"{trial.value:.3f}",
            "at the end": ", ".join(text.percent(run.final) for run in trial.runs),
            "at its best": ", ".join(text.percent(run.peak) for run in trial.runs),
            "took": text.duration(trial.seconds),
        }
        for trial in feasible[:most]
    ]


def change_rows(candidate: Candidate) -> list[dict[str, str]]:
    """The settings of the section train that a candidate changes."""
    values = {key: json.dumps(value).replace('"', "") for key, value in candidate.train.items()}
    return [{"setting": f"train.{key}", "value": value} for key, value in values.items()]


def learning(record: TuneRecord, path: Path) -> Path:
    """Learning curves of the candidates on the fresh seeds."""
    figure = style.canvas(
        "The candidates on fresh seeds",
        f"Success on the selection engagements; a line for each of the seeds {text.listed(record.confirm_seeds)}",
        height=4.5,
    )
    axes = style.tidy(figure.subplots(), "timesteps", "success rate")
    for colour, candidate in zip(style.SERIES * len(record.candidates), record.candidates, strict=False):
        for number, run in enumerate(candidate.runs):
            points = [(point.timesteps, point.success_rate) for point in run.points]
            label = candidate.name if number == 0 else None
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.3, alpha=0.8, label=label)
    style.rate_axis(axes)
    style.timestep_axis(axes, record.confirm_timesteps)
    style.legend_above(axes, columns=4)
    return style.save(figure, path)


def _tables(record: TuneRecord) -> list[str]:
    parts = [tables.markdown(candidate_rows(record)), _reading(record)]
    if not record.strategy_kept:
        parts += ["What the winner changes:", tables.markdown(change_rows(record.won))]
    return parts


def _page(record: TuneRecord, drawn: Sequence[str]) -> str:
    parts = [
        f"# Search {record.study}",
        f"Around the strategy `{record.strategy}` ({text.ALGORITHMS[record.algorithm]}). Made by `{record.command}`; "
        "[tune.json](tune.json) holds every figure.",
        "## The winner",
        f"**{record.winner}**: {record.reason}.",
        *_tables(record),
        f"![Learning curves of the candidates]({LEARNING})",
        "## The trials",
        _counts(record),
        tables.markdown(trial_rows(record.trials, SHOWN)),
        *(f"![{caption}]({name})" for name, caption in FIGURES.items() if name in drawn),
        "## How it was made",
        _origin(record),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _reading(record: TuneRecord) -> str:
    return (
        f"Each trained for {text.timesteps(record.confirm_timesteps)} timesteps with the seeds "
        f"{text.listed(record.confirm_seeds)}, which no trial has used, and judged on {record.heldout_episodes:,} "
        f"engagements (seed {record.heldout_seed}) that nothing else uses. Gain: mean over the seeds, with Student's t "
        f"interval at {record.confidence:.0%}. The candidates after the first are the best of the search, so the "
        "largest gain among them is biased upwards by the choice."
    )


def _counts(record: TuneRecord) -> str:
    states = [trial.state for trial in record.trials]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    done = sum(state in FINISHED for state in states)
    return (
        f"{done} trials in {text.duration(record.search_seconds)}: {text.listed(counts)}. Each is a training of "
        f"{text.timesteps(record.timesteps)} timesteps with each of the seeds {text.listed(record.seeds)}. Value: mean "
        "over the seeds of the last window's success, less the penalty on its drop from the best window."
    )


def _points(candidate: Candidate) -> str:
    if candidate.gain is None:
        return "-"
    gain = f"{100 * candidate.gain:+.1f}"
    if candidate.gain_ci is None:
        return gain
    return f"{gain} ({100 * candidate.gain_ci[0]:+.1f} to {100 * candidate.gain_ci[1]:+.1f})"


def _origin(record: TuneRecord) -> str:
    commit = text.commit(record.git_commit, record.git_dirty)
    versions = text.listed(f"{package} {version}" for package, version in record.versions.items())
    places = len({trial.place for trial in record.trials if trial.place})
    return (
        f"Written on {record.created[:10]} at commit {commit}, on the CPU with one thread for each training, "
        f"by {places} worker processes. {versions}."
    )
