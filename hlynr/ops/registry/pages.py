"""The texts on the registry's pages in the MLflow UI; the caller writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import get_args

from hlynr.ops.registry.journal import history
from hlynr.ops.registry.versions import Alias, by_alias
from hlynr.ops.tracking.calls import if_exists
from hlynr.ops.tracking.store import Store
from hlynr.records.retraining import Promotion

LENGTH = 5000
"""The limit of a strict database."""

Words = Callable[[str, Mapping[str, int], Sequence[Promotion]], str]
"""From the registered model's name, its versions by alias and its history, oldest first, to markdown."""


def describe_version(store: Store, version: int, words: str) -> None:
    """Set a version's page, unless it was deleted; markdown, whose beginning the list of versions shows as it is."""
    if_exists(partial(store.client.update_model_version, store.model, str(version), description=words[:LENGTH]))


def add_to_version(store: Store, version: int, words: str) -> None:
    """Prepend to a version's page; does nothing where the version has been deleted."""
    found = if_exists(store.client.get_model_version, store.model, str(version))
    if found is not None:
        describe_version(store, version, f"{words}\n\n{found.description or ''}")


def describe_model(store: Store, words: Words) -> None:
    """Set the registered model's page, under the lock: the process that writes last has also read last."""
    with store.registry_lock() as confirm:
        found = {alias: by_alias(store, alias) for alias in get_args(Alias)}
        roles = {alias: version.version for alias, version in found.items() if version is not None}
        text = words(store.model, roles, history(store))[:LENGTH]
        confirm()
        store.client.update_registered_model(store.model, description=text)
