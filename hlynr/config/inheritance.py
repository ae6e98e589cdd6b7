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
        self.chains = {name: self._chain(name) for name in self._written}
        """Each scenario, what it extends, what that extends, and so on."""

    @property
    def faults(self) -> list[str]:
        """One line per ``extends`` that leads nowhere or round in a circle."""
        return list(self._faults.values())

    @property
    def complete(self) -> bool:
        """Whether all that scenarios extend is there."""
        return not self._faults and all(isinstance(scenario, Mapping) for scenario in self._written.values())

    def resolved(self) -> dict[str, Any]:
        """Every scenario with what it inherits."""
        return {name: self.merged(chain) for name, chain in self.chains.items()}

    def merged(self, chain: Iterable[str]) -> Any:
        """Scenarios on top of each other, the first of the chain on top."""
        merged: Any = {}
        for name in reversed(list(chain)):
            merged = _overlaid(merged, self._written[name])
        if isinstance(merged, dict):
            merged.pop("extends", None)
        return merged

    def own(self, lines: Iterable[str]) -> list[str]:
        """``lines`` without those that a scenario merely inherits together with the faulty value."""
        lines = list(lines)
        return [line for line in lines if not self._inherited(line, lines)]

    def _chain(self, name: str) -> list[str]:
        chain = [name]
        while isinstance(scenario := self._written[chain[-1]], Mapping) and "extends" in scenario:
            base = scenario["extends"]
            if not isinstance(base, str) or base not in self._written:
                others = [other for other in self._written if other != chain[-1]]
                self._blame({chain[-1]}, chain[-1], not_one_of(str(base), others), base)
            elif base in chain:
                circle = chain[chain.index(base) :]
                self._blame(set(circle), chain[-1], f"leads back to {shown(chain[-1])}", base)
            else:
                chain.append(base)
                continue
            break
        return chain

    def _blame(self, members: set[str], name: str, what: str, base: Any) -> None:
        key = dotted(["scenarios", name, "extends"])
        self._faults.setdefault(frozenset(members), f"{key}: {shown(base)} {what}")

    def _inherited(self, line: str, lines: list[str]) -> bool:
        for name, chain in self.chains.items():
            prefix = f"scenarios.{name}."
            if line.startswith(prefix):
                rest = line.removeprefix(prefix)
                blamed = any(f"scenarios.{base}.{rest}" in lines for base in chain[1:])
                return blamed and not self._writes(name, rest.partition(": ")[0])
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
