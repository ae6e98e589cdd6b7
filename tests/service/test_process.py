"""One part kept running: started anew when it ends or is no longer well, its log kept short."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import projects, services

from hlynr.service import process
from hlynr.service.components import Component
from hlynr.service.process import SupervisedProcess

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PAUSES", (0.1, 0.2, 600.0))
    monkeypatch.setattr(process, "LOOK", 0.1)


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[[Component], SupervisedProcess]]:
    """Keepers that are stopped afterwards."""
    kept: list[SupervisedProcess] = []

    def start(part: Component) -> SupervisedProcess:
        kept.append(SupervisedProcess(part, tmp_path, tmp_path / f"{part.name}.log"))
        kept[-1].start()
        return kept[-1]

    yield start
    for each in kept:
        each.stop()


def _told(kept: SupervisedProcess, piece: str) -> None:
    """Tend it until it says that."""
    projects.until(lambda: piece in (kept.tend() or ""), piece, 20)


def test_what_ends_is_started_anew_and_says_why(keep: Callable[[Component], SupervisedProcess]) -> None:
    kept = keep(
        Component("part", lambda: True, command=(sys.executable, "-c", "print('no luck'); raise SystemExit(3)"))
    )
    _told(kept, "part ended with exit code 3: no luck")
    assert kept.status.state == "down"
    _told(kept, "part is started anew")
    assert kept.status.restarts == 1
    _told(kept, "part ended with exit code 3")
    _told(kept, "part is started anew")
    _told(kept, "part ended with exit code 3")
    assert all(kept.tend() is None for _ in range(20))  # the more often it ends, the longer it waits


def test_it_is_healthy_when_it_is_well(keep: Callable[[Component], SupervisedProcess]) -> None:
    well = [False]
    kept = keep(Component("part", lambda: well[0], command=SLEEPS))
    assert kept.tend() is None
    assert (kept.status.state, kept.well) == ("starting", False)
    well[0] = True
    _told(kept, "part is healthy")
    well[0] = False
    _told(kept, "part is not answering")
    assert not kept.well


def test_one_that_hangs_is_ended_and_started_anew(keep: Callable[[Component], SupervisedProcess]) -> None:
    kept = keep(Component("part", lambda: False, command=SLEEPS, patience=0.5))
    first = psutil.Process(kept.status.pid)
    _told(kept, "part has not been well for 0.5 s")
    _told(kept, "part is started anew")
    assert services.gone(first)
    assert kept.status.pid != first.pid


def test_nothing_of_a_server_is_left_when_its_minder_is_killed(keep: Callable[[Component], SupervisedProcess]) -> None:
    family = (sys.executable, "-c", f"import subprocess; subprocess.run({list(SLEEPS)})")
    kept = keep(Component("part", lambda: True, "http://127.0.0.1:9", family))
    minder = psutil.Process(kept.status.pid)
    projects.until(lambda: len(minder.children(recursive=True)) == 2, "the command and its child", 20)
    command, child = minder.children(recursive=True)
    minder.kill()
    _told(kept, "part ended with exit code -9")
    projects.until(lambda: services.gone(command, child), "the end of both", 5)


def test_a_server_elsewhere_is_only_looked_at(keep: Callable[[Component], SupervisedProcess]) -> None:
    well = [True]
    kept = keep(Component("part", lambda: well[0], "http://elsewhere"))
    assert kept.tend() is None
    assert (kept.status.state, kept.status.pid, kept.well) == ("elsewhere", None, True)
    well[0] = False
    _told(kept, "part is not answering")


def test_a_long_log_is_cut_and_written_on(
    keep: Callable[[Component], SupervisedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOG_BYTES", 1000)
    chatty = "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.01)"
    kept = keep(Component("part", lambda: True, command=(sys.executable, "-c", chatty)))
    log, older = tmp_path / "part.log", tmp_path / "part.log.1"
    projects.until(lambda: kept.tend() is None and older.exists(), "an older log", 20)
    assert older.read_text().startswith("x" * 99 + "\n")
    projects.until(lambda: log.stat().st_size > 0, "more lines", 20)
    assert log.stat().st_size == len(log.read_text())  # no hole where the cut lines were


def test_stopping_leaves_nothing(keep: Callable[[Component], SupervisedProcess]) -> None:
    kept = keep(Component("part", lambda: True, command=SLEEPS))
    minding = psutil.Process(kept.status.pid)
    projects.until(lambda: bool(minding.children()), "the command", 20)
    family = [minding, *minding.children()]
    kept.stop()
    assert services.gone(*family)
    assert (kept.status.state, kept.status.pid) == ("down", None)
