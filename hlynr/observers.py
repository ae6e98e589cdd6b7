"""Who watches a training: the protocol, and the watchers that need no service."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol, Self, TextIO

from pydantic import AwareDatetime

from hlynr.records import EvaluationPoint, Lineage, MonitorVerdict, Record, TrainResult

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_INTERVAL = 30.0
"""[s] between lines where there is no terminal."""


class TrainProgress(Record):
    """Where a training stands; rates are fractions, None before the first evaluation."""

    device: str
    """What ``train.device`` came to."""
    timesteps: int
    budget: int
    success_rate: float | None
    best_success: float | None
    mean_reward: float | None
    timesteps_per_second: float
    eta_seconds: float

    @classmethod
    def at_end(cls, result: TrainResult) -> Self:
        """Where a training stands that has ended."""
        return cls(
            device=result.device,
            timesteps=result.timesteps,
            budget=result.budget,
            success_rate=result.verdict.final_success,
            best_success=result.best_success,
            mean_reward=result.evaluations[-1].mean_reward if result.evaluations else None,
            timesteps_per_second=result.timesteps_per_second,
            eta_seconds=0.0,
        )

    def line(self) -> str:
        """One line for a log."""
        success = "-" if self.success_rate is None else f"{self.success_rate:.1%}"
        best = "-" if self.best_success is None else f"{self.best_success:.1%}"
        return (
            f"{self.timesteps:>10,} / {self.budget:,} timesteps  success {success:>6}  best {best:>6}  "
            f"{self.timesteps_per_second:,.0f} timesteps/s on {self.device}  ETA {clock(self.eta_seconds)}"
        )


TrainingState = Literal["running", "interrupted", "finished", "failed", "lost"]
"""``running`` stays behind where the process was killed; whoever finds that out calls it ``lost``."""
STATUS = "status.json"
"""Name of the `TrainingStatus` in a training's folder."""


class TrainingStatus(Record):
    """A training as it stands, written into its folder for those who look in from outside."""

    lineage: Lineage
    strategy: str
    algorithm: Literal["ppo", "recurrent_ppo"]
    scenario: str
    seed: int
    state: TrainingState
    process: int | None = None
    """Its id on the machine that trains, where that is known."""
    machine: str | None = None
    """The name of that machine."""
    updated: AwareDatetime
    seconds: float
    """Wall time, including what came before a resume."""
    progress: TrainProgress
    window: int
    """Evaluations that the monitor averages."""
    verdict: MonitorVerdict
    evaluations: tuple[EvaluationPoint, ...]


class TrainObserver(Protocol):
    """Told how a training goes; must return soon, since the training waits."""

    def metrics(self, timesteps: int, values: Mapping[str, float]) -> None:
        """Named figures of one rollout or evaluation."""
        ...

    def progress(self, progress: TrainProgress) -> None:
        """Called once per rollout."""
        ...


class Fanout:
    """Passes everything on to several observers."""

    def __init__(self, observers: Sequence[TrainObserver]) -> None:
        self._observers = observers

    def metrics(self, timesteps: int, values: Mapping[str, float]) -> None:
        for observer in self._observers:
            observer.metrics(timesteps, values)

    def progress(self, progress: TrainProgress) -> None:
        for observer in self._observers:
            observer.progress(progress)


class LineObserver:
    """One line at the start, one every half minute, one at the end; for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0

    def metrics(self, timesteps: int, values: Mapping[str, float]) -> None:
        """Not shown: a log keeps to the few figures of `TrainProgress`."""

    def progress(self, progress: TrainProgress) -> None:
        now = time.monotonic()
        if now >= self._next or progress.eta_seconds == 0.0:
            self._next = now + LINE_INTERVAL
            print(progress.line(), file=self._stream, flush=True)


class BarObserver:
    """A progress bar with success, best, timesteps/s and ETA; for terminals."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[figures]}"),
            console=Console(stderr=True),
        )
        self._progress.start()
        self._task = self._progress.add_task("training", total=None, figures="starting")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress:
            self._progress.stop()

    def metrics(self, timesteps: int, values: Mapping[str, float]) -> None:
        """Not shown: the bar keeps to the few figures of `TrainProgress`."""

    def progress(self, progress: TrainProgress) -> None:
        if self._progress is None or self._task is None:
            raise RuntimeError("the bar is used as a context manager")
        success = "-" if progress.success_rate is None else f"{progress.success_rate:.1%}"
        best = "-" if progress.best_success is None else f"{progress.best_success:.1%}"
        figures = (
            f"success {success}  best {best}  {progress.timesteps_per_second:,.0f}/s  ETA {clock(progress.eta_seconds)}"
        )
        self._progress.update(
            self._task,
            description=f"training on {progress.device}",
            total=progress.budget,
            completed=min(progress.timesteps, progress.budget),
            figures=figures,
        )


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes; ``-`` when unknown."""
    if not seconds < 1e7:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}"


@contextmanager
def console() -> Iterator[TrainObserver]:
    """The watcher for standard error: a bar for a person, lines for a file."""
    if sys.stderr.isatty():
        with BarObserver() as bar:
            yield bar
    else:
        yield LineObserver(sys.stderr)
