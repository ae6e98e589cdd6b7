"""Evaluating a policy beside the laws on the same engagements."""

from dataclasses import dataclass

import numpy as np

from hlynr.config.config import Config
from hlynr.config.sections import Gate
from hlynr.envs.batch import EngagementBatch
from hlynr.evaluation.laws import law
from hlynr.evaluation.metrics import summarise
from hlynr.evaluation.policy import Policy
from hlynr.evaluation.recording import Setup, Trajectory, record
from hlynr.evaluation.rollout import EpisodeResults, run_episodes
from hlynr.evaluation.statistics import wilson_interval
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
    """Observation histories (1, 2, D) float32 as a policy gets them; an input example."""
    chosen, count, length = report_set(config), 1, 2
    batch = EngagementBatch(config, chosen.scenario, count=count, seed=chosen.seed)
    batch.start(np.arange(count), np.arange(count))
    observations = []
    for _ in range(length):
        observations.append(batch.observe())
        batch.step(np.zeros((count, 3)))
    return np.stack(observations, axis=1)


def _targets(report: PolicyReport, config: Config) -> tuple[TargetRow, ...]:
    wanted = config.evaluation
    (low, high), least, most = wanted.target_success, wanted.target_mean_reward, wanted.target_final_distance
    rate, reward, distance = report.success_rate, report.mean_reward, report.mean_final_distance
    span = f"{low:.0%} to {high:.0%}".replace("%", " %")
    return (
        TargetRow(metric="success rate", value=rate, target=span, met=rate >= low),
        TargetRow(metric="mean reward", value=reward, target=f"> {least:g}", met=reward > least),
        TargetRow(metric="average final distance", value=distance, target=f"< {most:g} m", met=distance < most),
    )


def compile_kernels(config: Config) -> None:
    """Compile the simulation, unless its cache holds it."""
    scenario = config.train.scenario
    run_episodes(law("zero", config, scenario), config, scenario, seed=0, episodes=1, batch_size=1)


@dataclass(frozen=True)
class Rerun:
    """The report episodes run again: their successes, and the recorded success rate if there is one."""

    successes: int
    episodes: int
    recorded: float | None

    def fault(self, gate: Gate) -> str | None:
        """Why such a policy must not be champion; None if it may.

        Without a record the baseline alone decides. A rate as recorded is no fault, and neither is a worse one that
        chance explains.
        """
        if self.successes / self.episodes <= gate.baseline:
            return f"{self._counted} succeed, which does not exceed the baseline of {_percent(gate.baseline)}"
        _, high = wilson_interval(self.successes, self.episodes, gate.confidence)
        if self.recorded is not None and high < self.recorded:
            return f"{self._counted} succeed under today's configuration, {_percent(self.recorded)} are on record"
        return None

    def __str__(self) -> str:
        if self.recorded is None:
            return f"{self._counted} succeed (no earlier figure is on record)"
        return f"{self._counted} succeed again ({_percent(self.recorded)} recorded)"

    @property
    def _counted(self) -> str:
        return f"{self.successes} of {self.episodes} episodes"


def rerun(policy: Policy, config: Config, recorded: float | None) -> Rerun:
    """Run the report's engagements of the configuration's retraining."""
    success = run_seed_set(policy, config, report_set(config)).success
    return Rerun(int(success.sum()), len(success), recorded)


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
