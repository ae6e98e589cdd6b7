"""Strategies: named overlays of the sections train and monitor, on params.yaml as it is read, unchecked.

``run.strategy`` names the one to follow. Each key of an overlay replaces the section's whole value: a schedule of
phases does not mix with a linear one.
"""

import re
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

Tree = MutableMapping[str, Any]
_SECTIONS = ("train", "monitor")


def follow(tree: Tree) -> str | None:
    """Overlay the followed strategy in place; returns its name, None where there is nothing to overlay."""
    run = tree.get("run")
    name = run.get("strategy") if isinstance(run, dict) else None
    overlays = list(_overlays(tree, name))
    for section, overlay in overlays:
        section.update(overlay)
    return name if overlays else None


def agree(tree: Tree, name: str) -> bool:
    """Give the overlay ``name`` the values that its sections have, so that following it again changes nothing.

    Returns whether it had others.
    """
    changed = False
    for section, overlay in _overlays(tree, name):
        said = {key: section[key] for key in overlay}
        changed |= said != overlay
        overlay.update(said)
    return changed


def attributed(faults: Iterable[str], name: str) -> list[str]:
    """``faults`` of the strategy ``name``, each once: at the overlay, or else at the section that it changes."""
    faults = list(faults)
    own = [fault for fault in faults if f"strategies.{name}.{fault}" not in faults]
    of_sections = re.compile(rf"(^| )({'|'.join(_SECTIONS)})\b")
    return [line for fault in own for line in (under(name, [fault]) if of_sections.search(fault) else [fault])]


def under(name: str, faults: Iterable[str]) -> list[str]:
    """``faults``, each with the strategy's name."""
    suffix = f" (under strategy {name})"
    return [fault.removesuffix(suffix) + suffix for fault in faults]


def _overlays(tree: Tree, name: Any) -> Iterator[tuple[Tree, Tree]]:
    """Section and overlay of a strategy; what is no mapping is left to the checks that follow."""
    known = tree.get("strategies")
    strategy = known.get(name) if isinstance(known, dict) and isinstance(name, str) else None
    if isinstance(strategy, dict):
        for key, overlay in strategy.items():
            section = tree.get(key)
            if key in _SECTIONS and isinstance(section, dict) and isinstance(overlay, dict):
                yield section, overlay
