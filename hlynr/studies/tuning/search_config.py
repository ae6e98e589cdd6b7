"""What is searched, around what: one configuration, and the ones that its trials and candidates train under."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hlynr.config import checks, params
from hlynr.config.config import Config
from hlynr.config.params import ConfigError
from hlynr.config.project import Project
from hlynr.config.sections import DEFAULT
from hlynr.records.base import Record
from hlynr.runtime.errors import InputError
from hlynr.studies.tuning import space

_FIXED = ("run.retraining=0", "train.device=cpu", "train.torch_threads=1")
"""So that a trial can be had again on every machine of the kind, and the cores are for the other workers."""


class SearchConfig(Record):
    """A search as every one of its processes knows it."""

    root: str
    config: Config
    """Under the strategy that is searched around."""

    @property
    def folder(self) -> Path:
        """What the search writes."""
        return Project(Path(self.root), self.config).tune / self.config.tune.study

    def workers(self, given: int | None) -> int:
        """Processes on this machine."""
        return given or self.config.tune.workers or os.cpu_count() or 1

    def named(self, number: int) -> str:
        """What a trial is called as a strategy."""
        return f"{self.config.tune.study}-{number}"

    def trial(self, number: int, train: Mapping[str, Any], seed: int) -> Config:
        """Under which a trial trains with one of its seeds.

        Raises:
            ConfigError: if it cannot be.
        """
        return self.searched(seed, self.named(number), train)

    def searched(self, seed: int, name: str | None = None, train: Mapping[str, Any] | None = None) -> Config:
        """The strategy that is searched around with a trial's budget, and what a trial of that name changes."""
        tune = self.config.tune
        budget = (f"train.timesteps={tune.timesteps}", f"train.checkpoint_interval={tune.timesteps}")
        return self._under(name, train or {}, *budget, f"monitor.interval={tune.interval}", f"train.seed={seed}")

    def candidate(self, number: int | None, train: Mapping[str, Any], seed: int) -> Config:
        """Under which a trial, or the strategy itself, is trained again.

        Raises:
            ConfigError: if it cannot be.
        """
        confirm = self.config.tune.confirm
        overrides = (
            f"train.timesteps={confirm.timesteps}",
            f"train.seed={seed}",
            f"evaluation.heldout_seed={confirm.heldout_seed}",
            f"tune.confirm.heldout_seed={self.config.evaluation.heldout_seed}",  # they change places, to stay apart
        )
        return self._under(None if number is None else self.named(number), train, *overrides)

    def definition(self) -> dict[str, Any]:
        """All on which the outcome of a trial depends, by dotted names; a study has one of them."""
        tune = self.config.tune
        config = self.searched(tune.seeds[0])
        own = {key: value for key, value in self.config.flat().items() if key.startswith("tune.space.")}
        own |= {
            f"tune.{key}": value
            for key, value in tune.model_dump(mode="json").items()
            if key in ("timesteps", "interval", "seeds", "drop_penalty", "prune_after", "prune_below")
        }
        sections = ("sim.", "tracker.", "reward.", "train.", "monitor.", f"scenarios.{config.train.scenario}.")
        varies = ("train.seed", "train.timesteps", "train.checkpoint_interval", "monitor.interval")
        own |= {key: value for key, value in config.flat().items() if key.startswith(sections) and key not in varies}
        return json.loads(json.dumps(own))  # type: ignore[no-any-return]

    def _under(self, name: str | None, train: Mapping[str, Any], *overrides: str) -> Config:
        tree = self.config.model_dump(mode="json")
        if name is None:
            tree["run"]["strategy"] = self.config.run.strategy
        else:
            tree["strategies"][name] = {"train": dict(train)}
            tree["run"]["strategy"] = name
        return params.parse(tree, [*_FIXED, *overrides])


def load(path: Path, overrides: Iterable[str] = ()) -> SearchConfig:
    """The search that ``path`` describes.

    Raises:
        ConfigError: listing every fault found, those of the space among them: bounds and combinations that cannot be.
        InputError: if the space is empty, or an override would take the place of what is searched.
    """
    overrides = list(overrides)
    config = params.load(path, overrides)
    search = SearchConfig(root=str(path.absolute().parent.resolve()), config=config)
    searched = config.tune.space.searched(config.train.algorithm)
    if not searched:
        raise InputError(f"tune.space: holds nothing to search in a training with {config.train.algorithm}")
    for override in overrides:
        key = override.partition("=")[0].strip().split(".")
        if key[0] == "train" and key[1:2] and key[1] in searched:
            raise InputError(f"train.{key[1]}: is searched; take tune.space.{key[1]} out to give it a value")
    faults = list(_budget(search)) or list(_combinations(search))
    if faults:
        raise ConfigError(faults)
    return search


def _budget(search: SearchConfig) -> Iterator[str]:
    """Faults of the budgets, which stand in the section tune and not where a training has them."""
    tune = search.config.tune
    names = {"train.timesteps": "tune.timesteps", "monitor.interval": "tune.interval"}
    confirm = {"train.timesteps": "tune.confirm.timesteps"}
    tries: tuple[tuple[Callable[[], Config], dict[str, str]], ...] = (
        (lambda: search.searched(tune.seeds[0]), names),
        (lambda: search.candidate(None, {}, tune.confirm.seeds[0]), confirm),
    )
    for attempt, renamed in tries:
        try:
            attempt()
        except ConfigError as error:
            for fault in error.faults:
                if not fault.startswith("train.checkpoint_interval"):  # follows from the timesteps
                    yield _renamed(fault, renamed)


def _renamed(fault: str, names: Mapping[str, str]) -> str:
    for name, own in names.items():
        fault = fault.replace(name, own)
    return fault


def _combinations(search: SearchConfig) -> Iterator[str]:
    """Extreme values that are impossible, alone or two together."""
    tune, config = search.config.tune, search.config
    train = config.train
    base = train.model_dump(mode="json") | {"timesteps": tune.timesteps, "checkpoint_interval": tune.timesteps}
    base |= space.applied(space.nearest(tune.space, train), train)  # they are never as they stand
    monitor = config.monitor.model_copy(update={"interval": tune.interval})
    known = {"sim": config.sim, "scenarios": config.scenarios, "monitor": monitor}
    impossible: list[dict[str, Any]] = []
    for values in space.pairs(tune.space, train):
        if any(alone.items() <= values.items() for alone in impossible):
            continue
        changed = base | space.applied(values, train)
        try:
            tried = type(train).model_validate_json(json.dumps(changed))
        except ValueError as error:
            faults = [f"train.{line}" for line in _told(error)]
        else:
            faults = checks.faults({**known, "train": tried})
        if faults:
            impossible.append(values)
            what = " with ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
            yield f"tune.space: {what} cannot be: {faults[0].replace('train.timesteps', 'tune.timesteps')}"


def _told(error: Any) -> list[str]:
    return [
        line
        for detail in error.errors()
        for line in str(detail.get("ctx", {}).get("error", detail["msg"])).splitlines()
    ]


def overlay(search: SearchConfig, train: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as a strategy of params.yaml: what the strategy searched around says, and what the trial changes."""
    base = search.config.run.strategy
    known = {} if base == DEFAULT else search.config.model_dump(mode="json")["strategies"][base]
    whole = {**known, "train": {**known.get("train", {}), **train}}
    return {section: values for section, values in whole.items() if values}
