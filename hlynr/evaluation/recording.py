"""Recordings: episodes with every state, observation and action kept, in a world that tests can exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, Protocol, Self

import numpy as np

from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch
from hlynr.envs.reward import TERMS
from hlynr.evaluation.policy import Policy
from hlynr.evaluation.rollout import EpisodeResults, timesteps
from hlynr.sim.state import OUTCOMES, RUNNING, track_position


class World(Protocol):
    """Makes batches of engagements; `EngagementBatch` is the one of training and evaluation."""

    def __call__(
        self, config: Config, scenario: str, *, count: int, seed: int, omniscient: bool = False
    ) -> EngagementBatch: ...


@dataclass(frozen=True)
class Setup:
    """What is recorded: episodes 0 .. ``episodes`` - 1 of ``seed`` in a scenario of a world."""

    config: Config
    scenario: str
    seed: int
    episodes: int
    world: World = EngagementBatch

    def altered(self, changes: Mapping[str, Any], episodes: int | None = None) -> Self:
        """The same with settings changed by their dotted names, below ``scenario.`` those of this scenario.

        Nothing is validated: a diagnosis also runs configurations that params.yaml could not hold.
        """
        config = self.config
        for name, value in changes.items():
            section, *rest = name.split(".")
            if section == "scenario":
                changed = _with(config.scenarios[self.scenario], rest, value)
                config = config.model_copy(update={"scenarios": {**config.scenarios, self.scenario: changed}})
            else:
                config = _with(config, [section, *rest], value)
        return replace(self, config=config, episodes=self.episodes if episodes is None else episodes)

    def batch(self, count: int, *, omniscient: bool = False) -> EngagementBatch:
        """Episodes 0 .. ``count`` - 1, started."""
        batch = self.world(self.config, self.scenario, count=count, seed=self.seed, omniscient=omniscient)
        batch.start(np.arange(count), np.arange(count))
        return batch


def _with(section: Any, path: list[str], value: Any) -> Any:
    key, *rest = path
    return section.model_copy(update={key: _with(getattr(section, key), rest, value) if rest else value})


@dataclass(frozen=True)
class Trajectory:
    """One engagement, sampled once per timestep (T rows), positions in [m] east, north, up."""

    policy: str
    episode: int
    outcome: str
    miss_distance: float
    time: np.ndarray
    target: np.ndarray
    own: np.ndarray
    estimate: np.ndarray
    """The track at the same times."""


@dataclass(frozen=True)
class Recording(EpisodeResults):
    """N engagements over the T timesteps of the longest; what had ended repeats its last state without a reward."""

    policy: str
    states: np.ndarray
    """(T + 1, N) of `hlynr.sim.state.STATE`, the spawn first."""
    observations: np.ndarray
    """(T, N, SIZE) float32."""
    actions: np.ndarray
    """(T, N, 3), in the line-of-sight frame."""

    @property
    def running(self) -> np.ndarray:
        """(T, N) bool: whether the engagement was still running when the timestep began."""
        return np.asarray(self.states["outcome"][:-1] == RUNNING)

    @cached_property
    def distance(self) -> np.ndarray:
        """True separation, (T + 1, N) [m]."""
        return np.asarray(np.linalg.norm(self.states["target_pos"] - self.states["own_pos"], axis=2))

    @cached_property
    def estimate(self) -> np.ndarray:
        """The track, carried forward to each timestep, (T + 1, N, 3) [m]."""
        return track_position(self.states, self.dt)

    def trajectory(self, row: int) -> Trajectory:
        """One engagement, up to its end."""
        length = int(self.running[:, row].sum()) + 1
        states, final = self.states[:length, row], self.final[row]
        return Trajectory(
            policy=self.policy,
            episode=row,
            outcome=OUTCOMES[final["outcome"]],
            miss_distance=float(final["min_distance"]),
            time=states["tick"] * self.dt,
            target=states["target_pos"],
            own=states["own_pos"],
            estimate=self.estimate[:length, row],
        )


def record(policy: Policy, setup: Setup, *, omniscient: bool = False, limit: int | None = None) -> Recording:
    """Record the engagements of ``setup`` in one batch, to their ends or for ``limit`` timesteps.

    300 engagements of 25 s take 55 MB.
    """
    batch = setup.batch(setup.episodes, omniscient=omniscient)
    states, observations, actions = [batch.state.copy()], [], []
    terms = np.zeros((setup.episodes, len(TERMS)))
    for observation, action, rewards in islice(timesteps(policy, batch), limit):
        states.append(batch.state.copy())
        observations.append(observation)
        actions.append(action)
        terms += rewards
    return Recording(
        policy=policy.name,
        states=np.stack(states),
        final=states[-1],
        observations=np.stack(observations),
        actions=np.stack(actions),
        terms=terms,
        dt=float(batch.params["dt"][0]),
    )
