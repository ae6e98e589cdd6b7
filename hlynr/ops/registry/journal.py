"""The registry's history, and how a decision changes aliases, tags and history wherever a process is killed.

The history is kept in the registry itself, one tag of the registered model per entry, so that it moves with the
registry; `hlynr.ops.registry.pages` writes it on the model's page. An entry is first written as ``hlynr.pending``,
which decides; every later step can be repeated with the same effect, and the next change of the registry completes
those that a killed process did not make.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from hlynr.ops.registry.versions import VERDICT_TAG, RegistryError, by_alias, champion, find
from hlynr.ops.tracking.calls import if_exists
from hlynr.ops.tracking.shared_lock import Confirm
from hlynr.ops.tracking.store import Store
from hlynr.records.retraining import Promotion

HISTORY_TAG = "mlflow.hlynr.history."
"""MLflow's UI hides tags that begin like its own: a year of entries would bury the page, and invite editing."""
SHOWN_HISTORY_TAG = "hlynr.history."
"""How older entries are named; a registry may hold both."""
PENDING_TAG = "hlynr.pending"

_log = logging.getLogger(__name__)


def history(store: Store) -> list[Promotion]:
    """All decisions about the registered model, oldest first."""
    entries = {
        key.removeprefix(prefix): value
        for key, value in _tags(store).items()
        for prefix in (SHOWN_HISTORY_TAG, HISTORY_TAG)
        if key.startswith(prefix)
    }
    return [Promotion.model_validate_json(entries[key]) for key in sorted(entries)]


def unfinished(store: Store) -> Promotion | None:
    """The entry that a process is carrying out, or was when it was killed."""
    pending = _tags(store).get(PENDING_TAG)
    return None if pending is None else Promotion.model_validate_json(pending)


def carry_out(store: Store, entry: Promotion, confirm: Confirm) -> Promotion:
    """Change the registry as ``entry`` says, and append it to the history; to be called under the registry's lock."""
    confirm()
    store.client.set_registered_model_tag(store.model, PENDING_TAG, entry.model_dump_json())
    _finish(store, entry, confirm)
    return entry


def settle(store: Store, confirm: Confirm) -> Promotion | None:
    """Finish what a killed process began, under the registry's lock and before anything is read for a new decision.

    It is dropped where a change by hand made it impossible: its version was deleted, or another one made champion
    than the one before or after it.

    Returns:
        The entry that has been finished.
    """
    entry = unfinished(store)
    if entry is None:
        return None
    if _possible(store, entry):
        _log.warning("finishing what was interrupted: version %d %s", entry.version, entry.action)
        _finish(store, entry, confirm)
        return entry
    _log.warning("dropping what was interrupted and is outdated: version %d %s", entry.version, entry.action)
    confirm()
    store.client.delete_registered_model_tag(store.model, PENDING_TAG)
    return None


def _possible(store: Store, entry: Promotion) -> bool:
    now = champion(store)
    expected = (entry.champion_before, entry.champion_after)
    return _exists(store, entry.version) and (
        entry.action == "not_promoted" or (now.version if now else None) in expected
    )


def _finish(store: Store, entry: Promotion, confirm: Confirm) -> None:
    """One write moves the champion alias."""
    if entry.action == "rolled_back":
        _roll_back(store, entry, confirm)
    else:
        if entry.action == "promoted":
            _promote(store, entry, confirm)
        store.client.set_model_version_tag(store.model, str(entry.version), VERDICT_TAG, entry.action)
        store.client.update_model_version(store.model, str(entry.version), description=entry.reason)
    confirm()
    store.client.set_registered_model_tag(store.model, _key(entry), entry.model_dump_json())
    store.client.delete_registered_model_tag(store.model, PENDING_TAG)


def _promote(store: Store, entry: Promotion, confirm: Confirm) -> None:
    if entry.champion_before is not None:
        store.client.set_registered_model_alias(store.model, "previous_champion", str(entry.champion_before))
    confirm()
    store.client.set_registered_model_alias(store.model, "champion", str(entry.version))
    challenger = by_alias(store, "challenger")
    if challenger is not None and challenger.version == entry.version:
        store.client.delete_registered_model_alias(store.model, "challenger")


def _roll_back(store: Store, entry: Promotion, confirm: Confirm) -> None:
    """In this order, so that at no time another rollback would skip a champion."""
    earlier = _predecessor(store, entry.version)
    confirm()
    store.client.set_registered_model_alias(store.model, "champion", str(entry.version))
    if earlier is None:
        store.client.delete_registered_model_alias(store.model, "previous_champion")
    else:
        store.client.set_registered_model_alias(store.model, "previous_champion", str(earlier))
    if entry.champion_before is not None and _exists(store, entry.champion_before):
        store.client.set_model_version_tag(store.model, str(entry.champion_before), VERDICT_TAG, "rolled_back")


def _predecessor(store: Store, version: int) -> int | None:
    """The champion before ``version`` was last promoted, if it still exists."""
    entries = [entry for entry in history(store) if entry.action == "promoted" and entry.version == version]
    earlier = entries[-1].champion_before if entries else None
    return earlier if earlier is not None and _exists(store, earlier) else None


def _exists(store: Store, version: int) -> bool:
    try:
        return find(store, version).version == version
    except RegistryError:
        return False


def _key(entry: Promotion) -> str:
    """Sorts by time: UTC to the microsecond, unique under the lock; the lineage id is for readers."""
    stamp = datetime.fromisoformat(entry.when).astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"{HISTORY_TAG}{stamp}.{entry.lineage_id}"


def _tags(store: Store) -> dict[str, str]:
    """Of the registered model; none before the first version."""
    model = if_exists(store.client.get_registered_model, store.model)
    return dict(model.tags) if model else {}
