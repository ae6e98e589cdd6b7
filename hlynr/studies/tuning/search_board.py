"""The trials of a search, as the study has them, whichever process runs them."""

import time
from collections.abc import Callable, Iterable
from statistics import fmean

from hlynr.records.training import clock
from hlynr.records.tuning import FINISHED, TrialRecord
from hlynr.report import text
from hlynr.runtime.errors import UserError
from hlynr.studies.live_board import LiveBoard

INTERVAL = 1.0
"""[s] between two readings of the study."""
NEWEST = 8
"""Trials in the table."""


class SearchBoard(LiveBoard):
    """The trials of the study, which ``read`` returns."""

    def __init__(self, name: str, wanted: int, read: Callable[[], list[TrialRecord]]) -> None:
        super().__init__()
        self.errors: list[UserError] = []
        """Of workers that were not restarted."""
        self._name, self._wanted, self._read = name, wanted, read
        self._trials = read()
        self._reported = {trial.number for trial in self._trials if trial.has_ended}
        self._next = 0.0

    def failed(self, name: str, error: UserError) -> None:
        self.errors.append(error)

    def refresh(self) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL
        self._trials = self._read()
        for trial in self._trials:
            if (trial.has_ended or trial.state == "foreign") and trial.number not in self._reported:
                self._reported.add(trial.number)
                self.notes.append(_result(trial, self._trials))

    def progress(self) -> int:
        """Trials that count as done."""
        return sum(trial.state in FINISHED for trial in self._trials)

    def eta(self) -> float:
        """Seconds until all trials are done, at the speed of the finished ones and with the workers of now."""
        spent = [trial.seconds for trial in self._trials if trial.state in FINISHED and trial.seconds]
        workers = max(sum(trial.state == "running" for trial in self._trials), 1)
        remaining = max(self._wanted - self.progress(), 0)
        return 0.0 if not remaining else fmean(spent) * max(remaining / workers, 1.0) if spent else float("inf")

    def line(self) -> str:
        states = [trial.state for trial in self._trials]
        counts = ", ".join(
            f"{states.count(state)} {state}"
            for state in ("running", "pruned", "infeasible", "failed", "foreign")
            if state in states
        )
        feasible = [trial for trial in self._trials if trial.state == "complete"]
        best = max(feasible, key=lambda trial: trial.value or 0.0, default=None)
        return (
            f"search {self._name}: {self.progress()} of {self._wanted} trials{f' ({counts})' if counts else ''}; "
            f"best {f'{_value(best)} (trial {best.number})' if best else '-'}; ETA {clock(self.eta())}"
        )

    def rows(self) -> list[dict[str, str]]:
        """The newest trials."""
        return [_row(trial) for trial in self._trials if trial.state != "waiting"][-NEWEST:]


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


def _result(trial: TrialRecord, trials: Iterable[TrialRecord]) -> str:
    line = f"trial {trial.number}: {trial.state}"
    if trial.state == "foreign":
        return f"{line}, not run by a worker of this search as it stands there: passed over"
    if trial.state == "failed":
        first = trial.number if trial.retry_of is None else trial.retry_of
        retries = [other.number for other in trials if other.retry_of == first and other.number > trial.number]
        return f"{line}, its worker crashed; trial {max(retries)} retries it" if retries else line
    if trial.runs:
        end, peak = fmean(run.final for run in trial.runs), fmean(run.peak for run in trial.runs)
        line += f", success {end:.1%} at the end, {peak:.1%} at its best"
    return f"{line}, value {_value(trial)}, {text.duration(trial.seconds)}"
