"""The use cases beside a retraining: what each accepts, which bundle a target means, and the errors of one line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import projects, samples

from hlynr.config.project import Project
from hlynr.evaluation import judge
from hlynr.ops.registry import journal, pages, promotion, versions
from hlynr.ops.tracking import runs, store
from hlynr.ops.versioning import experiments
from hlynr.pipeline import commands, diagnosis, steps
from hlynr.pipeline.commands import PolicyChoice
from hlynr.records.evaluation import Judgement
from hlynr.rl import bundle
from hlynr.runtime.errors import EnvironmentNotReady, InputError

NEWEST_RUN = "f00d" * 8


@pytest.fixture
def project(tmp_path: Path) -> Project:
    overrides = ("evaluation.heldout_episodes=50", "evaluation.heldout_seed=3000017")
    return Project(tmp_path, projects.config(projects.OURS, *overrides))


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A store whose registered model has version 3 of run r3; records what is fetched and loaded."""
    found: dict[str, Any] = {}

    def fetch(opened: Any, version: Any, folder: Path) -> Path:
        found.update(version=version, folder=folder)
        return folder

    def find(opened: Any, reference: str) -> None:
        if reference != "models:/hlynr-intercept/3":
            raise versions.RegistryError(f"{reference}: there is no such version")

    monkeypatch.setattr(store, "open_existing", lambda *_: object())
    monkeypatch.setattr(versions, "find", find)
    monkeypatch.setattr(versions, "fetch_bundle", fetch)
    monkeypatch.setattr(versions, "newest_of_run", lambda opened, run: 3 if run == "r3" else None)
    monkeypatch.setattr(runs, "fetch_bundle", lambda opened, run, folder: folder / "kept" if run == "failed" else None)
    return found


# evaluate


def test_by_default_the_held_out_engagements_are_judged(project: Project) -> None:
    found = commands.judge(project, PolicyChoice(policy="pn"))
    assert (found.policy, found.scenario, found.seed, found.episodes) == ("pn", "reference", 3000017, 50)
    assert set(found.baselines) == {"random", "pursuit", "pn"}
    assert found.baselines["pn"].success_rate == found.success_rate


def test_scenario_number_and_seed_are_chosen_each(project: Project) -> None:
    found = commands.judge(project, PolicyChoice(policy="pn"), scenario="hard", episodes=7, seed=5)
    assert (found.scenario, found.seed, found.episodes) == ("hard", 5, 7)
    assert found.baselines["random"].seed == 5


def test_a_law_can_observe_the_truth(project: Project) -> None:
    estimate, truth = (commands.judge(project, PolicyChoice(policy="pn", truth=truth)) for truth in (False, True))
    assert truth.success_rate > estimate.success_rate
    assert truth.baselines == estimate.baselines  # those stay on the radar's estimate


@pytest.mark.parametrize(
    ("choice", "given", "words"),
    [
        (PolicyChoice(), {}, "--policy, --bundle, --model: none given; exactly one is needed"),
        (PolicyChoice(policy="pn", model="m"), {}, "--policy and --model given; exactly one is needed"),
        (PolicyChoice(policy="pm"), {}, "--policy: pm is not one of .*; did you mean pn?"),
        (PolicyChoice(policy="pn"), {"scenario": "refrence"}, "--scenario: refrence .*did you mean reference?"),
        (PolicyChoice(policy="pn"), {"episodes": 0}, r"--episodes: 0 is not in \[1, 1000000\]"),
        (PolicyChoice(policy="pn"), {"episodes": 1_000_001}, "--episodes: 1000001 is not in"),
        (PolicyChoice(policy="pn"), {"seed": -1}, "--seed: -1 is not in"),
        (PolicyChoice(policy="pn"), {"seed": 2**31}, "--seed: 2147483648 is not in"),
        (PolicyChoice(model="hlynr-intercept"), {}, "--model: hlynr-intercept: no model has been registered yet"),
    ],
)
def test_what_cannot_be_judged(project: Project, choice: PolicyChoice, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        commands.judge(project, choice, **given)
    assert not list(project.root.iterdir())


def test_a_registered_model_is_fetched_judged_and_removed(
    project: Project, fetched: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hlynr.evaluation.laws import law

    monkeypatch.setattr(bundle, "load_policy", lambda folder, threads: law("pn", project.config, "reference"))
    found = commands.judge(project, PolicyChoice(model="models:/hlynr-intercept/3"))
    assert isinstance(found, Judgement)
    assert fetched["version"] == "models:/hlynr-intercept/3"
    assert not fetched["folder"].parent.exists()
    with pytest.raises(InputError, match="--model: models:/hlynr-intercept/9: there is no such version"):
        commands.judge(project, PolicyChoice(model="models:/hlynr-intercept/9"))


# diagnose


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The bundles that were diagnosed."""
    found: list[Path] = []
    monkeypatch.setattr(diagnosis, "examine", lambda project, folder, **_: found.append(folder))
    return found


def diagnose(project: Project, target: str, **options: Any) -> None:
    given: dict[str, Any] = {"episodes": 9, "seed": None, "budget": 0, "out": None} | options
    commands.diagnose(project, target, **given)


def test_a_target_is_a_folder(project: Project, examined: list[Path], tmp_path: Path) -> None:
    diagnose(project, str(tmp_path))
    assert examined == [tmp_path]


def test_a_target_is_the_newest_run(
    project: Project, examined: list[Path], fetched: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "read_manifest", lambda _: {"lineage": {"mlflow_run_id": NEWEST_RUN}})
    diagnose(project, NEWEST_RUN)
    assert examined == [project.bundle]
    assert fetched == {}


@pytest.mark.parametrize(("target", "version"), [("models:/hlynr-intercept/3", "models:/hlynr-intercept/3"), ("r3", 3)])
def test_a_target_is_a_registered_model_or_its_run(
    project: Project, examined: list[Path], fetched: dict[str, Any], target: str, version: str | int
) -> None:
    diagnose(project, target)
    assert examined == [fetched["folder"]]
    assert fetched["version"] == version
    assert not fetched["folder"].parent.exists()


@pytest.mark.usefixtures("fetched")
def test_a_target_is_the_run_of_a_failed_attempt(project: Project, examined: list[Path]) -> None:
    diagnose(project, "failed")
    assert [folder.name for folder in examined] == ["kept"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("nowhere", "nowhere: is no bundle's folder, no models:/ reference, and no run"),
        ("models:/hlynr-intercept@champion", "no model has been registered yet"),
    ],
)
def test_a_target_that_is_nothing_is_rejected(project: Project, target: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        diagnose(project, target)
    assert str(refusal.value).startswith("TARGET: ")
    assert not list(project.root.iterdir())  # a look leaves no store behind


@pytest.mark.usefixtures("fetched")
def test_a_run_that_the_store_does_not_know_is_rejected(project: Project) -> None:
    with pytest.raises(InputError, match="TARGET: unknown: is no bundle's folder"):
        diagnose(project, "unknown")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"episodes": 0}, "--episodes: 0"), ({"episodes": 2001}, "--episodes: 2001"), ({"seed": -1}, "--seed: -1")],
)
def test_an_option_that_cannot_be_is_rejected(project: Project, options: dict[str, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        diagnose(project, "nowhere", **options)


# promote


def test_promoting_needs_a_training_and_an_evaluation_of_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "gate", lambda *_: pytest.fail("it was judged"))
    with pytest.raises(InputError, match=r"result\.json: is missing; run hlynr train and hlynr evaluate --out first"):
        commands.promote_newest(project)
    samples.training().write(project.train / "result.json")
    with pytest.raises(InputError, match=r"report\.json: is missing"):
        commands.promote_newest(project)
    samples.evaluation(bundle_sha256="cd" * 32).write(project.evaluate / "report.json")
    with pytest.raises(InputError, match="judges another bundle than the newest; evaluate again"):
        commands.promote_newest(project)


def test_promoting_judges_at_the_number_of_the_training(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    result, report, decision = samples.training(), samples.evaluation(), samples.decision()
    result.write(project.train / "result.json")
    report.write(project.evaluate / "report.json")
    numbers = []

    def gate(numbered: Project, *records: Any) -> Any:
        numbers.append(numbered.config.run.retraining)
        assert records == (result, report)
        return decision

    def promote(numbered: Project, *records: Any) -> Any:
        numbers.append(numbered.config.run.retraining)
        assert records == (result, report, decision)
        return samples.promotion()

    monkeypatch.setattr(steps, "gate", gate)
    monkeypatch.setattr(steps, "promote", promote)
    assert commands.promote_newest(project) == (decision, samples.promotion())
    assert numbers == [result.lineage.retraining] * 2 == [3, 3]


# rollback, champions, restore


def test_without_a_store_there_is_no_champion(project: Project) -> None:
    with pytest.raises(EnvironmentNotReady, match="hlynr-intercept has no champion to roll back from"):
        commands.rollback(project)
    assert commands.champions(project) == []
    assert not list(project.root.iterdir())


@pytest.mark.usefixtures("fetched")
def test_the_history_is_that_of_the_store(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [samples.promotion(first=True), samples.promotion(promote=False)]
    monkeypatch.setattr(journal, "history", lambda _: entries)
    assert commands.champions(project) == entries


@pytest.fixture
def rolled_back(fetched: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A registry that rolls back to version 1, of retraining 4, as soon as that has been examined."""
    found: dict[str, Any] = {"success": np.arange(100) < 60, "pages": []}

    def rollback(opened: Any, examine: Any) -> Any:
        found["said"] = examine(SimpleNamespace(version=1, retraining=4), Path("bundle"))
        return samples.promotion(action="rolled_back")

    def run_seed_set(policy: Any, config: Any, chosen: Any) -> Any:
        found["retraining"] = config.run.retraining
        return SimpleNamespace(success=found["success"])

    monkeypatch.setattr(promotion, "rollback", rollback)
    monkeypatch.setattr(judge, "run_seed_set", run_seed_set)
    monkeypatch.setattr(bundle, "load_policy", lambda folder, threads: folder)
    monkeypatch.setattr(versions, "reported_success", lambda *_: 0.61)
    monkeypatch.setattr(pages, "add_to_version", lambda opened, version, text: found["pages"].append(version))
    monkeypatch.setattr(pages, "describe_model", lambda *_: found["pages"].append("model"))
    return found


def test_a_rollback_runs_the_report_of_the_versions_own_retraining(
    project: Project, rolled_back: dict[str, Any]
) -> None:
    done = commands.rollback(project)
    assert done.action == "rolled_back"
    assert rolled_back["retraining"] == 4
    assert rolled_back["said"] == "its bundle loads, and 60 of 100 episodes succeed again (61 % recorded)"
    assert rolled_back["pages"] == [done.champion_before, "model"]


@pytest.mark.parametrize(
    ("successes", "words"),
    [(40, "40 of 100 episodes succeed under today's configuration, 61 % are on record"), (20, "does not exceed")],
)
def test_a_version_that_no_longer_succeeds_is_not_rolled_back_to(
    project: Project, rolled_back: dict[str, Any], successes: int, words: str
) -> None:
    rolled_back["success"] = np.arange(100) < successes
    with pytest.raises(EnvironmentNotReady, match=words):
        commands.rollback(project)
    assert rolled_back["pages"] == []


def test_what_is_restored_is_verified(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def restore(root: Path, revision: str, destination: Path) -> Path:
        asked.append((root, revision))
        destination.mkdir()
        return destination

    monkeypatch.setattr(experiments, "restore", restore)
    with pytest.raises(bundle.BundleError, match="is no bundle"):
        commands.restore(project, "retraining-x", project.root / "restored")
    monkeypatch.setattr(bundle, "digest", lambda folder: asked.append(folder))
    restored = commands.restore(project, "retraining-x", project.root / "new")
    assert asked == [(project.root, "retraining-x")] * 2 + [restored]
