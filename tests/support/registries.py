"""A registry in which version after version is made from one bundle, for the tests of its decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hlynr.ops.registry.journal import history
from hlynr.ops.registry.promotion import apply_decision
from hlynr.ops.registry.versions import VersionInfo, by_alias, register, registered
from hlynr.ops.tracking.runs import start_run
from hlynr.ops.tracking.store import Store
from hlynr.records.evaluation import GateDecision
from hlynr.records.retraining import Promotion
from hlynr.records.training import Lineage
from hlynr.rl import bundle
from support import stores


class Registry(NamedTuple):
    """Where the aliases point, how many versions there are, and all that has been decided."""

    champion: int | None
    previous: int | None
    challenger: int | None
    versions: int
    history: list[Promotion]


def look(store: Store) -> Registry:
    found = [by_alias(store, name) for name in ("champion", "previous_champion", "challenger")]
    pointers = [version.version if version else None for version in found]
    return Registry(*pointers, len(store.client.search_model_versions(f"name = '{store.model}'")), history(store))


@dataclass
class Line:
    """A registry in which version after version can be made from one bundle."""

    store: Store
    folder: Path
    logged: tuple[str, str] = field(init=False)
    sha: str = field(init=False)
    retrainings: int = 0

    def __post_init__(self) -> None:
        self.sha = stores.make_bundle(self.folder / "bundle")
        run_id = start_run(self.store, self.lineage(0), stores.config())
        found = stores.evaluation(bundle_sha256=self.sha)
        self.logged = stores.log_model(self.store, run_id, self.folder / "bundle", found)

    def lineage(self, number: int) -> Lineage:
        return stores.lineage(id=f"20261123-180530-{number:06x}", retraining=number)

    def register(self, store: Store, number: int) -> int:
        """As a retraining does it: nothing is made that an earlier try has made."""
        run_id, found = f"{number:032x}", stores.evaluation(bundle_sha256=self.sha)
        known = registered(store, run_id, self.sha)
        return known or register(store, run_id, self.logged[1], self.logged[0], self.sha, found, self.lineage(number))

    def contender(self) -> int:
        self.retrainings += 1
        return self.register(self.store, self.retrainings)

    def decide(self, store: Store, version: int, decision: GateDecision) -> Promotion:
        return apply_decision(store, decision, version, stores.evaluation(), self.lineage(version), f"{version:032x}")

    def promote(self) -> int:
        version = self.contender()
        now = look(self.store).champion
        assert self.decide(self.store, version, stores.decision(champion=now)).action == "promoted"
        return version


def intact(version: VersionInfo, folder: Path) -> str:
    return f"version {version.version} is {bundle.digest(folder)}"
