"""The process behind `hlynr up --detach`: the supervisor of `hlynr.service`, given the commands that run flows.

Arguments: the params file, then overrides.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hlynr.config import params
from hlynr.config.project import Project
from hlynr.runtime import environment, file_modes, streams
from hlynr.runtime.errors import exit_code
from hlynr.service import supervisor
from hlynr.service.control import FlowCommands


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", name)


COMMANDS = FlowCommands(_module("flows.service"), _module("flows.worker"), _module("flows.deploy"))
"""What `hlynr.service` runs of this package, which it must not know."""


def main() -> None:
    streams.guard()
    environment.prepare()
    file_modes.keep_private()
    path, overrides = Path(sys.argv[1]), sys.argv[2:]
    project = Project(path.parent.resolve(), params.load(path, overrides))
    environment.reach_directly(project.config.service.host)
    supervisor.run(project, path.name, COMMANDS.worker, lambda line: print(line, flush=True))


if __name__ == "__main__":
    sys.exit(exit_code(main))
