"""Scenarios that extend others: merging them, and blaming a fault on the scenario that wrote it."""

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
        self.faults: list[str] = []
        """A line for each ``extends`` that leads nowhere or round in a circle."""
        self.chains = {name: self._chain(name) for name in self._written}
        """Each scenario, what it extends, what that extends, and so on."""

    @property
    def complete(self) -> bool:
        """Whether all that scenarios extend is there."""
        return not self.faults and all(isinstance(scenario, Mapping) for scenario in self._written.values())

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
        while isinstance(scenario := self._written[name], Mapping) and "extends" in scenario:
            base = scenario["extends"]
            if not isinstance(base, str) or base not in self._written:
                self._blame(name, not_one_of(str(base), [other for other in self._written if other != name]))
                break
            if base in chain:
                if name == min(chain[chain.index(base) :]):  # one line for the whole circle
                    self._blame(name, f"leads back to {shown(name)}")
                break
            chain.append(base)
            name = base
        return chain

    def _blame(self, name: str, what: str) -> None:
        self.faults.append(f"{dotted(['scenarios', name, 'extends'])}: {shown(self._written[name]['extends'])} {what}")

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
