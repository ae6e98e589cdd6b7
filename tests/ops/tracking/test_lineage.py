"""The start of a lineage."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support import ROOT

from hlynr.config import params
from hlynr.ops.tracking import lineage

CONFIG = params.load(ROOT / "params.yaml", ["run.retraining=4"])


def _git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(["git", "-C", root, *identity, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    _git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("x = 1\n")
    _git(tmp_path, "add", "code.py")
    _git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_names_what_is_known_at_the_start(repository: Path) -> None:
    started = lineage.start(CONFIG, repository, flow_run_id="flow-1")

    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", started.id)
    assert started.created.endswith("+00:00")
    assert started.created.translate(str.maketrans("", "", "-:")).startswith(started.id[:15].replace("-", "T"))
    assert (started.retraining, started.params_digest) == (4, CONFIG.digest())
    assert started.git_commit == _git(repository, "rev-parse", "HEAD").strip()
    assert started.git_dirty is False
    assert started.flow_run_id == "flow-1"
    assert started.bundle_sha256 is None


def test_two_starts_have_two_ids(tmp_path: Path) -> None:
    assert lineage.start(CONFIG, tmp_path).id != lineage.start(CONFIG, tmp_path).id


def test_dirty_means_that_tracked_files_differ(repository: Path) -> None:
    (repository / "notes.txt").write_text("untracked")
    assert lineage.start(CONFIG, repository).git_dirty is False
    (repository / "code.py").write_text("x = 2\n")
    assert lineage.start(CONFIG, repository).git_dirty is True
    _git(repository, "add", "code.py")
    assert lineage.start(CONFIG, repository).git_dirty is True


def test_is_read_only(repository: Path) -> None:
    index = (repository / ".git" / "index").read_bytes()
    (repository / "code.py").touch()
    lineage.start(CONFIG, repository)
    assert (repository / ".git" / "index").read_bytes() == index


def test_without_repository_commit_or_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = lineage.start(CONFIG, tmp_path)
    _git(tmp_path, "init", "-q")
    unborn = lineage.start(CONFIG, tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    without_git = lineage.start(CONFIG, tmp_path)
    for started in (outside, unborn, without_git):
        assert (started.git_commit, started.git_dirty) == (None, None)


def test_variables_of_a_surrounding_git_call_do_not_mislead(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = lineage.start(CONFIG, repository).git_commit
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("elsewhere")))
    assert lineage.start(CONFIG, repository).git_commit == expected
