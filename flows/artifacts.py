"""What a flow run shows in Prefect's UI."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from hlynr.records.training import TrainProgress

_log = logging.getLogger(__name__)


class ProgressArtifact:
    """A training's progress as an artifact, updated every ``interval`` seconds: each update is a call to the server."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = 0.0
        self._id: UUID | None = None
        with _shown():
            created = create_progress_artifact(progress=0.0, key="training", description="Training has not begun.")
            self._id = created if isinstance(created, UUID) else UUID(str(created))

    def progress(self, progress: TrainProgress) -> None:
        """Show the newest line unless the last one is too recent."""
        now = time.monotonic()
        if self._id is None or (now < self._next and progress.timesteps < progress.budget):
            return
        self._next = now + self._interval
        share = min(100.0, 100.0 * progress.timesteps / progress.budget)
        with _shown():
            update_progress_artifact(artifact_id=self._id, progress=share, description=progress.line())


def table(key: str, rows: Sequence[Mapping[str, str]], description: str) -> None:
    with _shown():
        create_table_artifact(key=key, table=[dict(row) for row in rows], description=description)


@contextmanager
def _shown() -> Iterator[None]:
    """Show something, if the server takes it: a server that is away for a while must not end a training."""
    try:
        yield
    except httpx.HTTPError as error:
        _log.warning("Prefect's server does not take an artifact: %r", error)
