"""A fault of the configuration as one line: key, value and, in pydantic's words, what is allowed.

``train.clip_range.start: 1.5 should be less than 1``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from hlynr.config.schedules import FORMS
from hlynr.runtime.suggestions import nearest

Schema = Mapping[str, Any]
Location = Sequence[int | str]


def explain(detail: ErrorDetails, schema: Schema) -> list[str]:
    """The lines for one of pydantic's errors; a validator of this package may raise several in one."""
    location, kind, value = detail["loc"], detail["type"], detail["input"]
    key = dotted(location)
    if kind == "value_error":
        # A check of a whole section starts its lines with a key of it.
        joint = "" if not key else "." if isinstance(value, Mapping) else ": "
        return [f"{key}{joint}{line}" for line in str(detail["ctx"]["error"]).splitlines()]
    if kind == "extra_forbidden":
        return [unknown(location, value, keys(schema, location[:-1]), schema)]
    if kind == "missing":
        return [f"{key}: is missing"]
    allowed = re.sub(r"^\w+ (?=should )", "", detail["msg"])  # without pydantic's word for the value
    return [f"{key}: {shown(value)} {allowed}"]


def unknown(location: Location, value: Any, known: Iterable[str], schema: Schema) -> str:
    """The line for a key that does not exist in its section."""
    known = list(known)
    everywhere = sorted(_paths(schema, schema), key=len, reverse=True)  # of several, the shortest is suggested
    hint = f"allowed: {', '.join(known)}"
    for options in ({key: key for key in known}, {path.rpartition(".")[2]: path for path in everywhere}):
        if close := nearest(str(location[-1]), options, cutoff=0.6):
            hint = f"did you mean {options[close]}?"
            break
    return f"{dotted(location)}: unknown key (value {shown(value)}); {hint}"


def keys(schema: Schema, location: Location) -> list[str]:
    """The keys of the section at ``location``; empty where the user names them or there are none."""
    nodes = [schema]
    for part in _written(location):
        children = [child for node in nodes for child in _children(node, part)]
        nodes = [form for child in children for form in _forms(child, schema)]
    return list(dict.fromkeys(key for node in nodes for key in node.get("properties", ())))


def dotted(location: Location) -> str:
    """``train.net_arch[1]``."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_printable(part)}" for part in _written(location))
    return "".join(parts).removeprefix(".")


def shown(value: Any) -> str:
    """A value in one line of at most 80 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."


def _written(location: Location) -> list[int | str]:
    """Pydantic's location without what is not in the file."""
    return [part for part in location if part not in (*FORMS, "[key]")]


def _printable(text: str) -> str:
    return text if text.isprintable() and text else json.dumps(text)


def _children(node: Schema, part: int | str) -> list[Schema]:
    if isinstance(part, int):
        return [node["items"]] if "items" in node else []
    named = node.get("patternProperties", {}).values()
    return [node["properties"][part]] if part in node.get("properties", ()) else list(named)


def _forms(node: Schema, schema: Schema) -> Iterator[Schema]:
    """The node itself, what it refers to, or each option of a union."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    options = node.get("anyOf") or node.get("oneOf")
    if options is None:
        yield node
    for option in options or ():
        yield from _forms(option, schema)


def _paths(node: Schema, schema: Schema, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys, sections included."""
    for form in _forms(node, schema):
        named = [("NAME", child) for child in form.get("patternProperties", {}).values()]
        for name, child in [*form.get("properties", {}).items(), *named]:
            yield f"{prefix}{name}"
            yield from _paths(child, schema, f"{prefix}{name}.")
