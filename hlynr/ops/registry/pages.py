"""The words on the registry's pages in the MLflow UI; how they read is decided by whoever hands them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import get_args

from hlynr.ops.registry.journal import history
from hlynr.ops.registry.versions import Alias, by_alias
from hlynr.ops.tracking.store import Store
from hlynr.records.retraining import Promotion

LENGTH = 5000
"""What a strict database takes."""

Words = Callable[[str, Mapping[str, int], Sequence[Promotion]], str]
"""From the registered model's name, its versions by alias and its history, oldest first, to markdown."""


def describe_version(store: Store, version: int, words: str) -> None:
    """What a version's page says; markdown, whose beginning stands in the list of versions as it is."""
    store.client.update_model_version(store.model, str(version), description=words[:LENGTH])


def add_to_version(store: Store, version: int, words: str) -> None:
    """Put something above what a version's page says; nothing where the version has been deleted."""
    from mlflow.exceptions import MlflowException

    try:
        before = store.client.get_model_version(store.model, str(version)).description or ""
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return
    describe_version(store, version, f"{words}\n\n{before}")


def describe_model(store: Store, words: Words) -> None:
    """What the registered model's page says, under the lock: who writes last has also read last."""
    with store.registry_lock() as confirm:
        found = {alias: by_alias(store, alias) for alias in get_args(Alias)}
        roles = {alias: version.version for alias, version in found.items() if version is not None}
        told = words(store.model, roles, history(store))[:LENGTH]
        confirm()
        store.client.update_registered_model(store.model, description=told)
