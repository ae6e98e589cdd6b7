"""`hlynr rollback`: back to a champion that loads and succeeds as before, and to no other one."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.utils.file_utils import local_file_uri_to_path
from support import stores

from hlynr.config.project import Project
from hlynr.evaluation import judge
from hlynr.ops.registry.journal import history
from hlynr.ops.registry.promotion import apply_decision
from hlynr.ops.registry.versions import by_alias, find, register, reported_success
from hlynr.ops.tracking.runs import log_report, start_run
from hlynr.ops.tracking.store import Store, open_store
from hlynr.pipeline import commands
from hlynr.rl import bundle
from hlynr.rl.network import build, policy_settings
from hlynr.runtime.errors import NOT_READY, EnvironmentNotReady

# So wide that an untrained network comes near enough in a quarter of the engagements.
SETTINGS = ("scenarios.reference.capture_radius=1200", "train.net_arch=[8]", "gate.baseline=0.1")


class Champions:
    """A project whose champions are untrained networks, each judged on the engagements of its own retraining."""

    def __init__(self, root: Path) -> None:
        self.project = Project(root, stores.config(*SETTINGS))
        self.store = open_store(self.project.config, root)
        self.rates: list[float] = []

    def promote(self) -> None:
        retraining = len(self.rates)
        lineage = stores.lineage(retraining)
        config, folder = self.project.at_retraining(retraining).config, self.project.root / f"bundle-{retraining}"
        torch.manual_seed(retraining)
        weights = build(config.train.algorithm, policy_settings(config.train)).state_dict()
        sha = bundle.save(folder, weights, config, lineage, timesteps=0, success=0.0)
        report, _ = judge.report_on(bundle.load_policy(folder), config, judge.report_set(config))
        found = stores.evaluation(number=retraining, bundle_sha256=sha).model_copy(update={"report": report})
        run_id = start_run(self.store, lineage, config)
        log_report(self.store, run_id, found, config, [])
        model_id, uri = stores.log_model(self.store, run_id, folder, found)
        version = register(self.store, run_id, uri, model_id, sha, found, lineage)
        apply_decision(self.store, stores.decision(champion=retraining or None), version, found, lineage, run_id)
        self.rates.append(report.success_rate)

    def fault(self, **settings: Any) -> str:
        """The one line with which a rollback ends; nothing has changed then."""
        before = state(self.store)
        gate = self.project.config.gate.model_copy(update=settings)
        changed = Project(self.project.root, self.project.config.model_copy(update={"gate": gate}))
        with pytest.raises(EnvironmentNotReady) as caught:
            commands.rollback(changed)
        assert caught.value.exit_code == NOT_READY
        assert state(self.store) == before
        assert "\n" not in str(caught.value)
        return str(caught.value)


def state(store: Store) -> tuple[Any, ...]:
    return by_alias(store, "champion"), by_alias(store, "previous_champion"), history(store)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Champions:
    root = tmp_path_factory.mktemp("champions")
    (root / "mlruns").mkdir()
    shutil.copy(database, root / "mlruns" / "mlflow.db")
    champions = Champions(root)
    for _ in range(3):
        champions.promote()
    return champions


@pytest.fixture
def champions(made: Champions) -> Champions:
    """With version 3 as champion after version 2, whatever a test before this one did."""
    for alias, version in (("champion", "3"), ("previous_champion", "2")):
        made.store.client.set_registered_model_alias(made.store.model, alias, version)
    return made


def rate_recorded(champions: Champions, rate: float) -> None:
    champions.store.client.log_metric(str(find(champions.store, 2).run_id), "report/success_rate", rate)


def test_the_reason_tells_what_the_episodes_gave(champions: Champions) -> None:
    """On the engagements of that version's own retraining, whichever retraining it is today."""
    assert len(set(champions.rates)) > 1
    percent = round(100 * champions.rates[1])
    done = commands.rollback(champions.project.at_retraining(7))
    assert done.reason == (
        "Rolled back from version 3 to version 2: its bundle loads, and "
        f"{percent} of 100 episodes succeed again ({percent} % recorded)."
    )
    assert (done.champion_before, done.champion_after) == (3, 2)
    assert history(champions.store)[-1] == done


def test_one_that_was_better_on_record_stays_away(champions: Champions) -> None:
    percent = round(100 * champions.rates[1])
    rate_recorded(champions, 0.9)
    assert champions.fault() == (
        "version 2 cannot be champion again, version 3 stays champion: "
        f"{percent} of 100 episodes succeed under today's configuration, 90 % are on record"
    )
    rate_recorded(champions, champions.rates[1])


def test_one_below_the_baseline_stays_away(champions: Champions) -> None:
    percent = round(100 * champions.rates[1])
    assert champions.fault(baseline=champions.rates[1]) == (
        "version 2 cannot be champion again, version 3 stays champion: "
        f"{percent} of 100 episodes succeed, which does not exceed the baseline of {percent} %"
    )


def test_one_without_a_record_is_judged_by_the_baseline(champions: Champions) -> None:
    rate_recorded(champions, math.nan)
    assert "does not exceed the baseline" in champions.fault(baseline=champions.rates[1])
    assert commands.rollback(champions.project).reason.endswith("episodes succeed (no earlier figure is on record).")
    rate_recorded(champions, champions.rates[1])


@pytest.mark.parametrize("run_id", [None, "0" * 32])
def test_a_run_that_is_gone_is_no_record(champions: Champions, run_id: str | None) -> None:
    version = find(champions.store, 2)
    assert reported_success(champions.store, version) == champions.rates[1]
    assert reported_success(champions.store, replace(version, run_id=run_id)) is None


@pytest.mark.parametrize("file", [bundle.WEIGHTS, bundle.MANIFEST])
def test_a_damaged_one_stays_away(champions: Champions, file: str) -> None:
    stored = champions.store.client.get_model_version_download_uri(champions.store.model, "2")
    path = Path(local_file_uri_to_path(stored)) / "data" / "bundle" / file
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + b"!")
    assert champions.fault().startswith(
        "version 2 cannot be champion again, version 3 stays champion: version 2: its bundle is "
    )
    path.write_bytes(sound)


def test_a_promotion_during_the_check_is_noticed(champions: Champions, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Callable[..., Any] = judge.run_seed_set

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(judge, "run_seed_set", run)  # the promotion evaluates, too
        champions.promote()
        return run(*arguments)

    monkeypatch.setattr(judge, "run_seed_set", meanwhile)
    with pytest.raises(EnvironmentNotReady) as caught:
        commands.rollback(champions.project)
    assert str(caught.value) == (
        "the registry changed while version 2 was examined: version 4 is champion now, not version 3; "
        "look at hlynr champions, then roll back again"
    )
    assert history(champions.store)[-1].champion_after == 4
