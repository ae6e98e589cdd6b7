"""The project that every chain of faults begins with, at one path, and what an undisturbed retraining makes of it.

MLflow stores absolute paths, so a chain works at the path at which the project was made; the template is a copy of it.
The project holds one retraining, whose policy is champion; the chain's own, the second, is promoted over it.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from support import projects

from chaos.interposer import SharedPlan
from hlynr.config import params
from hlynr.config.config import Config
from hlynr.config.project import Project

# Four rollouts, evaluated and saved after each; every policy succeeds now and then, and the second one more often.
SETTINGS = (
    "train.device=cpu",
    "train.timesteps=4096",
    "train.n_envs=32",
    "train.n_steps=32",
    "train.batch_size=1024",
    "train.n_epochs=1",
    "train.net_arch=[16]",
    "train.checkpoint_interval=1024",
    "monitor.interval=1024",
    "monitor.episodes=100",
    "monitor.abort_below=0.0",
    "monitor.stop_on=[nan]",
    "scenarios.reference.capture_radius=1000.0",
    "evaluation.heldout_episodes=200",
    "gate.baseline=0.01",
    "gate.p_value=0.999",
    "gate.min_gain=0.0",
    "gate.min_mean_reward=-2",
    "gate.evaluator_check_random=[0.0, 1.0]",
    "gate.evaluator_check_pn=[0.0, 1.0]",
    "retrain.plan=[default]",
    "retrain.retry_delay=0",
    "retrain.retries=10",
    "retention.days=30",
)

DATE = "2026-01-01T00:00:00+0000"


@dataclass
class World:
    """A folder for the projects, logs and counters of all chains."""

    folder: Path

    @property
    def root(self) -> Path:
        """The project of the present chain."""
        return self.folder / "project"

    @property
    def template(self) -> Path:
        return self.folder / "template"

    @property
    def temporary(self) -> Path:
        """TMPDIR of the runs."""
        return self.folder / "tmp"

    @property
    def output(self) -> Path:
        """Beside which a command's standard output and error are, as ``.out`` and ``.err``."""
        return self.folder / "command.x"

    def make(self) -> None:
        """The project before its first retraining."""
        shutil.rmtree(self.root, ignore_errors=True)
        projects.make(self.root, *SETTINGS)

    def keep(self, name: str) -> None:
        """Copy the project as it is now: ``new`` before its first retraining, ``template`` after it."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        shutil.copytree(self.root, self.folder / name, symlinks=True)

    def restore(self, source: Path | None = None) -> None:
        """Bring the template, or another copy of the project, back."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(source or self.template, self.root, symlinks=True)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()

    def plan(self) -> SharedPlan:
        """A fresh one for the next command."""
        return SharedPlan(self.folder / "plan", self.root)

    def project(self) -> Project:
        return Project(self.root, self.config())

    def config(self) -> Config:
        return params.load(self.root / "params.yaml")

    def said(self) -> str:
        """Standard error of the newest command."""
        return self.output.with_suffix(".err").read_text(encoding="utf-8", errors="replace")

    def set(self, *overrides: str) -> None:
        """Change settings of the project, and commit them."""
        from hlynr.ops.versioning import params_file

        params_file.align(self.root / "params.yaml", params.load(self.root / "params.yaml", overrides))
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        at = {"GIT_AUTHOR_DATE": DATE, "GIT_COMMITTER_DATE": DATE}  # so that its hash is always the same
        projects.checked(self.root, "git", *identity, "commit", "--quiet", "--all", "-m", "settings", **at)


def age() -> float:
    """A clock for durations [s]."""
    return time.monotonic()


def environment(world: World) -> None:
    """Of this process and all that it forks."""
    os.environ.update(
        PATH=projects.environment()["PATH"],
        COLUMNS="200",
        DVC_NO_ANALYTICS="1",
        MLFLOW_DISABLE_TELEMETRY="true",
        TMPDIR=str(world.temporary),
        MLFLOW_HTTP_REQUEST_MAX_RETRIES="2",
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR="1",
    )
    world.temporary.mkdir(parents=True, exist_ok=True)
