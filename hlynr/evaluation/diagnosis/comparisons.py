"""Comparisons: the same engagements with one thing changed, whose effect on success is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hlynr.evaluation.diagnosis.findings import finding, percent
from hlynr.evaluation.laws import law
from hlynr.evaluation.policy import Frame, Policy
from hlynr.evaluation.recording import Recording, Setup, record
from hlynr.evaluation.statistics import mcnemar_one_sided
from hlynr.records.diagnosis import Finding

OMNISCIENT, TURNED, NOISE, MEMORY = "omniscient", "turned", "noise", "memory"
HALF = 0.5
"""A policy below this fraction of PN's success on the truth has not solved the task."""
HARDLY_EVER = 0.05
SIGNIFICANT = 0.01
TURNED_GAIN = 0.25
"""No policy that was trained in the right frame gains as much by being turned."""


def omniscient(setup: Setup, original: Recording, learner: Callable[[], Policy] | None) -> Finding:
    """What PN and a policy of the same class reach if they know the truth.

    Args:
        original: the policy's own episodes, on the estimate.
        learner: trains a policy of the same class briefly on the truth; None to skip that.
    """
    pn = law("pn", setup.config, setup.scenario)
    truth, estimate = record(pn, setup, omniscient=True).success_rate, record(pn, setup).success_rate
    figures = {"policy": original.success_rate, "pn_truth": truth, "pn_estimate": estimate}
    numbers = (
        f"PN succeeds in {percent(truth)} on the truth and {percent(estimate)} on the estimate, "
        f"the policy in {percent(original.success_rate)}."
    )
    if learner:
        learned = record(learner(), setup, omniscient=True).success_rate
        figures["learned_on_truth"] = learned
        numbers += f" Its class, trained briefly on the truth, succeeds there in {percent(learned)}."
    if truth < setup.config.gate.baseline:
        bar = percent(setup.config.gate.baseline)
        text = f"The task is out of reach: even PN on the truth stays below the baseline of {bar}. {numbers}"
        return finding(OMNISCIENT, "fault", "task", text, **figures)
    if original.success_rate >= HALF * truth:
        return finding(OMNISCIENT, "ok", None, f"The policy makes good use of what it sees. {numbers}", **figures)
    if original.success_rate < estimate:
        text = f"The policy has not learned what PN makes of the same observations. {numbers}"
        return finding(OMNISCIENT, "fault", "policy", text, **figures)
    text = f"What the truth would allow is lost in the estimate. {numbers}"
    return finding(OMNISCIENT, "fault" if estimate < HARDLY_EVER else "warning", "observation", text, **figures)


def turned(setup: Setup, original: Recording, policy: Policy) -> Finding:
    """Whether the policy was trained in another action frame: then turning its actions back raises its success.

    The turn is the rotation or reflection that brings its actions closest to PN's on the same observations.
    Source: Kabsch, Acta Crystallographica A 32 (1976) 922.
    """
    where = original.running
    wanted = law("pn", setup.config, setup.scenario).command(original.observations[where])
    left, _, right = np.linalg.svd(np.nan_to_num(original.actions[where]).T @ wanted)
    turn = left @ right
    angle = float(np.degrees(np.arccos(np.clip(np.diag(turn).min(), -1.0, 1.0))))  # of the axis that moves most
    changed = record(_Turned(policy, turn), setup)
    figures = {"angle": angle, "policy": original.success_rate, "turned": changed.success_rate}
    numbers = (
        f"Turned by {angle:.0f} deg, to where its actions resemble PN's most, the policy succeeds in "
        f"{percent(changed.success_rate)} instead of {percent(original.success_rate)}."
    )
    if changed.success_rate - original.success_rate > TURNED_GAIN:
        text = f"The policy was trained in another action frame than the simulation's. {numbers}"
        return finding(TURNED, "fault", "frame", text, **figures)
    return finding(TURNED, "ok", None, f"The policy acts in the simulation's frame. {numbers}", **figures)


def noise(setup: Setup, original: Recording, stochastic: Policy | None) -> Finding:
    """What the noise of its training costs the policy, or gains it."""
    if stochastic is None:
        return finding(NOISE, "skipped", None, "The policy acts without noise in training, too.")
    changed = record(stochastic, setup)
    gain, chance = _gain(changed, original)
    figures = {"deterministic": original.success_rate, "stochastic": changed.success_rate, "p_value": chance}
    numbers = (
        f"Without its noise the policy succeeds in {percent(original.success_rate)}, with it in "
        f"{percent(changed.success_rate)} (p = {chance:.2g})."
    )
    if gain > 0.0 and chance < SIGNIFICANT:
        text = f"The policy needs its noise: what is evaluated is worse than what was trained. {numbers}"
        return finding(NOISE, "warning", "policy", text, **figures)
    return finding(NOISE, "ok", None, f"The policy does not depend on its noise. {numbers}", **figures)


def memory(setup: Setup, original: Recording, policy: Policy, *, recurrent: bool) -> Finding:
    """What carrying the recurrent state from timestep to timestep is worth."""
    if not recurrent:
        return finding(MEMORY, "skipped", None, "The policy has no memory.")
    changed = record(_Forgetful(policy), setup)
    gain, chance = _gain(changed, original)
    figures = {"carried": original.success_rate, "dropped": changed.success_rate, "p_value": chance}
    numbers = (
        f"With its memory carried the policy succeeds in {percent(original.success_rate)}, with it dropped at "
        f"every timestep in {percent(changed.success_rate)} (p = {chance:.2g})."
    )
    if chance >= SIGNIFICANT:
        return finding(MEMORY, "ok", None, f"The memory makes no measurable difference. {numbers}", **figures)
    if gain > 0.0:
        return finding(MEMORY, "fault", "policy", f"The memory does harm. {numbers}", **figures)
    return finding(MEMORY, "ok", None, f"The policy uses its memory. {numbers}", **figures)


def _gain(changed: Recording, original: Recording) -> tuple[float, float]:
    """The gain in success, and the probability of as large a difference of either sign by chance."""
    won = int((changed.success & ~original.success).sum())
    lost = int((original.success & ~changed.success).sum())
    return changed.success_rate - original.success_rate, min(1.0, 2 * mcnemar_one_sided(max(won, lost), min(won, lost)))


@dataclass(frozen=True)
class _Turned:
    """A policy whose actions are multiplied by a matrix."""

    policy: Policy
    turn: np.ndarray
    name: str = "turned"
    frame: Frame = "line_of_sight"

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        action, state = self.policy.predict(observation, state, episode_start)
        return action @ self.turn, state


@dataclass(frozen=True)
class _Forgetful:
    """A recurrent policy to which every timestep is the first."""

    policy: Policy
    name: str = "forgetful"
    frame: Frame = "line_of_sight"

    def predict(self, observation: np.ndarray, state: Any, episode_start: np.ndarray) -> tuple[np.ndarray, Any]:
        return self.policy.predict(observation, None, np.ones_like(episode_start))[0], None
