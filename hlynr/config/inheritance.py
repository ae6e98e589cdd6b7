"""Scenarios that extend others: merging them, and blaming a fault on the scenario that wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from hlynr.config.messages import dotted, shown
from hlynr.runtime.suggestions import not_one_of


class ScenarioInheritance:
    """The scenarios as written, and the chains by which they extend each other.

    Args:
        written: the scenarios section, unchecked; what is no mapping holds no scenarios.
    """

    def __init__(self, written: Any) -> None:
        self._written: Mapping[str, Any] = written if isinstance(written, Mapping) else {}
        self._faults: dict[frozenset[str], str] = {}
        self._broken: set[str] = set()
        self._chains = {name: self._chain(name) for name in self._written}

    @property
    def faults(self) -> list[str]:
        """One line per ``extends`` that leads nowhere or round in a circle."""
        return list(self._faults.values())

    def incomplete(self, names: Iterable[Any]) -> bool:
        """Whether one of the scenarios lacks keys only because what it extends is not there."""
        return any(name in self._broken for name in names)

    def resolved(self) -> dict[str, Any]:
        """Every scenario with what it inherits."""
        return {name: self._merged(chain) for name, chain in self._chains.items()}

    def own(self, lines: Iterable[str]) -> list[str]:
        """``lines`` without those that a scenario merely inherits together with the faulty value."""
        lines = list(lines)
        return [line for line in lines if not self._inherited(line, lines)]

    def _chain(self, name: str) -> list[str]:
        """The scenario, what it extends, what that extends, and so on."""
        chain = [name]
        while isinstance(scenario := self._written[chain[-1]], Mapping) and "extends" in scenario:
            base = scenario["extends"]
            if not isinstance(base, str) or base not in self._written:
                others = [other for other in self._written if other != chain[-1]]
                self._blame({chain[-1]}, chain[-1], f"{shown(base)} {not_one_of(str(base), others)}")
            elif base in chain:
                circle = chain[chain.index(base) :]
                self._blame(set(circle), chain[-1], f"{shown(base)} leads back to {shown(chain[-1])}")
            else:
                chain.append(base)
                continue
            self._broken.add(name)
            break
        if not isinstance(self._written[chain[-1]], Mapping) and len(chain) > 1:
            self._broken.add(name)
        return chain

    def _blame(self, members: set[str], name: str, what: str) -> None:
        self._faults.setdefault(frozenset(members), f"{dotted(['scenarios', name, 'extends'])}: {what}")

    def _merged(self, chain: list[str]) -> Any:
        merged: Any = {}
        for link in reversed(chain):
            merged = _overlaid(merged, self._written[link])
        if isinstance(merged, dict):
            merged.pop("extends", None)
        return merged

    def _inherited(self, line: str, lines: list[str]) -> bool:
        for name, chain in self._chains.items():
            prefix = f"scenarios.{name}."
            if line.startswith(prefix):
                rest = line.removeprefix(prefix)
                blamed_above = any(f"scenarios.{base}.{rest}" in lines for base in chain[1:])
                return blamed_above and not self._writes(name, rest.partition(": ")[0])
        return False

    def _writes(self, name: str, key: str) -> bool:
        node = self._written[name]
        for part in re.sub(r"\[\d+\]", "", key).split("."):
            if not isinstance(node, Mapping) or part not in node:
                return False
            node = node[part]
        return True


def _overlaid(base: Any, overlay: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(overlay, dict)):
        return overlay
    return {**base, **{key: _overlaid(base.get(key), value) for key, value in overlay.items()}}
