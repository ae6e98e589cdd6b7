"""The document's step 3 as software: what to look at when training fails, and which fault comes first.

Every check runs, whatever the others find; the verdict names the most upstream fault, since what is wrong in the
tracker spoils everything after it. The world is an argument, so that a broken one can be diagnosed, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from hlynr.evaluation.diagnosis import comparisons, episodes, frame, reward, signals, tracker
from hlynr.evaluation.diagnosis.recording import Setup, record
from hlynr.evaluation.laws import law
from hlynr.evaluation.policy import Policy
from hlynr.evaluation.rollout import Trajectory
from hlynr.evaluation.statistics import wilson_interval
from hlynr.records.diagnosis import Cause, Diagnosis, Finding

SOUND = "No fault found"
COMPANIONS = ("pn", "pursuit", "random")
"""Laws whose episodes show, beside the policy's, how the reward treats success and failure."""


@dataclass(frozen=True)
class Subject:
    """What is diagnosed."""

    name: str
    policy: Policy
    stochastic: Policy | None = None
    """The same policy with the noise of its training."""
    recurrent: bool = False
    learner: Callable[[], Policy] | None = None
    """Trains a policy of the same class briefly on the truth; None to skip that."""


def diagnose(subject: Subject, setup: Setup) -> tuple[Diagnosis, list[Trajectory]]:
    """All findings, and the path of one episode for each cause of an ending."""
    flown = record(subject.policy, setup)
    companions = [record(law(name, setup.config, setup.scenario), setup) for name in COMPANIONS]
    sampled, seen = episodes.sample(flown, setup), signals.channels(flown)
    tracked, scans = tracker.check(setup)
    found = (
        episodes.check(sampled),
        reward.check(setup, [flown, *companions]),
        tracked,
        frame.check(setup),
        comparisons.turned(setup, flown, subject.policy),
        comparisons.omniscient(setup, flown, subject.learner),
        signals.check_observations(seen),
        signals.check_actions(flown),
        comparisons.noise(setup, flown, subject.stochastic),
        comparisons.memory(setup, flown, subject.policy, recurrent=subject.recurrent),
    )
    first = most_upstream(found)
    diagnosis = Diagnosis(
        subject=subject.name,
        scenario=setup.scenario,
        seed=setup.seed,
        episodes=setup.episodes,
        success_rate=flown.success_rate,
        success_rate_ci=wilson_interval(int(flown.success.sum()), setup.episodes, setup.config.gate.confidence),
        verdict=_verdict(found, first),
        cause=first.cause if first else None,
        findings=found,
        sampled=sampled,
        channels=seen,
        scans=scans,
    )
    examples = {episode.cause: episode.episode for episode in reversed(sampled)}
    return diagnosis, [replace(flown.path(row), policy=cause) for cause, row in sorted(examples.items())]


def most_upstream(found: Sequence[Finding]) -> Finding | None:
    """The fault whose cause spoils the others; None if there is no fault."""
    order = get_args(Cause)
    faults = [finding for finding in found if finding.status == "fault"]
    return min(faults, key=lambda finding: order.index(finding.cause), default=None)


def _verdict(found: Sequence[Finding], first: Finding | None) -> str:
    if first:
        others = [finding.check for finding in found if finding.status == "fault" and finding is not first]
        return f"{first.finding}" + (f" Faults further downstream: {', '.join(others)}." if others else "")
    warned = [finding.check for finding in found if finding.status == "warning"]
    return f"{SOUND}; to be looked at: {', '.join(warned)}." if warned else f"{SOUND}."
