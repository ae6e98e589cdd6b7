"""This machine's worker: makes the deployments known, then becomes Prefect's process worker.

Arguments: name of the worker, project folder, name of the params file.
"""

from __future__ import annotations

import os
import sys

from flows import deploy
from flows.scheduling import WORKER_VARIABLE
from hlynr.runtime import environment
from hlynr.runtime.errors import exit_code


def main() -> None:
    name, root, params_file = sys.argv[1:]
    config = deploy.main(root, params_file)
    environment.extend({WORKER_VARIABLE: str(os.getpid())})  # which stays the same below
    prefect = [sys.executable, "-P", "-m", "hlynr.runtime.streams", "prefect", "worker", "start"]
    os.execv(sys.executable, [*prefect, "--pool", config.service.pool, "--type", "process", "--name", name])


if __name__ == "__main__":
    sys.exit(exit_code(main))
