"""One study on PostgreSQL, worked on from separate working directories; needs HLYNR_TEST_POSTGRES.

That is the address of a server on which databases may be made, like postgresql://postgres@127.0.0.1:5432/postgres.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import projects
import psycopg2
import pytest
import searches

from hlynr.tune_records import FINISHED, TuneRecord
from hlynr.tuning import setting
from tuning.test_tune import finished, trials_of

SERVER = os.environ.get("HLYNR_TEST_POSTGRES", "")
pytestmark = pytest.mark.skipif(not SERVER, reason="HLYNR_TEST_POSTGRES names no PostgreSQL server to test against")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A new database, dropped afterwards."""
    name = f"hlynr_tune_{os.getpid()}"
    with_autocommit = psycopg2.connect(SERVER)
    with_autocommit.autocommit = True
    try:
        with with_autocommit.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            yield urlsplit(SERVER)._replace(path=f"/{name}").geturl()
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        with_autocommit.close()


def test_two_workers_from_separate_folders_share_one_study(database: str, tmp_path: Path) -> None:
    """One leads, one joins by name and is killed, another one joins; the lost trial is taken over."""
    here, there = (searches.make(tmp_path / name, f"tune.storage={database}") for name in ("here", "there"))
    found = setting.load(here / "params.yaml")
    command = ("hlynr", "tune", "--trials", "8")
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
    assert len(done) in (8, 9)
    lost = next(trial for trial in record.trials if (trial.place or "").endswith(theirs))
    if lost.state == "failed":
        assert any(trial.retry_of == lost.number and trial.state in FINISHED for trial in record.trials)
    assert len({trial.place for trial in done}) >= 2
    assert not (there / "mlruns" / "mlflow.db").exists()  # the leader's MLflow has it all
