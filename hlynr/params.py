"""Reading params.yaml: YAML to `hlynr.config.Config`, with every fault as one line.

A line names the key, the value and what is allowed: ``train.clip_range.start: 1.5 is not in (0, 1)``.
"""

from __future__ import annotations

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from hlynr.config import Config


class ConfigError(ValueError):
    """Bad input; ``faults`` holds one line per fault."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(dict.fromkeys(faults))
        super().__init__("\n".join(self.faults))


def load(path: Path, overrides: Iterable[str] = ()) -> Config:
    """Read ``path`` and apply ``section.key=value`` overrides (values in YAML).

    Raises:
        ConfigError: listing every fault found.
    """
    return parse(read(path), overrides)


def read(path: Path) -> dict[str, Any]:
    """The file's tree, unchecked but for being a mapping without repeated keys.

    Raises:
        ConfigError: if it is missing or no YAML mapping.
    """
    try:
        tree = _yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError([f"{path}: is not valid YAML: {_one_line(error)}"]) from None
    if not isinstance(tree, dict):
        raise ConfigError([f"{path}: holds {_shown(tree)}, where a mapping of sections is needed"])
    return tree


def parse(tree: Mapping[str, Any], overrides: Iterable[str] = ()) -> Config:
    """Check a tree as read from YAML. Raises `ConfigError` listing every fault."""
    try:
        whole = json.loads(json.dumps(tree, default=str))  # a deep copy in which every key is a string
    except ValueError:
        raise ConfigError(["params: a YAML alias contains itself"]) from None
    faults = [fault for override in overrides for fault in _apply(whole, override)]
    faults += _resolve_extends(whole)
    try:
        config = Config.model_validate_json(json.dumps(whole))
    except ValidationError as error:
        explained = [line for detail in error.errors(include_url=False) for line in _explain(detail)]
        raise ConfigError(faults + explained) from None
    if faults:
        raise ConfigError(faults)
    return config


def dump(config: Config) -> str:
    """The configuration as YAML that `load` reads back to an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def json_schema() -> dict[str, Any]:
    """JSON schema of params.yaml, for editors. A scenario may leave out what ``extends`` provides."""
    schema = Config.model_json_schema()
    for name in ("Scenario", "Spawn", "Target", "Interceptor", "Radar", "Cue", "Wind"):
        del schema["$defs"][name]["required"]
    schema["$defs"]["Scenario"]["properties"]["extends"] = {"type": "string"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Hlynr params.yaml", **schema}


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.1 that also reads 1e-4 as a number and refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key_node.value in seen:
                message = f"key {key_node.value!r} appears twice"
                raise yaml.constructor.ConstructorError(None, None, message, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d[\d_]*(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: nothing is executed


def _apply(tree: dict[str, Any], override: str) -> list[str]:
    """Apply one ``section.key=value`` in place; faults as lines."""
    path, equals, text = override.partition("=")
    if not equals or not path.strip():
        return [f"--set {override}: is not of the form section.key=value"]
    keys = path.strip().split(".")
    node: Any = tree
    for depth, key in enumerate(keys[:-1]):
        if not isinstance(node, dict) or not isinstance(node.get(key), dict):
            known = list(node) if isinstance(node, dict) else []
            return [_unknown(".".join(keys[: depth + 1]), key, known)]
        node = node[key]
    try:
        node[keys[-1]] = json.loads(json.dumps(_yaml(text), default=str))
    except (yaml.YAMLError, ValueError) as error:
        return [f"{path}: {text} is not valid YAML: {_one_line(error)}"]
    return []


def _resolve_extends(tree: dict[str, Any]) -> list[str]:
    """Replace each scenario that ``extends`` another by the merged one, in place."""
    scenarios = tree.get("scenarios")
    if not isinstance(scenarios, dict):
        return []
    resolved: dict[str, Any] = {}
    faults = []
    for name in scenarios:
        chain = [name]
        while isinstance(scenarios[chain[-1]], dict) and "extends" in scenarios[chain[-1]]:
            base = scenarios[chain[-1]]["extends"]
            if not isinstance(base, str) or base not in scenarios:
                faults.append(f"scenarios.{chain[-1]}.extends: {_shown(base)} is not one of {', '.join(scenarios)}")
                break
            if base in chain:
                faults.append(f"scenarios.{chain[-1]}.extends: {base} leads back to itself")
                break
            chain.append(base)
        merged: Any = {}
        for link in reversed(chain):
            merged = _merged(merged, scenarios[link])
        if isinstance(merged, dict):
            merged.pop("extends", None)
        resolved[name] = merged
    tree["scenarios"] = resolved
    return faults


def _merged(base: Any, overlay: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    return {**base, **{key: _merged(base.get(key), value) for key, value in overlay.items()}}


def _explain(detail: ErrorDetails) -> list[str]:
    """One pydantic complaint as lines that name key, value and what is allowed."""
    location = [part for part in detail["loc"] if part not in ("constrained-str",)]
    key = ".".join(str(part) for part in location)
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        return [_unknown(key, str(location[-1]), _siblings(location))]
    if kind == "missing":
        return [f"{key}: is missing; needs {_allowed(location)}"]
    if kind == "value_error":
        prefix = f"{key}." if key else ""
        return [f"{prefix}{line}" for line in str(detail["ctx"]["error"]).splitlines()]
    return [f"{key}: {_shown(value)} is not {_allowed(location)}"]


def _annotation(location: list[Any]) -> Any:
    """The declared type at ``location``, with its constraints, or None where there is none."""
    current: Any = Config
    for part in location:
        current = _bare(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            if field is None:
                return None
            current = typing.Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
            continue
        arguments = typing.get_args(current)
        origin = typing.get_origin(current)
        if origin is dict:
            current = arguments[1]
        elif origin is tuple and isinstance(part, int):
            current = arguments[0] if len(arguments) == 2 and arguments[1] is ... else arguments[min(part, len(arguments) - 1)]
        else:
            return current
    return current


def _bare(annotation: Any) -> Any:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def _siblings(location: list[Any]) -> list[str]:
    parent = _bare(_annotation(location[:-1]))
    if isinstance(parent, type) and issubclass(parent, BaseModel):
        return list(parent.model_fields)
    return []


def _allowed(location: list[Any]) -> str:
    """What may stand at ``location``, in words."""
    annotation = _annotation(location)
    if annotation is None:
        return "allowed"
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return "a mapping of " + ", ".join(bare.model_fields)
    if isinstance(bare, types.UnionType):
        options = [part for part in typing.get_args(bare) if part is not type(None)]
        return " or ".join([_schema_words(TypeAdapter(part).json_schema()) for part in options] + ["null"])
    return _schema_words(TypeAdapter(annotation).json_schema())


def _schema_words(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    if kind in ("number", "integer"):
        return _interval(schema, "a number" if kind == "number" else "a whole number")
    if kind == "array":
        if "prefixItems" in schema:
            return f"a list of {len(schema['prefixItems'])}, each {_schema_words(schema['prefixItems'][0])}"
        return f"a list, each {_schema_words(schema['items'])}"
    if kind == "string":
        return f"text matching {schema['pattern']}" if "pattern" in schema else "text that is not empty"
    return {"boolean": "true or false", "object": "a mapping"}.get(str(kind), "allowed")


def _interval(schema: Mapping[str, Any], noun: str) -> str:
    low, open_low = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, open_high = schema.get("maximum"), schema.get("exclusiveMaximum")
    if (low is None and open_low is None) and (high is None and open_high is None):
        return noun if noun != "a number" else "a finite number"
    left = f"[{low:g}" if low is not None else f"({open_low:g}" if open_low is not None else "(-inf"
    right = f"{high:g}]" if high is not None else f"{open_high:g})" if open_high is not None else "inf)"
    return f"{noun} in {left}, {right}"


def _unknown(key: str, name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"{key}: unknown key; did you mean {close[0]}?"
    return f"{key}: unknown key" + (f"; allowed: {', '.join(known)}" if known else "")


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()
