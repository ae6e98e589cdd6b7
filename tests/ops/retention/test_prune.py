"""`hlynr prune` on a project with a real MLflow store and a real DVC remote: what goes is gone, what stays works."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Metric, RunTag, ViewType
from support import projects, stores

from hlynr.cli import app
from hlynr.config.project import Project
from hlynr.ops.registry import journal, promotion, versions
from hlynr.ops.retention import prune as retention_prune
from hlynr.ops.tracking import deletion, search_mirror, store
from hlynr.ops.tracking import runs as tracking_runs
from hlynr.ops.versioning import experiments
from hlynr.pipeline import retraining
from hlynr.records.service import PruneRecord
from hlynr.records.training import Lineage
from hlynr.runtime import environment, locks

BEGAN = datetime.now(UTC)
NOW = BEGAN + timedelta(days=40)
"""When everything is pruned: what the store makes now is old by then."""
YOUNG = NOW - timedelta(days=3)
DECIDED, NOT_PROMOTED, INTERRUPTED, LATE = range(4)
"""Numbers of retrainings; all but the second are saved with DVC."""


@dataclass(frozen=True)
class World:
    """A project with some of everything, the same for every test and in one place: MLflow stores absolute paths."""

    root: Path
    runs: dict[str, str]
    """MLflow's ids by what they are."""

    @property
    def project(self) -> Project:
        return Project(self.root, projects.config(self.root))

    @property
    def store(self) -> store.Store:
        return store.open_store(self.project.config, self.root)

    def prune(self, **options: Any) -> PruneRecord:
        return retention_prune.prune(self.project, now=NOW, **options)

    def living(self) -> set[str]:
        """Names of the runs that are there, deleted ones included."""
        found = self.store.client.search_runs([self.store.experiment_id], run_view_type=ViewType.ALL)
        ids = {run.info.run_id for run in found}
        return {name for name, run_id in self.runs.items() if run_id in ids}

    def state(self) -> dict[str, Any]:
        """All that a pruning decides about."""
        models = self.store.client.search_logged_models([self.store.experiment_id])
        return {
            "runs": self.living(),
            "models": {model.model_id for model in models},
            "counted": tracking_runs.failed_retrainings(self.store),
            "experiments": [each.name for each in experiments.saved(self.root)],
            **{name: _files(self.root / name) for name in ("mlruns/artifacts", ".dvc/cache", ".dvc/storage")},
            "worktrees": _files(self.root / experiments.WORKTREES),
        }


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _lineage(number: int) -> Lineage:
    return stores.lineage(number)


def _experiment(number: int) -> str:
    return f"retraining-{_lineage(number).id}"


def _save(root: Path, number: int) -> None:
    """As an experiment of DVC, with one file of its own and one that all retrainings share."""
    bundle = root / "outputs" / "train" / "bundle"
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    (bundle / "weights.safetensors").write_bytes(bytes([number]) * 4096)
    (bundle / "manifest.json").write_text("{}")
    (bundle.parent / "metrics.json").write_text("{}")
    (bundle.parent / "learning.csv").write_text(f"timesteps,success_rate\n{number},0.5\n")
    experiments.save(root, _experiment(number), projects.config(root), push=True)


def _decided(opened: store.Store, root: Path, number: int, promote: bool) -> dict[str, str]:
    """A retraining whose first attempt failed and whose second one ended with a decision."""
    parent = tracking_runs.start_retraining(opened, _lineage(number), ["a", "b"])
    version, run_id = stores.retraining(opened, root, number)
    opened.client.set_tag(run_id, tracking_runs.PARENT_TAG, parent)
    failed = opened.client.create_run(opened.experiment_id, tags={tracking_runs.PARENT_TAG: parent})
    opened.client.log_text(failed.info.run_id, "weights", "bundle/weights")
    champion = versions.champion(opened)
    decision = stores.decision(promote, champion.version if champion else None)
    sha = str(versions.find(opened, version).bundle_sha256)
    evaluation = stores.evaluation(0.9, number, sha)
    promotion.apply_decision(opened, decision, version, evaluation, _lineage(number), run_id)
    tracking_runs.finish_run(opened, run_id, "FINISHED", "")
    opened.client.set_terminated(parent)
    return {f"retraining {number}": parent, f"attempt {number}": run_id, f"failed attempt {number}": failed.info.run_id}


def _undecided(opened: store.Store) -> dict[str, str]:
    client, experiment, ids = opened.client, opened.experiment_id, {}

    def add(name: str, tags: dict[str, str], began: datetime = BEGAN, **end: Any) -> str:
        run_id = str(client.create_run(experiment, round(1000 * began.timestamp()), tags, name).info.run_id)
        client.log_text(run_id, name, "report/page.txt")
        if end:
            client.set_terminated(run_id, **{"end_time": round(1000 * began.timestamp()), **end})
        ids[name] = run_id
        return run_id

    killed = add("interrupted retraining", {tracking_runs.RETRAINING_TAG: _lineage(INTERRUPTED).id}, status="KILLED")
    attempt = {tracking_runs.PARENT_TAG: killed, tracking_runs.LINEAGE_TAG: _lineage(INTERRUPTED).id}
    run_id = add("its attempt", attempt, status="KILLED")
    model = client.create_logged_model(experiment, "policy", run_id)
    folder = Path(str(opened.lock_file.with_name("model")))
    folder.mkdir()
    (folder / "MLmodel").write_text("model")
    client.log_model_artifacts(model.model_id, str(folder))
    shutil.rmtree(folder)
    tags = {tracking_runs.RETRAINING_TAG: "failed", tracking_runs.OUTCOME_TAG: "failed"}
    failed = add("failed retraining", tags, status="FAILED")
    add("failed retraining's attempt", {tracking_runs.PARENT_TAG: failed}, status="FINISHED")
    add("training", {tracking_runs.LINEAGE_TAG: "alone", tracking_runs.FOLDER_TAG: "/elsewhere"}, status="FINISHED")
    search = add("search", {"hlynr.study": "stability"}, status="FINISHED")
    add("trial", {tracking_runs.PARENT_TAG: search, search_mirror.TRIAL_TAG: "0"}, status="FINISHED")
    add("dead", {tracking_runs.LINEAGE_TAG: "dead"})
    add("foreign", {}, status="FINISHED")
    add("deleted by hand", {}, status="FINISHED")
    client.delete_run(ids["deleted by hand"])
    late = add("late retraining", {tracking_runs.RETRAINING_TAG: _lineage(LATE).id}, YOUNG, status="KILLED")
    add(
        "its old attempt",
        {tracking_runs.PARENT_TAG: late, tracking_runs.LINEAGE_TAG: _lineage(LATE).id},
        status="KILLED",
    )
    resumed = add("resumed", {tracking_runs.LINEAGE_TAG: "resumed"})
    client.log_batch(resumed, [Metric("eval/success_rate", 0.5, round(1000 * YOUNG.timestamp()), 1)])
    return ids


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = projects.make(tmp_path_factory.mktemp("retention") / "project")
    config = projects.config(root)
    opened = store.open_store(config, root)
    runs = _decided(opened, root, DECIDED, True) | _decided(opened, root, NOT_PROMOTED, False) | _undecided(opened)
    newest = opened.client.create_run(opened.experiment_id, round(1000 * BEGAN.timestamp()), run_name="newest")
    tags = {tracking_runs.FOLDER_TAG: str(root / "outputs" / "train"), tracking_runs.LINEAGE_TAG: "newest"}
    opened.client.log_batch(newest.info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("site")))
        for number in (DECIDED, INTERRUPTED):
            _save(root, number)
        projects.checked(root, "git", "update-ref", f"refs/exps/{'0' * 2}/{'0' * 38}/mine", "HEAD")
        dates = {f"GIT_{role}_DATE": YOUNG.isoformat() for role in ("AUTHOR", "COMMITTER")}
        of_child = environment.of_child
        patch.setattr(environment, "of_child", lambda own=None: of_child(own) | dates)
        _save(root, LATE)
        for name in (".dvc/cache", ".dvc/storage"):
            for path in (root / name).rglob("*"):
                if path.is_file() and path.stat().st_size == 4096 and path.read_bytes()[:1] == bytes([LATE]):
                    os.utime(path, 2 * (YOUNG.timestamp(),))
        (root / experiments.WORKTREES / "dead").mkdir(parents=True)
        (root / experiments.WORKTREES / "dead" / "file").write_text("left")
        yield World(root, runs | {"newest": newest.info.run_id})


@pytest.fixture(scope="module")
def backup(made: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(made.root, tmp_path_factory.mktemp("backup") / "project", symlinks=True)


def _bring_back(made: World, backup: Path) -> World:
    """The database in place, for MLflow keeps its connections."""
    for name in ("mlruns/artifacts", ".dvc", ".git/refs", ".hlynr"):
        shutil.rmtree(made.root / name)
        shutil.copytree(backup / name, made.root / name, symlinks=True)
    with (
        closing(sqlite3.connect(backup / "mlruns" / "mlflow.db")) as source,
        closing(sqlite3.connect(made.root / "mlruns" / "mlflow.db")) as target,
    ):
        source.backup(target)
    return made


@pytest.fixture
def world(made: World, backup: Path) -> World:
    return _bring_back(made, backup)


GOES = {
    "interrupted retraining",
    "its attempt",
    "failed retraining",
    "failed retraining's attempt",
    "training",
    "search",
    "trial",
}
GOES |= {"dead", "deleted by hand"}


@dataclass(frozen=True)
class Once:
    """An undisturbed pruning."""

    world: World
    before: dict[str, Any]
    retraining: int
    """The number that the next retraining had before."""
    record: PruneRecord
    after: dict[str, Any]


@pytest.fixture(scope="module")
def once(made: World, backup: Path) -> Once:
    """For the tests that come first: the others take the world back to its beginning."""
    world = _bring_back(made, backup)
    number, before = retraining.begin([world.project]).lineage.retraining, world.state()
    return Once(world, before, number, world.prune(), world.state())


def _weights(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size == 4096]


def test_what_has_no_decision_is_gone(once: Once) -> None:
    world, before, after, record = once.world, once.before, once.after, once.record
    assert after["runs"] == world.runs.keys() - GOES
    gone = {world.runs[name] for name in GOES} | (before["models"] - after["models"])
    assert len(gone) == len(GOES) + 1
    assert [path for path in (world.root / "mlruns" / "artifacts").rglob("*") if gone & set(path.parts)] == []
    assert set(before["experiments"]) - set(after["experiments"]) == {_experiment(INTERRUPTED)}
    assert after["worktrees"] == set()
    for name in ("cache", "storage"):
        weights = {path.read_bytes()[:1] for path in _weights(world.root / ".dvc" / name)}
        assert weights == {bytes([number]) for number in (DECIDED, LATE)}
    kinds = {item.kind for item in record.items}
    assert kinds == {"experiment", "retraining", "objects", "run", "search", "training", "worktree"}
    assert record.bytes == sum(item.bytes or 0 for item in record.items) > 2 * 4096
    assert record.faults == record.notes == ()


def test_a_failed_retraining_stays_counted(once: Once) -> None:
    """The number of a retraining decides its seeds: they must not come again."""
    assert retraining.begin([once.world.project]).lineage.retraining == once.retraining


def test_every_decision_still_leads_to_its_bundle(once: Once, tmp_path: Path) -> None:
    opened, root = once.world.store, once.world.root
    entries = journal.history(opened)
    assert [entry.action for entry in entries] == ["promoted", "not_promoted"]
    for entry in entries:
        versions.fetch_bundle(opened, entry.version, tmp_path / str(entry.version))  # verifies it
        assert opened.client.get_run(str(entry.mlflow_run_id)).info.lifecycle_stage == "active"
    shutil.rmtree(root / ".dvc" / "cache")
    for number in (DECIDED, LATE):
        restored = experiments.restore(root, _experiment(number), tmp_path / _experiment(number))
        assert (restored / "weights.safetensors").read_bytes() == bytes([number]) * 4096


def test_a_dry_run_changes_nothing_and_says_what_a_real_one_does(world: World) -> None:
    def everything() -> dict[str, Any]:
        files = [path for path in world.root.rglob("*") if path.is_file() and ".dvc/tmp" not in str(path)]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = everything()
    dry = world.prune(dry_run=True)
    after = everything()
    assert after == before
    real = world.prune()
    assert (real.items, real.bytes, real.kept) == (dry.items, dry.bytes, dry.kept)
    assert (dry.dry_run, real.dry_run) == (True, False)
    again = world.prune(dry_run=True)
    assert (again.items, again.bytes) == ((), 0)


class Killed(BaseException):
    pass


DEATHS: tuple[tuple[Any, str, int], ...] = (
    (experiments, "ask", 1),  # experiments gone, objects not
    (tracking_runs, "remember_failed", 1),
    (deletion, "_delete_files", 1),  # marked as deleted
    (deletion, "_delete_files", 2),  # one thing erased, the next only marked
)


def test_killed_again_and_again_it_ends_in_the_same_state(
    once: Once, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where, name, call in DEATHS:
        with monkeypatch.context() as patch:
            patch.setattr(where, name, _fatal(getattr(where, name), call))
            with pytest.raises(Killed):
                world.prune()
        assert world.state() != once.after
    world.prune()
    assert world.state() == once.after


def _fatal(really: Callable[..., Any], last: int) -> Callable[..., Any]:
    """As it is, up to the call with that number."""
    calls = iter(range(1, last + 1))

    def call(*args: Any, **options: Any) -> Any:
        if next(calls) == last:
            raise Killed
        return really(*args, **options)

    return call


def test_an_experiment_that_is_younger_than_its_run_keeps_it(world: World) -> None:
    ref = projects.checked(world.root, "git", "for-each-ref", "--format=%(refname)", "refs/exps").split()
    (old,) = [name for name in ref if name.endswith(_experiment(INTERRUPTED))]
    (young,) = [name for name in ref if name.endswith(_experiment(LATE))]
    projects.checked(world.root, "git", "update-ref", old, young)
    world.prune()
    assert {"interrupted retraining", "its attempt"} <= world.living()
    assert _experiment(INTERRUPTED) in [each.name for each in experiments.saved(world.root)]


def test_a_fault_keeps_nothing_else_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    really = retention_prune.remove

    def refuse(opened: store.Store, family: Any) -> None:
        if family.kind == "search":
            raise OSError(28, "No space left on device")
        really(opened, family)

    with monkeypatch.context() as patch:
        patch.setattr(retention_prune, "remove", refuse)
        record = world.prune()
    assert record.faults == ("search is kept for now: [Errno 28] No space left on device",)
    assert world.living() & GOES == {"search", "trial"}


def test_a_project_without_a_remote_has_only_its_cache_to_prune(world: World) -> None:
    settings = world.root / ".dvc" / "config"
    known = settings.read_text()
    settings.write_text("")
    record = world.prune()
    assert record.faults == ()
    assert [item.name.split()[-1] for item in record.items if item.kind == "objects"] == ["cache"]
    settings.write_text(known)
    assert [(item.kind, item.name.split()[-1]) for item in world.prune().items] == [("objects", "remote")]


def test_a_list_of_files_that_is_lost_protects_all_objects(world: World) -> None:
    """Without it DVC does not know which files belong to a directory, and takes them for unused."""
    lists = [path for name in ("cache", "storage") for path in (world.root / ".dvc" / name).rglob("*.dir")]
    for path in lists:
        path.unlink()
    before = _files(world.root / ".dvc" / "storage")
    record = world.prune()
    assert record.faults[0].startswith("DVC's objects are kept: ")
    assert _files(world.root / ".dvc" / "storage") == before


def test_another_store_costs_no_experiment(world: World) -> None:
    config = projects.config(world.root, "tracking.uri=sqlite:///other/mlflow.db", "tracking.artifacts=other/artifacts")
    record = retention_prune.prune(Project(world.root, config), now=NOW)
    assert {item.kind for item in record.items} <= {"worktree"}
    assert len([each.name for each in experiments.saved(world.root)]) == 4


def test_without_dvc_only_runs_go(world: World) -> None:
    config = projects.config(world.root, "versioning.enabled=false")
    record = retention_prune.prune(Project(world.root, config), now=NOW)
    assert {item.kind for item in record.items} == {"retraining", "run", "search", "training"}


def test_one_at_a_time(world: World) -> None:
    with locks.one_at_a_time(world.root, "pruning"), pytest.raises(locks.BusyError, match="another pruning"):
        world.prune()


def test_the_verb(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world.root)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["hlynr", "prune", "--dry-run", "--json", str(tmp_path / "record.json")])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert not ended.value.code
    record = PruneRecord.read(tmp_path / "record.json")
    assert (record.dry_run, record.days, [item.kind for item in record.items]) == (True, 30, ["worktree"])
    shown = capsys.readouterr().out
    assert "Would remove 1 thing" in shown
    assert "left by a killed save" in shown


def test_a_pruning_that_fails_is_reported_and_does_not_fail_the_retraining(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows import retrain

    def broken(_: Project) -> PruneRecord:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(retrain, "prune", broken)
    retrain._pruned(world.project)
    assert capsys.readouterr().err.splitlines()[1:] == ["prune: [Errno 28] No space left on device ..."]
