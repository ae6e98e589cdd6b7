"""Whether a training could begin here: its libraries load, its device is there, its kernels are compiled and compute.

As a script, for that is how a training runs: in a process of its own, which loads what this one does not need.
"""

from __future__ import annotations

import subprocess
import sys

from hlynr.config.config import Config
from hlynr.runtime import environment
from hlynr.runtime.errors import EnvironmentNotReady, exit_code
from hlynr.runtime.processes import last_line

TIMEOUT = 180.0
"""[s] in which the kernels are compiled the first time."""


def examine(config: Config) -> str:
    """The device of a training under this configuration, found by a process like the training's.

    Raises:
        EnvironmentNotReady: what that process reports, in one line.
    """
    command = [sys.executable, "-P", "-m", "hlynr.pipeline.training_check"]
    done = subprocess.run(
        command,
        input=config.model_dump_json(),
        env=environment.of_child(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode or not done.stdout:
        reason = last_line(done.stderr).removeprefix("hlynr: ") or f"exit status {done.returncode}"
        raise EnvironmentNotReady(reason)
    return f"{done.stdout.strip()} (train.device: {config.train.device}), kernels are compiled"


def _examine() -> None:
    config = Config.model_validate_json(sys.stdin.read())
    from hlynr.rl.train import resolve_device

    device = resolve_device(config.train.device)
    run_kernels(config)
    print(device)


def run_kernels(config: Config) -> None:
    """One timestep of an engagement.

    Raises:
        EnvironmentNotReady: if it is not compiled, or computes no numbers.
    """
    import numpy as np

    from hlynr.envs.batch import EngagementBatch
    from hlynr.sim import jit

    if not jit.compiles():
        raise EnvironmentNotReady("numba does not compile: NUMBA_DISABLE_JIT or numba's configuration file forbids it")
    batch = EngagementBatch(config, config.train.scenario, count=1, seed=0)
    batch.start(np.arange(1), np.arange(1))
    batch.step(np.zeros((1, 3)))
    if not np.isfinite(batch.observe()).all():
        raise EnvironmentNotReady("the compiled kernels do not compute: an observation is not finite")


if __name__ == "__main__":
    sys.exit(exit_code(_examine))
