"""A process killed before any of its writes: what it leaves is valid, and the same call again completes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support import stores
from support.mortal import Killed, mortal, survives
from support.registries import Line, Registry, intact, look

from hlynr.ops.registry.journal import PENDING_TAG, history, unfinished
from hlynr.ops.registry.promotion import rollback
from hlynr.ops.registry.versions import fetch_bundle, find
from hlynr.ops.tracking.store import Store
from hlynr.records.retraining import Promotion


@pytest.fixture
def line(store: Store, project: Path) -> Line:
    made = Line(store, project)
    for _ in range(2):
        made.promote()
    return made


def check_valid(line: Line, before: Registry, after: Registry, place: Path) -> None:
    """What holds after a kill: one champion that loads, old or new; no version lost, the history readable."""
    found = look(line.store)
    assert found.champion in (before.champion, after.champion)
    assert found.previous in (before.previous, after.previous, found.champion)
    assert found.versions == before.versions
    assert found.history[: len(before.history)] == before.history
    assert len(found.history) <= len(before.history) + 1
    fetch_bundle(line.store, f"models:/{line.store.model}@champion", place)


def killed_everywhere(
    line: Line, begin: Callable[[], tuple[Callable[[Store], Promotion], Registry]], place: Path
) -> int:
    """Kill what ``begin`` hands out before its first write, its second, ...; returns how many writes it makes.

    ``begin`` makes the registry ready for the act, and returns what it is to be afterwards, but for the new entry.
    """
    lives = 0
    while True:
        act, after = begin()
        before = look(line.store)
        survived = survives(act, line.store, lives)
        check_valid(line, before, after, place)
        if survived:
            return lives
        entry = act(line.store)
        assert look(line.store) == after._replace(history=[*before.history, entry]), f"killed after {lives} writes"
        assert unfinished(line.store) is None
        if entry.action != "rolled_back":
            assert act(line.store) == entry  # repeated, it changes nothing
            assert look(line.store).history == [*before.history, entry]
        lives += 1


def test_a_promotion(line: Line, tmp_path: Path) -> None:
    def begin() -> tuple[Callable[[Store], Promotion], Registry]:
        version, now = line.contender(), look(line.store)
        after = now._replace(champion=version, previous=now.champion, challenger=None)
        return lambda store: line.decide(store, version, stores.decision(champion=now.champion)), after

    assert killed_everywhere(line, begin, tmp_path / "fetched") >= 7
    assert {find(line.store, entry.version).tags["hlynr.gate"] for entry in history(line.store)} == {"promoted"}


def test_a_decision_not_to_promote(line: Line, tmp_path: Path) -> None:
    def begin() -> tuple[Callable[[Store], Promotion], Registry]:
        version, now = line.contender(), look(line.store)
        return lambda store: line.decide(store, version, stores.decision(False, now.champion)), now

    writes = killed_everywhere(line, begin, tmp_path / "fetched")
    assert writes >= 5
    assert [entry.action for entry in history(line.store)] == ["promoted"] * 2 + ["not_promoted"] * (writes + 1)


@pytest.mark.parametrize("first", [True, False])
def test_a_rollback(line: Line, first: bool, tmp_path: Path) -> None:
    """To the first champion of all, and to one that had another before it."""
    if first:
        rollback(line.store, intact)

    def begin() -> tuple[Callable[[Store], Promotion], Registry]:
        earlier = look(line.store)
        line.promote()
        after = look(line.store)._replace(champion=earlier.champion, previous=earlier.previous)
        return lambda store: rollback(store, intact), after

    assert killed_everywhere(line, begin, tmp_path / "fetched") >= 5
    assert (look(line.store).previous is None) == first


def test_a_registration(line: Line) -> None:
    lives, survived = 0, False
    while not survived:
        number, before = line.retrainings + 1, look(line.store)
        survived = survives(partial(line.register, number=number), line.store, lives)
        assert look(line.store).champion == before.champion
        assert line.contender() == number
        assert look(line.store) == before._replace(challenger=number, versions=before.versions + 1)
        lives += 1
    assert lives > 3


def test_the_next_change_completes_an_interrupted_one(line: Line) -> None:
    """The promotion of a machine that does not come back, found by the retraining of another one."""
    version, other = line.contender(), line.contender()
    with pytest.raises(Killed):
        line.decide(mortal(line.store, 1), version, stores.decision(champion=2))
    assert look(line.store).champion == 2
    entry = line.decide(line.store, other, stores.decision(champion=2))
    assert entry.reason.startswith(
        f"Not promoted: the champion changed while version {other} was judged, from version 2"
    )
    assert [(entry.action, entry.version) for entry in history(line.store)[2:]] == [
        ("promoted", version),
        ("not_promoted", other),
    ]
    again = line.contender()
    assert line.decide(line.store, again, stores.decision(champion=version)).action == "promoted"
    # The machine comes back after all: its decision has been carried out, though another version is champion now.
    assert line.decide(line.store, version, stores.decision(champion=2)) == history(line.store)[2]
    assert look(line.store).champion == again


@pytest.mark.parametrize("gone", ["version", "champion"])
def test_what_people_made_impossible_is_dropped(line: Line, gone: str) -> None:
    line.promote()
    version, client, model = line.contender(), line.store.client, line.store.model
    with pytest.raises(Killed):
        line.decide(mortal(line.store, 1), version, stores.decision(champion=3))
    assert unfinished(line.store) is not None
    if gone == "version":
        client.delete_model_version(model, str(version))
    else:
        client.set_registered_model_alias(model, "champion", "1")
    now = 3 if gone == "version" else 1
    other = line.contender()
    assert line.decide(line.store, other, stores.decision(champion=now)).action == "promoted"
    assert PENDING_TAG not in client.get_registered_model(model).tags
    assert version not in {entry.version for entry in history(line.store)}


def test_a_decision_can_be_taken_anew_after_a_rollback(line: Line) -> None:
    again = stores.decision(champion=1)
    assert line.decide(line.store, 2, again) == history(line.store)[1]
    rollback(line.store, intact)
    assert line.decide(line.store, 2, again).action == "promoted"
    assert [(entry.action, entry.champion_after) for entry in history(line.store)[1:]] == [
        ("promoted", 2),
        ("rolled_back", 1),
        ("promoted", 2),
    ]
