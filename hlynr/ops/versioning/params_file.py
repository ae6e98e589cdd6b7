"""Write a configuration into an existing params.yaml with as few changes as possible."""

import io
import re
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from hlynr.config import former_names, params
from hlynr.config.config import Config
from hlynr.config.inheritance import ScenarioInheritance
from hlynr.runtime import output_files

_MISSING = object()


class _Representer(RoundTripRepresenter):
    """Writes null, for which ruamel would write nothing."""


_Representer.add_representer(type(None), lambda it, _: it.represent_scalar("tag:yaml.org,2002:null", "null"))


def align(path: Path, config: Config) -> bool:
    """Make the file hold ``config``; returns whether it had to change.

    Comments, order and each scenario's ``extends`` survive: only differing values are replaced, and what the followed
    strategy sets stays in the strategy. A file that is missing, broken, or too different for that (other scenarios,
    say) is written anew, without comments.
    """
    before = _read(path)
    if before == config:
        return False
    original = path.read_text(encoding="utf-8") if path.is_file() else ""
    # What is not the mapping of sections cannot be edited.
    with suppress(KeyError, ValueError, TypeError, AttributeError, YAMLError):
        output_files.write_text(path, _edited(original, before, config))
    if _read(path) != config:
        output_files.write_text(path, params.dump(config))
    return True


def with_strategy(text: str, name: str, overlay: dict[str, Any]) -> str:
    """The text of a params.yaml with the strategy ``name`` as given, new or in place of the one it has.

    Comments and order survive, as in `align`; a new one is the last.
    """
    yaml = _round_trip()
    tree = yaml.load(text)
    strategies = tree["strategies"]
    if name in strategies:
        child = strategies[name]
        for gone in child.keys() - overlay.keys():
            del child[gone]
        for section, values in overlay.items():
            child[section] = _block(values)
    else:
        strategies[name] = _block(overlay)
    out = io.StringIO()
    yaml.dump(tree, out)
    # The blank line before the next section is now before the new strategy.
    block = re.compile(rf"^  {re.escape(name)}:\n(?:    .*\n)+(?=\S)", re.MULTILINE)
    return block.sub(lambda found: f"{found[0]}\n", out.getvalue())


def _block(values: Any) -> Any:
    """Nested mappings a line for each key; schedules and lists on one line, as params.yaml has them."""
    written = CommentedMap()
    for key, value in values.items():
        nested = isinstance(value, dict) and key in ("train", "monitor", "curriculum")
        written[key] = _block(value) if nested else _on_one_line(value) if isinstance(value, dict | list) else value
    return written


def _read(path: Path) -> Config | None:
    try:
        return params.load(path)
    except params.ConfigError:
        return None


def _edited(text: str, before: Config | None, config: Config) -> str:
    yaml = _round_trip()
    tree = yaml.load(text)
    former_names.to_present(tree, _rename)
    values = config.model_dump(mode="json")
    scenarios = values.pop("scenarios")
    for section, overlay in values["strategies"].get(config.run.strategy, {}).items():
        values[section] |= {key: tree[section][key] for key in overlay}
    _set_differing(tree, values, before.model_dump(mode="json") if before else {})
    written = {name: tree["scenarios"].setdefault(name, {}) for name in scenarios}
    chains = ScenarioInheritance(tree["scenarios"]).chains
    for name in sorted(scenarios, key=lambda name: len(chains[name])):
        # Bases first, so that what a scenario inherits is not written into it as well.
        inherited = ScenarioInheritance(tree["scenarios"]).merged(chains[name][1:])
        _set_differing(written[name], scenarios[name], inherited)
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _rename(tree: Any, old: str, new: str) -> None:
    """Rename a key in its line, with its comments."""
    tree.insert(list(tree).index(old), new, tree[old])
    del tree[old]
    if old in tree.ca.items:
        tree.ca.items[new] = tree.ca.items.pop(old)


def _round_trip() -> YAML:
    """A YAML that leaves alone what is not changed."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.brace_single_entry_mapping_in_flow_sequence = True
    return yaml


def _set_differing(tree: MutableMapping[str, Any], values: dict[str, Any], base: dict[str, Any]) -> None:
    """Set the leaves of ``values`` that ``tree`` on top of ``base`` does not already have, in place."""
    for key, value in values.items():
        inherited = base.get(key, _MISSING)
        if isinstance(value, dict):
            child = tree.get(key, {})
            child = child if isinstance(child, MutableMapping) else _on_one_line({})  # a schedule, until now a number
            for gone in child.keys() - value.keys():  # of another form of schedule, or of a strategy
                del child[gone]
            _set_differing(child, value, inherited if isinstance(inherited, dict) else {})
            if child:
                tree[key] = child
        elif tree.get(key, inherited) != value:
            tree[key] = _on_one_line(value) if isinstance(value, list) else value


def _on_one_line(collection: Any) -> Any:
    """A list or a schedule as those of params.yaml are written."""
    written = CommentedSeq(collection) if isinstance(collection, list) else CommentedMap(collection)
    written.fa.set_flow_style()
    return written
