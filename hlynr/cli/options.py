"""The command line's options; an invalid path is an error before any work has begun."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from hlynr.cli.output import say
from hlynr.runtime import environment, file_modes
from hlynr.runtime.errors import InputError
from hlynr.runtime.output_files import require_file, require_folder

if TYPE_CHECKING:
    from hlynr.config.project import Project

PARAMS = Path("params.yaml")


def project(params: Path, overrides: list[str] | None = None, strategy: str | None = None) -> Project:
    """The project that --params, --set and --strategy describe."""
    from hlynr.config.params import load
    from hlynr.config.project import Project

    around = [f"run.strategy={strategy}"] if strategy else []
    found = Project(params.absolute().parent.resolve(), load(params, [*(overrides or []), *around]))
    environment.reach_directly(found.config.service.host)
    if file_modes.tighten(found.root):
        say(f"the files in {' and '.join(file_modes.FOLDERS)} can now be read by their owner alone")
    return found


def project_to_write(params: Path, overrides: list[str], strategy: str | None = None) -> Project:
    """As `project`, for a verb that writes below run.outputs."""
    found = project(params, overrides, strategy)
    require_folder("run.outputs", found.root / found.config.run.outputs)
    return found


def _writable_file(path: Path | None) -> Path | None:
    """A file that is written when the work is done; - is standard output."""
    if path is None or path == Path("-"):
        return path
    require_file("--json", path)
    return path.absolute()


def _writable_folder(path: Path | None) -> Path | None:
    """A folder that exists or can be created."""
    if path is None:
        return None
    require_folder("--out", path)
    return path.absolute()


def _new_folder(path: Path) -> Path:
    if os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise InputError(f"--to: {path}: exists already; a new or empty folder is needed")
    require_folder("--to", path)
    return path.absolute()


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _folder(help_text: str) -> Any:
    return Option(metavar="DIR", callback=_writable_folder, help=help_text)


Params = Annotated[Path, Option("--params", metavar="FILE", help="The configuration; its folder is the project.")]
Set = Annotated[list[str], Option("--set", metavar="KEY=VALUE", help="Change a setting: train.seed=7; repeatable.")]
Strategy = Annotated[
    str | None, Option(metavar="NAME", help="A strategy of params.yaml, or default: short for run.strategy.")
]
OnlyStrategy = Annotated[
    str | None, Option("--strategy", metavar="NAME", help="Try this strategy alone, instead of retrain.plan.")
]
Json = Annotated[
    Path | None,
    Option(
        "--json", metavar="FILE", callback=_writable_file, help="Also write the record as JSON; - prints only that."
    ),
]
Policy = Annotated[str | None, Option(metavar="LAW", help="zero, random, pursuit, heading, pn, apn or inertial.")]
Bundle = Annotated[Path | None, Option(metavar="DIR", callback=_absolute, help="A trained policy's folder.")]
Model = Annotated[
    str | None, Option(metavar="URI", help="A registered model: models:/NAME@champion or models:/NAME/1.")
]
Truth = Annotated[bool, Option("--truth", help="Let the law see the truth instead of the radar's estimate.")]
Scenario = Annotated[str | None, Option(metavar="NAME", help="Default: evaluation.scenario.")]
Episodes = Annotated[int | None, Option(metavar="N", help="Default: evaluation.heldout_episodes.")]
Seed = Annotated[int | None, Option(metavar="N", help="Default: the held-out seed.")]
TrainOut = Annotated[Path | None, _folder("Where to write; default: the outputs folder's train.")]
EvaluateOut = Annotated[Path | None, _folder("Write the whole stage: report, figures, DVC's metrics.")]
Resume = Annotated[bool, Option("--resume", help="Go on from the last training checkpoint.")]
ResumeRetraining = Annotated[
    bool, Option("--resume", help="Go on with the interrupted retraining; without one, begin a new one.")
]
Target = Annotated[
    str, Argument(metavar="TARGET", help="A bundle's folder, models:/NAME/3, models:/NAME@ALIAS, or a run's id.")
]
WatchedRun = Annotated[
    str | None,
    Argument(
        metavar="RUN",
        help="A training's folder, an MLflow run's id or its first six or more characters, or a lineage's id. "
        "Default: the newest training.",
    ),
]
Once = Annotated[bool, Option("--once", help="Print the present state and exit.")]
DiagnosedEpisodes = Annotated[int, Option("--episodes", metavar="N", help="Engagements to run.")]
DiagnosisSeed = Annotated[int | None, Option("--seed", metavar="N", help="Default: the selection seed.")]
DiagnosisOut = Annotated[Path | None, _folder("Where to write; default: the outputs folder's diagnose.")]
Budget = Annotated[int, Option(metavar="N", min=1, help="Timesteps of the brief training on the truth.")]
Quick = Annotated[bool, Option("--quick", help="Leave out the brief training on the truth.")]
Revision = Annotated[str, Argument(metavar="REVISION", help="A DVC experiment, branch, tag or commit.")]
Destination = Annotated[Path, Option("--to", metavar="DIR", callback=_new_folder, help="A new or empty folder.")]
Workers = Annotated[int | None, Option(metavar="N", min=1, help="Trainings at a time; default: stability.workers.")]
Trial = Annotated[
    str | None,
    Option(metavar="STUDY:N", help="Train as trial N of a search did, with its first seed unless --set says so."),
]
Trials = Annotated[int | None, Option(metavar="N", min=1, help="Trials of the whole study; default: tune.trials.")]
TuneWorkers = Annotated[int | None, Option(metavar="N", min=1, help="Processes here; default: tune.workers.")]
StudyName = Annotated[str | None, Option("--study", metavar="NAME", help="Short for tune.study.")]
Around = Annotated[
    str | None, Option("--strategy", metavar="NAME", help="The strategy to search around: short for run.strategy.")
]
Join = Annotated[bool, Option("--join", help="Only work on a study that was begun elsewhere, until it has its trials.")]
Apply = Annotated[
    bool, Option("--apply", help="Then write the winner into params.yaml as a strategy, shown as a diff first.")
]
Yes = Annotated[bool, Option("--yes", help="Write without asking.")]
DryRun = Annotated[bool, Option("--dry-run", help="Only say what would go, and change nothing.")]
Detach = Annotated[bool, Option("--detach", help="Return when all services are healthy; hlynr down stops them.")]
Tune = Annotated[bool, Option("--tune", help="Open optuna-dashboard on the searches instead.")]
Port = Annotated[int, Option(metavar="N", min=1, max=65535, help="Of 127.0.0.1.")]
