"""Evaluating a policy beside the laws on the same engagements."""

from dataclasses import dataclass

import numpy as np

from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch
from hlynr.evaluation.laws import law
from hlynr.evaluation.metrics import summarise
from hlynr.evaluation.policy import Policy
from hlynr.evaluation.recording import Setup, Trajectory, record
from hlynr.evaluation.rollout import EpisodeResults, run_episodes
from hlynr.records.evaluation import EvaluationReport, PolicyReport, TargetRow
from hlynr.records.training import Lineage

SAMPLES = 6
"""Held-out engagements whose trajectories are drawn."""
BASELINES = ("random", "pursuit", "pn")


@dataclass(frozen=True)
class SeedSet:
    """A named set of engagements: episodes 0 .. ``episodes`` - 1 of ``seed`` in ``scenario``."""

    scenario: str
    seed: int
    episodes: int


def report_set(config: Config) -> SeedSet:
    """The engagements of the 100-episode report."""
    return SeedSet(config.evaluation.scenario, config.report_seed, config.evaluation.report_episodes)


def heldout_set(config: Config) -> SeedSet:
    """The engagements on which the gate decides."""
    return SeedSet(config.evaluation.scenario, config.heldout_seed, config.evaluation.heldout_episodes)


def run_seed_set(policy: Policy, config: Config, chosen: SeedSet, *, omniscient: bool = False) -> EpisodeResults:
    """Run a policy through a seed set."""
    return run_episodes(
        policy,
        config,
        chosen.scenario,
        seed=chosen.seed,
        episodes=chosen.episodes,
        batch_size=config.evaluation.batch_size,
        omniscient=omniscient,
    )


def report_on(
    policy: Policy, config: Config, chosen: SeedSet, *, omniscient: bool = False
) -> tuple[PolicyReport, EpisodeResults]:
    """Run and summarise."""
    results = run_seed_set(policy, config, chosen, omniscient=omniscient)
    return summarise(results, config, chosen.scenario, policy=policy.name, seed=chosen.seed), results


def baselines(config: Config, chosen: SeedSet) -> tuple[dict[str, PolicyReport], dict[str, EpisodeResults]]:
    """The reference laws on the same engagements, always on the radar estimate."""
    reports, results = {}, {}
    for name in BASELINES:
        reports[name], results[name] = report_on(law(name, config, chosen.scenario), config, chosen)
    return reports, results


def evaluate(
    policy: Policy, config: Config, lineage: Lineage, bundle_sha256: str
) -> tuple[EvaluationReport, dict[str, EpisodeResults]]:
    """The evaluation of a policy, and the held-out results by policy name ("policy" is the evaluated one)."""
    report, _ = report_on(policy, config, report_set(config))
    heldout, results = report_on(policy, config, heldout_set(config))
    laws, law_results = baselines(config, heldout_set(config))
    evaluation = EvaluationReport(
        lineage=lineage,
        bundle_sha256=bundle_sha256,
        report=report,
        heldout=heldout,
        baselines=laws,
        targets=_targets(report, config),
    )
    return evaluation, {"policy": results, **law_results}


def samples(policy: Policy, config: Config) -> list[Trajectory]:
    """The trajectories of the first few held-out engagements."""
    chosen = heldout_set(config)
    episodes = min(SAMPLES, chosen.episodes)
    recording = record(policy, Setup(config, chosen.scenario, chosen.seed, episodes))
    return [recording.trajectory(row) for row in range(episodes)]


def example_histories(config: Config) -> np.ndarray:
    """Observation histories (2, 3, D) float32 as a policy gets them; an input example."""
    chosen, count, length = report_set(config), 2, 3
    batch = EngagementBatch(config, chosen.scenario, count=count, seed=chosen.seed)
    batch.start(np.arange(count), np.arange(count))
    observations = []
    for _ in range(length):
        observations.append(batch.observe())
        batch.step(np.zeros((count, 3)))
    return np.stack(observations, axis=1)


def _targets(report: PolicyReport, config: Config) -> tuple[TargetRow, ...]:
    wanted = config.evaluation
    low, high = wanted.target_success
    return (
        TargetRow(
            metric="success rate",
            value=report.success_rate,
            target=f"{low:.0%} to {high:.0%}".replace("%", " %"),
            met=report.success_rate >= low,
        ),
        TargetRow(
            metric="mean reward",
            value=report.mean_reward,
            target=f"> {wanted.target_mean_reward:g}",
            met=report.mean_reward > wanted.target_mean_reward,
        ),
        TargetRow(
            metric="average final distance",
            value=report.mean_final_distance,
            target=f"< {wanted.target_final_distance:g} m",
            met=report.mean_final_distance < wanted.target_final_distance,
        ),
    )


def compile_kernels(config: Config) -> None:
    """Compile the simulation, unless its cache holds it."""
    scenario = config.train.scenario
    run_episodes(law("zero", config, scenario), config, scenario, seed=0, episodes=1, batch_size=1)
