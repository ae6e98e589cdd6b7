"""The diagnosis of a policy: all checks, and the most upstream fault.

Every check runs, whatever the others find. The verdict names the most upstream fault, since a fault of the tracker
spoils everything after it. The world is an argument, so that a broken one can be diagnosed too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from hlynr.evaluation.diagnosis import comparisons, episodes, frame, reward, signals, tracker
from hlynr.evaluation.laws import law
from hlynr.evaluation.policy import Policy
from hlynr.evaluation.recording import Setup, Trajectory, record
from hlynr.evaluation.statistics import wilson_interval
from hlynr.records.diagnosis import Cause, Diagnosis, Finding

NO_FAULT = "No fault found"
REFERENCE_LAWS = ("pn", "pursuit", "random")
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
    """All findings, and the trajectory of one episode for each cause of an ending."""
    recording = record(subject.policy, setup)
    references = [record(law(name, setup.config, setup.scenario), setup) for name in REFERENCE_LAWS]
    sampled, channels = episodes.sample(recording, setup), signals.channels(recording)
    tracked, scans = tracker.check(setup)
    found = (
        episodes.check(sampled),
        reward.check(setup, [recording, *references]),
        tracked,
        frame.check(setup),
        comparisons.turned(setup, recording, subject.policy),
        comparisons.omniscient(setup, recording, subject.learner),
        signals.check_observations(channels),
        signals.check_actions(recording),
        comparisons.noise(setup, recording, subject.stochastic),
        comparisons.memory(setup, recording, subject.policy, recurrent=subject.recurrent),
    )
    first = most_upstream(found)
    diagnosis = Diagnosis(
        subject=subject.name,
        scenario=setup.scenario,
        seed=setup.seed,
        episodes=setup.episodes,
        success_rate=recording.success_rate,
        success_rate_ci=wilson_interval(int(recording.success.sum()), setup.episodes, setup.config.gate.confidence),
        verdict=_verdict(found, first),
        cause=first.cause if first else None,
        findings=found,
        sampled=sampled,
        channels=channels,
        scans=scans,
    )
    examples = {episode.cause: episode.episode for episode in reversed(sampled)}
    return diagnosis, [replace(recording.trajectory(row), policy=cause) for cause, row in sorted(examples.items())]


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
    return f"{NO_FAULT}; to be looked at: {', '.join(warned)}." if warned else f"{NO_FAULT}."
