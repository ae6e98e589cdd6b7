"""The command line's options, each refused before any work has begun if it cannot be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def _writable_file(path: Path | None) -> Path | None:
    """A file to be written when the work is done, in a folder that must be there now."""
    if path is None or path == Path("-"):
        return path
    if path.is_dir():
        raise _refused("--json", path, "is a folder; a file is needed")
    if not path.absolute().parent.is_dir():
        raise _refused("--json", path, f"the folder {path.absolute().parent} does not exist")
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise _refused("--json", path, "is not writable")
    return path.absolute()


def _writable_folder(path: Path | None) -> Path | None:
    """A folder that exists or can be made."""
    if path is None:
        return None
    existing = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not existing.is_dir():
        raise _refused("--out", path, f"{existing} is a file; a folder is needed")
    if not os.access(existing, os.W_OK):
        raise _refused("--out", path, f"{existing} is not writable")
    return path.absolute()


def _new_folder(path: Path) -> Path:
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise _refused("--to", path, "exists already; a new or empty folder is needed")
    return path.absolute()


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _refused(option: str, path: Path, reason: str) -> Exception:
    from hlynr.runtime.errors import InputError

    return InputError(f"{option}: {path}: {reason}")


Params = Annotated[Path, typer.Option("--params", metavar="FILE", help="The configuration; its folder is the project.")]
Set = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting for this command: train.seed=7; repeatable."),
]
Strategy = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="One of the strategies of params.yaml, or default: short for run.strategy."),
]
OnlyStrategy = Annotated[
    str | None, typer.Option("--strategy", metavar="NAME", help="Try this strategy alone, instead of retrain.plan.")
]
Json = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        callback=_writable_file,
        help="Also write the record as JSON; - writes it, and nothing else, to standard output.",
    ),
]
Policy = Annotated[str | None, typer.Option(metavar="LAW", help="zero, random, pursuit, heading, pn, apn or inertial.")]
Bundle = Annotated[Path | None, typer.Option(metavar="DIR", callback=_absolute, help="A trained policy's folder.")]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="URI", help="A registered model, like models:/hlynr-intercept@champion or models:/hlynr-intercept/1."
    ),
]
Truth = Annotated[bool, typer.Option("--truth", help="Let the law see the truth instead of the radar's estimate.")]
Scenario = Annotated[str | None, typer.Option(metavar="NAME", help="Default: evaluation.scenario.")]
Episodes = Annotated[int | None, typer.Option(metavar="N", help="Default: evaluation.heldout_episodes.")]
Seed = Annotated[int | None, typer.Option(metavar="N", help="Default: the held-out seed.")]
TrainOut = Annotated[
    Path | None,
    typer.Option(metavar="DIR", callback=_writable_folder, help="Where to write; default: the outputs folder's train."),
]
EvaluateOut = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", callback=_writable_folder, help="Write report, figures and DVC's metrics here: the whole stage."
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last training checkpoint.")]
ResumeRetraining = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the retraining that was interrupted; without one, begin a new retraining."
    ),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A bundle's folder, a registered model (models:/NAME/3, models:/NAME@ALIAS), or a run's id.",
    ),
]
WatchedRun = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A training's folder, an MLflow run's id or its first six or more characters, or a lineage's id. "
        "Default: the newest training.",
    ),
]
Once = Annotated[bool, typer.Option("--once", help="Print the present state and exit.")]
DiagnosedEpisodes = Annotated[int, typer.Option("--episodes", metavar="N", help="Engagements to fly.")]
DiagnosisSeed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Default: the selection seed.")]
DiagnosisOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        callback=_writable_folder,
        help="Where to write diagnosis.html and diagnosis.json; default: the outputs folder's diagnose.",
    ),
]
Budget = Annotated[int, typer.Option(metavar="N", min=1, help="Timesteps of the brief training on the truth.")]
Quick = Annotated[bool, typer.Option("--quick", help="Leave out the brief training on the truth.")]
Revision = Annotated[str, typer.Argument(metavar="REVISION", help="A DVC experiment, branch, tag or commit.")]
Destination = Annotated[Path, typer.Option("--to", metavar="DIR", callback=_new_folder, help="A new or empty folder.")]
Workers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Trainings at a time; default: stability.workers of params.yaml.")
]
Trial = Annotated[
    str | None,
    typer.Option(
        "--trial", metavar="STUDY:N", help="Train as trial N of a search did, with its first seed unless --set says so."
    ),
]
Trials = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Trials of the whole study; default: tune.trials of params.yaml."),
]
TuneWorkers = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Processes here; default: tune.workers of params.yaml.")
]
StudyName = Annotated[str | None, typer.Option("--study", metavar="NAME", help="Short for tune.study.")]
Around = Annotated[
    str | None,
    typer.Option("--strategy", metavar="NAME", help="The strategy to search around: short for run.strategy."),
]
Join = Annotated[
    bool, typer.Option("--join", help="Only work on a study that was begun elsewhere, until it has its trials.")
]
Apply = Annotated[
    bool, typer.Option("--apply", help="Then write the winner into params.yaml as a strategy, shown as a diff first.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Write without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and change nothing.")]
Detach = Annotated[
    bool, typer.Option("--detach", help="Leave it running and return when all is well; hlynr down stops it.")
]
Tune = Annotated[bool, typer.Option("--tune", help="Open optuna-dashboard on the searches instead.")]
Port = Annotated[int, typer.Option(metavar="N", min=1, max=65535, help="Of 127.0.0.1.")]
