"""The command line: parse, call `hlynr.pipeline.steps`, print. Heavy imports live inside the verbs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hlynr.cli import options

if TYPE_CHECKING:
    from hlynr.config.project import Project
    from hlynr.records.retraining import RetrainRecord

app = typer.Typer(
    help="Train, watch, judge and promote a policy for a simulated pursuit.",
    epilog="Exit codes: 0 done (a refused promotion too), 2 bad input, 3 training failed or collapsed, "
    "4 environment not ready, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
DEFAULT_PARAMS = Path("params.yaml")


@app.command()
def validate(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    strategy: options.Strategy = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema for editors instead.")] = False,
) -> None:
    """Check params.yaml, under each strategy unless --strategy or --set narrows it; every fault is one line."""
    if schema:
        import json

        from hlynr.config.params import json_schema

        print(json.dumps(json_schema(), indent=2))
        return
    project = _project(params, set_, strategy)
    if not (set_ or strategy):
        from hlynr.config.params import load_strategies

        load_strategies(params)
    print(f"{params} is valid: {len(project.config.flat())} settings, digest {project.config.digest()[:12]}")


@app.command()
def doctor(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    json: options.Json = None,
) -> None:
    """Check what a retraining needs: configuration, Python, disk, GPU, stores, DVC remote."""
    from hlynr.pipeline import commands
    from hlynr.runtime.errors import NOT_READY

    found = commands.doctor(_project(params, set_))
    _show(commands.tables().checks(found), found, json)
    if any(check.required and not check.ok for check in found):
        raise typer.Exit(NOT_READY)


@app.command()
def train(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    strategy: options.Strategy = None,
    trial: options.Trial = None,
    out: options.TrainOut = None,
    resume: options.Resume = False,
    json: options.Json = None,
) -> None:
    """Train a policy and keep its best checkpoint as a bundle; Ctrl-C keeps the best so far."""
    from hlynr.pipeline import commands, steps
    from hlynr.runtime.progress import console

    again = _trial(params, set_, strategy, trial) if trial else None
    project = again.project if again else _project(params, set_, strategy)
    out = out or (again.out if again else None)
    with console() as terminal:
        result = steps.train(project, out=out, resume=resume, observers=[terminal])
    _show(commands.tables().training_summary(result), result, json)
    if again:
        _say(again.compared(result))
    if result.interrupted:
        _say("interrupted; the same command with --resume goes on from here")
    raise typer.Exit(steps.exit_code(result))


@app.command()
def evaluate(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    policy: options.Policy = None,
    bundle: options.Bundle = None,
    model: options.Model = None,
    truth: options.Truth = False,
    scenario: options.Scenario = None,
    episodes: options.Episodes = None,
    seed: options.Seed = None,
    out: options.EvaluateOut = None,
    json: options.Json = None,
) -> None:
    """Judge a law, a bundle or a registered model, beside random, pursuit and PN on the same engagements."""
    from hlynr.pipeline import commands, steps
    from hlynr.runtime.errors import InputError

    project = _project(params, set_)
    if out is None:
        chosen = commands.PolicyChoice(policy, bundle, model, truth)
        judgement = commands.judge(project, chosen, scenario=scenario, episodes=episodes, seed=seed)
        _show(commands.tables().judgement(judgement), judgement, json)
        return
    if truth or any(option is not None for option in (policy, model, scenario, episodes, seed)):
        raise InputError("--out: is the evaluate stage, which takes a --bundle and its settings from params.yaml only")
    report = steps.evaluate(project, bundle=bundle, out=out)
    _show(commands.tables().evaluation_summary(report), report, json)


@app.command()
def monitor(
    run: options.WatchedRun = None,
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    once: options.Once = False,
    json: options.Json = None,
) -> None:
    """Watch a training until it ends, or look at a finished one: curves, trend, alerts, verdict. Ctrl-C stops it."""
    from hlynr.pipeline import monitor as pipeline_monitor
    from hlynr.runtime.errors import InputError

    if json is not None and not once:
        raise InputError("--json: writes the record of one look and needs --once")
    project = _project(params, set_)
    if once:
        status = pipeline_monitor.look(project, run)
        _show(pipeline_monitor.view(project, status), status, json)
    else:
        pipeline_monitor.follow(project, run)


@app.command()
def diagnose(
    target: options.Target,
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    episodes: options.DiagnosedEpisodes = 300,
    seed: options.DiagnosisSeed = None,
    budget: options.Budget = 200_000,
    quick: options.Quick = False,
    out: options.DiagnosisOut = None,
    json: options.Json = None,
) -> None:
    """Find out why a policy fails: one finding per check, and a page. Exits with 0 when a fault was found, too."""
    from hlynr.pipeline import commands

    project = _project(params, set_)
    found = commands.diagnose(project, target, episodes=episodes, seed=seed, budget=0 if quick else budget, out=out)
    _show(commands.tables().diagnosis(found), found, json)
    _say(f"the page is {(out or project.diagnose) / 'diagnosis.html'}")


@app.command()
def promote(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    json: options.Json = None,
) -> None:
    """Put the newest trained and evaluated bundle through the gate and carry out the decision."""
    from hlynr.pipeline import commands

    decision, promotion = commands.promote_newest(_project(params, set_))
    _show(commands.tables().decision_summary(decision, promotion), promotion, json)


@app.command()
def rollback(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    json: options.Json = None,
) -> None:
    """Make the previous champion champion again, after loading it and flying the 100 episodes again."""
    from hlynr.pipeline import commands

    promotion = commands.rollback(_project(params, set_))
    _show(promotion.reason, promotion, json)


@app.command()
def champions(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    json: options.Json = None,
) -> None:
    """List every decision about the registered model, oldest first."""
    from hlynr.pipeline import commands

    project = _project(params, set_)
    entries = commands.champions(project)
    _show(commands.tables().history(entries, project.config.tracking.model), entries, json)


@app.command()
def restore(
    revision: options.Revision,
    destination: options.Destination = Path("restored"),
    params: options.Params = DEFAULT_PARAMS,
) -> None:
    """Bring a bundle back from DVC, from the remote where the cache is gone."""
    from hlynr.pipeline import commands

    print(f"restored to {commands.restore(_project(params, []), revision, destination)}")


@app.command()
def retrain(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    strategy: options.OnlyStrategy = None,
    resume: options.ResumeRetraining = False,
    json: options.Json = None,
) -> None:
    """Run the whole pipeline once: validate, train, version, evaluate, gate, promote."""
    from hlynr.config.params import load_plan
    from hlynr.pipeline import commands, steps
    from hlynr.runtime import locks
    from hlynr.runtime.errors import INTERRUPTED
    from hlynr.service import prefect_server

    set_ = [*set_, f"retrain.plan=[{strategy}]"] if strategy else set_
    project = _project(params, set_, strategy)
    load_plan(params, set_)  # a fault of the third strategy is told now and not in the middle of the retraining
    with locks.one_at_a_time(project.root):
        pass  # to be turned away now and not when Prefect has started; the flow itself takes the lock again
    server = prefect_server.start(project)
    # While the server starts. The flow asks again: there are other doors to it.
    steps.require_ready(project)
    from flows.retrain import retrain as flow

    if server:
        server.wait()
    try:
        record = cast("RetrainRecord", flow(str(project.root), params.name, set_, resume))
    except KeyboardInterrupt:  # the training has stopped cleanly by the time it arrives here
        _say("interrupted; hlynr retrain --resume goes on with this retraining")
        raise typer.Exit(INTERRUPTED) from None
    _show(commands.tables().summary(record, project.config), record, json)
    raise typer.Exit(steps.exit_code(record.train))


@app.command()
def up(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    detach: options.Detach = False,
) -> None:
    """Keep Prefect's server, MLflow's and a worker running, with the nightly schedule; Ctrl-C stops them."""
    from flows.service import COMMANDS
    from hlynr.pipeline import steps
    from hlynr.service import control

    project = _project(params, set_)
    steps.require_ready(project)
    control.up(project, params.name, set_, COMMANDS, detach=detach, tell=_say)
    if detach:
        _status(project, None)


@app.command()
def down(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
) -> None:
    """Stop what `hlynr up` keeps running; a retraining that is under way comes to its checkpoint first."""
    from hlynr.service import control

    _say("stopped" if control.down(_project(params, set_)) else "nothing was up")


@app.command()
def status(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    json: options.Json = None,
) -> None:
    """Show the services, the next and the last retrainings, the champion and the disk; exits with 0 when all is well."""
    from hlynr.runtime.errors import DONE, NOT_READY

    raise typer.Exit(DONE if _status(_project(params, set_), json) else NOT_READY)


@app.command()
def prune(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    dry_run: options.DryRun = False,
    json: options.Json = None,
) -> None:
    """Remove what came to no decision and is older than retention.days; what the registry points to stays for good."""
    from hlynr.ops.retention import prune as retention_prune
    from hlynr.report import retention as view
    from hlynr.runtime.errors import DONE, NOT_READY

    record = retention_prune.prune(_project(params, set_), dry_run=dry_run)
    _show(view.pruned(record), record, json)
    raise typer.Exit(NOT_READY if record.faults else DONE)


@app.command()
def ui(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    port: options.Port = 5000,
    tune: options.Tune = False,
) -> None:
    """Open the MLflow UI on localhost, or optuna-dashboard on the searches of hyperparameters."""
    from hlynr.service import ui as service_ui

    project = _project(params, set_)
    if tune:
        service_ui.serve_dashboard(project, port)
    service_ui.serve_ui(project, port)


@app.command()
def study(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    workers: options.Workers = None,
    json: options.Json = None,
) -> None:
    """Train strategies over several seeds side by side, each to its end; page and record go to study.folder.

    Interrupted or killed, the same command goes on with it.
    """
    import shlex

    from hlynr.runtime.errors import DONE, INTERRUPTED, TRAINING_FAILED
    from hlynr.studies.stability import stability_study as stability

    command = shlex.join(["hlynr", "study", *(part for change in set_ for part in ("--set", change))])
    set_ = [*set_, f"stability.workers={workers}"] if workers else set_
    try:
        found, page = stability.study(params, set_, command)
    except KeyboardInterrupt:  # every training has written its checkpoint by the time it arrives here
        _say("interrupted; the same command goes on from here")
        raise typer.Exit(INTERRUPTED) from None
    _show(stability.summary(found), found, json)
    _say(f"the page is {page}")
    for name, reason in found.missing.items():
        _say(f"{name} has come to no end: {reason}")
    raise typer.Exit(TRAINING_FAILED if found.missing else DONE)


@app.command()
def tune(
    params: options.Params = DEFAULT_PARAMS,
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
    """Search the hyperparameters of tune.space, and confirm the best trials on seeds that the search never saw.

    Interrupted or killed, the same command goes on with it.
    """
    import shlex

    from hlynr.runtime.errors import INTERRUPTED, InputError

    if join and (apply or json):
        raise InputError("--join: only works on a study; --apply and --json belong to the command that began it")
    short = {"--strategy": strategy, "--trials": trials, "--workers": workers, "--study": study}
    given = [part for name, value in short.items() if value is not None for part in (name, str(value))]
    command = shlex.join(["hlynr", "tune", *given, *(part for change in set_ for part in ("--set", change))])
    set_ = [*set_, *([f"tune.study={study}"] if study else []), *([f"run.strategy={strategy}"] if strategy else [])]
    from hlynr.studies.tuning import search_config

    search = search_config.load(params, set_)
    trials = trials or search.config.tune.trials
    from hlynr.studies.tuning import tune as tuning

    try:
        if join:
            tuning.join(search, trials=trials)
            return
        found, page = tuning.tune(search, trials=trials, workers=search.workers(workers), command=command)
    except KeyboardInterrupt:  # every training has stopped by the time it arrives here
        _say("interrupted; the same command goes on from here")
        raise typer.Exit(INTERRUPTED) from None
    _show(tuning.summary(found), found, json)
    _say(f"the page is {page}")
    if apply:
        _apply(params, search, found, yes=yes)


def _apply(path: Path, search: Any, found: Any, *, yes: bool) -> None:
    """Show the winner as a change of the file, and write it once somebody has agreed."""
    from hlynr.runtime.errors import InputError
    from hlynr.studies.tuning import apply

    if found.stands:
        _say(f"{found.reason}; nothing is written")
        return
    before, after = apply.proposal(path, search, found)
    if before == after:
        _say(f"{path} has it already: --strategy {found.study}")
        return
    print(apply.diff(path, before, after), end="")
    if not yes and not sys.stdin.isatty():
        raise InputError("--apply: needs --yes where nobody can be asked")
    if yes or typer.confirm("Write it?"):
        apply.write(path, after, found.study)
        _say(f"written; train with it by --strategy {found.study}")


@app.command()
def bench(
    params: options.Params = DEFAULT_PARAMS,
    set_: options.Set = [],
    json: options.Json = None,
) -> None:
    """Measure simulation, training and evaluation against the stock libraries, as ratios in one run."""
    from hlynr.studies.bench import benchmark

    measured = benchmark.run(_project(params, set_).config)
    _show(None, measured, json or Path("-"))


def main() -> None:
    """Entry point: errors the user can mend become one line each and an exit code."""
    from hlynr.runtime.errors import exit_code

    sys.exit(exit_code(lambda: app(prog_name="hlynr")))


def _project(params: Path, overrides: list[str], strategy: str | None = None) -> Project:
    from hlynr.config.params import load
    from hlynr.config.project import Project

    config = load(params, [*overrides, f"run.strategy={strategy}"] if strategy else overrides)
    return Project(params.absolute().parent.resolve(), config)


def _trial(params: Path, overrides: list[str], strategy: str | None, reference: str) -> Any:
    """A trial of a search, to be trained alone; its study's name is before the colon."""
    from hlynr.runtime.errors import InputError
    from hlynr.studies.tuning import reproduce

    name, colon, _ = reference.rpartition(":")
    if not colon or not name:
        raise InputError(f"--trial: {reference}: is not STUDY:N, like stability:7")
    return reproduce.load(params, overrides, strategy, reference)


def _status(project: Project, json: Path | None) -> bool:
    from hlynr.report import service as view
    from hlynr.service import status as service

    found = service.look(project)
    _show(view.status(found), found, json)
    return found.healthy


def _show(renderable: Any, record: Any, json: Path | None) -> None:
    """Write the record where it was asked for, and print for people unless it went to standard output."""
    import json as encoder

    from hlynr.records.base import as_json, write_text

    text = encoder.dumps(as_json(record), indent=2)
    if json == Path("-"):
        print(text)
        return
    if json is not None:
        write_text(json, text + "\n")
    from rich.console import Console

    Console().print(renderable)


def _say(line: str) -> None:
    print(f"hlynr: {line}", file=sys.stderr)
