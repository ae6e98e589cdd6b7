"""The registry after others changed it by hand: what is true now is shown, and every decision goes on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import stores

from hlynr.ops.registry import standing
from hlynr.ops.registry.journal import HISTORY_TAG, PENDING_TAG, history, unfinished, unreadable
from hlynr.ops.registry.promotion import apply_decision, rollback
from hlynr.ops.registry.versions import RegistryError, UnusableBundleError, VersionInfo, by_alias, fetch_bundle, find
from hlynr.ops.tracking.runs import OUTCOME_TAG
from hlynr.ops.tracking.store import Store, local_path


@pytest.fixture
def line(store: Store, project: Path) -> Store:
    """Two champions, one after the other."""
    for number in range(2):
        promote(store, project, number)
    return store


def promote(store: Store, project: Path, number: int) -> str:
    version, run_id = stores.retraining(store, project, number)
    before = by_alias(store, "champion")
    decision = stores.decision(champion=before.version if before else None)
    return apply_decision(
        store, decision, version, stores.evaluation(number=number), stores.lineage(number), run_id
    ).action


def back(store: Store) -> str:
    return rollback(store, lambda version, folder: "it is fine").reason


def findings(store: Store) -> list[str]:
    return [finding.what for finding in standing.look(store).findings]


def test_an_untouched_registry_has_its_champion_and_nothing_to_mend(line: Store) -> None:
    found = standing.look(line)
    assert (found.champion and found.champion.version, found.findings, found.by_hand) == (2, (), False)
    assert found.entry == history(line)[-1]


def test_a_deleted_champion_is_no_champion_and_the_one_before_can_be_it_again(line: Store) -> None:
    line.client.delete_model_version(line.model, "2")
    assert standing.look(line).champion is None
    assert standing.look(line).entry is None
    assert findings(line) == ["hlynr-intercept has no champion: version 2, champion by the history, was deleted"]
    assert back(line) == "Rolled back from no champion to version 1: it is fine."
    assert standing.look(line).findings == ()
    assert history(line)[-1].champion_before is None


def test_after_the_champion_was_deleted_the_next_promotion_needs_none(line: Store, project: Path) -> None:
    line.client.delete_model_version(line.model, "2")
    assert promote(line, project, 2) == "promoted"
    assert (found := standing.look(line)).champion is not None
    assert (found.champion.version, found.findings) == (3, ())


def test_an_alias_that_was_removed_is_said_and_a_rollback_goes_by_the_history(line: Store) -> None:
    for alias in ("champion", "previous_champion"):
        line.client.delete_registered_model_alias(line.model, alias)
    assert findings(line) == ["hlynr-intercept has no champion: version 2, champion by the history, lost its alias"]
    assert back(line).startswith("Rolled back from no champion to version 1")


def test_an_alias_that_was_moved_to_a_version_of_ours_is_the_champion(line: Store, project: Path) -> None:
    version, _ = stores.retraining(line, project, 2)
    line.client.set_registered_model_alias(line.model, "champion", str(version))
    found = standing.look(line)
    assert (found.champion and found.champion.version, found.entry, found.findings) == (3, None, ())
    assert found.by_hand


def test_an_alias_on_a_version_of_others_is_said_and_stepped_back_from(line: Store) -> None:
    line.client.create_model_version(line.model, source="file:///elsewhere", run_id=None)
    line.client.set_registered_model_alias(line.model, "champion", "3")
    assert findings(line) == [
        "version 3 of hlynr-intercept has the alias champion and has no tag hlynr.bundle_sha256: no retraining "
        "registered it"
    ]
    assert back(line).startswith("Rolled back from version 3 to version 1")


def test_a_previous_champion_of_others_is_passed_over(line: Store) -> None:
    line.client.create_model_version(line.model, source="file:///elsewhere", run_id=None)
    line.client.set_registered_model_alias(line.model, "previous_champion", "3")
    assert back(line).startswith("Rolled back from version 2 to version 1")


def test_a_deleted_previous_champion_leaves_the_one_before_it(line: Store, project: Path) -> None:
    promote(line, project, 2)
    line.client.delete_model_version(line.model, "2")
    assert back(line).startswith("Rolled back from version 3 to version 1")


def test_nothing_is_left_to_step_back_to(line: Store) -> None:
    for version in "12":
        line.client.delete_model_version(line.model, version)
    with pytest.raises(RegistryError, match="no previous champion: version 2 has nothing before it"):
        back(line)


def test_a_champion_whose_files_were_deleted_is_said(line: Store, tmp_path: Path) -> None:
    folder = local_path(line.client.get_model_version_download_uri(line.model, "2"))
    assert folder is not None
    shutil.rmtree(folder)
    assert [what.partition(": ")[0] for what in findings(line)] == [
        "version 2 of hlynr-intercept has the alias champion and has lost its bundle"
    ]
    with pytest.raises(UnusableBundleError, match="version 2: its bundle is not in"):
        fetch_bundle(line, 2, tmp_path / "fetched")
    assert back(line).startswith("Rolled back from version 2 to version 1")


def test_a_registered_model_that_was_renamed_is_missed(line: Store) -> None:
    run = line.client.search_runs([line.experiment_id])[0]
    line.client.set_tag(run.info.run_id, OUTCOME_TAG, "promoted")
    line.client.rename_registered_model(line.model, "another")
    assert findings(line) == ["the registered model hlynr-intercept was deleted or renamed, and its history with it"]
    line.client.rename_registered_model("another", line.model)
    assert findings(line) == []


@pytest.mark.parametrize(
    "text", ['{"oops":1}', "not JSON", "[1, 2]", '"x"', "null", '{"when": "yesterday"}', "{" * 4000]
)
def test_a_pending_tag_that_is_no_decision_is_dropped(line: Store, text: str, caplog: pytest.LogCaptureFixture) -> None:
    line.client.set_registered_model_tag(line.model, PENDING_TAG, text)
    (finding,) = standing.look(line).findings
    assert finding.repairable
    assert finding.what.startswith(f"the tag {PENDING_TAG} cannot be read")
    assert len(finding.what) < 300
    assert back(line).startswith("Rolled back from version 2 to version 1")
    assert [record.getMessage()[:37] for record in caplog.records] == ["dropping the tag hlynr.pending, which"]
    assert standing.look(line).findings == ()


def test_a_pending_decision_about_a_deleted_version_is_dropped(line: Store) -> None:
    pending = history(line)[-1].model_copy(update={"version": 9, "when": "2026-01-01T00:00:00+00:00"})
    line.client.set_registered_model_tag(line.model, PENDING_TAG, pending.model_dump_json())
    assert [finding.repairable for finding in standing.look(line).findings] == [True]
    assert back(line).startswith("Rolled back from version 2 to version 1")


def test_a_pending_decision_is_finished_though_the_champion_before_it_was_deleted(line: Store, project: Path) -> None:
    """The kill came after the alias was set; the alias of the one before cannot be set any more."""
    pending = history(line)[-1]
    line.client.delete_registered_model_alias(line.model, "previous_champion")
    line.client.set_registered_model_tag(line.model, PENDING_TAG, pending.model_dump_json())
    line.client.delete_model_version(line.model, "1")
    assert promote(line, project, 2) == "promoted"
    assert unfinished(line) is None


def test_keys_of_a_newer_version_are_kept_and_stop_nothing(line: Store, project: Path) -> None:
    newer = history(line)[-1].model_dump(mode="json") | {"approved_by": "N. N."}
    key = next(key for key in line.client.get_registered_model(line.model).tags if key.startswith(HISTORY_TAG))
    line.client.set_registered_model_tag(line.model, key, json.dumps(newer))
    assert len(history(line)) == 2
    assert standing.look(line).findings == ()
    line.client.set_registered_model_tag(line.model, PENDING_TAG, json.dumps(newer))
    promote(line, project, 2)  # finishes it first
    tags = line.client.get_registered_model(line.model).tags
    assert sum('"approved_by":"N. N."' in text.replace(": ", ":") for text in tags.values()) == 2


@pytest.mark.parametrize("text", ["{}", "no JSON", '{"action": "approved"}'])
def test_an_entry_of_the_history_that_is_none_is_said_and_passed_over(line: Store, text: str) -> None:
    line.client.set_registered_model_tag(line.model, f"{HISTORY_TAG}20991231T000000.000000Z.x", text)
    assert [entry.version for entry in history(line)] == [1, 2]
    assert len(unreadable(line)) == len(standing.look(line).findings) == 1
    assert back(line).startswith("Rolled back from version 2 to version 1")


@pytest.mark.parametrize("tags", [{"hlynr.lineage.retraining": "seven"}, {"hlynr.success_rate": "good"}])
def test_edited_tags_of_a_version_are_passed_over(line: Store, tags: dict[str, str]) -> None:
    for key, value in tags.items():
        line.client.set_model_version_tag(line.model, "1", key, value)
    found: VersionInfo = find(line, 1)
    assert found.retraining is None or found.success is None
    assert back(line).startswith("Rolled back from version 2 to version 1")
