"""A state machine over the registry: whatever is done in whatever order, and killed at whatever write, it is as a
small model of it says.

The model knows what each operation means, not how it is carried out. A killed operation has happened as a whole once
its first write, which decides, was made; the next change of the registry completes it.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hlynr.ops.registry.journal import unfinished
from hlynr.ops.registry.promotion import rollback
from hlynr.ops.registry.versions import RegistryError
from hlynr.ops.retention import prune
from hlynr.ops.retention.survey import survey
from hlynr.ops.tracking import runs
from hlynr.ops.tracking.store import Store, open_store
from hlynr.records.retraining import Promotion
from support import stores
from support.mortal import Killed, mortal
from support.registries import Line, intact, look

Entry = tuple[str, int, int | None, int | None]
"""Action, version, champion before and after."""
LIVES = st.sampled_from((None, *range(8)))
"""Writes that an operation may make before it is killed; None: all."""


@dataclass
class Model:
    """What the registry must hold."""

    alive: set[int] = field(default_factory=set)
    aliases: dict[str, int] = field(default_factory=dict)
    history: list[Entry] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Of the entries."""
    pending: tuple[Entry, str] | None = None
    """What was killed after it had been decided, with its reason."""

    @property
    def champion(self) -> int | None:
        return self.aliases.get("champion")

    def carry_out(self, entry: Entry, reason: str) -> None:
        action, version, before, _ = entry
        if action == "promoted":
            if before in self.alive:
                self._point("previous_champion", before)
            self._point("champion", version)
            if self.aliases.get("challenger") == version:
                self._point("challenger", None)
        elif action == "rolled_back":
            self._point("champion", version)
            self._point("previous_champion", self.predecessor(version))
        self.history.append(entry)
        self.reasons.append(reason)

    def _point(self, alias: str, version: int | None) -> None:
        self.aliases.pop(alias, None)
        if version is not None:
            self.aliases[alias] = version

    def predecessor(self, version: int) -> int | None:
        """The newest champion before a version's last promotion that still exists."""
        before = {made: champion for action, made, champion, _ in self.history if action == "promoted"}
        passed, earlier = {version}, before.get(version)
        while earlier is not None and earlier not in passed:
            if earlier in self.alive:
                return earlier
            passed.add(earlier)
            earlier = before.get(earlier)
        return None

    def settle(self) -> Entry | None:
        """Complete what was killed, or drop it where somebody has made it impossible; returns what was completed."""
        pending, self.pending = self.pending, None
        if pending is None or pending[0][1] not in self.alive:
            return None
        if pending[0][0] != "not_promoted" and self.champion not in pending[0][2:]:
            return None
        self.carry_out(*pending)
        return pending[0]

    def decision(self, version: int, promote: bool, judged: int | None) -> tuple[Entry, str] | None:
        """What a gate's decision leads to; None where it has been carried out."""
        if promote and judged != self.champion and ("promoted", version, judged, version) in self.history:
            return None
        if promote and self.champion == version:
            return ("promoted", version, self.aliases.get("previous_champion"), version), ""
        if promote and judged == self.champion:
            return ("promoted", version, judged, version), ""
        found = ("not_promoted", version, self.champion, self.champion), f"against {judged}" if promote else ""
        own = [number for number, entry in enumerate(self.history) if entry[1] == version and entry[0] != "rolled_back"]
        return None if own and (self.history[own[-1]], self.reasons[own[-1]]) == found else found

    def step_back(self) -> Entry | None:
        """What a rollback leads to; None where there is nothing before."""
        latest = self.champion or (self.history[-1][3] if self.history else None)
        target = self.aliases.get("previous_champion")
        if latest is not None and target in (None, self.champion):
            target = self.predecessor(latest)
        return None if latest is None or target is None else ("rolled_back", target, self.champion, target)

    def delete(self, version: int) -> None:
        self.alive.discard(version)
        self.aliases = {alias: pointed for alias, pointed in self.aliases.items() if pointed != version}


class RegistryMachine(RuleBasedStateMachine):
    """`template` must be an MLflow database."""

    template: ClassVar[Path]
    kills: ClassVar[list[str]] = []
    """The operations that were killed, over all examples."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="registry-"))
        (self.folder / "mlruns").mkdir()
        shutil.copy(self.template, self.folder / "mlruns" / "mlflow.db")
        self.store = open_store(stores.config(), self.folder)
        self.line = Line(self.store, self.folder)
        self.line.promote()
        self.model = Model({1}, {"champion": 1}, [("promoted", 1, None, 1)], [""])

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def _mortal(self, lives: int | None) -> Store:
        return self.store if lives is None else mortal(self.store, lives)

    def _synchronise(self, before: Promotion | None, begun: tuple[Entry, str] | None, name: str) -> None:
        """After a kill: what was decided is pending, what pended may be settled, and aliases are old or new."""
        self.kills.append(name)
        found = unfinished(self.store)
        if found is None or found != before:
            self.model.settle()
            self.model.pending = begun if found is not None else None
            assert found is None or (begun is not None and _tuple(found) == begun[0])
        if found is not None:
            now = _aliases(self.store)
            assert now.get("champion") in (self.model.champion, found.champion_after)
            self.model.aliases = now

    @rule(lives=LIVES)
    def register(self, lives: int | None) -> None:
        number = self.line.retrainings + 1
        try:
            version = self.line.register(self._mortal(lives), number)
        except Killed:
            self.kills.append("register")
            version = self.line.register(self.store, number)  # as the resumed retraining does
        assert version == number
        self.line.retrainings = number
        self.model.alive.add(number)
        self.model.aliases["challenger"] = number

    @rule(which=st.integers(0, 3), promote=st.booleans(), outdated=st.booleans(), lives=LIVES)
    def decide(self, which: int, promote: bool, outdated: bool, lives: int | None) -> None:
        """About one of the newest versions, against the champion or another version."""
        version, before = max(1, self.line.retrainings - which), unfinished(self.store)
        expected = copy.deepcopy(self.model)
        expected.settle()
        judged = which + 1 if outdated else expected.champion
        made = stores.decision(promote, judged)
        if version not in self.model.alive:
            with pytest.raises(RegistryError):
                self.line.decide(self.store, version, made)
            return
        begun = expected.decision(version, promote, judged)
        try:
            self.line.decide(self._mortal(lives), version, made)
        except Killed:
            self._synchronise(before, begun, "promote" if promote else "keep")
            return
        self.model = expected
        if begun is not None:
            self.model.carry_out(*begun)

    @rule(lives=LIVES)
    def roll_back(self, lives: int | None) -> None:
        before, expected = unfinished(self.store), copy.deepcopy(self.model)
        settled = expected.settle()
        finished = settled is not None and settled[0] == "rolled_back"
        entry = None if finished else expected.step_back()
        try:
            rollback(self._mortal(lives), intact)
        except Killed:
            self._synchronise(before, None if entry is None else (entry, ""), "rollback")
            return
        except RegistryError:
            assert entry is None
            assert not finished
        else:
            assert finished or entry is not None
        self.model = expected
        if entry is not None:
            self.model.carry_out(entry, "")

    @rule(which=st.integers(0, 3))
    def delete_by_hand(self, which: int) -> None:
        version = self.line.retrainings - which
        if version in self.model.alive:
            self.store.client.delete_model_version(self.store.model, str(version))
            self.model.delete(version)

    @rule(lives=LIVES)
    def prune(self, lives: int | None) -> None:
        """A retraining without a decision goes, now or at the next pruning; the registry stays as it is."""
        lost = runs.start_retraining(self.store, stores.lineage(9), ["default"])
        try:
            self._prune(self._mortal(lives))
        except Killed:
            self.kills.append("prune")
            self._prune(self.store)
        assert not runs.has_run(self.store, lost)

    def _prune(self, store: Store) -> None:
        for family in survey(store, self.folder, later()).going:
            if family.kind == "retraining":  # not the one logged model, of which all versions are made
                prune.remove(store, family)

    @invariant()
    def the_registry_is_as_the_model_says(self) -> None:
        found = look(self.store)
        assert found.versions == len(self.model.alive)
        assert [_tuple(entry) for entry in found.history][: len(self.model.history)] == self.model.history
        assert _aliases(self.store) == self.model.aliases
        if self.model.pending is None:
            assert len(found.history) == len(self.model.history)
            assert unfinished(self.store) is None


def later() -> int:
    """After everything that the machine does [ms since the epoch]."""
    return round(1000 * time.time()) + 3_600_000


def _tuple(entry: Promotion) -> Entry:
    return entry.action, entry.version, entry.champion_before, entry.champion_after


def _aliases(store: Store) -> dict[str, int]:
    found = look(store)
    named = {"champion": found.champion, "previous_champion": found.previous, "challenger": found.challenger}
    return {alias: version for alias, version in named.items() if version is not None}
