"""The registry's history, and how a decision reaches aliases, tags and history whole, wherever a process is killed.

The history lies in the registry itself, one tag of the registered model per entry, so that it goes wherever the
registry goes; `hlynr.ops.registry.pages` puts it on the model's page in a form to be read. An entry is written down as
``hlynr.pending`` before anything else is touched; that one write decides. Every step after it can be made again with
the same effect, so whoever next changes the registry makes those that a killed process left.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from hlynr.ops.registry.versions import VERDICT_TAG, RegistryError, by_alias, champion, find
from hlynr.ops.tracking.shared_lock import Confirm
from hlynr.ops.tracking.store import Store
from hlynr.records.retraining import Promotion

HISTORY_TAG = "mlflow.hlynr.history."
"""MLflow's UI shows no tag that begins like its own: a year of entries would bury the page, and invite editing."""
SHOWN_HISTORY_TAG = "hlynr.history."
"""How entries were named until they were hidden; a registry may hold both, the older ones under this."""
PENDING_TAG = "hlynr.pending"

_log = logging.getLogger(__name__)


def history(store: Store) -> list[Promotion]:
    """All decisions ever taken about the registered model, oldest first."""
    told = {
        key.removeprefix(prefix): value
        for key, value in _tags(store).items()
        for prefix in (SHOWN_HISTORY_TAG, HISTORY_TAG)
        if key.startswith(prefix)
    }
    return [Promotion.model_validate_json(told[key]) for key in sorted(told)]


def unfinished(store: Store) -> Promotion | None:
    """What a killed process began, and nobody has finished yet; or somebody is at it now."""
    pending = _tags(store).get(PENDING_TAG)
    return None if pending is None else Promotion.model_validate_json(pending)


def carry_out(store: Store, entry: Promotion, confirm: Confirm) -> Promotion:
    """Make the registry what ``entry`` says, and append it to the history; to be called under the registry's lock."""
    confirm()
    store.client.set_registered_model_tag(store.model, PENDING_TAG, entry.model_dump_json())
    _finish(store, entry, confirm)
    return entry


def settle(store: Store, confirm: Confirm) -> Promotion | None:
    """Finish what a killed process began, under the registry's lock and before anything is read for a new decision.

    It is dropped where somebody has made it impossible by hand: deleted its version, or made another one champion
    than the one it met or the one it made.

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
    """The champion before reigns until the one write that puts the other one there."""
    if entry.action == "rolled_back":
        _uncrown(store, entry, confirm)
    else:
        if entry.action == "promoted":
            _crown(store, entry, confirm)
        _explain(store, entry)
    confirm()
    store.client.set_registered_model_tag(store.model, _key(entry), entry.model_dump_json())
    store.client.delete_registered_model_tag(store.model, PENDING_TAG)


def _crown(store: Store, entry: Promotion, confirm: Confirm) -> None:
    if entry.champion_before is not None:
        store.client.set_registered_model_alias(store.model, "previous_champion", str(entry.champion_before))
    confirm()
    store.client.set_registered_model_alias(store.model, "champion", str(entry.version))
    challenger = by_alias(store, "challenger")
    if challenger is not None and challenger.version == entry.version:
        store.client.delete_registered_model_alias(store.model, "challenger")


def _uncrown(store: Store, entry: Promotion, confirm: Confirm) -> None:
    """In this order, so that at no time a rollback would lead past a champion."""
    earlier = _predecessor(store, entry.version)
    confirm()
    store.client.set_registered_model_alias(store.model, "champion", str(entry.version))
    if earlier is None:
        store.client.delete_registered_model_alias(store.model, "previous_champion")
    else:
        store.client.set_registered_model_alias(store.model, "previous_champion", str(earlier))
    if entry.champion_before is not None and _exists(store, entry.champion_before):
        store.client.set_model_version_tag(store.model, str(entry.champion_before), VERDICT_TAG, "rolled_back")


def _explain(store: Store, entry: Promotion) -> None:
    """Verdict and reason on the version itself, where people look at it."""
    store.client.set_model_version_tag(store.model, str(entry.version), VERDICT_TAG, entry.action)
    store.client.update_model_version(store.model, str(entry.version), description=entry.reason)


def _predecessor(store: Store, version: int) -> int | None:
    """Whom ``version`` followed when it was last promoted, if that one still exists."""
    entries = [entry for entry in history(store) if entry.action == "promoted" and entry.version == version]
    earlier = entries[-1].champion_before if entries else None
    return earlier if earlier is not None and _exists(store, earlier) else None


def _exists(store: Store, version: int) -> bool:
    try:
        return find(store, version).version == version
    except RegistryError:
        return False


def _key(entry: Promotion) -> str:
    """Sorts by time: UTC to the microsecond, unique under the lock; the lineage id helps a human to find it."""
    stamp = datetime.fromisoformat(entry.when).astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"{HISTORY_TAG}{stamp}.{entry.lineage_id}"


def _tags(store: Store) -> dict[str, str]:
    """Of the registered model; none before the first version."""
    from mlflow.exceptions import MlflowException

    try:
        return dict(store.client.get_registered_model(store.model).tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
