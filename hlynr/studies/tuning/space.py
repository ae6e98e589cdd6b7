"""Drawing hyperparameters from the search space, and placing known ones in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hlynr.config.schedules import first, scaled

if TYPE_CHECKING:
    from hlynr.config.sections import Train
from hlynr.config.search_space import SCHEDULES, Space, Suggester


def draw(space: Space, train: Train, trial: Suggester) -> dict[str, Any]:
    """The changes of ``train`` that a trial suggests; schedules whole."""
    return applied({name: entry.draw(trial, name) for name, entry in space.searched(train.algorithm).items()}, train)


def nearest(space: Space, train: Train) -> dict[str, Any]:
    """The present values of the searched settings, moved into the space where they lie outside."""
    return {
        name: entry.nearest(first(getattr(train, name)) if name in SCHEDULES else getattr(train, name))
        for name, entry in space.searched(train.algorithm).items()
    }


def point(space: Space, train: Train) -> dict[str, Any]:
    """Optuna's parameters of the `nearest` values."""
    values, entries = nearest(space, train), space.searched(train.algorithm)
    return {key: value for name in values for key, value in entries[name].point(name, values[name]).items()}


def applied(values: Mapping[str, Any], train: Train) -> dict[str, Any]:
    """The searched values as keys of the section train."""
    return {name: scaled(getattr(train, name), value) if name in SCHEDULES else value for name, value in values.items()}


def pairs(space: Space, train: Train) -> Iterator[dict[str, Any]]:
    """Each extreme value alone, then each two of different settings."""
    extremes = [
        (name, value)
        for name, entry in space.searched(train.algorithm).items()
        for value in dict.fromkeys(entry.extremes())
    ]
    yield from ({name: value} for name, value in extremes)
    for number, (name, value) in enumerate(extremes):
        yield from ({other: its, name: value} for other, its in extremes[:number] if other != name)
