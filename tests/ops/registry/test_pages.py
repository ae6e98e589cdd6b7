"""The registry's pages: what is written on them, from what the registry holds at that moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from support import stores

from hlynr.ops.registry.pages import LENGTH, add_to_version, describe_model, describe_version
from hlynr.ops.registry.promotion import apply_decision
from hlynr.ops.tracking.store import Store
from hlynr.records.retraining import Promotion


def description(store: Store, version: int) -> str:
    return str(store.client.get_model_version(store.model, str(version)).description)


def test_the_models_page_is_written_from_aliases_and_history(store: Store, project: Path) -> None:
    for number in range(2):
        version, run_id = stores.retraining(store, project, number)
        decision = stores.decision(champion=number or None)
        apply_decision(store, decision, version, stores.evaluation(number=number), stores.lineage(number), run_id)
    stores.retraining(store, project, 2)

    def words(model: str, roles: Mapping[str, int], entries: Sequence[Promotion]) -> str:
        assert roles == {"champion": 2, "previous_champion": 1, "challenger": 3}
        assert [entry.version for entry in entries] == [1, 2]
        return f"{model}: " + "long, " * LENGTH

    describe_model(store, words)
    description = store.client.get_registered_model(store.model).description
    assert description.startswith("hlynr-intercept: long")
    assert len(description) == LENGTH


def test_words_are_added_above_those_of_a_version(store: Store, project: Path) -> None:
    version, _ = stores.retraining(store, project)
    describe_version(store, version, "Promoted: better.")
    add_to_version(store, version, "Rolled back.")
    assert description(store, version) == "Rolled back.\n\nPromoted: better."
    store.client.delete_model_version(store.model, str(version))
    add_to_version(store, version, "Rolled back.")  # does nothing
