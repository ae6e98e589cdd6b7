"""How a search stands, for those who wait: read from the study itself, whoever works on it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from statistics import fmean
from typing import TYPE_CHECKING

from hlynr.records.training import clock
from hlynr.records.tuning import FINISHED, TrialRecord
from hlynr.report import text
from hlynr.studies.live_board import tell_all

if TYPE_CHECKING:
    from rich.table import Table

INTERVAL = 1.0
"""[s] between two looks into the study."""
NEWEST = 8
"""Trials in the table."""


class SearchBoard:
    """The study's trials as they stand; `look` is called again and again."""

    def __init__(self, name: str, wanted: int, read: Callable[[], list[TrialRecord]]) -> None:
        self.name, self.wanted = name, wanted
        self.trials: list[TrialRecord] = read()
        self.notes: deque[str] = deque()
        self._read = read
        self._told = {trial.number for trial in self.trials if _ended(trial)}
        self._next = 0.0

    def look(self) -> None:
        """Read the study again, if that was not just done."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL
        self.trials = self._read()
        for trial in self.trials:
            if _ended(trial) and trial.number not in self._told:
                self._told.add(trial.number)
                self.notes.append(_outcome(trial, self.trials))

    @property
    def done(self) -> int:
        """Trials that count."""
        return sum(trial.state in FINISHED for trial in self.trials)

    @property
    def best(self) -> TrialRecord | None:
        """The feasible trial of the highest value."""
        feasible = [trial for trial in self.trials if trial.state == "complete"]
        return max(feasible, key=lambda trial: trial.value or 0.0, default=None)

    def eta(self) -> float:
        """Seconds until all are done, at the speed of the finished ones and with the workers of now."""
        spent = [trial.seconds for trial in self.trials if trial.state in FINISHED and trial.seconds]
        workers = max(sum(trial.state == "running" for trial in self.trials), 1)
        left = max(self.wanted - self.done, 0)
        return 0.0 if not left else fmean(spent) * max(left / workers, 1.0) if spent else float("inf")

    def line(self) -> str:
        """Where the search stands, for a log."""
        states = [trial.state for trial in self.trials]
        counts = ", ".join(
            f"{states.count(state)} {state}"
            for state in ("running", "pruned", "infeasible", "failed")
            if state in states
        )
        best = "-" if self.best is None else f"{_value(self.best)} (trial {self.best.number})"
        rest = f" ({counts})" if counts else ""
        return f"search {self.name}: {self.done} of {self.wanted} trials{rest}; best {best}; ETA {clock(self.eta())}"

    def table(self) -> Table:
        """Where the search stands, for a terminal: the newest trials."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title_justify="left", title=self.line())
        rows = [_row(trial) for trial in self.trials if trial.state != "waiting"][-NEWEST:]
        for key in rows[0] if rows else ("trial", "state"):
            table.add_column(key, justify="left" if key == "state" else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row.values())
        return table

    def tell(self, say: Callable[[str], None]) -> None:
        """Say what has happened since the last time."""
        tell_all(self.notes, say)


def _ended(trial: TrialRecord) -> bool:
    return trial.state in FINISHED or trial.state == "failed"


def _value(trial: TrialRecord) -> str:
    return "-" if trial.value is None else f"{trial.value:.3f}"


def _row(trial: TrialRecord) -> dict[str, str]:
    newest = list(trial.course.values())[-1:]
    return {
        "trial": str(trial.number),
        "state": trial.state,
        "success": f"{newest[0]:.1%}" if newest else "-",
        "value": _value(trial),
        "retry of": "-" if trial.retry_of is None else str(trial.retry_of),
        "took": text.duration(trial.seconds),
    }


def _outcome(trial: TrialRecord, trials: Iterable[TrialRecord]) -> str:
    told = f"trial {trial.number}: {trial.state}"
    if trial.state == "failed":
        heirs = [other.number for other in trials if other.retry_of in (trial.number, trial.retry_of or -1)]
        return f"{told}, its worker was lost; trial {max(heirs)} takes its place" if heirs else told
    if trial.runs:
        end, peak = _mean(run.final for run in trial.runs), _mean(run.peak for run in trial.runs)
        told += f", success {end} at the end, {peak} at its best"
    return f"{told}, value {_value(trial)}, {text.duration(trial.seconds)}"


def _mean(rates: Iterable[float]) -> str:
    return f"{fmean(rates):.1%}"
