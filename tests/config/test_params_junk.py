"""Whatever params.yaml holds, it is accepted, or rejected in lines: seeded random damage, always the same."""

import copy
import random

from support import ROOT

from hlynr.config import params, strict_yaml
from hlynr.config.params import ConfigError

FILE = ROOT / "params.yaml"
TREE = params.read(FILE)
JUNK = (
    None, True, "", "text", "1e5", "\n", "\u2028", [], [None], [1, [2]], {}, {"a": {"b": 1}}, {"": 0}, float("nan"),
    float("inf"), -0.0, -1, 0, 0.5, 1, 7, 10**9, 2**63, 10**290, 1e300, 1e-300,
)  # fmt: skip


def _leaves(node, path=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield (*path, key)
            yield from _leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield (*path, index)
            yield from _leaves(value, (*path, index))


def _junked(dice, places):
    """params.yaml with junk in up to four places."""
    tree = copy.deepcopy(TREE)
    for path in dice.sample(places, dice.choice((1, 1, 2, 4))):
        node = tree
        for part in path[:-1]:
            node = node[part] if isinstance(node, dict) and part in node else None
        if isinstance(node, dict):
            node[dice.choice(("", "a.b", "ext", path[-1], path[-1], path[-1]))] = dice.choice(JUNK)
    return tree


def _faults(read, *arguments):
    """The lines of what ``read`` refuses; none if it accepts. Any other exception is a failure."""
    try:
        read(*arguments)
    except (ConfigError, strict_yaml.YamlError) as error:
        return str(error).split("\n")
    return []


def test_junk_anywhere_is_rejected_in_lines_or_accepted():
    """Never another exception, never a line without a key of the file."""
    dice = random.Random(1)
    places = list(_leaves(TREE))
    rejected = 0
    for _ in range(400):
        lines = _faults(params.parse, _junked(dice, places))
        rejected += bool(lines)
        for line in lines:
            key, _, rest = line.partition(": ")
            assert rest
            assert line.isprintable()
            assert key.split(".")[0].strip('"') in {*TREE, "", "a", "ext"}
    assert rejected > 250


def test_random_characters_never_crash():
    dice = random.Random(2)
    text = FILE.read_text(encoding="utf-8")
    for _ in range(60):
        start = dice.randrange(len(text) - 400)
        broken = list(text[start : start + 400])
        for _ in range(dice.choice((1, 3))):
            broken[dice.randrange(len(broken))] = dice.choice("\t\n:{}[]&*!|>'\"%@`#?-, \x00\x07\ufeff\u2028é")
        for line in _faults(strict_yaml.load, "".join(broken)):
            assert line.isprintable()
            assert line[0].isdigit()
