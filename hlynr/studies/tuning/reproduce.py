"""A trial of a search trained alone, and its learning curve compared with the one in the study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hlynr.config import params
from hlynr.config.project import Project
from hlynr.records.training import TrainResult
from hlynr.records.tuning import TrialRecord
from hlynr.runtime.errors import InputError
from hlynr.studies.tuning import trial
from hlynr.studies.tuning.search_config import SearchConfig


@dataclass(frozen=True)
class ReproducedTrial:
    """One training of a trial, to be repeated."""

    project: Project
    out: Path
    trial: TrialRecord
    """As the study has it."""

    def compared(self, now: TrainResult) -> str:
        """One line: whether the training's curve is the one in the study."""
        seed = self.project.config.train_seed
        curve = [(point.timesteps, point.success_rate) for point in now.evaluations]
        known = next((run for run in self.trial.runs if run.seed == seed), None)
        if known is None:
            return f"trial {self.trial.number} has no finished training with seed {seed} to compare with"
        before = [(point.timesteps, point.success_rate) for point in known.points]
        if curve == before:
            return f"the same curve as in the study, {len(curve)} evaluations"
        for (timesteps, rate), (_, rate_then) in zip(curve, before, strict=False):
            if rate != rate_then:
                return f"another curve than in the study: {rate:.1%} at {timesteps:,} timesteps, then {rate_then:.1%}"
        return f"another length than in the study: {len(curve)} evaluations, then {len(before)}"


def load(path: Path, overrides: Iterable[str], strategy: str | None, reference: str) -> ReproducedTrial:
    """The trial ``STUDY:N`` with its first seed; ``overrides`` come last.

    Raises:
        InputError: if there is no such trial, or its study is not that of params.yaml.
        hlynr.config.params.ConfigError: if the overrides make its configuration invalid.
    """
    overrides = list(overrides)
    name = reference.rpartition(":")[0]
    if not name:
        raise InputError(f"--trial: {reference}: is not STUDY:N, like stability:7")
    around = [f"run.strategy={strategy}"] if strategy else []
    config = params.load(path, [*overrides, *around, f"tune.study={name}"])
    search = SearchConfig(root=str(path.absolute().parent.resolve()), config=config)
    found = trial.named(reference, search)
    own = search.trial(found.number, found.train, config.tune.seeds[0])
    changed = params.parse(own.model_dump(mode="json"), overrides)
    out = search.folder / f"trial-{found.number}"
    return ReproducedTrial(Project(Path(search.root), changed), out, found)
