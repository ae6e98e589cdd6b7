"""What MLflow's UI finds on the experiment, also on one that an older version of this program made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import stores

from hlynr.ops.tracking import store as store_module
from hlynr.ops.tracking import views
from hlynr.ops.tracking.store import Store, open_store


def test_the_experiment_brings_its_view_along(store: Store) -> None:
    carried = store.client.get_experiment(store.experiment_id).tags
    view = json.loads(carried[views.VIEW_TAG])
    state = json.loads(view["state"])
    assert view["name"] == "Retrainings"
    assert "metrics.`heldout/success_rate`" in state["selectedColumns"]
    assert set(state["selectedColumns"]) <= set(state["columnOrder"])
    assert carried["mlflow.experimentKind"] == "custom_model_development"


def test_an_older_experiment_gets_what_it_lacks_and_keeps_what_people_wrote(
    store: Store, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_opened", {})  # the next process opens it
    store.client.set_experiment_tag(store.experiment_id, views.NOTE_TAG, "Ours.")
    store.client.delete_experiment_tag(store.experiment_id, views.VIEW_TAG)
    open_store(stores.config(), project)
    carried = store.client.get_experiment(store.experiment_id).tags
    assert carried[views.NOTE_TAG] == "Ours."
    assert views.VIEW_TAG in carried
