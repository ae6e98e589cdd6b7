"""Reading params.yaml: YAML to `hlynr.config.config.Config`, with every fault as one line.

A line names the key, the value and what is allowed: ``train.clip_range.start: 1.5 should be less than 1``. What loads
or checks raises `ConfigError`, which lists every fault found.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from hlynr.config import checks, former_names, messages, strategies, strict_yaml
from hlynr.config.config import Config
from hlynr.config.inheritance import ScenarioInheritance
from hlynr.records.guarded_file import read_bytes
from hlynr.runtime.errors import InputError

FAULT_LIMIT = 100
"""Faults that are explained; looking for what was meant takes milliseconds each."""


class ConfigError(InputError):
    """Bad input; ``faults`` holds one line per fault."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(dict.fromkeys(faults))
        super().__init__("\n".join(self.faults))


def load(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read ``path`` and apply ``section.key=value`` overrides (values in YAML)."""
    return parse(read(path), overrides)


def load_plan(path: Path, overrides: Iterable[str] = ()) -> list[Config]:
    """The configuration under each strategy of ``retrain.plan``, in its order."""
    tree, overrides = read(path), list(overrides)
    return _under(tree, ((name, overrides) for name in parse(tree, overrides).retrain.plan))


def load_strategies(path: Path) -> list[Config]:
    """The configuration under each strategy of the file, which may contradict itself only once it is followed."""
    tree = read(path)
    return _under(tree, ((name, []) for name in parse(tree).strategies))


def load_stability(path: Path, overrides: Iterable[str] = ()) -> list[Config]:
    """The configuration of each run of the stability study, in its order.

    As of retraining 0: the seeds are those that the study names. On the CPU and one thread: the results do not depend
    on the device, and the other cores are for other runs.
    """
    tree, overrides = read(path), list(overrides)
    fixed = ["run.retraining=0", "train.device=cpu", "train.torch_threads=1"]
    return _under(
        tree,
        (
            (runs.strategy, [*overrides, *fixed, f"train.seed={seed}", f"train.timesteps={runs.timesteps}"])
            for runs in parse(tree, overrides).stability.runs
            for seed in runs.seeds
        ),
    )


def read(path: Path) -> dict[str, Any]:
    """The file's tree, unchecked but for being a mapping without repeated keys."""
    try:
        tree = strict_yaml.load(text(path))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}"]) from None
    except strict_yaml.YamlError as error:
        raise ConfigError([f"{path}:{error}"]) from None
    if not isinstance(tree, dict):
        content = "is empty" if tree is None else f"holds {messages.shown(tree)}"
        raise ConfigError([f"{path}: {content}; a mapping of sections is needed"])
    return tree


def text(path: Path) -> str:
    """The file as it stands, with line feeds.

    Raises:
        OSError: if it cannot be read, is no regular file, or is larger than params.yaml can be.
        UnicodeDecodeError: if it is not UTF-8.
    """
    return read_bytes(path, strict_yaml.SIZE_LIMIT).decode().replace("\r\n", "\n").replace("\r", "\n")


def parse(tree: Mapping[str, Any], overrides: Iterable[str] = ()) -> Config:
    """Check a tree as read from YAML."""
    whole = json.loads(json.dumps(tree, default=str))  # a deep copy in which every key is a string
    overrides = list(overrides)
    found = former_names.to_present(whole)
    found += [fault for override in overrides for fault in _apply(whole, override)]
    followed = None if found else strategies.follow(whole)
    if followed:
        found = [fault for override in overrides for fault in _apply(whole, override)]  # they have the last word
    family = ScenarioInheritance(whole.get("scenarios"))
    found += family.faults
    if isinstance(whole.get("scenarios"), dict):
        whole["scenarios"] = family.resolved()
    try:
        config = Config.model_validate_json(json.dumps(whole))
    except ValidationError as error:
        found += _explained(error, whole, family)
    if found:
        raise ConfigError(strategies.attributed(found, followed) if followed else found)
    if followed and strategies.agree(whole, followed):
        config = Config.model_validate_json(json.dumps(whole))
    return config


def dump(config: Config) -> str:
    """The configuration as YAML that `load` reads back to an equal one."""
    return strict_yaml.dump(config.model_dump(mode="json"))


@functools.cache
def json_schema() -> Mapping[str, Any]:
    """JSON schema of params.yaml, for editors. A scenario may leave out what ``extends`` provides."""
    schema = Config.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Hlynr params.yaml", **schema}


def _under(tree: Mapping[str, Any], variants: Iterable[tuple[str, list[str]]]) -> list[Config]:
    """The configuration under each of the strategies with its overrides; raises all their faults together."""
    found: list[str] = []
    configs: list[Config] = []
    for name, overrides in variants:
        try:
            configs.append(parse(tree, [*overrides, f"run.strategy={name}"]))
        except ConfigError as error:
            found += strategies.under(name, error.faults)
    if found:
        raise ConfigError(found)
    return configs


def _apply(tree: dict[str, Any], override: str) -> list[str]:
    """Apply one ``section.key=value`` in place; faults as lines."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        return [f"--set {messages.shown(override)}: is not of the form section.key=value"]
    keys = former_names.present(path.strip().split("."))
    try:
        value = strict_yaml.load(text)
    except strict_yaml.YamlError as error:
        return [f"{messages.dotted(keys)}: {messages.shown(text)} is not valid YAML: {error}"]
    node = tree
    for depth, key in enumerate(keys[:-1]):
        location = keys[:depth]
        known = messages.keys(json_schema(), location) or list(node)
        if key not in node and key in known:
            node[key] = {}  # a section that the scenario inherits whole
        if key not in node:
            return [messages.unknown([*location, key], value, known, json_schema())]
        if not isinstance(node[key], dict):
            parent = messages.dotted([*location, key])
            return [f"{messages.dotted(keys)}: {messages.shown(value)} cannot be set: {parent} has no keys"]
        node = node[key]
    node[keys[-1]] = json.loads(json.dumps(value))
    return former_names.to_present(tree)  # the value may be a section


def _explained(error: ValidationError, whole: Mapping[str, Any], family: ScenarioInheritance) -> list[str]:
    details = error.errors(include_url=False)
    kept = [detail for detail in details if not _follows(detail, family)]
    kept, omitted = kept[:FAULT_LIMIT], len(kept) - FAULT_LIMIT
    lines = [line for detail in kept for line in messages.explain(detail, json_schema())]
    more = [f"and {omitted:,} more faults"] if omitted > 0 else []
    return family.own(lines + _contradictions(whole, details)) + more


def _follows(detail: ErrorDetails, family: ScenarioInheritance) -> bool:
    """Whether the error only follows from an ``extends`` or from items of a list that are faults of their own."""
    if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
        return True  # pydantic counts the sound items
    return detail["type"] == "missing" and detail["loc"][0] == "scenarios" and not family.complete


def _contradictions(whole: Mapping[str, Any], details: Iterable[ErrorDetails]) -> list[str]:
    """Contradictions between the sections without errors, for pydantic stops before it looks for them."""
    faulty = {detail["loc"][0] for detail in details if detail["loc"]}
    if not faulty:
        return []  # these are the errors
    kinds: dict[str, Any] = {name: field.annotation for name, field in Config.model_fields.items()}
    return checks.faults(
        {
            name: TypeAdapter(kind).validate_json(json.dumps(whole[name]))
            for name, kind in kinds.items()
            if name not in faulty
        }
    )
