"""The command line as a whole: the verbs in the order of the help, and how an error ends."""

import sys
from collections.abc import Callable
from itertools import chain

import typer

from hlynr.cli import project, registry, service, studies, training
from hlynr.runtime import environment, file_modes, scratch, streams
from hlynr.runtime.errors import exit_code

app = typer.Typer(
    help="Train, watch, judge and promote a policy for a simulated pursuit.",
    epilog="Exit codes: 0 done (also when the gate does not promote), 2 bad input, 3 training failed or collapsed, "
    "4 environment not ready, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
HELP: tuple[list[Callable[..., None]], ...] = (
    [project.validate, project.doctor],
    [training.train, training.evaluate, training.monitor, training.diagnose],
    [registry.promote, registry.rollback, registry.champions, registry.restore, training.retrain],
    [service.up, service.down, service.status, service.prune, project.ui],
    [studies.stability, studies.tune, studies.bench],
)
"""The verbs in the order in which the help lists them."""
for verb in chain(*HELP):
    app.command()(verb)
app.command("study", hidden=True)(studies.stability)  # its former name


def main() -> None:
    """Run the command line; an error that the user can mend ends as one line each and an exit code."""
    streams.guard()
    environment.prepare()
    file_modes.keep_private()
    streams.interrupt_on_hangup()
    try:
        sys.exit(exit_code(_run))
    finally:
        exit_code(streams.require_written)  # says so if it is not; what was done stays done


def _run() -> None:
    scratch.claim()
    app(prog_name="hlynr")
