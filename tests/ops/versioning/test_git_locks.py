"""Locks that a killed git left: removed where no live process can hold them, and only then."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import projects

from hlynr.ops.versioning import git, git_locks
from hlynr.ops.versioning.experiments import PREFIXES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "prøject"
    folder.mkdir()
    projects.checked(folder, "git", "init", "--quiet", "--initial-branch=main")
    projects.commit(folder, "x")
    return folder


def ref(root: Path, name: str = "retraining-20261128-020000-abcdef") -> str:
    head = git.run(root, "rev-parse", "HEAD")
    return f"refs/exps/{head[:2]}/{head[2:]}/{name}"


def make(path: Path, age: float = 0.0, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age,) * 2)
    return path


def point(root: Path) -> None:
    """As a save does it: deleting an older ref of the same experiment needs the packed refs."""
    head = git.run(root, "rev-parse", "HEAD")
    git.run(root, "update-ref", ref(root, "another"), head)
    git.run(root, "update-ref", "--stdin", stdin=f"update {ref(root)} {head}\ndelete {ref(root, 'another')}\n")


@contextmanager
def a_living_git(folder: Path, tmp_path: Path) -> Iterator[None]:
    program = tmp_path / "git"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([str(program), "60"], cwd=folder) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.mark.parametrize("name", ["retraining-20261128-020000-abcdef", "night-20251128-020000-abcdef"])
@pytest.mark.parametrize("age", [0.0, 3600.0])
def test_the_lock_of_an_experiment_of_ours_goes(
    root: Path, name: str, age: float, caplog: pytest.LogCaptureFixture
) -> None:
    lock = make(root / ".git" / f"{ref(root, name)}.lock", age)
    git_locks.clear(root, PREFIXES)
    assert not lock.exists()
    assert [record.getMessage() for record in caplog.records] == [f"{lock} was left by a killed process: removed"]
    point(root)


def test_a_lock_of_the_packed_refs_is_waited_for_until_it_is_old(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_locks, "BRIEF", 0.3)
    lock = make(root / ".git" / "packed-refs.lock")
    with pytest.raises(git.GitError, match="File exists"):
        point(root)
    git_locks.clear(root, PREFIXES)
    assert not lock.exists()
    point(root)


@pytest.mark.parametrize("text", ["", "garbage", "0123"])
def test_a_ref_that_a_power_cut_broke_goes(root: Path, text: str) -> None:
    broken = make(root / ".git" / ref(root), text=text)
    with pytest.raises(git.GitError, match="reference broken"):
        point(root)
    git_locks.clear(root, PREFIXES)
    assert not broken.exists()
    point(root)


def test_no_lock_is_taken_from_a_living_git(root: Path, tmp_path: Path) -> None:
    lock = make(root / ".git" / f"{ref(root)}.lock", 3600)
    index = make(root / ".git" / "index.lock", 3600)
    with a_living_git(root, tmp_path):
        assert git_locks.at_work(root)
        git_locks.clear(root, PREFIXES)
        assert lock.exists()
        assert git_locks.left(root, PREFIXES) == []
    assert git_locks.left(root, PREFIXES) == [lock, index]


def test_a_git_elsewhere_is_none_of_this_repository(root: Path, tmp_path: Path) -> None:
    with a_living_git(tmp_path, tmp_path):
        assert not git_locks.at_work(root)


def test_a_git_in_another_worktree_is_one_of_it(root: Path, tmp_path: Path) -> None:
    git.run(root, "worktree", "add", "--detach", str(tmp_path / "other"))
    with a_living_git(tmp_path / "other", tmp_path):
        assert git_locks.at_work(root)


def test_what_others_own_stays_until_it_is_old_and_a_save_never_takes_it(root: Path) -> None:
    own = f"{ref(root, 'mine')}.lock"
    names = ("index.lock", "HEAD.lock", "config.lock", "shallow.lock", "refs/heads/main.lock", own)
    made = [make(root / ".git" / name, 60) for name in names]
    git_locks.clear(root, PREFIXES)
    assert git_locks.left(root, PREFIXES) == []
    for lock in made:
        assert lock.exists()
        make(lock, 3600)
    git_locks.clear(root, PREFIXES)
    assert set(git_locks.left(root, PREFIXES)) == set(made)


def test_intact_refs_stay(root: Path) -> None:
    point(root)
    git_locks.clear(root, PREFIXES)
    assert git_locks.left(root, PREFIXES) == []
    assert git.run(root, "rev-parse", ref(root)) == git.run(root, "rev-parse", "HEAD")
