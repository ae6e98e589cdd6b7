"""What a training reports while it runs: to whom, and the two observers for standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from hlynr.records.training import TrainProgress, clock, percent

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_INTERVAL = 30.0
"""[s] between lines where there is no terminal."""


class ProgressObserver(Protocol):
    """Receives the progress after each rollout; must return soon, since the training waits."""

    def progress(self, progress: TrainProgress, /) -> None: ...


class MetricObserver(Protocol):
    """Receives the metrics of each rollout and evaluation, by name; must return soon, since the training waits."""

    def log(self, timesteps: int, values: Mapping[str, float], /) -> None: ...


class LineObserver:
    """One line at the start, one every half minute, one at the end; for logs and pipes."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next = 0.0

    def progress(self, progress: TrainProgress) -> None:
        now = time.monotonic()
        if now >= self._next or progress.eta_seconds == 0.0:
            self._next = now + LINE_INTERVAL
            print(progress.line(), file=self._stream, flush=True)


class BarObserver:
    """A progress bar with success, best, timesteps/s and ETA; for terminals."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("training", total=None, figures="starting")

    def progress(self, progress: TrainProgress) -> None:
        figures = (
            f"success {percent(progress.success_rate)}  best {percent(progress.best_success)}  "
            f"{progress.timesteps_per_second:,.0f}/s  ETA {clock(progress.eta_seconds)}"
        )
        self._bar.update(
            self._task,
            description=f"training on {progress.device}",
            total=progress.budget,
            completed=min(progress.timesteps, progress.budget),
            figures=figures,
        )


@contextmanager
def console() -> Iterator[ProgressObserver]:
    """The observer for standard error: a bar on a terminal, lines in a file."""
    if not sys.stderr.isatty():
        yield LineObserver(sys.stderr)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    share = TextColumn("{task.percentage:>3.0f} %  {task.fields[figures]}")
    with Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=20), share, console=Console(stderr=True)
    ) as bar:
        yield BarObserver(bar)
