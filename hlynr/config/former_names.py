"""Settings that had another name in an earlier version: params.yaml and ``--set`` may still use it.

Digests are made of the former names, so that a retraining begun under an earlier version can be resumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

FORMER = {
    "run.retraining": "run.night",
    "retention.after_retraining": "retention.after_night",
    "gate.evaluator_check_random": "gate.canary_random",
    "gate.evaluator_check_pn": "gate.canary_pn",
    "stability": "study",
}
"""Former name by present name. A rename within one section, or of a section as a whole."""

Tree = MutableMapping[str, Any]


def present(keys: list[str]) -> list[str]:
    """The path of a setting under its present name."""
    for new, old in FORMER.items():
        former = old.split(".")
        if keys[: len(former)] == former:
            return [*new.split("."), *keys[len(former) :]]
    return keys


def _rename(tree: Tree, old: str, new: str) -> None:
    """Rename one key in place; it comes to stand last."""
    tree[new] = tree.pop(old)


def to_present(tree: Tree, rename: Callable[[Tree, str, str], None] = _rename) -> list[str]:
    """Rename in place what an earlier version wrote; returns a line for each setting that has both names."""
    return _renamed(tree, ((old, new) for new, old in FORMER.items()), rename)


def to_former(tree: Tree) -> None:
    """Rename in place to what an earlier version wrote."""
    _renamed(tree, FORMER.items(), _rename)


def _renamed(tree: Tree, names: Iterable[tuple[str, str]], rename: Callable[[Tree, str, str], None]) -> list[str]:
    faults = []
    for old, new in names:
        *section, old_key = old.split(".")
        new_key = new.rpartition(".")[2]
        parent = tree.get(section[0]) if section else tree
        if not isinstance(parent, MutableMapping) or old_key not in parent:
            continue
        if new_key in parent:
            faults.append(f"{old}: is the former name of {new}, which is set too; remove one of them")
        else:
            rename(parent, old_key, new_key)
    return faults
