"""The registry's history, and how a decision changes aliases, tags and history wherever a process is killed.

The history is kept in the registry itself, one tag of the registered model per entry, so that it moves with the
registry; `hlynr.ops.registry.pages` writes it on the model's page. An entry is first written as ``hlynr.pending``,
which decides; every later step can be repeated with the same effect, and the next change of the registry completes
those that a killed process did not make.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import ValidationError

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
SHOWN = 60
"""Characters of an entry that cannot be read, in the line about it."""

_log = logging.getLogger(__name__)


def history(store: Store) -> list[Promotion]:
    """All decisions about the registered model, oldest first, but those that are `unreadable`."""
    return [entry for _, entry in _entries(store) if isinstance(entry, Promotion)]


def unreadable(store: Store) -> list[str]:
    """A line for each entry that is none: written by hand, or by a version that decides something new."""
    lines = [
        f"the entry {key} of the registry's history {entry}" for key, entry in _entries(store) if isinstance(entry, str)
    ]
    pending = _pending(store)
    return [*lines, f"the tag {PENDING_TAG} {pending}"] if isinstance(pending, str) else lines


def unfinished(store: Store) -> Promotion | None:
    """The entry that a process is carrying out, or was when it was killed; None also for one that cannot be read."""
    pending = _pending(store)
    return pending if isinstance(pending, Promotion) else None


def is_pending(store: Store) -> bool:
    """Whether there is something to `settle`."""
    return _pending(store) is not None


def _entries(store: Store) -> Iterator[tuple[str, Promotion | str]]:
    tags = _tags(store)
    keys = {key.removeprefix(p): key for key in tags for p in (SHOWN_HISTORY_TAG, HISTORY_TAG) if key.startswith(p)}
    for stamp in sorted(keys):
        yield keys[stamp], _read(tags[keys[stamp]])


def _pending(store: Store) -> Promotion | str | None:
    text = _tags(store).get(PENDING_TAG)
    return None if text is None else _read(text)


def _read(text: str) -> Promotion | str:
    """The entry, or why it is none, as a clause."""
    try:
        return Promotion.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        return f"cannot be read ({f'{key}: ' if key else ''}{first['msg']}): {text[:SHOWN]}"


def carry_out(store: Store, entry: Promotion, confirm: Confirm) -> Promotion:
    """Change the registry as ``entry`` says, and append it to the history; to be called under the registry's lock."""
    confirm()
    store.client.set_registered_model_tag(store.model, PENDING_TAG, entry.model_dump_json())
    _finish(store, entry, confirm)
    return entry


def settle(store: Store, confirm: Confirm) -> Promotion | None:
    """Finish what a killed process began, under the registry's lock and before anything is read for a new decision.

    It is dropped where a change by hand made it impossible: its version was deleted, or another one made champion
    than the one before or after it; and where it cannot be read.

    Returns:
        The entry that has been finished.
    """
    entry = _pending(store)
    if entry is None:
        return None
    if isinstance(entry, str):
        _log.warning("dropping the tag %s, which %s", PENDING_TAG, entry)
    elif _possible(store, entry):
        _log.warning("finishing what was interrupted: version %d %s", entry.version, entry.action)
        _finish(store, entry, confirm)
        return entry
    else:
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
    if entry.champion_before is not None and _exists(store, entry.champion_before):
        store.client.set_registered_model_alias(store.model, "previous_champion", str(entry.champion_before))
    confirm()
    store.client.set_registered_model_alias(store.model, "champion", str(entry.version))
    challenger = by_alias(store, "challenger")
    if challenger is not None and challenger.version == entry.version:
        store.client.delete_registered_model_alias(store.model, "challenger")


def _roll_back(store: Store, entry: Promotion, confirm: Confirm) -> None:
    """In this order, so that at no time another rollback would skip a champion."""
    earlier = predecessor(store, entry.version)
    confirm()
    store.client.set_registered_model_alias(store.model, "champion", str(entry.version))
    if earlier is None:
        store.client.delete_registered_model_alias(store.model, "previous_champion")
    else:
        store.client.set_registered_model_alias(store.model, "previous_champion", str(earlier))
    if entry.champion_before is not None and _exists(store, entry.champion_before):
        store.client.set_model_version_tag(store.model, str(entry.champion_before), VERDICT_TAG, "rolled_back")


def predecessor(store: Store, version: int) -> int | None:
    """The newest champion before ``version`` was last promoted that still exists."""
    promoted = {entry.version: entry.champion_before for entry in history(store) if entry.action == "promoted"}
    passed, earlier = {version}, promoted.get(version)
    while earlier is not None and earlier not in passed:
        if _exists(store, earlier):
            return earlier
        passed.add(earlier)
        earlier = promoted.get(earlier)
    return None


def deleted(store: Store, version: int) -> bool:
    """Whether a version of the history is no longer in the registry."""
    return not _exists(store, version)


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
