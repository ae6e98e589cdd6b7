"""One component kept running: restarted when it ends or stays unhealthy, its log cut."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support import projects, services

from hlynr.runtime import logs
from hlynr.service import process
from hlynr.service.components import Component
from hlynr.service.process import SupervisedProcess

SLEEPS = (sys.executable, "-c", "import time; time.sleep(600)")


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "BACKOFF", (0.1, 0.2, 600.0))
    monkeypatch.setattr(process, "HEALTH_INTERVAL", 0.1)


@pytest.fixture
def keep(tmp_path: Path) -> Iterator[Callable[[Component], SupervisedProcess]]:
    """Starts a component, which is stopped afterwards."""
    kept: list[SupervisedProcess] = []

    def start(component: Component) -> SupervisedProcess:
        kept.append(SupervisedProcess(component, tmp_path, tmp_path / f"{component.name}.log"))
        kept[-1].start()
        return kept[-1]

    yield start
    for each in kept:
        each.stop()


def _logged(kept: SupervisedProcess, piece: str) -> None:
    """Poll it until it returns such a line."""
    projects.until(lambda: piece in (kept.poll() or ""), piece, 20)


def test_a_component_that_ends_is_restarted_with_backoff(keep: Callable[[Component], SupervisedProcess]) -> None:
    kept = keep(
        Component("component", lambda: True, command=(sys.executable, "-c", "print('no luck'); raise SystemExit(3)"))
    )
    _logged(kept, "component ended with exit code 3: no luck")
    assert kept.status.state == "down"
    _logged(kept, "component restarted")
    assert kept.status.restarts == 1
    _logged(kept, "component ended with exit code 3")
    _logged(kept, "component restarted")
    _logged(kept, "component ended with exit code 3")
    assert all(kept.poll() is None for _ in range(20))  # the more often it ends, the longer it waits


def test_its_state_follows_the_health_check(keep: Callable[[Component], SupervisedProcess]) -> None:
    answers = [False]
    kept = keep(Component("component", lambda: answers[0], command=SLEEPS))
    assert kept.poll() is None
    assert (kept.status.state, kept.healthy) == ("starting", False)
    answers[0] = True
    _logged(kept, "component is healthy")
    answers[0] = False
    _logged(kept, "component is not answering")
    assert not kept.healthy


def test_one_that_stays_unhealthy_is_restarted(keep: Callable[[Component], SupervisedProcess]) -> None:
    kept = keep(Component("component", lambda: False, command=SLEEPS, patience=0.5))
    first = psutil.Process(kept.pid)
    _logged(kept, "component has not been healthy for 0.5 s")
    _logged(kept, "component restarted")
    assert services.gone(first)
    assert kept.pid != first.pid


def test_a_servers_processes_end_when_its_guard_is_killed(keep: Callable[[Component], SupervisedProcess]) -> None:
    family = (sys.executable, "-c", f"import subprocess; subprocess.run({list(SLEEPS)})")
    kept = keep(Component("component", lambda: True, "http://127.0.0.1:9", family))
    guard = psutil.Process(kept.pid)
    projects.until(lambda: len(guard.children(recursive=True)) == 2, "the command and its child", 20)
    command, child = guard.children(recursive=True)
    guard.kill()
    _logged(kept, "component ended with exit code -9")
    projects.until(lambda: services.gone(command, child), "the end of both", 5)


def test_a_server_elsewhere_is_only_checked(keep: Callable[[Component], SupervisedProcess]) -> None:
    answers = [True]
    kept = keep(Component("component", lambda: answers[0], "http://elsewhere"))
    assert kept.poll() is None
    assert (kept.status.state, kept.pid, kept.healthy) == ("elsewhere", None, True)
    answers[0] = False
    _logged(kept, "component is not answering")


def test_a_long_log_is_cut_and_continued(
    keep: Callable[[Component], SupervisedProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES", 1000)
    chatty = "import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.01)"
    kept = keep(Component("component", lambda: True, command=(sys.executable, "-c", chatty)))
    log, older = tmp_path / "component.log", tmp_path / "component.log.1"
    projects.until(lambda: kept.poll() is None and older.exists(), "an older log", 20)
    assert older.read_text().startswith("x" * 99 + "\n")
    projects.until(lambda: log.stat().st_size > 0, "more lines", 20)
    assert log.stat().st_size == len(log.read_text())  # no hole where the cut lines were


def test_stopping_ends_all_its_processes(keep: Callable[[Component], SupervisedProcess]) -> None:
    kept = keep(Component("component", lambda: True, command=SLEEPS))
    guard = psutil.Process(kept.pid)
    projects.until(lambda: bool(guard.children()), "the command", 20)
    family = [guard, *guard.children()]
    kept.stop()
    assert services.gone(*family)
    assert (kept.status.state, kept.pid) == ("down", None)
