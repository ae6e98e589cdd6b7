"""Promotions of two processes at once, on every kind of store, and from two machines wherever a store has room for two.

Two project folders stand for two machines: they share the store and nothing else, no lock file either.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from support import databases, projects, racers, stores

from hlynr.ops.registry.journal import history
from hlynr.ops.registry.promotion import apply_decision
from hlynr.ops.registry.versions import by_alias, fetch_bundle
from hlynr.ops.tracking import server, shared_lock
from hlynr.ops.tracking.store import Store, open_store
from hlynr.runtime import environment
from hlynr.service.prefect_server import free_port


@dataclass(frozen=True)
class Machines:
    """How to reach a store, and the folders from which it is used."""

    settings: tuple[str, ...]
    here: Path
    there: Path

    @property
    def store(self) -> Store:
        return open_store(stores.config(*self.settings), self.here)


@contextmanager
def served(root: Path, database: Path) -> Iterator[str]:
    """The address of an MLflow server over a database file."""
    (root / "mlruns").mkdir(parents=True)
    shutil.copy(database, root / "mlruns" / "mlflow.db")
    port = free_port()
    variables = environment.of_child(server.environment(stores.config(), root))
    with (root / "server.log").open("w") as log:
        process = subprocess.Popen(server.command("127.0.0.1", port), cwd=root, env=variables, stdout=log, stderr=log)
    try:
        projects.until(lambda: answers(f"http://127.0.0.1:{port}/health"), "the MLflow server")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except URLError:
        return False


@contextmanager
def reached(kind: str, root: Path, database: Path) -> Iterator[Machines]:
    """A database file is for one machine: both processes work in one folder then."""
    here, there = root / "here", root / "there"
    if kind == "file":
        (here / "mlruns").mkdir(parents=True)
        shutil.copy(database, here / "mlruns" / "mlflow.db")
        yield Machines((), here, here)
    elif kind == "server":
        with served(root / "server", database) as uri:
            yield Machines((f"tracking.uri={uri}",), here, there)
    else:
        with databases.fresh("registry") as uri:
            yield Machines((f"tracking.uri={uri}", f"tracking.artifacts={(root / 'artifacts').as_uri()}"), here, there)


POSTGRESQL = pytest.param("postgresql", marks=databases.needed)


@pytest.fixture(scope="module", params=["file", "server", POSTGRESQL])
def machines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, database: Path
) -> Iterator[Machines]:
    """With a champion, version 1."""
    with reached(request.param, tmp_path_factory.mktemp(request.param), database) as found:
        store = found.store
        version, run_id = stores.retraining(store, found.here)
        apply_decision(store, stores.decision(), version, stores.evaluation(), stores.lineage(), run_id)
        yield found


def challengers(machines: Machines, numbers: tuple[int, ...]) -> list[tuple[int, str]]:
    return [stores.retraining(machines.store, machines.here, number) for number in numbers]


def names(store: Store) -> list[str]:
    return [model.name for model in store.client.search_registered_models()]


def pointers(store: Store) -> dict[str, int | None]:
    found = {name: by_alias(store, name) for name in ("champion", "previous_champion", "challenger")}
    return {name: version.version if version else None for name, version in found.items()}


def test_of_two_promotions_at_once_one_wins(machines: Machines, tmp_path: Path) -> None:
    """The other is judged against the champion that it meets, and both stand in the history."""
    store, before = machines.store, history(machines.store)
    retrainings, start = challengers(machines, (1, 2)), racers.start_line(2)
    turns = zip((machines.here, machines.there), retrainings, strict=True)
    racing = [(root, machines.settings, version, run_id, 1, start) for root, (version, run_id) in turns]
    assert racers.run(racers.promote, racing) == [0, 0]
    assert history(store)[: len(before)] == before
    winner, loser = entries = history(store)[len(before) :]
    assert [entry.action for entry in entries] == ["promoted", "not_promoted"]
    assert {winner.version, loser.version} == {version for version, _ in retrainings}
    assert (winner.champion_before, winner.champion_after) == (1, winner.version)
    assert (loser.champion_before, loser.champion_after) == (winner.version, winner.version)
    assert f"the champion changed while version {loser.version} was judged, from version 1 to" in loser.reason
    newest = retrainings[-1][0]
    assert pointers(store) == {
        "champion": winner.version,
        "previous_champion": 1,
        "challenger": newest if loser.version == newest else None,
    }
    for version, _ in retrainings:
        fetch_bundle(store, version, tmp_path / f"bundle-{version}")
    assert names(store) == [store.model]


@pytest.mark.parametrize("machines", ["server", POSTGRESQL], indirect=True)
def test_a_machine_that_is_gone_blocks_no_other(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the middle of a promotion, it leaves a champion; the other machine completes what it began."""
    store, before = machines.store, history(machines.store)
    reigning = pointers(store)["champion"]
    assert reigning is not None
    ((version, run_id),) = challengers(machines, (4,))
    killed = (machines.there, machines.settings, version, run_id, reigning, None, 3)
    assert racers.run(racers.promote, [killed]) == [9]
    assert pointers(store)["champion"] in (reigning, version)
    monkeypatch.setattr(shared_lock, "LEASE", 2.0)
    fetch_bundle(store, f"models:/{store.model}@champion", tmp_path / "bundle")
    found, lineage = stores.evaluation(number=version), stores.lineage(version)
    done = apply_decision(store, stores.decision(champion=reigning), version, found, lineage, run_id)
    assert (done.action, done.champion_before, done.champion_after) == ("promoted", reigning, version)
    assert history(store) == [*before, done]
    assert pointers(store) == {"champion": version, "previous_champion": reigning, "challenger": None}
    assert names(store) == [store.model]
