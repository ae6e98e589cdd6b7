"""Verbs about trainings: train, watch, evaluate and diagnose one, or run a whole retraining."""

from datetime import UTC, datetime
from typing import cast

import typer

from hlynr.cli import options
from hlynr.cli.output import interruptible, say, show
from hlynr.runtime.errors import InputError


def train(
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    strategy: options.Strategy = None,
    trial: options.Trial = None,
    out: options.TrainOut = None,
    resume: options.Resume = False,
    json: options.Json = None,
) -> None:
    """Train a policy and keep its best checkpoint as a bundle; Ctrl-C keeps the best so far."""
    from hlynr.pipeline import steps
    from hlynr.report import tables
    from hlynr.runtime.progress import console

    reproduced = None
    if trial:
        from hlynr.studies.tuning.trial import reproduced as reproduced_trial

        reproduced = reproduced_trial(params, set_, strategy, trial)
    project = reproduced.project if reproduced else options.project_to_write(params, set_, strategy)
    out = out or (reproduced.out if reproduced else None)
    with console() as terminal:
        result = steps.train(project, out=out, resume=resume, observers=[terminal])
    show(tables.training_summary(result), result, json)
    if reproduced:
        say(reproduced.compared(result))
    if result.interrupted:
        say("interrupted; the same command with --resume goes on from here")
    raise typer.Exit(steps.exit_code(result))


def evaluate(
    params: options.Params = options.PARAMS,
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
    from hlynr.report import tables

    project = options.project(params, set_)
    if out is None:
        chosen = commands.PolicyChoice(policy, bundle, model, truth)
        judgement = commands.judge(project, chosen, scenario=scenario, episodes=episodes, seed=seed)
        show(tables.judgement(judgement), judgement, json)
        return
    if truth or any(option is not None for option in (policy, model, scenario, episodes, seed)):
        raise InputError("--out: is the evaluate stage, which takes a --bundle and its settings from params.yaml only")
    report = steps.evaluate(project, bundle=bundle, out=out)
    show(tables.evaluation_summary(report), report, json)


def monitor(
    run: options.WatchedRun = None,
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    once: options.Once = False,
    json: options.Json = None,
) -> None:
    """Watch a training until it ends, or look at a finished one: curves, trend, alerts, verdict. Ctrl-C stops it."""
    from hlynr.pipeline import monitor as pipeline_monitor
    from hlynr.report.training import TrainingView

    if json is not None and not once:
        raise InputError("--json: writes the record of one look and needs --once")
    project = options.project(params, set_)
    if once:
        status = pipeline_monitor.look(project, run)
        show(TrainingView(status, project.config.gate.baseline, datetime.now(UTC)), status, json)
    else:
        pipeline_monitor.follow(project, run)


def diagnose(
    target: options.Target,
    params: options.Params = options.PARAMS,
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
    from hlynr.report import tables

    project = options.project_to_write(params, set_)
    found = commands.diagnose(project, target, episodes=episodes, seed=seed, budget=0 if quick else budget, out=out)
    show(tables.diagnosis(found), found, json)
    say(f"the page is {(out or project.diagnose) / 'diagnosis.html'}")


def retrain(
    params: options.Params = options.PARAMS,
    set_: options.Set = [],
    strategy: options.OnlyStrategy = None,
    resume: options.ResumeRetraining = False,
    json: options.Json = None,
) -> None:
    """Run the whole pipeline once: validate, train, version, evaluate, gate, promote."""
    from hlynr.config.params import load_plan
    from hlynr.pipeline import preflight, steps
    from hlynr.records.retraining import RetrainRecord
    from hlynr.report import tables
    from hlynr.runtime import locks
    from hlynr.service import prefect_server

    set_ = [*set_, f"retrain.plan=[{strategy}]"] if strategy else set_
    project = options.project_to_write(params, set_, strategy)
    load_plan(params, set_)  # an invalid third strategy is reported now and not in the middle of the retraining
    with locks.one_at_a_time(project.root):
        pass  # fail now and not when Prefect has started; the flow itself takes the lock again
    server = prefect_server.start(project)
    # While the server starts. The flow checks again, since a deployment starts it without this command.
    preflight.require_ready(project)
    from flows.retrain import retrain as flow

    if server:
        prefect_server.wait(server)
    with interruptible("hlynr retrain --resume goes on with this retraining"):
        record = cast(RetrainRecord, flow(str(project.root), params.name, set_, resume))
    show(tables.summary(record, project.config), record, json)
    raise typer.Exit(steps.exit_code(record.train))
