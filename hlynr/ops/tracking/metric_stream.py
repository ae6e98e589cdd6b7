"""Metrics sent to MLflow in batches during a training, without ever blocking or failing it."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hlynr.ops.tracking.presence import if_present

if TYPE_CHECKING:
    from hlynr.ops.tracking.store import Store

BATCH = 1000
"""MLflow's limit for one request."""
PAUSE = 60.0
"""[s] before a new attempt after a failure: MLflow may retry for minutes before it gives up on a dead server."""

_logger = logging.getLogger(__name__)


class Point(NamedTuple):
    """One value of one metric; ``timestamp`` in ms since the epoch."""

    key: str
    value: float
    timestamp: int
    step: int


class MetricStream:
    """Sends the values of `log` from a thread of its own.

    If the store does not answer, the stream warns once, keeps the values as JSON lines in ``unsent`` and sends them
    at `close`. NaN is stored as such; an infinity becomes NaN, because MLflow would store it as 1.8e308 and ruin the
    chart's axis.
    """

    def __init__(self, store: Store, run_id: str, unsent: Path, interval: float = 2.0) -> None:
        """Start the thread.

        Args:
            unsent: file for values that could not be sent; may hold those of an earlier attempt at the same run.
            interval: [s] between batches.
        """
        self._store = store
        self._run_id = run_id
        self._unsent = unsent
        self._interval = interval
        self._points: list[Point] = []
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._warned = False
        self._retry_at = -math.inf
        self._thread = threading.Thread(target=self._work, name="hlynr-metrics", daemon=True)
        self._thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take values for sending; returns at once.

        Args:
            step: timesteps over all environments.
        """
        now = int(time.time() * 1000)
        numbers = {key: math.nan if math.isinf(value) else float(value) for key, value in metrics.items()}
        points = [Point(key, value, now, step) for key, value in numbers.items()]
        with self._guard:
            self._points += points

    def close(self) -> int:
        """Send the rest, then again what could not be sent; returns how many values remain in the file."""
        self._closing.set()
        self._thread.join()
        unsent = self._resend()
        if unsent:
            _logger.warning("%d metric values could not be sent to MLflow; they are kept in %s", unsent, self._unsent)
        return unsent

    def _work(self) -> None:
        while not self._closing.wait(self._interval):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._guard:
            points, self._points = self._points, []
        for start in range(0, len(points), BATCH):
            batch = points[start : start + BATCH]
            if time.monotonic() < self._retry_at or not self._sent(batch):
                self._keep(batch)

    def _sent(self, points: list[Point]) -> bool:
        try:
            if not _log(self._store, self._run_id, points):
                raise LookupError("the run was erased")
        except Exception as error:  # any: a broken store must not end a training
            if not self._warned:
                _logger.warning("MLflow takes no metrics (%s); they are kept in %s", _brief(error), self._unsent)
            self._warned = True
            self._retry_at = time.monotonic() + PAUSE
            return False
        return True

    def _keep(self, points: list[Point]) -> None:
        lines = [json.dumps({"run_id": self._run_id, **point._asdict()}) + "\n" for point in points]
        try:
            self._unsent.parent.mkdir(parents=True, exist_ok=True)
            with self._unsent.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            _logger.warning("%d metric values are lost: %s", len(points), _brief(error))

    def _resend(self) -> int:
        """Sending a value twice is harmless: MLflow keeps one of equal key, step, time and value."""
        if not self._unsent.exists():
            return 0
        records = [_parsed(line) for line in self._unsent.read_text(encoding="utf-8").splitlines()]
        points = [Point(**values) for run_id, values in records if run_id == self._run_id]
        for start in range(0, len(points), BATCH):
            if not self._sent(points[start : start + BATCH]):
                return len(points) - start
        if all(run_id in (self._run_id, None) for run_id, _ in records):
            self._unsent.unlink()
        return 0


@if_present
def _log(store: Store, run_id: str, points: list[Point]) -> None:
    from mlflow.entities import Metric

    store.client.log_batch(run_id, [Metric(*point) for point in points])


def _parsed(line: str) -> tuple[str | None, dict[str, Any]]:
    """Run and point of a line of the file; no run for a line truncated by a crash."""
    try:
        values = json.loads(line)
        return values.pop("run_id"), values
    except ValueError:
        return None, {}


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
