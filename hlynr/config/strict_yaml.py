"""YAML without its surprises: what a file says is what a person reads in it, and nothing in it is executed.

Scalars are read as in YAML 1.2 (``1e-4`` is a number; ``on``, ``yes``, ``1:30``, ``010`` and dates are text), as
ruamel does when DVC or `hlynr.ops.versioning.params_file` reads the same file. Keys given twice, anchors, aliases and tags
are refused: scenarios share values by ``extends``, and a few aliases of aliases fill the memory.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

DEPTH_LIMIT = 32


class YamlError(ValueError):
    """A text that is no such YAML; the message starts with ``line:column: ``."""


def load(text: str) -> Any:
    """The one document in ``text``; None if it is empty.

    Raises:
        YamlError: in one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # derived from SafeLoader: nothing is executed
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}: " if mark else ""
        message = ": ".join(filter(None, (error.context, error.problem)))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "
        message = f"the character U+{error.character:04X} is not allowed"
    raise YamlError(where + " ".join(message.split()))


def dump(tree: Any) -> str:
    """YAML that `load`, and any other reader, reads back to ``tree``; keys keep their order."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own declaration); not those of YAML 1.1
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's
        if event.anchor or getattr(event, "tag", None):
            raise _refused("anchors, aliases and tags are not allowed", event.start_mark)
        if self._depth >= DEPTH_LIMIT:
            raise _refused("nested too deeply", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused("a key must be a word", key_node.start_mark)
            key = self.construct_scalar(key_node)  # as written: the key 1 and the key "1" are one key
            if key in mapping:
                raise _refused(f"key {key!r} appears twice", key_node.start_mark)
            mapping[key] = self.construct_object(value_node, deep=True)
        return mapping

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        text = str(super().construct_scalar(node))
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise _refused("half a surrogate pair is no text", node.start_mark)
        return text


class _Dumper(yaml.SafeDumper):
    """Quotes what YAML 1.1 or 1.2 takes for something else than text, and writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _refused(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, mark)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    digits = loader.construct_scalar(node).replace("_", "")
    # Python refuses to convert thousands of digits; what is too large for a float is too large for any setting.
    return int(digits) if len(digits) <= 300 else float(digits)


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).replace("_", "").lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan")) + 0.0  # makes -0.0 the zero it equals


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
):
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)
