"""YAML without its surprises: what a file says is what a person reads in it, and nothing in it is executed.

ruamel's YAML 1.2, as DVC reads the same file, with fewer types: only decimal numbers are numbers, and dates are text.
Keys given twice, anchors, aliases and tags are not allowed: scenarios share values by ``extends``, and a few aliases of
aliases fill the memory.
"""

import io
import re
from contextlib import suppress
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

DEPTH_LIMIT = 32
SIZE_LIMIT = 256 * 1024
"""[bytes] of a file; params.yaml has a fifteenth of it."""
ENTRY_LIMIT = 5_000
"""Keys and values of a text; params.yaml has a fifth of it. ruamel takes half a millisecond for each."""


class YamlError(ValueError):
    """A text that is no such YAML; the message starts with ``line:column: ``."""


def load(text: str) -> Any:
    """The one document in ``text``; None if it is empty.

    Raises:
        YamlError: in one line.
    """
    try:
        return _yaml().load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{mark.line + 1}:{mark.column + 1}: " if mark else ""
        message = ": ".join(filter(None, (error.context, error.problem)))
    except ReaderError as error:
        before = text[: error.position]
        where = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "
        message = f"the character U+{error.character:04X} is not allowed"
    raise YamlError(where + " ".join(message.split()))


def dump(tree: Any) -> str:
    """YAML that `load` reads back to ``tree``; keys keep their order."""
    out = io.StringIO()
    _yaml().dump(tree, out)
    return out.getvalue()


_TEXT, _INTEGER, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float"))


class _Composer(Composer):
    entries = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if event.anchor or getattr(event, "tag", None):
            raise MarkedYAMLError(problem="anchors, aliases and tags are not allowed", problem_mark=event.start_mark)
        if self.depth >= DEPTH_LIMIT:
            raise MarkedYAMLError(problem=f"nested more than {DEPTH_LIMIT} levels deep", problem_mark=event.start_mark)
        self.entries += 1
        if self.entries > ENTRY_LIMIT:
            raise MarkedYAMLError(problem=f"more than {ENTRY_LIMIT:,} keys and values", problem_mark=event.start_mark)
        return super().compose_node(parent, index)


class _Resolver(VersionedResolver):
    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Also .5e3 is a number, which ruamel knows only with a sign in the exponent."""
        if kind is ScalarNode and implicit[0] and re.fullmatch(r"[-+]?\.[0-9]+[eE][0-9]+", value):
            return Tag(suffix=_FLOAT)
        return super().resolve(kind, value, implicit)


class _Constructor(SafeConstructor):
    def construct_mapping(self, node: MappingNode, deep: bool = False) -> Any:
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            key.tag = _TEXT  # as written: the key 1 and the key "1" are one key
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Node) -> str:
        text = str(super().construct_scalar(node))
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise MarkedYAMLError(problem="half a surrogate pair is no text", problem_mark=node.start_mark)
        return text

    def construct_number(self, node: ScalarNode) -> int | float | str:
        """Text where it is no decimal number, like 0x10 and 010, or has too many digits for Python."""
        text = self.construct_scalar(node)
        digits = text.replace("_", "").lower()
        with suppress(ValueError):
            if re.fullmatch(r"[-+]?(0|[1-9][0-9_]*)", text):
                return int(digits)
            if node.tag == _FLOAT:
                return float(digits.replace(".inf", "inf").replace(".nan", "nan")) + 0.0  # -0.0 is the zero it equals
        return text


_Constructor.add_constructor(_INTEGER, _Constructor.construct_number)
_Constructor.add_constructor(_FLOAT, _Constructor.construct_number)
_Constructor.add_constructor("tag:yaml.org,2002:timestamp", _Constructor.construct_scalar)
_Constructor.add_constructor(None, _Constructor.construct_scalar)  # all else


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver, yaml.Composer, yaml.Constructor = _Resolver, _Composer, _Constructor
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # declared as None
    yaml.representer.ignore_aliases = lambda _: True
    return yaml
