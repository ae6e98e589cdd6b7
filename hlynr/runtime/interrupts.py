"""Ctrl-C held back while a library must not be interrupted, and let through where it may be."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class HeldInterrupts:
    """SIGINT in the main thread; in another one, which no signal interrupts, nothing changes."""

    def __init__(self) -> None:
        self._pending = False
        self._handler: Any = signal.getsignal(signal.SIGINT)
        self._applies = threading.current_thread() is threading.main_thread()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raise KeyboardInterrupt at the end, or in `let_through`, for a SIGINT received meanwhile."""
        self._set(self._note)
        try:
            yield
        finally:
            self._set(self._handler)
        self._raise_pending()

    @contextmanager
    def let_through(self) -> Iterator[None]:
        """Within `held`: handle SIGINT as before, one that was held back now."""
        self._set(self._handler)
        try:
            self._raise_pending()
            yield
        finally:
            self._set(self._note)

    def _note(self, *_: object) -> None:
        self._pending = True

    def _raise_pending(self) -> None:
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt

    def _set(self, handler: Any) -> None:
        if self._applies:
            signal.signal(signal.SIGINT, handler)
