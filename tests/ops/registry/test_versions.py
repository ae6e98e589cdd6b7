"""Versions, aliases, verified bundles, and decisions that survive crashes and races."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import stores

from hlynr.ops.registry.journal import HISTORY_TAG, SHOWN_HISTORY_TAG, history
from hlynr.ops.registry.promotion import apply_decision, rollback
from hlynr.ops.registry.versions import (
    MODEL_ID_TAG,
    RegistryError,
    VersionInfo,
    by_alias,
    champion,
    fetch_bundle,
    find,
    newest_of_run,
    registered,
)
from hlynr.ops.tracking.store import Store
from hlynr.records.evaluation import GateDecision
from hlynr.records.retraining import Promotion
from hlynr.rl import bundle


def decide(store: Store, version: int, run_id: str, decision: GateDecision, success: float = 0.94) -> Promotion:
    number = version - 1
    return apply_decision(store, decision, version, stores.evaluation(success, number), stores.lineage(number), run_id)


def dynasty(store: Store, project: Path, length: int) -> list[str]:
    """Promote versions 1 to ``length`` one after the other; returns their runs."""
    runs = []
    for number in range(length):
        version, run_id = stores.retraining(store, project, number)
        decide(store, version, run_id, stores.decision(champion=number or None))
        runs.append(run_id)
    return runs


def aliases(store: Store) -> dict[str, int | None]:
    found = {name: by_alias(store, name) for name in ("champion", "previous_champion", "challenger")}
    return {name: version.version if version else None for name, version in found.items()}


# Versions and their bundles


def test_registering_makes_a_tagged_challenger(store: Store, project: Path) -> None:
    version, run_id = stores.retraining(store, project)
    found = find(store, version)
    assert (version, found.run_id) == (1, run_id)
    assert found.bundle_sha256 == bundle.digest(project / "outputs" / "bundle-0")
    assert MODEL_ID_TAG in found.tags
    assert found.success == pytest.approx((0.94, 0.9235, 0.9531), abs=1e-4)
    assert found.lineage_id == stores.lineage().id
    assert found.tags["hlynr.lineage.git_commit"] == stores.lineage().git_commit
    assert aliases(store) == {"champion": None, "previous_champion": None, "challenger": 1}
    assert champion(store) is None


def test_a_version_carries_few_tags_and_its_model_leads_to_it(store: Store, project: Path) -> None:
    version, _ = stores.retraining(store, project)
    found = find(store, version)
    lineage = {"id", "retraining", "git_commit"}
    figures = {"success_rate", "success_rate_low", "success_rate_high", "bundle_sha256", "model_id"}
    assert set(found.tags) == {f"hlynr.lineage.{key}" for key in lineage} | {f"hlynr.{key}" for key in figures}
    made = store.client.get_logged_model(found.tags[MODEL_ID_TAG]).tags["mlflow.modelVersions"]
    assert json.loads(made) == [{"name": store.model, "version": "1"}]


def test_an_empty_registry_has_no_champion_and_no_history(store: Store) -> None:
    assert champion(store) is None
    assert history(store) == []


@pytest.mark.parametrize("reference", [1, "models:/hlynr-intercept/1", "models:/hlynr-intercept@challenger"])
def test_a_bundle_comes_back_whole(store: Store, project: Path, reference: int | str) -> None:
    stores.retraining(store, project)
    fetched = fetch_bundle(store, reference, project / "fetched" / "bundle")
    assert bundle.digest(fetched) == bundle.digest(project / "outputs" / "bundle-0")
    assert [path.name for path in fetched.parent.iterdir()] == ["bundle"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (7, "no such version"),
        ("models:/hlynr-intercept@champion", "no such version"),
        ("models:/unknown/1", "no such version"),
        ("models:/hlynr-intercept", "is not of the form"),
        ("runs:/abc/policy", "is not of the form"),
    ],
)
def test_a_wrong_reference_is_named(store: Store, project: Path, reference: int | str, message: str) -> None:
    stores.retraining(store, project)
    with pytest.raises(RegistryError, match=message):
        fetch_bundle(store, reference, project / "fetched")
    assert not (project / "fetched").exists()


def stored_bundle(store: Store, version: int) -> Path:
    uri = store.client.get_model_version_download_uri(store.model, str(version))
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(uri)) / "data" / "bundle"


def change_a_byte(folder: Path) -> None:
    weights = folder / bundle.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")


def swap_for_another(folder: Path) -> None:
    stores.make_bundle(folder, 99.0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [(change_a_byte, "is damaged"), (swap_for_another, "was registered"), (shutil.rmtree, "its bundle is not in")],
)
def test_a_bundle_that_is_not_the_registered_one_is_rejected(
    store: Store, project: Path, damage: Callable[[Path], object], message: str
) -> None:
    stores.retraining(store, project)
    damage(stored_bundle(store, 1))
    kept = stores.make_bundle(project / "fetched", 5.0)
    with pytest.raises(RegistryError, match=message):
        fetch_bundle(store, 1, project / "fetched")
    assert bundle.digest(project / "fetched") == kept


def test_an_older_bundle_is_replaced_but_nothing_else(store: Store, project: Path) -> None:
    stores.retraining(store, project)
    stores.make_bundle(project / "old", 5.0)
    assert bundle.digest(fetch_bundle(store, 1, project / "old")) == find(store, 1).bundle_sha256
    (project / "thesis").mkdir()
    (project / "thesis" / "chapter.txt").write_text("years of work")
    for place in (project / "thesis", project / "thesis" / "chapter.txt"):
        with pytest.raises(RegistryError, match="it is not replaced"):
            fetch_bundle(store, 1, place)
    assert (project / "thesis" / "chapter.txt").read_text() == "years of work"


# Decisions


def test_the_first_promotion(store: Store, project: Path) -> None:
    version, run_id = stores.retraining(store, project)
    done = decide(store, version, run_id, stores.decision())
    assert (done.action, done.champion_before, done.champion_after) == ("promoted", None, 1)
    assert done.success_rate_ci == pytest.approx((0.9235, 0.9531), abs=1e-4)
    assert aliases(store) == {"champion": 1, "previous_champion": None, "challenger": None}
    assert history(store) == [done]
    assert find(store, 1).tags["hlynr.gate"] == "promoted"


def test_a_better_challenger_follows_and_a_worse_one_does_not(store: Store, project: Path) -> None:
    dynasty(store, project, 2)
    assert aliases(store) == {"champion": 2, "previous_champion": 1, "challenger": None}
    version, run_id = stores.retraining(store, project, 2)
    entry = decide(store, version, run_id, stores.decision(promote=False, champion=2))
    assert (entry.action, entry.champion_before, entry.champion_after) == ("not_promoted", 2, 2)
    assert aliases(store) == {"champion": 2, "previous_champion": 1, "challenger": 3}
    assert find(store, 3).tags["hlynr.gate"] == "not_promoted"
    description = store.client.get_model_version(store.model, "3").description
    assert description.startswith("Not promoted: gain_over_champion")
    assert [(entry.action, entry.version) for entry in history(store)] == [
        ("promoted", 1),
        ("promoted", 2),
        ("not_promoted", 3),
    ]


def test_a_decision_against_another_champion_is_rejected(store: Store, project: Path) -> None:
    dynasty(store, project, 2)
    version, run_id = stores.retraining(store, project, 2)
    for outdated, judged in ((stores.decision(champion=1), "version 1"), (stores.decision(), "no champion")):
        done = decide(store, version, run_id, outdated)
        assert done.action == "not_promoted"
        assert done.reason == (
            f"Not promoted: the champion changed while version 3 was judged, from {judged} to version 2; "
            "judge it again."
        )
    assert champion(store).version == 2


def test_a_newer_challenger_keeps_its_alias(store: Store, project: Path) -> None:
    first, run_id = stores.retraining(store, project)
    stores.retraining(store, project, 1)
    decide(store, first, run_id, stores.decision())
    assert aliases(store) == {"champion": 1, "previous_champion": None, "challenger": 2}


def test_an_unknown_version_cannot_be_promoted(store: Store, project: Path) -> None:
    dynasty(store, project, 1)
    with pytest.raises(RegistryError, match="no such version"):
        decide(store, 9, "run", stores.decision(champion=1))
    assert len(history(store)) == 1


def test_nan_and_long_reasons_fit_the_history(store: Store, project: Path) -> None:
    version, run_id = stores.retraining(store, project)
    wordy = stores.decision(promote=False).model_copy(update={"reason": "Not promoted: " + "very bad, " * 1000})
    decide(store, version, run_id, wordy, success=math.nan)
    (entry,) = history(store)
    assert entry.success_rate is not None
    assert math.isnan(entry.success_rate)
    tags = store.client.get_registered_model(store.model).tags
    assert max(len(value) for key, value in tags.items() if key.startswith(HISTORY_TAG)) < 5000


def test_entries_of_older_and_newer_names_are_one_history(store: Store, project: Path) -> None:
    dynasty(store, project, 3)
    entries = history(store)
    key = min(key for key in store.client.get_registered_model(store.model).tags if key.startswith(HISTORY_TAG))
    older = f"{SHOWN_HISTORY_TAG}{key.removeprefix(HISTORY_TAG)}"
    store.client.delete_registered_model_tag(store.model, key)
    store.client.set_registered_model_tag(store.model, older, entries[0].model_dump_json())
    assert history(store) == entries


# Rolling back


def intact(version: VersionInfo, folder: Path) -> str:
    return f"version {version.version} is {bundle.digest(folder)}"


def test_rolling_back_step_by_step(store: Store, project: Path) -> None:
    dynasty(store, project, 3)
    done = rollback(store, intact)
    assert done.reason == f"Rolled back from version 3 to version 2: version 2 is {find(store, 2).bundle_sha256}."
    assert (done.action, done.version, done.champion_before, done.champion_after) == ("rolled_back", 2, 3, 2)
    assert done.success_rate == 0.94
    assert aliases(store) == {"champion": 2, "previous_champion": 1, "challenger": None}
    assert find(store, 3).tags["hlynr.gate"] == "rolled_back"
    assert rollback(store, intact).version == 1
    assert aliases(store)["previous_champion"] is None
    with pytest.raises(RegistryError, match="no previous champion"):
        rollback(store, intact)
    assert [entry.action for entry in history(store)] == [*["promoted"] * 3, *["rolled_back"] * 2]


def test_a_champion_after_a_rollback_remembers_it(store: Store, project: Path) -> None:
    dynasty(store, project, 2)
    rollback(store, intact)
    version, run_id = stores.retraining(store, project, 2)
    decide(store, version, run_id, stores.decision(champion=1))
    assert aliases(store) == {"champion": 3, "previous_champion": 1, "challenger": None}
    assert rollback(store, intact).version == 1


def test_rolling_back_needs_somewhere_to_go(store: Store, project: Path) -> None:
    with pytest.raises(RegistryError, match="has no champion"):
        rollback(store, intact)
    dynasty(store, project, 1)
    with pytest.raises(RegistryError, match="no previous champion"):
        rollback(store, intact)


def test_a_predecessor_that_does_not_load_stays_off_the_throne(store: Store, project: Path) -> None:
    dynasty(store, project, 2)

    def broken(version: VersionInfo, folder: Path) -> str:
        raise ValueError("weights of another world")

    with pytest.raises(RegistryError, match="1 cannot be champion again, version 2 stays champion: weights of another"):
        rollback(store, broken)
    change_a_byte(stored_bundle(store, 1))
    with pytest.raises(RegistryError, match="is damaged"):
        rollback(store, intact)
    assert aliases(store) == {"champion": 2, "previous_champion": 1, "challenger": None}
    assert len(history(store)) == 2


def test_a_retry_finds_the_version_it_made(store: Store, project: Path) -> None:
    version, run_id = stores.retraining(store, project)
    sha = str(find(store, version).bundle_sha256)
    assert registered(store, run_id, sha) == version
    assert registered(store, run_id, "another bundle") is None
    assert registered(store, "0" * 32, sha) is None
    assert newest_of_run(store, run_id) == version
    assert newest_of_run(store, "0" * 32) is None
