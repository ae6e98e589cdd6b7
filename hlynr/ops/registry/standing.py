"""Which version is champion now, by its alias alone, and what in the registry was changed by hand or left by a kill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hlynr.ops.registry import journal, versions
from hlynr.ops.registry.versions import VersionInfo
from hlynr.ops.tracking import runs
from hlynr.ops.tracking.calls import if_exists
from hlynr.ops.tracking.store import Store
from hlynr.records.retraining import Promotion
from hlynr.records.store_finding import StoreFinding

REPAIR = "hlynr doctor --repair"
STEP_BACK = "hlynr rollback, or wait for the next promotion"
PATIENCE = timedelta(minutes=5)
"""After which a decision that is not carried out was left by a killed process."""


@dataclass(frozen=True)
class Standing:
    """The registry as it is."""

    champion: VersionInfo | None
    entry: Promotion | None
    """By which it became champion; None where its alias was set by hand."""
    findings: tuple[StoreFinding, ...]

    @property
    def by_hand(self) -> bool:
        """Whether the champion's alias was set by hand."""
        return self.champion is not None and self.entry is None


def look(store: Store) -> Standing:
    """The champion that the alias names, which `rollback` and ``models:/NAME@champion`` mean too."""
    made = [entry for entry in journal.history(store) if entry.action != "not_promoted"]
    champion = versions.champion(store)
    number = champion.version if champion else None
    last = made[-1].champion_after if made else None
    entry = next((each for each in reversed(made) if each.champion_after == number), None)
    found = [*_champion(store, champion, last), *_journal(store)]
    if not made and champion is None:
        found += _model(store)
    return Standing(champion, entry if champion else None, tuple(found))


def _champion(store: Store, champion: VersionInfo | None, last: int | None) -> Iterator[StoreFinding]:
    if champion is None:
        if last is not None:
            gone = "was deleted" if journal.deleted(store, last) else "lost its alias"
            what = f"{store.model} has no champion: version {last}, champion by the history, {gone}"
            yield StoreFinding(what=what, remedy=STEP_BACK)
    elif fault := versions.fault(store, champion):
        what = f"version {champion.version} of {store.model} has the alias champion and {fault}"
        yield StoreFinding(what=what, remedy=STEP_BACK)


def _journal(store: Store) -> Iterator[StoreFinding]:
    for line in journal.unreadable(store):
        pending = line.startswith(f"the tag {journal.PENDING_TAG}")
        remedy = REPAIR if pending else f"delete that tag of the registered model {store.model} in MLflow"
        yield StoreFinding(what=line, remedy=remedy, repairable=pending)
    entry = journal.unfinished(store)
    if entry is not None and datetime.now(UTC) - datetime.fromisoformat(entry.when).astimezone(UTC) > PATIENCE:
        what = f"a killed process left a decision half carried out: version {entry.version} {entry.action}"
        yield StoreFinding(what=what, remedy=REPAIR, repairable=True)


def _model(store: Store) -> Iterator[StoreFinding]:
    if if_exists(store.client.get_registered_model, store.model) is None and runs.promoted_before(store):
        what = f"the registered model {store.model} was deleted or renamed, and its history with it"
        yield StoreFinding(
            what=what, remedy="rename it back in MLflow, or wait for the next retraining, which makes it anew"
        )
