"""The diagnosis of a bundle, for `hlynr diagnose` and for a retraining whose attempts all failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlynr.config.project import Project
from hlynr.records.diagnosis import Diagnosis
from hlynr.runtime.errors import InputError

if TYPE_CHECKING:
    from hlynr.config.config import Config
    from hlynr.evaluation.policy import Policy
    from hlynr.evaluation.recording import World

MOST_EPISODES = 2000
"""They are kept in memory several times over: 2 GB."""
BUDGET = 200_000
"""Timesteps of the brief training on the truth; a sound set-up reaches 99 % with them."""


def examine(
    project: Project,
    bundle: Path,
    *,
    name: str,
    episodes: int = 300,
    seed: int | None = None,
    budget: int = BUDGET,
    out: Path | None = None,
    world: World | None = None,
) -> Diagnosis:
    """Diagnose a bundle in the scenario it was trained on; record and page go to ``out``.

    Args:
        name: what the page calls the bundle.
        seed: default: the selection seed, since what is tuned after a diagnosis must not be judged on its engagements.
        budget: timesteps of a brief training on the truth; 0 to skip it.
        world: a changed simulation; default: that of the configuration.

    Raises:
        hlynr.rl.bundle.BundleError: if the bundle cannot be trusted.
        InputError: if the configuration has no such scenario.
    """
    from hlynr.envs.batch import EngagementBatch
    from hlynr.envs.observation import LIMIT
    from hlynr.evaluation.diagnosis.diagnose import Subject, diagnose
    from hlynr.evaluation.recording import Setup
    from hlynr.report import diagnosis as page
    from hlynr.rl import bundle as bundles
    from hlynr.rl.diagnosis_policies import ExploringPolicy

    manifest, config = bundles.read_manifest(bundle), project.config
    scenario = manifest["scenario"]
    if scenario not in config.scenarios:
        raise InputError(f"{bundle}: was trained on scenario {scenario}, which this configuration does not have")
    seed = config.monitor.selection_seed if seed is None else seed
    policy = bundles.load_policy(bundle, threads=config.train.torch_threads)
    subject = Subject(
        name=name,
        policy=policy,
        stochastic=ExploringPolicy(policy, seed),
        recurrent=policy.recurrent,
        learner=_learner(config, manifest, budget) if budget else None,
    )
    found, paths = diagnose(subject, Setup(config, scenario, seed, episodes, world or EngagementBatch))
    page.write(found, paths, LIMIT, out or project.diagnose)
    return found


def _learner(config: Config, manifest: dict[str, Any], budget: int) -> Callable[[], Policy]:
    """Trains a network like the bundle's."""
    from hlynr.rl.diagnosis_policies import learn_on_truth

    network = {key: value for key, value in manifest["network"].items() if value is not None}
    network["net_arch"] = tuple(network["net_arch"])
    like = {**network, "algorithm": manifest["algorithm"], "scenario": manifest["scenario"]}
    alike = config.model_copy(update={"train": config.train.model_copy(update=like)})
    return lambda: learn_on_truth(alike, budget)
