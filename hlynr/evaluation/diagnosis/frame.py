"""Whether action and observation share their axes, probed by pushing along each of them from recorded states.

The action frame is the line-of-sight frame of the estimate, the observation is given in the same one, and both are
orthonormal. So a push along an action axis must show along the same axis of the observation, as much for every axis.
"""

from dataclasses import dataclass

import numpy as np

from hlynr.envs.observation import decode
from hlynr.evaluation.diagnosis.findings import finding, percent
from hlynr.evaluation.laws import law
from hlynr.evaluation.recording import Setup, record
from hlynr.records.diagnosis import Finding
from hlynr.sim.state import RUNNING, track_position

NAME = "frame"
EPISODES, PROBES = 50, 200
PUSH = 0.5
"""Below 1, so that no push is cut to the limit."""
TOLERANCE, EXACT = 5.0, 0.5
"""[deg] in the observation, whose frame itself turns during a push, and elsewhere."""
NEAREST = 500.0
"""[m] of estimated range; nearer, the line of sight turns too fast."""

BLOCKS = {
    "acceleration": (("own_acceleration_1", 1.0), ("own_acceleration_2", 1.0), ("own_acceleration_3", 1.0)),
    "velocity": (("own_velocity_1", 1.0), ("own_velocity_2", 1.0), ("own_velocity_3", 1.0)),
    "relative_velocity": (("closing_velocity", 1.0), ("relative_velocity_2", -1.0), ("relative_velocity_3", -1.0)),
}
"""Channels that answer to a push, by axis, with the sign of their answer."""


@dataclass(frozen=True)
class _Probe:
    """Answers to pushes from M states, (M, 3, 3), the pushed axis last; those in the observation by quantity."""

    observed: dict[str, np.ndarray]
    inertial: np.ndarray
    estimated_los: np.ndarray
    true_los: np.ndarray
    """Unit vectors (M, 3)."""


def check(setup: Setup) -> Finding:
    """Compare the frames of action, observation and estimate."""
    probe = _probe(setup)
    if probe is None:
        return finding(NAME, "skipped", None, "No engagement is ever far enough from its end to be probed.")
    turned = {name: _off_axis(answer) for name, answer in probe.observed.items()}
    skew = max(_skew(answer) for answer in (*probe.observed.values(), probe.inertial))
    uneven = max(_unevenness(answer) for answer in (*probe.observed.values(), probe.inertial))
    pushed = probe.inertial[:, :, 0]
    from_estimate, from_truth = _angle(pushed, probe.estimated_los), _angle(pushed, probe.true_los)
    figures = {f"off_axis_{name}": angle for name, angle in turned.items()}
    figures |= {"skew": skew, "unevenness": uneven, "off_estimate": from_estimate, "off_truth": from_truth}
    numbers = (
        f"A push along an axis of the action shows {max(turned.values()):.1f} deg off that axis of the observation at "
        f"most; the axes are {skew:.1f} deg from perpendicular and answer alike within {percent(uneven)}; the "
        f"first one lies {from_estimate:.1f} deg from the line of sight of the estimate ({from_truth:.1f} deg from the "
        f"true one)."
    )
    complaint = _complaint(max(turned.values()), skew, uneven, from_estimate, from_truth)
    if complaint:
        return finding(NAME, "fault", "frame", f"{complaint} {numbers}", **figures)
    return finding(NAME, "ok", None, f"Action and observation share one orthonormal frame. {numbers}", **figures)


def _complaint(turned: float, skew: float, uneven: float, from_estimate: float, from_truth: float) -> str:
    """In a sentence; empty if there is no complaint. A figure that is not a number is a complaint."""
    if not (skew <= TOLERANCE and uneven <= 0.1):
        return "The frame is not orthonormal."
    if from_truth <= 0.2 * from_estimate and from_estimate > EXACT:
        return "The action frame follows the truth instead of the estimate."
    if not from_estimate <= EXACT:
        return f"The action frame is turned by {from_estimate:.0f} deg from the line of sight of the estimate."
    if not turned <= TOLERANCE:
        return f"Action frame and observation frame differ by {turned:.0f} deg."
    return ""


def _probe(setup: Setup) -> _Probe | None:
    states = _states(setup)
    if not len(states):
        return None
    answers = []
    for axis in range(3):
        ahead, back = (_pushed(setup, states, sign * PUSH * np.eye(3)[axis]) for sign in (1.0, -1.0))
        answers.append({name: ahead[name] - back[name] for name in ahead})
    together = {name: np.stack([answer[name] for answer in answers], axis=2) for name in answers[0]}
    inertial = together.pop("inertial")
    return _Probe(
        observed=together,
        inertial=inertial,
        estimated_los=_unit(track_position(states, setup.config.sim.dt) - states["own_pos"]),
        true_los=_unit(states["target_pos"] - states["own_pos"]),
    )


def _states(setup: Setup) -> np.ndarray:
    """At most `PROBES` states under way, spread over engagements and time, (M,) of `STATE`."""
    recording = record(law("pn", setup.config, setup.scenario), setup.altered({}, EPISODES))
    states = recording.states[:-2]
    distance = np.linalg.norm(recording.estimate[:-2] - states["own_pos"], axis=2)
    usable = states[(recording.states["outcome"][2:] == RUNNING) & (distance > NEAREST) & (states["fuel"] > 0.1)]
    return np.asarray(usable[:: max(1, len(usable) // PROBES)][:PROBES])


def _pushed(setup: Setup, states: np.ndarray, action: np.ndarray) -> dict[str, np.ndarray]:
    """Observed vectors and true acceleration one timestep after pushing from ``states``; each (M, 3)."""
    batch = setup.batch(len(states))
    batch.state[:] = states
    batch.step(np.tile(action, (len(states), 1)))
    observation = batch.observe()
    answers = {
        name: np.stack([sign * decode(observation, channel) for channel, sign in axes], axis=1)
        for name, axes in BLOCKS.items()
    }
    return {**answers, "inertial": batch.state["own_acc"].copy()}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _angle(first: np.ndarray, second: np.ndarray) -> float:
    """Median angle [deg] between vectors (M, 3)."""
    cosine = (_unit(first) * _unit(second)).sum(axis=1)
    return float(np.median(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))))


def _off_axis(answer: np.ndarray) -> float:
    """Greatest median angle [deg] of a pushed axis to the axis it should show on."""
    return float(np.max([_angle(answer[:, :, axis], np.eye(3)[axis]) for axis in range(3)]))


def _skew(answer: np.ndarray) -> float:
    """Greatest median deviation [deg] of two axes from being perpendicular."""
    return max(abs(90.0 - _angle(answer[:, :, one], answer[:, :, other])) for one, other in ((0, 1), (0, 2), (1, 2)))


def _unevenness(answer: np.ndarray) -> float:
    """By how much the strongest median answer of an axis exceeds the weakest."""
    gains = np.median(np.linalg.norm(answer, axis=1), axis=0)
    return float(gains.max() / gains.min() - 1.0) if gains.min() > 0.0 else float("inf")
