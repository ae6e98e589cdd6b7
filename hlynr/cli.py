"""The command line: parse, call `hlynr.pipeline`, print. Heavy imports live inside the verbs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hlynr.project import Project

app = typer.Typer(
    help="Train, watch, judge and promote a policy for a simulated pursuit.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Params = Annotated[Path, typer.Option("--params", metavar="FILE", help="The configuration; its folder is the project.")]
Set = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; repeatable.")]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also write the record as JSON; - for standard output.")
]
DEFAULT_PARAMS = Path("params.yaml")


@app.command()
def validate(
    params: Params = DEFAULT_PARAMS,
    set_: Set = [],  # noqa: B006  (typer copies it)
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema for editors instead.")] = False,
) -> None:
    """Check params.yaml; every fault is one line."""
    if schema:
        import json

        from hlynr.params import json_schema

        print(json.dumps(json_schema(), indent=2))
        return
    project = _project(params, set_)
    print(f"{params} is valid: {len(project.config.flat())} settings, digest {project.config.digest()[:12]}")


@app.command()
def doctor(params: Params = DEFAULT_PARAMS, set_: Set = [], json: Json = None) -> None:  # noqa: B006
    """Check what a training needs: configuration, Python, disk, GPU, stores, DVC remote."""
    from hlynr import desk
    from hlynr.errors import NOT_READY

    found = desk.doctor(_project(params, set_))
    _show(desk.tables().checks(found), found, json)
    if any(check.required and not check.ok for check in found):
        raise typer.Exit(NOT_READY)


@app.command()
def train(
    params: Params = DEFAULT_PARAMS,
    set_: Set = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Where to write; default: the outputs folder's train.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last training checkpoint.")] = False,
    json: Json = None,
) -> None:
    """Train a policy and keep its best checkpoint as a bundle."""
    from hlynr import desk, pipeline
    from hlynr.observers import console

    project = _project(params, set_)
    with console() as terminal:
        result = pipeline.train(project, out=_absolute(out), resume=resume, observers=[terminal])
    _show(desk.tables().training_summary(result), result, json)
    raise typer.Exit(pipeline.exit_code(result))


@app.command()
def evaluate(
    params: Params = DEFAULT_PARAMS,
    set_: Set = [],  # noqa: B006
    policy: Annotated[
        str | None, typer.Option(help="A law: zero, random, pursuit, heading, pn, apn, inertial.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="A bundle's folder.")] = None,
    model: Annotated[str | None, typer.Option(help="A registered model: models:/hlynr-intercept@champion.")] = None,
    truth: Annotated[
        bool, typer.Option("--truth", help="Let the policy see the truth instead of the estimate.")
    ] = False,
    scenario: Annotated[str | None, typer.Option(help="Default: evaluation.scenario.")] = None,
    episodes: Annotated[int | None, typer.Option(help="Default: evaluation.heldout_episodes.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: the held-out seed.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write report, figures and DVC's metrics here: the whole stage.")
    ] = None,
    json: Json = None,
) -> None:
    """Judge a law, a bundle or a registered model, beside random, pursuit and PN on the same engagements."""
    from hlynr import desk, pipeline
    from hlynr.errors import InputError

    project = _project(params, set_)
    if out is None:
        chosen = desk.Choice(policy, _absolute(bundle), model, truth)
        judgement = desk.judge(project, chosen, scenario=scenario, episodes=episodes, seed=seed)
        _show(desk.tables().judgement(judgement), judgement, json)
        return
    if truth or any(option is not None for option in (policy, model, scenario, episodes, seed)):
        raise InputError("--out: is the evaluate stage, which takes a --bundle and its settings from params.yaml only")
    report = pipeline.evaluate(project, bundle=_absolute(bundle), out=out.absolute())
    _show(desk.tables().evaluation_summary(report), report, json)


@app.command()
def promote(params: Params = DEFAULT_PARAMS, set_: Set = [], json: Json = None) -> None:  # noqa: B006
    """Put the newest trained and evaluated bundle through the gate and carry out the decision."""
    from hlynr import desk

    decision, promotion = desk.promote_newest(_project(params, set_))
    _show(desk.tables().decision_summary(decision, promotion), promotion, json)


@app.command()
def rollback(params: Params = DEFAULT_PARAMS, set_: Set = [], json: Json = None) -> None:  # noqa: B006
    """Make the previous champion champion again, after loading it."""
    from hlynr import desk

    promotion = desk.rollback(_project(params, set_))
    _show(promotion.reason, promotion, json)


@app.command()
def champions(params: Params = DEFAULT_PARAMS, set_: Set = [], json: Json = None) -> None:  # noqa: B006
    """List every decision about the registered model, oldest first."""
    from hlynr import desk

    project = _project(params, set_)
    entries = desk.champions(project)
    _show(desk.tables().history(entries, project.config.tracking.model), entries, json)


@app.command()
def restore(
    revision: Annotated[str, typer.Argument(help="A DVC experiment, branch, tag or commit.")],
    destination: Annotated[Path, typer.Option("--to", help="A new or empty folder.")] = Path("restored"),
    params: Params = DEFAULT_PARAMS,
) -> None:
    """Bring a bundle back from DVC, from the remote where the cache is gone."""
    from hlynr import desk

    print(f"restored to {desk.restore(_project(params, []), revision, destination.absolute())}")


@app.command()
def retrain(params: Params = DEFAULT_PARAMS, set_: Set = [], json: Json = None) -> None:  # noqa: B006
    """Run the whole pipeline once: validate, train, version, evaluate, gate, promote."""
    from hlynr import desk, pipeline

    project = _project(params, set_)
    desk.prepare_prefect(project)
    from flows.retrain import retrain as flow

    record = flow(str(project.root), params.name, set_)
    _show(desk.tables().summary(record, project.config), record, json)
    raise typer.Exit(pipeline.exit_code(record.train))


@app.command()
def ui(
    params: Params = DEFAULT_PARAMS,
    set_: Set = [],  # noqa: B006
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Open the MLflow UI on localhost."""
    from hlynr import desk

    raise typer.Exit(desk.serve_ui(_project(params, set_), port))


@app.command()
def bench(params: Params = DEFAULT_PARAMS, set_: Set = [], json: Json = None) -> None:  # noqa: B006
    """Measure simulation, training and evaluation against the stock libraries, as ratios in one run."""
    from hlynr import desk

    measured = desk.bench(_project(params, set_))
    _show(None, measured, json or Path("-"))


def main() -> None:
    """Entry point: errors the user can mend become one line each and an exit code."""
    from hlynr.errors import UserError

    try:
        app()
    except UserError as error:
        for line in str(error).splitlines():
            print(f"hlynr: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("hlynr: interrupted", file=sys.stderr)
        sys.exit(130)


def _project(params: Path, overrides: list[str]) -> Project:
    from hlynr.params import load
    from hlynr.project import Project

    config = load(params, overrides)
    return Project(params.resolve().parent, config)


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _show(renderable: Any, record: Any, json: Path | None) -> None:
    """Print for people, and write the record where it was asked for."""
    import json as encoder

    from hlynr.records import as_json

    text = encoder.dumps(as_json(record), indent=2)
    if json == Path("-"):
        print(text)
        return
    from rich.console import Console

    Console().print(renderable)
    if json is not None:
        json.write_text(text + "\n", encoding="utf-8")
