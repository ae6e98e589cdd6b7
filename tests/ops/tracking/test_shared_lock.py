"""The lock inside the store: one holder at a time, whichever is killed, slow or asleep."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from support import stores
from support.mortal import Killed, MortalClient

from hlynr.ops.tracking import shared_lock
from hlynr.ops.tracking.shared_lock import LockError, hold
from hlynr.ops.tracking.store import open_store

NAME = "hlynr-intercept.lock"


class Clock:
    """Goes on only with a sleep or a call."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.in_sleep: list[Callable[[], object]] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for happens in self.in_sleep:
            happens()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(shared_lock, "time", SimpleNamespace(clock_gettime=lambda _: made.now, sleep=made.sleep))
    monkeypatch.setattr(shared_lock, "POLL", 30.0)
    return made


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory, database: Path) -> MlflowClient:
    root = tmp_path_factory.mktemp("locks")
    shutil.copy(database, root / "mlflow.db")
    return open_store(stores.config("tracking.uri=sqlite:///mlflow.db"), root).client


@pytest.fixture
def client(opened: MlflowClient) -> MlflowClient:
    """Of a store without a lock."""
    for name in locks(opened):
        opened.delete_registered_model(name)
    return opened


def locks(client: MlflowClient) -> list[str]:
    return [model.name for model in client.search_registered_models()]


def mortal(client: MlflowClient, lives: int) -> Any:
    return MortalClient(client, lives, lambda: None)


def abandon(client: MlflowClient) -> None:
    """Take the lock and be killed."""
    with pytest.raises(Killed), hold(mortal(client, 1), NAME):
        pass


def test_it_is_there_only_while_it_is_held(client: MlflowClient) -> None:
    with hold(client, NAME) as confirm:
        confirm()
        (model,) = client.search_registered_models()
        assert model.name == NAME
        assert "No model: a process is changing the registry at this moment." in model.description
        assert f"Holder: {model.tags['hlynr.lock.holder']}." in model.description
    assert locks(client) == []


def test_it_is_released_after_an_error(client: MlflowClient) -> None:
    with pytest.raises(ValueError, match="in between"), hold(client, NAME):
        raise ValueError("in between")
    assert locks(client) == []


def in_turn(client: MlflowClient, count: int) -> Iterator[str]:
    """What ``count`` threads report that all want the lock at once."""
    reports: list[str] = []

    def work(_: int) -> None:
        with hold(client, NAME):
            reports.append("in")
            time.sleep(0.02)
            reports.append("out")

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))
    yield from reports


def test_many_at_once_go_one_by_one(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_lock, "POLL", 0.02)
    assert list(in_turn(client, 4)) == ["in", "out"] * 4
    assert locks(client) == []


@pytest.mark.filterwarnings("ignore:DELETE statement on table")  # two may delete the same leftover at once
def test_of_many_that_find_it_abandoned_one_takes_it(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    abandon(client)
    monkeypatch.setattr(shared_lock, "POLL", 0.02)
    monkeypatch.setattr(shared_lock, "LEASE", 2.0)
    assert list(in_turn(client, 4)) == ["in", "out"] * 4
    assert locks(client) == []


def test_an_abandoned_one_is_taken_over_after_the_lease(
    client: MlflowClient, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    abandon(client)
    caplog.set_level(logging.INFO, "hlynr")
    began = clock.now
    with hold(client, NAME) as confirm:
        assert shared_lock.LEASE < clock.now - began < shared_lock.LEASE + 3 * shared_lock.POLL
        confirm()
    assert locks(client) == []
    waiting, taken = caplog.messages
    assert waiting.startswith(f"waiting for the registry: {NAME} is held by process ")
    assert taken.endswith("has not renewed it for 60 s")


def test_a_taker_may_be_killed_as_well(client: MlflowClient, clock: Clock) -> None:
    """At any of its writes: the next get the lock, and nothing remains."""
    lives, survived = 0, False
    while not survived:
        abandon(client)
        try:
            with hold(mortal(client, lives), NAME):
                survived = lives > 0
        except Killed:
            survived = False
        with hold(client, NAME) as confirm:
            confirm()
            assert locks(client) == [NAME]
        assert locks(client) == []
        lives += 1
    assert lives > 6


def test_a_slow_waiter_takes_nothing_from_the_next_holder(client: MlflowClient) -> None:
    abandon(client)
    seen = shared_lock._read(client, NAME)
    assert seen is not None
    client.delete_registered_model(NAME)  # by a faster process, which holds it now
    with hold(client, NAME) as confirm:
        shared_lock._take_away(client, NAME, seen)
        confirm()


def test_a_long_holder_renews_it(client: MlflowClient, clock: Clock) -> None:
    """Every third of the lease; a waiter starts counting again."""
    with hold(client, NAME) as confirm:
        clock.in_sleep.append(confirm)
        with (
            pytest.raises(LockError, match=rf"{NAME} was not free for 180 s; it is held by process "),
            hold(client, NAME),
        ):
            pass
        clock.in_sleep.clear()
        confirm()


def test_a_holder_that_froze_writes_nothing_more(client: MlflowClient, clock: Clock) -> None:
    with hold(client, NAME) as confirm:
        clock.now += shared_lock.LEASE + 1
        with pytest.raises(LockError, match="held for longer than 60 s without being renewed"):
            confirm()
    assert locks(client) == [NAME]  # another process may be taking it away


def test_a_holder_notices_that_another_one_took_over(client: MlflowClient, clock: Clock) -> None:
    with hold(client, NAME) as confirm:
        with hold(client, NAME) as theirs:
            with pytest.raises(LockError, match=f"{NAME} was lost to process "):
                confirm()
            theirs()
        with pytest.raises(LockError, match="was lost to another process"):
            confirm()
    assert locks(client) == []


def test_a_lost_answer_is_no_rejection(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow asks a server again that has already made the lock."""
    create = client.create_registered_model

    def twice(*arguments: Any) -> None:
        create(*arguments)
        create(*arguments)

    monkeypatch.setattr(client, "create_registered_model", twice)
    with hold(client, NAME) as confirm:
        confirm()
    assert locks(client) == []


def test_what_is_no_rejection_is_an_error(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise MlflowException("no space left on device")

    monkeypatch.setattr(client, "create_registered_model", full)
    with pytest.raises(MlflowException, match="no space left"), hold(client, NAME):
        pass
