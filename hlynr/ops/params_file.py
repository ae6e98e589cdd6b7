"""Bringing a params.yaml in line with the configuration that really ran, with as few changes as possible."""

from __future__ import annotations

import io
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hlynr import params
from hlynr.config import Config

_MISSING = object()


def align(path: Path, config: Config) -> bool:
    """Make the file say what ``config`` says; True if it had to change.

    Comments, order and each scenario's ``extends`` survive: only differing values are replaced. A file that is
    missing, broken, or too different for that (other scenarios, say) is written anew, without comments.
    """
    if _reads_as(path, config):
        return False
    original = path.read_text(encoding="utf-8") if path.is_file() else ""
    with suppress(KeyError, ValueError, TypeError, AttributeError):  # not the mapping of sections that could be edited
        path.write_text(_edited(original, config), encoding="utf-8")
    if not _reads_as(path, config):
        path.write_text(params.dump(config), encoding="utf-8")
    return True


def _reads_as(path: Path, config: Config) -> bool:
    try:
        return params.load(path) == config
    except params.ConfigError:
        return False


def _edited(text: str, config: Config) -> str:
    # Not PyYAML: it cannot keep comments.
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    try:
        tree = yaml.load(text)
    except YAMLError as error:
        raise ValueError(str(error)) from None
    values = config.model_dump(mode="json")
    scenarios = values.pop("scenarios")
    _set_differing(tree, values, {})
    for name in sorted(scenarios, key=lambda name: len(_bases(tree["scenarios"], name))):
        # Bases first, so that what a scenario inherits is not written into it as well.
        base: dict[str, Any] = {}
        for link in _bases(tree["scenarios"], name):
            base = _overlaid(base, tree["scenarios"][link])
        _set_differing(tree["scenarios"].setdefault(name, {}), scenarios[name], base)
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _bases(scenarios: MutableMapping[str, Any], name: str) -> list[str]:
    """The scenarios ``name`` extends, furthest first."""
    chain: list[str] = []
    while (link := (scenarios.get(name) or {}).get("extends")) is not None and link not in chain:
        chain.insert(0, link)
        name = link
    return chain


def _overlaid(base: dict[str, Any], overlay: MutableMapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overlay.items():
        nested = isinstance(value, MutableMapping) and isinstance(merged.get(key), dict)
        merged[key] = _overlaid(merged[key] if nested else {}, value) if isinstance(value, MutableMapping) else value
    return merged


def _set_differing(tree: MutableMapping[str, Any], values: dict[str, Any], base: dict[str, Any]) -> None:
    """Set the leaves of ``values`` that ``tree`` on top of ``base`` does not already have, in place."""
    for key, value in values.items():
        inherited = base.get(key, _MISSING)
        if isinstance(value, dict):
            child = tree.get(key, {})
            _set_differing(child, value, inherited if isinstance(inherited, dict) else {})
            if child:
                tree[key] = child
        elif tree.get(key, inherited) != value:
            tree[key] = _in_brackets(value) if isinstance(value, list) else value


def _in_brackets(items: list[Any]) -> Any:
    """A list that is written on one line, as all lists of params.yaml are."""
    from ruamel.yaml.comments import CommentedSeq

    sequence = CommentedSeq(items)
    sequence.fa.set_flow_style()
    return sequence
