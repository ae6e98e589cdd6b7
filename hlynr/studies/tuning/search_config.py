"""The configuration of a search, those of its trials and candidates, and its winner as a strategy of params.yaml."""

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hlynr.config import checks, params, strict_yaml
from hlynr.config.config import Config
from hlynr.config.messages import explain
from hlynr.config.params import ConfigError
from hlynr.config.project import Project
from hlynr.config.schedules import first, scaled
from hlynr.config.search_space import SCHEDULES, Space, Suggester
from hlynr.config.sections import DEFAULT, Train
from hlynr.ops.versioning import params_file
from hlynr.records.base import Record
from hlynr.records.tuning import TuneRecord
from hlynr.runtime import output_files
from hlynr.runtime.errors import InputError

_FIXED = ("run.retraining=0", "train.device=cpu", "train.torch_threads=1")
"""One thread each: the other cores are for the other workers, and the results can be reproduced."""


class SearchConfig(Record):
    """A search, as each of its processes gets it."""

    root: str
    config: Config
    """With the strategy that is searched around."""

    @property
    def folder(self) -> Path:
        """Of all that the search writes."""
        return Project(Path(self.root), self.config).tune / self.config.tune.study

    def workers(self, given: int | None) -> int:
        """Processes on this machine."""
        return given or self.config.tune.workers or os.cpu_count() or 1

    def named(self, number: int | None) -> str:
        """The strategy of a trial; None for the one that is searched around."""
        return self.config.run.strategy if number is None else f"{self.config.tune.study}-{number}"

    def trial(self, number: int | None, train: Mapping[str, Any], seed: int) -> Config:
        """Of a trial's training with one of its seeds; None for the strategy itself, with a trial's budget.

        Raises:
            ConfigError: if it is invalid.
        """
        tune = self.config.tune
        budget = (f"train.timesteps={tune.timesteps}", f"train.checkpoint_interval={tune.timesteps}")
        return self._under(number, train, *budget, f"monitor.interval={tune.interval}", f"train.seed={seed}")

    def candidate(self, number: int | None, train: Mapping[str, Any], seed: int) -> Config:
        """Of a trial's training for the confirmation; None for the strategy itself.

        Raises:
            ConfigError: if it is invalid.
        """
        confirm = self.config.tune.confirm
        overrides = (
            f"train.timesteps={confirm.timesteps}",
            f"train.seed={seed}",
            f"evaluation.heldout_seed={confirm.heldout_seed}",
            f"tune.confirm.heldout_seed={self.config.evaluation.heldout_seed}",  # swapped: the two must differ
        )
        return self._under(number, train, *overrides)

    def definition(self) -> dict[str, Any]:
        """All that the value of a trial depends on, by dotted names; the same for all trials of a study."""
        tune = self.config.tune
        config = self.trial(None, {}, tune.seeds[0])
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

    def _under(self, number: int | None, train: Mapping[str, Any], *overrides: str) -> Config:
        tree = self.config.model_dump(mode="json")
        if number is not None:
            tree["run"]["strategy"] = self.named(number)
            tree["strategies"][self.named(number)] = {"train": dict(train)}
        return params.parse(tree, [*_FIXED, *overrides])


def load(path: Path, overrides: Iterable[str] = ()) -> SearchConfig:
    """The search that ``path`` describes.

    Raises:
        ConfigError: listing every fault, those of impossible bounds and combinations of the space among them.
        InputError: if the space is empty, or an override sets a searched setting.
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
    """Faults of the budgets, by their keys in the section tune."""
    tune = search.config.tune
    try:
        search.trial(None, {}, tune.seeds[0])
    except ConfigError as error:
        for fault in error.faults:
            if not fault.startswith("train.checkpoint_interval"):  # follows from the timesteps
                yield fault.replace("train.timesteps", "tune.timesteps").replace("monitor.interval", "tune.interval")
    try:
        search.candidate(None, {}, tune.confirm.seeds[0])
    except ConfigError as error:
        for fault in error.faults:
            if not fault.startswith("train.checkpoint_interval"):
                yield fault.replace("train.timesteps", "tune.confirm.timesteps")


def _combinations(search: SearchConfig) -> Iterator[str]:
    """Extreme values that are impossible, alone or two together."""
    tune, config = search.config.tune, search.config
    train = config.train
    base = train.model_dump(mode="json") | {"timesteps": tune.timesteps, "checkpoint_interval": tune.timesteps}
    base |= applied(nearest(tune.space, train), train)  # values outside the space are never used
    monitor = config.monitor.model_copy(update={"interval": tune.interval})
    known = {"sim": config.sim, "scenarios": config.scenarios, "monitor": monitor}
    impossible: list[dict[str, Any]] = []
    for values in pairs(tune.space, train):
        if any(alone.items() <= values.items() for alone in impossible):
            continue
        changed = base | applied(values, train)
        try:
            tried = type(train).model_validate_json(json.dumps(changed))
        except ValidationError as error:
            faults = [f"train.{line}" for detail in error.errors() for line in explain(detail, {})]
        else:
            faults = checks.faults({**known, "train": tried})
        if faults:
            impossible.append(values)
            what = " with ".join(f"{name} = {json.dumps(value)}" for name, value in values.items())
            yield f"tune.space: {what} cannot be: {faults[0].replace('train.timesteps', 'tune.timesteps')}"


def draw(space: Space, train: Train, trial: Suggester) -> dict[str, Any]:
    """The changes of ``train`` that a trial suggests; schedules whole."""
    return applied({name: entry.draw(trial, name) for name, entry in space.searched(train.algorithm).items()}, train)


def nearest(space: Space, train: Train) -> dict[str, Any]:
    """The present values of the searched settings, moved into the space where they lie outside."""
    return {
        name: entry.nearest(first(getattr(train, name)) if name in SCHEDULES else getattr(train, name))
        for name, entry in space.searched(train.algorithm).items()
    }


def point(space: Space, train: Train) -> dict[str, Any]:
    """Optuna's parameters of the `nearest` values."""
    values, entries = nearest(space, train), space.searched(train.algorithm)
    return {key: value for name in values for key, value in entries[name].point(name, values[name]).items()}


def applied(values: Mapping[str, Any], train: Train) -> dict[str, Any]:
    """The searched values as keys of the section train."""
    return {name: scaled(getattr(train, name), value) if name in SCHEDULES else value for name, value in values.items()}


def pairs(space: Space, train: Train) -> Iterator[dict[str, Any]]:
    """Each extreme value alone, then each two of different settings."""
    extremes = [
        (name, value)
        for name, entry in space.searched(train.algorithm).items()
        for value in dict.fromkeys(entry.extremes())
    ]
    yield from ({name: value} for name, value in extremes)
    for number, (name, value) in enumerate(extremes):
        yield from ({other: its, name: value} for other, its in extremes[:number] if other != name)


def overlay(search: SearchConfig, train: Mapping[str, Any]) -> dict[str, Any]:
    """A trial as a strategy of params.yaml: the strategy searched around with the changes of the trial."""
    base = search.config.run.strategy
    known = {} if base == DEFAULT else search.config.model_dump(mode="json")["strategies"][base]
    whole = {**known, "train": {**known.get("train", {}), **train}}
    return {section: values for section, values in whole.items() if values}


def proposal(path: Path, search: SearchConfig, record: TuneRecord) -> tuple[str, str]:
    """The text of the file, now and with the winner as the strategy named like the study."""
    before = params.text(path)
    after = params_file.with_strategy(before, record.study, overlay(search, record.won.train))
    return before, after


def diff(path: Path, before: str, after: str) -> str:
    """The change, as `diff -u` shows it; empty if there is none."""
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), str(path))
    return "".join(lines)


def apply(path: Path, after: str, name: str) -> None:
    """Write the file, if it is valid with the new strategy.

    Raises:
        hlynr.config.params.ConfigError: if it is not; the file is unchanged.
    """
    params.parse(strict_yaml.load(after), [f"run.strategy={name}"])
    output_files.write_text(path, after)
