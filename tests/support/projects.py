"""A whole project in a folder of its own: git, DVC, params.yaml with a tiny budget, and the `hlynr` command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.config.project import Project
from hlynr.ops.versioning import params_file
from hlynr.records.retraining import RetrainRecord
from support import ROOT

OURS = ROOT
BIN = Path(sys.executable).parent

# A training of sixteen rollouts, evaluated and saved after every fourth; seconds.
TINY = (
    "train.device=cpu",
    "train.timesteps=16384",
    "train.n_envs=32",
    "train.n_steps=32",
    "train.batch_size=512",
    "train.checkpoint_interval=4096",
    "monitor.interval=4096",
    "monitor.episodes=100",
    "evaluation.heldout_episodes=200",
    "retrain.retry_delay=0",
)
# Long enough to be stopped in the middle.
LONG = ("train.timesteps=65536", "monitor.interval=16384", "versioning.enabled=false")
EASY_GATE = ("gate.baseline=0.01", "gate.min_mean_reward=-2")


@dataclass(frozen=True)
class RetrainedProject:
    """A project after one retraining."""

    project: Project
    done: subprocess.CompletedProcess[str]
    record: RetrainRecord
    outputs: Path
    """A copy, for a later retraining replaces what lies in the project."""

    @property
    def root(self) -> Path:
        return self.project.root


def make(root: Path, *overrides: str, git: bool = True) -> Path:
    """The files of the repository under test as they are now, uncommitted ones included, committed anew.

    A copy and no clone, so that the tests judge the working tree. ``root`` must not exist.
    """
    listed = checked(OURS, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in {*listed.split("\0")} - {""}:
        if (OURS / name).is_file() and not name.startswith("tests/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(OURS / name, root / name)
    params_file.align(root / "params.yaml", params.load(OURS / "params.yaml", [*TINY, *overrides]))
    if git:
        checked(root, "git", "init", "--quiet", "--initial-branch=main")
        commit(root, "project")
    return root


def retrained(root: Path) -> RetrainedProject:
    """A new project after `hlynr retrain`."""
    make(root, *EASY_GATE)
    done = run(root, "hlynr", "retrain", "--json", "-")
    assert done.returncode == 0, done.stderr
    outputs = shutil.copytree(root / "outputs", root.with_name("outputs"))
    return RetrainedProject(Project(root, config(root)), done, RetrainRecord.read(outputs / "retrain.json"), outputs)


def config(root: Path, *overrides: str) -> Config:
    """The project's configuration."""
    return params.load(root / "params.yaml", overrides)


def commit(root: Path, message: str) -> None:
    """Commit everything."""
    checked(root, "git", "add", "--all")
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    checked(root, "git", *identity, "commit", "--quiet", "--allow-empty", "-m", message)


def environment(**extra: str) -> dict[str, str]:
    """For a subprocess: the environment's `hlynr` and `dvc` first on the PATH, a width that wraps nothing."""
    own = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200", "DVC_NO_ANALYTICS": "1"}
    return {**os.environ, **own, **extra}


def run(root: Path, *command: str, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the project; its exit code is not checked."""
    return subprocess.run(
        command,
        cwd=root,
        env=environment(**extra),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def checked(root: Path, *command: str, stdin: str = "", **extra: str) -> str:
    """What a command that must succeed prints."""
    done = run(root, *command, stdin=stdin, **extra)
    assert done.returncode == 0, done.stderr
    return done.stdout


def start(root: Path, *command: str, **extra: str) -> subprocess.Popen[str]:
    """Start a command as a terminal does, in a process group of its own."""
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment(**extra),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def open_to_others(root: Path, *folders: str) -> dict[str, str]:
    """Modes of files and folders there that other users could read, or enter."""
    paths = [path for name in folders for path in (root / name, *(root / name).rglob("*")) if not path.is_symlink()]
    modes = {str(path.relative_to(root)): path.stat().st_mode & 0o777 for path in paths}
    return {name: f"{mode:o}" for name, mode in modes.items() if mode & 0o077}


def until(condition: Callable[[], bool], what: str, patience: float = 120.0) -> None:
    """Wait for it."""
    deadline = monotonic() + patience
    while not condition():
        assert monotonic() < deadline, f"not within {patience:g} s: {what}"
        sleep(0.1)


def files(root: Path) -> dict[str, int]:
    """Every file below ``root`` but git's own, with its size; folders too."""
    paths = [path for path in root.rglob("*") if ".git" not in path.parts]
    return {str(path.relative_to(root)): path.stat().st_size if path.is_file() else -1 for path in paths}
