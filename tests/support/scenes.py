"""What the tests of the environments share: engagements under way, and transformed scenes."""

import numpy as np

from hlynr.config.config import Config
from hlynr.envs.batch import EngagementBatch

VECTORS = (
    "target_pos", "target_vel", "target_acc", "weave_axis", "jink", "own_pos", "own_vel", "own_acc", "wind", "gust",
    "track_pos", "track_vel", "track_acc", "queue_pos",
)  # fmt: skip
"""The columns of a state that are vectors in space."""


def in_flight(config: Config, scenario: str = "reference", *, count: int = 50, timesteps: int = 25) -> EngagementBatch:
    """Engagements some way into their flight, after the same actions in every call."""
    batch = EngagementBatch(config, scenario, count=count, seed=11)
    batch.start(np.arange(count), np.arange(count))
    generator = np.random.default_rng(3)
    for _ in range(timesteps):
        batch.step(generator.uniform(-1.0, 1.0, (count, 3)))
    return batch


def seen_through(batch: EngagementBatch, matrix: np.ndarray) -> None:
    """Replace every vector v of the scene by ``matrix @ v``, in place."""
    for name in VECTORS:
        batch.state[name] = batch.state[name] @ matrix.T


def rotation(angle: float) -> np.ndarray:
    """About the vertical, by ``angle`` [rad]."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


MIRROR = np.diag([1.0, -1.0, 1.0])
"""North and south exchanged."""


def actions(timesteps: int, rows: int) -> np.ndarray:
    """Random actions in the box, (timesteps, rows, 3), the same each time."""
    return np.random.default_rng(8).uniform(-1.0, 1.0, (timesteps, rows, 3)).astype(np.float32)
