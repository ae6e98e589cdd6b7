"""What the tests of the simulation share: building a world by overrides, running it, and a simple homing law."""

from collections.abc import Iterable, Iterator

import numpy as np

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.sim import engagement, scenario
from hlynr.sim.spawn import initial
from hlynr.sim.state import RUNNING, STATE
from support import ROOT

# Scenarios already resolved, so that an override reaches a leaf that a scenario inherits.
# No discount, because the check of the training horizon rejects some of the timesteps used here.
_TREE = params.load(ROOT / "params.yaml", ["train.gamma=1.0"]).model_dump(mode="json")

QUIET = ("sim.gravity=0", "interceptor.drag=0", "wind.speed=[0, 0]", "wind.gust=0")
"""No force on the interceptor but its own."""

STEADY = ("target.weave=[0, 0]", "target.jink=0")
"""A target on a straight course."""

ALL_SEEING = ("radar.half_angle=180", "radar.detection_peak=1", "radar.detection_range=1e9", "radar.dropout=0")
"""A radar that detects at every scan."""

EXACT = ("cue.position_error=1e-6", "cue.velocity_error=1e-6", "radar.noise_floor=1e-6", "radar.noise_fraction=0")
"""Next to no measurement noise; the settings must be positive."""

COLLINEAR = (
    "spawn.aim_spread=0", "interceptor.launch_error=0", "interceptor.launch_elevation_min=0",
    "interceptor.launch_height=1e-6", *STEADY, *EXACT,
)  # fmt: skip
"""Target, interceptor and line of sight on one straight line, so that an axial command never turns."""

EACH_SCAN = ("sim.control_interval=5", "sim.radar_interval=5")
"""One timestep per radar scan, so that every scan's result can be seen."""


def configured(name: str, *overrides: str) -> Config:
    """The repository's configuration; overrides that name no section belong to scenario ``name``."""
    sections = ("sim.", "tracker.")
    return params.parse(_TREE, [o if o.startswith(sections) else f"scenarios.{name}.{o}" for o in overrides])


class Arena:
    """A batch of engagements of one scenario."""

    def __init__(
        self,
        name: str = "reference",
        *overrides: str,
        episodes: Iterable[int] = range(100),
        seed: int = 7,
        omniscient: bool = False,
    ) -> None:
        self.config = configured(name, *overrides)
        self.scenario = self.config.scenarios[name]
        self.params = scenario.parameters(self.config, name, omniscient=omniscient)
        self.episodes = np.fromiter(episodes, np.int64)
        self.state = np.zeros(len(self.episodes), dtype=STATE)
        initial(self.state, np.arange(len(self.episodes)), self.episodes, seed, self.params)

    @property
    def running(self) -> np.ndarray:
        return self.state["outcome"] == RUNNING

    @property
    def relative(self) -> np.ndarray:
        return self.state["target_pos"] - self.state["own_pos"]

    def advance(self, action: np.ndarray | tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """One timestep with one action for all, (3,), or one each, (N, 3)."""
        full = np.ascontiguousarray(np.broadcast_to(np.asarray(action, float), (len(self.state), 3)))
        engagement.advance(self.state, full, self.params)

    def run_episodes(
        self, timesteps: int, action: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> Iterator[np.ndarray]:
        """Advance ``timesteps`` times; yields the live state after each."""
        for _ in range(timesteps):
            self.advance(action)
            yield self.state

    def finish(self, action: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
        """Advance until every engagement has an outcome."""
        while self.running.any():
            self.advance(action)
        return self.state


def homing(state: np.ndarray, dt: float, constant: float = 3.0) -> np.ndarray:
    """Proportional navigation on the track, the rest of the limit along the line of sight, (N, 3) in its frame."""
    ahead = ((state["tick"] - state["track_tick"]) * dt)[:, None]
    relative = state["track_pos"] + ahead * state["track_vel"] - state["own_pos"]
    velocity = state["track_vel"] - state["own_vel"]
    distance = np.linalg.norm(relative, axis=1, keepdims=True)
    los = relative / distance
    los_rate = np.cross(relative, velocity) / distance**2
    closing = -np.sum(velocity * los, axis=1, keepdims=True)
    wanted = constant * np.maximum(closing, 50.0) * np.cross(los_rate, los)
    left = np.cross([0.0, 0.0, 1.0], los)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    aside = np.stack([np.sum(wanted * left, axis=1), np.sum(wanted * np.cross(los, left), axis=1)], axis=1) / 40.0
    aside /= np.maximum(1.0, np.linalg.norm(aside, axis=1, keepdims=True))
    axial = np.sqrt(np.maximum(0.0, 1.0 - np.sum(aside**2, axis=1)))
    return np.column_stack([axial, aside])
