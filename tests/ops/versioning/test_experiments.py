"""Retrainings saved as DVC experiments, in a small project of its own with our dvc.yaml and made-up outs."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from hlynr.config import params, strict_yaml
from hlynr.config.config import Config
from hlynr.ops.versioning import experiments, snapshot
from hlynr.ops.versioning.experiments import VersioningError
from hlynr.records.retraining import VersionRecord

OURS = ROOT
COPIED = ("dvc.yaml", "params.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore")
NAME = "retraining-20261123-180530-4f2a9c"
# Would end any process that imports the project's code instead of its own.
DIRTY = "raise RuntimeError('the code of the snapshot was imported')\n"


@pytest.fixture(scope="module", autouse=True)
def _no_settings_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No git identity either, as in a container."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.mktemp("site")))
        patch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path_factory.mktemp("global")))
        patch.setenv("DVC_NO_ANALYTICS", "1")
        yield


def _run(root: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _git(root: Path, *arguments: str) -> str:
    return _run(root, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments)


def _dvc(root: Path, *arguments: str) -> str:
    return _run(root, sys.executable, "-m", "dvc", *arguments)


def _config(root: Path, *overrides: str) -> Config:
    return params.load(root / "params.yaml", overrides)


def _train(root: Path, seed: int = 0) -> None:
    bundle = root / "outputs" / "train" / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "weights.safetensors").write_bytes(bytes((seed + i) % 251 for i in range(4096)))
    (bundle / "manifest.json").write_text(json.dumps({"seed": seed}))
    (bundle.parent / "metrics.json").write_text(json.dumps({"best_success": 0.5 + seed / 100}))
    (bundle.parent / "learning.csv").write_text("timesteps,success_rate,mean_reward\n200000,0.5,0.1\n")
    (bundle.parent / "checkpoints").mkdir(exist_ok=True)
    (bundle.parent / "checkpoints" / "latest").write_text("not versioned")


def _evaluate(root: Path) -> None:
    folder = root / "outputs" / "evaluate"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text("{}")
    (folder / "metrics.json").write_text(json.dumps({"heldout_success": 0.94}))
    (folder / "comparison.csv").write_text("policy,success_rate,low,high\nours,0.94,0.92,0.96\n")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Committed, with a finished training, nothing saved yet."""
    root = tmp_path_factory.mktemp("template") / "project"
    for stage in snapshot.stages(OURS):
        for dep in stage.deps:
            target = root / dep
            if target.suffix == ".py":
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("x = 1\n")
            elif not dep.startswith("outputs/"):
                target.mkdir(parents=True, exist_ok=True)
                (target / "__init__.py").write_text("")
    for name in COPIED:
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(OURS / name, root / name)
    (root / ".gitignore").write_text("/outputs/\n/.hlynr/\n__pycache__/\n")
    (root / "notes.md").write_text("kept\n")
    _git(root, "init", "-q", "-b", "work")
    _git(root, "add", ".")
    _git(root, "commit", "-qm", "first")
    _train(root)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "project")


def _state(root: Path) -> dict[str, Any]:
    """All that a save must leave alone."""
    files = _git(root, "ls-files", "-z").split("\0")[:-1]
    outs = [str(path.relative_to(root)) for path in (root / "outputs").rglob("*") if path.is_file()]
    return {
        "head": (root / ".git" / "HEAD").read_text(),
        "branches": _git(root, "for-each-ref", "refs/heads", "refs/tags", "refs/stash"),
        "index": (root / ".git" / "index").read_bytes(),
        "staged": _git(root, "ls-files", "-s"),
        "status": _git(root, "status", "--porcelain"),
        "stash": _git(root, "stash", "list"),
        "worktrees": _git(root, "worktree", "list"),
        "files": {name: (root / name).read_bytes() for name in files if (root / name).exists()},
        "modes": {name: (root / name).stat().st_mode for name in outs},
    }


@dataclass(frozen=True)
class Retraining:
    root: Path
    head: str
    before: dict[str, Any]
    after_training: dict[str, Any]
    after_evaluation: dict[str, Any]
    first: VersionRecord
    first_lock: dict[str, Any]
    second: VersionRecord


@pytest.fixture(scope="module")
def retraining(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Retraining:
    """Two saves of one name in a tree where everything is dirty: edited, staged, deleted, untracked, stashed."""
    root = shutil.copytree(template, tmp_path_factory.mktemp("retraining") / "project")
    (root / "notes.md").write_text("stashed\n")
    _git(root, "stash")
    (root / "notes.md").write_text("staged\n")
    (root / "staged.txt").write_text("staged\n")
    _git(root, "add", "notes.md", "staged.txt")
    (root / "notes.md").write_text("staged, then edited\n")
    (root / "hlynr" / "config" / "__init__.py").write_text(DIRTY)
    (root / "hlynr" / "rl" / "fresh.py").write_text("untracked = True\n")
    (root / "private.txt").write_text("untracked, and no dependency of a stage\n")
    config = _config(root, "run.retraining=3", "scenarios.precision.time_limit=31")
    before = _state(root)
    first = experiments.save(root, NAME, config, push=True)
    after_training = _state(root)
    first_lock = strict_yaml.load(_git(root, "show", f"{first.revision}:dvc.lock"))
    _evaluate(root)
    second = experiments.save(root, NAME, config, push=True)
    head = _git(root, "rev-parse", "HEAD").strip()
    return Retraining(root, head, before, after_training, _state(root), first, first_lock, second)


@pytest.fixture
def copied(retraining: Retraining, tmp_path: Path) -> Path:
    """The retraining's project, to break."""
    return shutil.copytree(retraining.root, tmp_path / "project")


def _bundle(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_records_what_was_done(retraining: Retraining) -> None:
    for record in (retraining.first, retraining.second):
        assert (record.experiment, record.pushed, record.verified) == (NAME, True, True)
        assert _git(retraining.root, "rev-parse", f"{record.revision}^").strip() == retraining.head


def test_leaves_the_project_alone(retraining: Retraining) -> None:
    assert retraining.after_training == retraining.before
    outs_added = {"modes": retraining.after_evaluation["modes"]}  # by the evaluation between the saves
    assert retraining.after_evaluation == retraining.before | outs_added
    assert not (retraining.root / ".hlynr" / "worktrees").exists()


def test_records_the_code_and_params_that_ran(retraining: Retraining) -> None:
    def recorded(name: str) -> str:
        return _git(retraining.root, "show", f"{retraining.second.revision}:{name}")

    assert recorded("hlynr/config/__init__.py") == DIRTY
    assert recorded("hlynr/rl/fresh.py") == "untracked = True\n"
    assert recorded("notes.md") == "staged, then edited\n"
    assert recorded("staged.txt") == "staged\n"
    assert params.parse(strict_yaml.load(recorded("params.yaml"))) == _config(
        retraining.root, "run.retraining=3", "scenarios.precision.time_limit=31"
    )
    assert "private.txt" not in _git(retraining.root, "ls-tree", "-r", "--name-only", retraining.second.revision)


def test_the_second_save_replaces_the_first(retraining: Retraining) -> None:
    assert [each.name for each in experiments.saved(retraining.root)] == [NAME]
    assert retraining.first.revision != retraining.second.revision
    assert list(retraining.first_lock["stages"]) == ["train"]
    lock = strict_yaml.load(_git(retraining.root, "show", f"{retraining.second.revision}:dvc.lock"))
    assert list(lock["stages"]) == ["train", "evaluate"]


def test_nothing_to_do_after_exp_apply(copied: Path) -> None:
    _git(copied, "stash", "--include-untracked")
    shutil.rmtree(copied / "outputs")
    _dvc(copied, "exp", "apply", NAME)
    status = _dvc(copied, "status")
    dry = _dvc(copied, "repro", "--dry")
    assert "up to date" in status
    assert "Running stage" not in dry
    assert dry.count("didn't change, skipping") == 2
    assert (copied / "hlynr" / "config" / "__init__.py").read_text() == DIRTY


def test_exp_show_compares_retrainings(retraining: Retraining) -> None:
    rows = list(csv.DictReader(io.StringIO(_dvc(retraining.root, "exp", "show", "--csv"))))
    row = next(row for row in rows if row["Experiment"] == NAME)
    assert (row["heldout_success"], row["best_success"], row["run.retraining"]) == ("0.94", "0.5", "3")


@pytest.mark.parametrize("revision", ["experiment", "hash"])
def test_restores_without_workspace_and_cache(retraining: Retraining, copied: Path, revision: str) -> None:
    named = {"experiment": NAME, "hash": retraining.second.revision[:12]}[revision]
    shutil.rmtree(copied / "outputs")
    shutil.rmtree(copied / ".dvc" / "cache")
    destination = copied / "back" / "bundle"
    assert experiments.restore(copied, named, destination) == destination
    assert _bundle(destination) == _bundle(retraining.root / experiments.BUNDLE)
    assert list(destination.parent.iterdir()) == [destination]


def test_restores_from_the_cache_without_a_remote(copied: Path) -> None:
    shutil.rmtree(copied / ".dvc" / "storage")
    (copied / "back").mkdir()  # empty: allowed
    assert len(_bundle(experiments.restore(copied, NAME, copied / "back"))) == 2


def test_restore_names_what_is_wrong(copied: Path) -> None:
    with pytest.raises(VersioningError, match="exists already"):
        experiments.restore(copied, NAME, copied / "outputs" / "train" / "bundle")
    with pytest.raises(VersioningError, match="unknown revision 'retraining-0'"):
        experiments.restore(copied, "retraining-0", copied / "back")
    for unsaved in ("HEAD", "work"):
        with pytest.raises(VersioningError, match=f"{unsaved} holds no outputs/train/bundle"):
            experiments.restore(copied, unsaved, copied / "back")
    shutil.rmtree(copied / ".dvc" / "cache")
    weights = max((copied / ".dvc" / "storage").rglob("*"), key=lambda path: path.is_file() and path.stat().st_size)
    weights.chmod(0o644)
    weights.write_bytes(b"other bytes")
    with pytest.raises(VersioningError, match="damaged"):
        experiments.restore(copied, NAME, copied / "back")
    shutil.rmtree(copied / ".dvc" / "storage")
    with pytest.raises(VersioningError, match="never pushed"):
        experiments.restore(copied, NAME, copied / "back")
    assert not (copied / "back").exists()
    assert not [path for path in copied.iterdir() if path.name.startswith(".back")]


@pytest.mark.parametrize("damage", ["altered", "lost"])
def test_a_damaged_remote_fails_the_verification(project: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    really = experiments.ask

    def damaging(verb: str, directory: Path, **request: Any) -> dict[str, Any]:
        if verb == "read":
            for stored in [path for path in (project / ".dvc" / "storage").rglob("*") if path.is_file()]:
                stored.chmod(0o644)
                stored.unlink() if damage == "lost" else stored.write_bytes(stored.read_bytes() + b" ")
        return really(verb, directory, **request)

    monkeypatch.setattr(experiments, "ask", damaging)
    with pytest.raises(VersioningError, match="does not come back from the remote"):
        experiments.save(project, NAME, _config(project), push=True)
    assert [each.name for each in experiments.saved(project)] == [NAME]
    assert not (project / ".hlynr" / "worktrees").exists()


def test_without_a_remote_the_retraining_is_saved_locally(project: Path) -> None:
    (project / ".dvc" / "config").write_text("")
    with pytest.raises(VersioningError, match=r"saved, but only locally: .*remote"):
        experiments.save(project, NAME, _config(project), push=True)
    assert [each.name for each in experiments.saved(project)] == [NAME]
    assert len(_bundle(experiments.restore(project, NAME, project / "back"))) == 2


@pytest.mark.parametrize("name", ["pr\u00fcf \u8bd5", "a%20b %(x)s #'?", "-line\nbreak"])
def test_the_folder_may_have_any_name(template: Path, tmp_path: Path, name: str) -> None:
    project = shutil.copytree(template, tmp_path / name)
    saved = experiments.save(project, NAME, _config(project), push=True)
    assert saved.verified
    assert len(_bundle(experiments.restore(project, NAME, project / "back"))) == 2
    assert not (project / ".git" / "worktrees").exists()


_SCRIPT = """
import os, signal, sys
from pathlib import Path
from hlynr.config import params
from hlynr.ops.versioning import experiments
root, name = Path(sys.argv[1]), sys.argv[2]
if name == "killed":
    experiments.ask = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
experiments.save(root, name, params.load(root / "params.yaml"), push=True)
"""


def _start(project: Path, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _SCRIPT, str(project), name])


def test_two_at_once_after_a_killed_one(project: Path) -> None:
    """The working directory is the project's own, where relative paths could be taken for the worktree's."""
    assert _start(project, "killed").wait() == -signal.SIGKILL
    assert list((project / ".hlynr" / "worktrees").glob("*/params.yaml"))
    both = [_start(project, name) for name in ("one", "two")]
    assert [process.wait() for process in both] == [0, 0]
    assert sorted([each.name for each in experiments.saved(project)]) == ["one", "two"]
    assert len(_git(project, "worktree", "list").splitlines()) == 1


def test_a_lock_that_is_not_freed_is_reported(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "LOCK_TIMEOUT", 0.1)
    with experiments.lock(project), pytest.raises(VersioningError, match="another process has been saving"):
        experiments.save(project, NAME, _config(project), push=False)


def test_a_commit_between_the_saves_leaves_one_experiment(project: Path) -> None:
    old = _git(project, "rev-parse", "HEAD").strip()
    experiments.point(project, NAME, old, old)
    _git(project, "commit", "-q", "--allow-empty", "-m", "second")
    new = _git(project, "rev-parse", "HEAD").strip()
    experiments.point(project, NAME, new, new)
    assert [each.name for each in experiments.saved(project)] == [NAME]
    assert _git(project, "for-each-ref", "--format=%(objectname)", "refs/exps").split() == [new]


@pytest.mark.parametrize("target", ["../shared.yaml", "configs/own.yaml", "configs/ignored.yaml"])
def test_params_that_git_keeps_as_a_link_are_recorded_and_not_written(project: Path, target: str) -> None:
    end = project / target
    end.parent.mkdir(exist_ok=True)
    (project / "params.yaml").rename(end)
    (project / "params.yaml").symlink_to(target)
    (project / ".git" / "info" / "exclude").write_text("ignored.yaml\n")
    _git(project, "add", ".")
    _git(project, "commit", "-qm", "a link")
    before = end.read_bytes()
    snapshots = project / ".hlynr" / "snapshots"
    head, config = _git(project, "rev-parse", "HEAD").strip(), _config(project, "run.retraining=3")
    with snapshot.worktree(project, snapshots, head, config, []) as path:
        assert params.load(path / "params.yaml") == config
    assert end.read_bytes() == before
    assert (project / "params.yaml").is_symlink()


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "a..b", "a.lock", "a.", "a~1", "nächtlich"])
def test_rejects_what_git_does_not_take_as_a_name(project: Path, name: str) -> None:
    with pytest.raises(VersioningError, match="no name for an experiment"):
        experiments.save(project, name, _config(project), push=False)


def test_says_what_the_project_lacks(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(project)

    def fault() -> str:
        with pytest.raises(VersioningError) as caught:
            experiments.save(project, NAME, config, push=False)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    (project / "outputs" / "train" / "metrics.json").unlink()
    assert "train first" in fault()
    (project / "dvc.yaml").write_text("stages: 3\n")
    assert "no mapping of stages" in fault()
    shutil.rmtree(project / ".dvc")
    assert "dvc init" in fault()
    shutil.rmtree(project / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(project.parent))
    assert "git init" in fault()
    _git(project, "init", "-q")
    assert "versioning needs a commit" in fault()
    _git(project.parent, "init", "-q")
    shutil.rmtree(project / ".git")
    monkeypatch.delenv("GIT_CEILING_DIRECTORIES")
    assert "at the top of its git repository" in fault()


def test_an_evaluation_of_another_retraining_is_left_out(project: Path) -> None:
    _evaluate(project)
    assert [stage.name for stage in snapshot.finished(project, "outputs")] == ["train", "evaluate"]
    for path in (project / "outputs" / "evaluate").iterdir():
        os.utime(path, (1, 1))
    assert [stage.name for stage in snapshot.finished(project, "outputs")] == ["train"]


def test_outputs_may_lie_elsewhere(project: Path, tmp_path: Path) -> None:
    (project / "outputs").rename(tmp_path / "elsewhere")
    assert snapshot.finished(project, "outputs") == []
    assert [stage.name for stage in snapshot.finished(project, str(tmp_path / "elsewhere"))] == ["train"]


def test_our_pipeline_depends_on_what_there_is() -> None:
    pipeline = strict_yaml.load((OURS / "dvc.yaml").read_text())["stages"]
    for name, entry in pipeline.items():
        assert set(entry["params"]) <= set(Config.model_fields), name
    assert {"train", "monitor", "run", "strategies"} <= set(pipeline["train"]["params"])  # a strategy replaces settings
    for stage in snapshot.stages(OURS):
        assert all(dep.startswith("outputs/") or (OURS / dep).exists() for dep in stage.deps), stage.name
        assert all(out.startswith("outputs/") for out in stage.outs), stage.name
    assert any(experiments.BUNDLE in stage.outs for stage in snapshot.stages(OURS))
