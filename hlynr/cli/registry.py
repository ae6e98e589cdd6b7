"""Verbs about the registered model: promote, roll back, list the decisions, restore a bundle."""

from pathlib import Path

from hlynr.cli import options
from hlynr.cli.output import say, show


def promote(params: options.Params = options.PARAMS, set_: options.Set = [], json: options.Json = None) -> None:
    """Put the newest trained and evaluated bundle through the gate and carry out the decision."""
    from hlynr.pipeline import commands
    from hlynr.report import tables

    decision, promotion = commands.promote_newest(options.project(params, set_))
    show(tables.decision_summary(decision, promotion), promotion, json)


def rollback(params: options.Params = options.PARAMS, set_: options.Set = [], json: options.Json = None) -> None:
    """Make the previous champion champion again, after loading it and running its 100 episodes again."""
    from hlynr.pipeline import commands

    promotion = commands.rollback(options.project(params, set_))
    show(promotion.reason, promotion, json)


def champions(params: options.Params = options.PARAMS, set_: options.Set = [], json: options.Json = None) -> None:
    """List every decision about the registered model, oldest first."""
    from hlynr.pipeline import commands
    from hlynr.report import service as view
    from hlynr.report import tables

    project = options.project(params, set_)
    entries, now = commands.champions(project), commands.present_champion(project)
    champion = now.champion.version if now.champion else None
    show(tables.history(entries, champion, project.config.tracking.model), entries, json)
    for line in view.findings(now.findings):
        say(line)


def restore(
    revision: options.Revision,
    destination: options.Destination = Path("restored"),
    params: options.Params = options.PARAMS,
) -> None:
    """Bring a bundle back from DVC, from the remote where the cache is gone."""
    from hlynr.pipeline import commands

    print(f"restored to {commands.restore(options.project(params), revision, destination)}")
