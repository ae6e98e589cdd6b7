"""The whole of params.yaml as one frozen model."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from hlynr.config import checks, former_names, sections
from hlynr.config.base import Named, Section
from hlynr.config.scenarios import Scenario


class Config(Section):
    """The whole of params.yaml."""

    run: sections.Run
    sim: sections.Sim
    tracker: sections.Tracker
    scenarios: Annotated[Named[Scenario], Field(min_length=1)]
    reward: sections.Reward
    policy: sections.GuidanceLaws
    train: sections.Train
    monitor: sections.Monitor
    strategies: Annotated[Named[sections.Strategy], Field(max_length=100)]
    evaluation: sections.Evaluation
    gate: sections.Gate
    tracking: sections.Tracking
    versioning: sections.Versioning
    retrain: sections.Retrain
    stability: sections.Stability
    tune: sections.Tune
    schedule: sections.Schedule
    service: sections.Service
    alerts: sections.Alerts
    retention: sections.Retention

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as JSON: pickle cannot name the classes that pydantic makes for overlays and phases."""
        return type(self).model_validate_json, (self.model_dump_json(),)

    def contradictions(self) -> list[str]:
        return checks.faults({name: getattr(self, name) for name in type(self).model_fields})

    @property
    def train_seed(self) -> int:
        return self.train.seed + self.run.retraining

    @property
    def report_seed(self) -> int:
        return self.evaluation.report_seed + self.run.retraining

    @property
    def heldout_seed(self) -> int:
        """Shifted every retraining: engagements that chose a champion never judge its challengers again."""
        return self.evaluation.heldout_seed + self.run.retraining

    def digest(self) -> str:
        """sha256 of the canonical JSON of the values; equal for equal configurations whatever the file's layout.

        Without the sections of the service: a retraining is the same retraining whenever it is scheduled.
        """
        values = self.model_dump(mode="json", exclude=set(sections.SERVICE))
        former_names.to_former(values)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def flat(self) -> dict[str, Any]:
        """All leaves under dotted names; lists stay whole."""
        return dict(_leaves(self.model_dump(mode="json")))


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
