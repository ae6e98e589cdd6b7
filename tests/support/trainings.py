"""Trainings for the tests: in this process, and in a child that can be killed at a chosen moment.

The children are forks of a server that has already imported everything, also what torch imports at its first use,
so that one of them costs little more than its training.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hlynr.config.config import Config
from hlynr.records.training import Lineage, TrainProgress, TrainResult
from hlynr.rl.bundle import WEIGHTS

LINEAGE = Lineage(id="test", created="2026-01-01T00:00:00+00:00", retraining=0, params_digest="0" * 64)

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["hlynr.rl.train", "torch._dynamo", "torch.utils.tensorboard"])


@dataclass
class Witness:
    """An observer that remembers."""

    metrics_seen: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    progress_seen: list[TrainProgress] = field(default_factory=list)

    def log(self, timesteps: int, values: Mapping[str, float]) -> None:
        self.metrics_seen.append((timesteps, dict(values)))

    def progress(self, progress: TrainProgress) -> None:
        self.progress_seen.append(progress)


@dataclass
class Finished:
    """A training that ended by itself."""

    config: Config
    out: Path
    result: TrainResult
    witness: Witness

    @property
    def weights(self) -> bytes:
        return weights_of(self.out)


def weights_of(out: Path) -> bytes:
    return (out / "bundle" / WEIGHTS).read_bytes()


def finish(config: Config, out: Path, *, resume: bool = False) -> Finished:
    """Train in this process."""
    from hlynr.rl.train import train

    witness = Witness()
    return Finished(
        config, out, train(config, out, LINEAGE, progress_to=[witness], metrics_to=[witness], resume=resume), witness
    )


class Child:
    """A training in a process of its own, which stops at the ``count``-th call of ``moment`` and says so.

    Args:
        moment: dotted name of a function or method of the package.
    """

    def __init__(self, config: Config, out: Path, moment: str, count: int) -> None:
        self._pipe, theirs = _SERVER.Pipe()
        arguments = (config.model_dump_json(), str(out), moment, count, theirs)
        self.process = _SERVER.Process(target=_train_and_pause, args=arguments, daemon=True)
        self.process.start()
        theirs.close()
        assert self._pipe.poll(120), f"the training never reached call {count} of {moment}"
        assert self._pipe.recv() == "paused"

    def kill(self) -> None:
        """``kill -9``, as it stands."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join(60)
        assert self.process.exitcode == -signal.SIGKILL

    def interrupt(self) -> TrainResult:
        """Ctrl-C, then let it end."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGINT)
        self._pipe.send("go on")
        result = TrainResult.model_validate_json(self._pipe.recv())
        self.process.join(60)
        assert self.process.exitcode == 0
        return result


def _train_and_pause(config: str, out: str, moment: str, count: int, pipe: Connection) -> None:
    """Runs in the child."""
    _pause_at(moment, count, pipe)
    from hlynr.rl.train import train

    result = train(Config.model_validate_json(config), Path(out), LINEAGE, resume=False)
    pipe.send(result.model_dump_json())


def _pause_at(moment: str, count: int, pipe: Connection) -> None:
    owner, name = _owner(moment)
    original = getattr(owner, name)
    calls = 0

    def paused(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            pipe.send("paused")
            pipe.recv()
        return original(*args, **kwargs)

    setattr(owner, name, paused)


def _owner(dotted: str) -> tuple[Any, str]:
    """The module or class that holds what a dotted name names, and its name there."""
    parts = dotted.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:-1]:
            owner = getattr(owner, part)
        return owner, parts[-1]
    raise ModuleNotFoundError(dotted)


class PowerCut(Witness):
    """Ends the training by an error of its observer, once it has so many timesteps."""

    def __init__(self, timesteps: int) -> None:
        super().__init__()
        self._timesteps = timesteps

    def progress(self, progress: TrainProgress) -> None:
        if progress.timesteps >= self._timesteps:
            raise RuntimeError("power cut")
