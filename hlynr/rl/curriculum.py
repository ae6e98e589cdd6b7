"""The curriculum: the capture radius of the training's own engagements.

Evaluations always use the declared radius: a curriculum can make a training easier, never its evaluation.
"""

from typing import Any

from hlynr.config.config import Config


class RadiusCurriculum:
    """The stage of ``train.curriculum``, advanced between rollouts."""

    def __init__(self, config: Config) -> None:
        self._settings = config.train.curriculum
        self._declared = config.scenarios[config.train.scenario].capture_radius
        self._stage = 0
        self._recent: list[tuple[int, int]] = []  # episodes and successes per rollout at the present radius

    @property
    def radius(self) -> float:
        """Capture radius [m] from now on."""
        return self._declared if self._settings.mode == "frozen" else self._settings.radii[self._stage]

    def advance(self, timesteps: int, episodes: int, successes: int) -> bool:
        """Count a rollout that ended at ``timesteps``; True if the radius has changed.

        By schedule the radius changes with the first rollout that starts at or after its time. By mastery it changes
        once the newest rollouts with ``episodes`` or more episodes at this radius reach the required success;
        counting then restarts, so that no success at an easier radius counts for a harder one.
        """
        before = self._stage
        if self._settings.mode == "schedule":
            self._stage = sum(end <= timesteps for end in self._settings.until)
        elif self._settings.mode == "mastery" and self._mastered(episodes, successes):
            self._stage += 1
            self._recent = []
        return self._stage != before

    def _mastered(self, episodes: int, successes: int) -> bool:
        if self._stage == len(self._settings.radii) - 1:
            return False
        self._recent.append((episodes, successes))
        while sum(count for count, _ in self._recent[1:]) >= self._settings.episodes:
            self._recent.pop(0)
        episodes = sum(count for count, _ in self._recent)
        successes = sum(wins for _, wins in self._recent)
        return episodes >= self._settings.episodes and successes >= self._settings.success * episodes

    def state_dict(self) -> dict[str, Any]:
        """Plain values for `load_state_dict`."""
        return {"stage": self._stage, "recent": [list(pair) for pair in self._recent]}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restore what `state_dict` returned under the same settings."""
        self._stage = saved["stage"]
        self._recent = [(count, wins) for count, wins in saved["recent"]]
