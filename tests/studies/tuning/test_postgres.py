"""One study on PostgreSQL, worked on from separate working directories; needs HLYNR_TEST_POSTGRES."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import databases, projects, searches
from support.optuna_studies import finished, trials_of

from hlynr.records.tuning import FINISHED, TuneRecord
from hlynr.studies.tuning import search_config

pytestmark = databases.needed


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A new database, dropped afterwards."""
    with databases.fresh("tune") as address:
        yield address


def test_two_workers_from_separate_folders_share_one_study(database: str, tmp_path: Path) -> None:
    """One leads, one joins by name and is killed, another one joins; the stale trial is retried."""
    here, there = (searches.make(tmp_path / name, f"tune.storage={database}") for name in ("here", "there"))
    found = search_config.load(here / "params.yaml")
    command = ("hlynr", "tune", "--trials", "20")  # so many that the last worker has started before they are done
    early = projects.run(there, *command, "--join")
    assert early.returncode == 2
    assert "tune.study: stability: is no study in" in early.stderr
    leader = projects.start(here, *command, "--workers", "1", "--json", "record.json")
    projects.until(lambda: finished(found) >= 1, "a first trial")
    first = projects.start(there, *command, "--join")
    theirs = f":{first.pid}"
    projects.until(lambda: any((trial.place or "").endswith(theirs) for trial in trials_of(found)), "a trial there")
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    second = projects.run(there, *command, "--join")
    assert second.returncode == 0, second.stderr
    _, stderr = leader.communicate(timeout=300)
    assert leader.returncode == 0, stderr
    record = TuneRecord.read(here / "record.json")
    done = [trial for trial in record.trials if trial.state in FINISHED]
    assert len(done) in (20, 21)
    stale = next(trial for trial in record.trials if (trial.place or "").endswith(theirs))
    if stale.state == "failed":
        assert any(trial.retry_of == stale.number and trial.state in FINISHED for trial in record.trials)
    assert len({trial.place for trial in done}) >= 2
    assert not (there / "mlruns" / "mlflow.db").exists()  # the leader's MLflow has it all
