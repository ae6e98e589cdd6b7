"""Verbs that run many trainings: the stability study, the hyperparameter search and the benchmark."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hlynr.cli import options
from hlynr.cli.output import interruptible, say, show
from hlynr.runtime.errors import DONE, TRAINING_FAILED, InputError
from hlynr.runtime.output_files import require_file, require_folder

if TYPE_CHECKING:
    from hlynr.records.tuning import TuneRecord
    from hlynr.studies.tuning.search_config import SearchConfig

RESUMED = "the same command goes on from here"


def stability(
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    workers: options.Workers = None,
    json: options.Json = None,
) -> None:
    """Train strategies over several seeds side by side, each to its end; page and record go to stability.folder.

    Interrupted or killed, the same command goes on with it.
    """
    from hlynr.report import stability as report
    from hlynr.studies.stability import stability_study

    command = _command("stability", set_)
    set_ = [*set_, f"stability.workers={workers}"] if workers else set_
    with interruptible(RESUMED):
        found, page = stability_study.run(params, set_, command)
    show(report.summary(found), found, json)
    say(f"the page is {page}")
    for name, reason in found.missing.items():
        say(f"{name} has not finished: {reason}")
    raise typer.Exit(TRAINING_FAILED if found.missing else DONE)


def tune(
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    strategy: options.Around = None,
    trials: options.Trials = None,
    workers: options.TuneWorkers = None,
    study: options.StudyName = None,
    join: options.Join = False,
    apply: options.Apply = False,
    yes: options.Yes = False,
    json: options.Json = None,
) -> None:
    """Search the hyperparameters of tune.space, and confirm the best trials on seeds that the search does not use.

    Interrupted or killed, the same command goes on with it.
    """
    if join and (apply or json):
        raise InputError("--join: only works on a study; --apply and --json belong to the command that began it")
    short = {"--strategy": strategy, "--trials": trials, "--workers": workers, "--study": study}
    given = [part for name, value in short.items() if value is not None for part in (name, str(value))]
    command = _command("tune", set_, *given)
    set_ = [*set_, *([f"tune.study={study}"] if study else []), *([f"run.strategy={strategy}"] if strategy else [])]
    from hlynr.studies.tuning import search_config

    search = search_config.load(params, set_)
    require_folder("run.outputs", search.folder)
    if apply:
        require_file("--params", params)
    trials = trials or search.config.tune.trials
    from hlynr.report import tuning as report
    from hlynr.studies.tuning import tune as tuning

    with interruptible(RESUMED):
        if join:
            tuning.join(search, trials=trials)
            return
        found, page = tuning.tune(search, trials=trials, workers=search.workers(workers), command=command)
    show(report.summary(found), found, json)
    say(f"the page is {page}")
    if apply:
        _apply(params, search, found, yes=yes)


def _command(verb: str, overrides: list[str], *given: str) -> str:
    """The command as it is written into the record."""
    return shlex.join(["hlynr", verb, *given, *(part for change in overrides for part in ("--set", change))])


def _apply(path: Path, search: SearchConfig, found: TuneRecord, *, yes: bool) -> None:
    """Show the winner as a change of the file, and write it if that is confirmed."""
    from hlynr.studies.tuning import search_config

    if found.strategy_kept:
        say(f"{found.reason}; nothing is written")
        return
    before, after = search_config.proposal(path, search, found)
    if before == after:
        say(f"{path} has it already: --strategy {found.study}")
        return
    print(search_config.diff(path, before, after), end="")
    if not yes and not sys.stdin.isatty():
        raise InputError("--apply: needs --yes where there is no terminal to ask on")
    if yes or typer.confirm("Write it?"):
        search_config.apply(path, after, found.study)
        say(f"written; train with it by --strategy {found.study}")


def bench(params: options.Params = options.PARAMS, set_: options.Set = [], json: options.Json = None) -> None:
    """Measure simulation, training and evaluation against the stock libraries, as ratios in one run."""
    from hlynr.studies.bench import benchmark

    show(None, benchmark.run(options.project(params, set_).config), json or Path("-"))
