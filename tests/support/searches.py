"""A search of seconds: in a configuration, in a project, and its records."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hlynr.config import params
from hlynr.records.tuning import Candidate, TrialRecord, TrialRun, TuneRecord
from support import projects, stability_samples

# Of eight rollouts of 1,024 timesteps, evaluated after every second one.
BRIEF = (
    "train.device=cpu", "train.n_envs=32", "train.n_steps=32", "train.batch_size=512", "train.n_epochs=2",
    "train.timesteps=16384", "train.checkpoint_interval=16384", "monitor.interval=4096", "monitor.episodes=100",
    "evaluation.heldout_episodes=100", "tune.timesteps=8192", "tune.interval=2048", "tune.prune_after=4096",
    "tune.startup=2", "tune.heartbeat=1", "tune.trials=4", "tune.workers=2", "tune.confirm.timesteps=8192",
    "tune.confirm.top=1", "tune.confirm.seeds=[201, 202]", "tune.space.batch_size.choices=[256, 512]",
    "tune.space.n_steps.choices=[16, 32]", "tune.space.n_epochs={low: 1, high: 3, scale: linear}",
)  # fmt: skip

_FOLDER = tempfile.TemporaryDirectory(prefix="hlynr-searches-")
FILE = Path(_FOLDER.name) / "params.yaml"
"""A params.yaml with such a search, whose own values an override cannot set."""
FILE.write_text(params.dump(params.load(projects.OURS / "params.yaml", BRIEF)), encoding="utf-8")


def make(root: Path, *overrides: str, git: bool = False) -> Path:
    """A project whose search takes seconds."""
    return projects.make(root, *BRIEF, *overrides, git=git)


def run(final: float = 0.5, peak: float | None = None, verdict: Any = "healthy", seed: int = 101) -> TrialRun:
    """One training of a trial."""
    peak = final if peak is None else peak
    return TrialRun(seed=seed, verdict=verdict, timesteps=8192, seconds=2.0, final=final, peak=peak, points=())


def trial(number: int = 0, value: float | None = 0.5, **changes: Any) -> TrialRecord:
    """A trial that has ended."""
    values: dict[str, Any] = {
        "number": number,
        "state": "complete",
        "value": value,
        "train": {"gamma": 0.99 + number / 1000},
        "params": {"1 - gamma": 0.01 - number / 1000},
        "course": {2048: 0.1, 4096: 0.2, 10240: 0.1, 12288: 0.3},
        "runs": (run(0.5, seed=101), run(0.6, 0.7, seed=102)),
        "constraints": {"collapse": -0.1, "unsound": 0.0},
        "retry_of": None,
        "place": "here:1",
        "started": "2026-11-25T06:00:00+00:00",
        "ended": "2026-11-25T06:00:10+00:00",
        "seconds": 10.0,
    }
    return TrialRecord(**values | changes)


def candidate(number: int | None = None, success: float = 0.9, gain: float | None = None, **changes: Any) -> Candidate:
    """A candidate with two runs."""
    name = "default" if number is None else f"stability-{number}"
    values: dict[str, Any] = {
        "name": name,
        "trial": number,
        "train": {} if number is None else {"learning_rate": {"start": 0.002, "end": 0.0}, "ent_coef": 3.4e-06},
        "runs": tuple(stability_samples.run(name, seed, heldout_success_rate=success) for seed in (201, 202)),
        "collapsed": 0,
        "success": success,
        "success_ci": (success - 0.01, success + 0.01),
        "drop": 0.0,
        "gain": gain,
        "gain_ci": None if gain is None else (gain - 0.02, gain + 0.02),
    }
    return Candidate(**values | changes)


def record(winner: str = "stability-7", **changes: Any) -> TuneRecord:
    """A search with a winner."""
    values: dict[str, Any] = {
        "command": "hlynr tune --trials 4",
        "study": "stability",
        "strategy": "default",
        "algorithm": "ppo",
        "created": "2026-11-25T06:10:00+00:00",
        "git_commit": "c" * 40,
        "git_dirty": False,
        "versions": {"optuna": "5.0.0"},
        "wanted": 4,
        "timesteps": 8192,
        "seeds": (101, 102),
        "confirm_seeds": (201, 202),
        "confirm_timesteps": 1_200_000,
        "heldout_seed": 4_000_037,
        "heldout_episodes": 1000,
        "confidence": 0.95,
        "search_seconds": 61.0,
        "trials": (
            trial(0, 0.5),
            trial(1, None, state="failed", runs=(), course={}),
            trial(2, None, state="pruned", runs=(), course={2048: 0.0}),
            trial(3, 0.6, state="infeasible", constraints={"collapse": 0.2, "unsound": 0.0}),
            trial(7, 0.8, retry_of=1),
        ),
        "importances": {"learning_rate": 0.8, "1 - gamma": 0.2},
        "candidates": (candidate(), candidate(7, 0.93, 0.03)),
        "winner": winner,
        "reason": f"{winner} gains +3.0 points on fresh seeds (+1.0 to +5.0)",
        "missing": {},
    }
    return TuneRecord(**values | changes)
