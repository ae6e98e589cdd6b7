"""An MLflow client whose process is killed at a chosen write, and the acts during which that happens to it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hlynr.ops.tracking.store import Store

WRITES = ("create_", "delete_", "log_", "rename_", "set_", "update_")


class Killed(BaseException):
    """No handler of errors gets to see a kill."""


class MortalClient:
    """Does ``lives`` writes and dies at the next one, before it is made; whatever is asked of it later dies as well."""

    def __init__(self, client: Any, lives: int, end: Callable[[], None]) -> None:
        self._client, self._end = client, end
        self.lives = lives

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)

        def mortal(*arguments: Any, **named: Any) -> Any:
            if name.startswith(WRITES):
                self.lives -= 1
            if self.lives < 0:
                self._end()
                raise Killed
            return found(*arguments, **named)

        return mortal if callable(found) else found


def mortal(store: Store, lives: int, end: Callable[[], None] = lambda: None) -> Store:
    """The store as a process sees it that dies after ``lives`` writes."""
    client: Any = MortalClient(store.client, lives, end)
    return replace(store, client=client)


def exit_at_once() -> None:
    """What `kill -9` does: no lock is released, nothing is flushed."""
    os._exit(9)


def survives(act: Callable[[Store], object], store: Store, lives: int) -> bool:
    """Whether the act needs no more writes than that; otherwise it has been killed at the next one."""
    try:
        act(mortal(store, lives))
    except Killed:
        return False
    return True
