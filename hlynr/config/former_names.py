"""Settings that had another name in an earlier version: params.yaml and ``--set`` may still use it.

Digests are made of the former names, so that a retraining begun under an earlier version can be resumed.
"""

from collections.abc import Callable, MutableMapping
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


def _rename(section: Tree, old: str, new: str) -> None:
    section[new] = section.pop(old)


def to_present(tree: Tree, rename: Callable[[Tree, str, str], None] = _rename) -> list[str]:
    """Rename in place what an earlier version wrote; returns a line for each setting that has both names."""
    faults = []
    for new, old in FORMER.items():
        section, old_key = _section(tree, old)
        new_key = new.rpartition(".")[2]
        if old_key in section and new_key in section:
            faults.append(f"{old}: is the former name of {new}, which is set too; remove one of them")
            del section[old_key]  # which is no fault of its own
        elif old_key in section:
            rename(section, old_key, new_key)
    return faults


def to_former(tree: Tree) -> None:
    """Rename in place to what an earlier version wrote."""
    for new, old in FORMER.items():
        section, new_key = _section(tree, new)
        if new_key in section:
            _rename(section, new_key, old.rpartition(".")[2])


def _section(tree: Tree, path: str) -> tuple[Tree, str]:
    """The mapping that may hold a setting, empty where there is none, and the setting's key in it."""
    name, _, key = path.rpartition(".")
    section = tree.get(name) if name else tree
    return section if isinstance(section, MutableMapping) else {}, key
