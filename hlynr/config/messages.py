"""A fault of the configuration as one line: key, value, what is allowed.

``train.clip_range.start: 1.5 is not in (0, 1)``. What is allowed is read from the JSON schema of params.yaml.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from hlynr.runtime.suggestions import nearest

Schema = Mapping[str, Any]
Location = Sequence[int | str]


def explain(detail: ErrorDetails, schema: Schema) -> list[str]:
    """One complaint of pydantic's; a validator of ours may have put several lines into one."""
    location, kind, value = list(detail["loc"]), detail["type"], detail["input"]
    if kind == "value_error":
        prefix = dotted(location)
        joint = "" if not prefix else "." if isinstance(value, Mapping) else ": "
        lines = str(detail["ctx"]["error"]).splitlines()
        # A check of a whole section starts its line with a key of it, one that adds keys up with a formula.
        return [f"{prefix}: {line}" if " " in line.split(":")[0] else f"{prefix}{joint}{line}" for line in lines]
    if location and location[-1] == "[key]":
        return [f"{dotted(location[:-1])}: {shown(location[-2])} is no name of letters, digits, - and _"]
    if kind == "extra_forbidden":
        return [unknown(location, value, children(schema, location[:-1]), schema)]
    if kind == "missing" and isinstance(location[-1], int):
        location.pop()  # a list that is too short; the value is the whole list
        kind = "too_short"
    if kind == "missing":
        return [f"{dotted(location)}: is missing; needs {_words(_at(schema, location), schema)}"]
    return [f"{dotted(location)}: {shown(value)} is not {_allowed(value, _at(schema, location), schema)}"]


def unknown(location: Location, value: Any, known: Iterable[str], schema: Schema) -> str:
    """The line for a key that does not exist where it stands."""
    known = list(known)
    # The last one of a name is hinted at: the setting itself, not where it is searched, nor in all scenarios.
    paths = sorted(_paths(schema, schema), key=lambda path: (not path.startswith("tune."), "NAME" not in path))
    elsewhere = {path.rpartition(".")[2]: path for path in paths}
    hint = f"allowed: {', '.join(known)}"
    for options in (dict(zip(known, known, strict=True)), elsewhere):
        if close := nearest(str(location[-1]), options, cutoff=0.6):
            hint = f"did you mean {options[close]}?"
            break
    return f"{dotted(location)}: unknown key (value {shown(value)}); {hint}"


def children(schema: Schema, location: Location) -> list[str]:
    """The keys of the section at ``location``; empty where the user names them or there are none."""
    return list((_at(schema, location) or {}).get("properties", ()))


def dotted(location: Location) -> str:
    """``train.net_arch[1]``."""
    written = [part for part in location if _choice(part) is None]
    parts = (f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in written)
    return "".join(parts).removeprefix(".")


def shown(value: Any) -> str:
    """A value in one line of at most 80 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _choice(part: int | str) -> int | None:
    """Which of a union's options a part of a location stands for; None for keys and indices. See `hlynr.config.schedules`."""
    return int(part[1:]) if isinstance(part, str) and part.startswith("\0") else None


def _printable(text: str) -> str:
    return text if text.isprintable() and text else json.dumps(text)


def _at(schema: Schema, location: Location) -> Schema | None:
    node: Schema | None = schema
    for part in location:
        if node is None:
            return None
        node = _present(node, schema)
        if isinstance(part, int):
            items = node.get("prefixItems")
            node = items[min(part, len(items) - 1)] if items else node.get("items")
        elif (choice := _choice(part)) is not None:
            node = node["oneOf"][choice]
        else:
            named = next(iter(node.get("patternProperties", {}).values()), None)
            node = node.get("properties", {}).get(part, named)
        node = _resolved(node, schema) if node is not None else None
    return node


def _present(node: Schema, schema: Schema) -> Schema:
    """What stands at a node that may also be null."""
    options = [option for option in node.get("anyOf", ()) if option.get("type") != "null"]
    return _resolved(options[0], schema) if len(options) == 1 else node


def _resolved(node: Schema, schema: Schema) -> Schema:
    reference = node.get("$ref")
    return schema["$defs"][reference.rpartition("/")[2]] if reference else node


def _paths(node: Schema, schema: Schema, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys, sections included."""
    for name, child in node.get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _paths(_resolved(child, schema), schema, f"{prefix}{name}.")
    for child in node.get("patternProperties", {}).values():
        yield from _paths(_resolved(child, schema), schema, f"{prefix}NAME.")


def _allowed(value: Any, node: Schema | None, schema: Schema) -> str:
    """What may stand at ``node``; a number that is only too large or small needs no more than the interval."""
    words = _words(node, schema)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return words
    for noun in ("a whole number in ", "a number in ") if isinstance(value, int) else ("a number in ",):
        words = words.removeprefix(noun) if words.startswith(noun) else words
    return words if words[:1] not in "[(" else f"in {words}"


def _words(node: Schema | None, schema: Schema) -> str:
    if node is None:
        return "allowed here"
    node = _resolved(node, schema)
    if options := node.get("anyOf") or node.get("oneOf"):
        return " or ".join(_words(option, schema) for option in options)
    if "enum" in node:
        return f"one of {', '.join(map(str, node['enum']))}"
    kind = node.get("type")
    if kind in ("number", "integer"):
        return _interval(node, "a number" if kind == "number" else "a whole number")
    if kind == "array":
        return _list(node, schema)
    if kind == "object":
        return f"a mapping of {', '.join(node.get('properties', ())) or _names(node, schema)}"
    if kind == "string":
        return f"a text matching {node['pattern']}" if "pattern" in node else "a non-empty text"
    return {"boolean": "true or false", "null": "null"}[str(kind)]


def _list(node: Schema, schema: Schema) -> str:
    low, high = node.get("minItems"), node.get("maxItems")
    length = "" if low is None else f" of {low}" if low == high else f" of {low} to {high}"
    return f"a list{length}, each {_words(node['items'] if 'items' in node else node['prefixItems'][0], schema)}"


def _names(node: Schema, schema: Schema) -> str:
    """The keys of a mapping that the user names."""
    (named,) = node["patternProperties"].values()
    least = "at least one name to" if node.get("minProperties") else "names, each to"
    named = _resolved(named, schema)
    return f"{least} {f'a {title.lower()}' if (title := named.get('title')) else _words(named, schema)}"


def _interval(node: Schema, noun: str) -> str:
    low, open_low = node.get("minimum"), node.get("exclusiveMinimum")
    high, open_high = node.get("maximum"), node.get("exclusiveMaximum")
    bounds = [low, open_low, high, open_high]
    if all(bound is None for bound in bounds):
        return "a finite number" if noun == "a number" else noun
    low, open_low, high, open_high = (bound if bound is None else _plain(bound) for bound in bounds)
    left = f"[{low}" if low else f"({open_low}" if open_low else "(-inf"
    right = f"{high}]" if high else f"{open_high})" if open_high else "inf)"
    return f"{noun} in {left}, {right}"


def _plain(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else str(bound)
