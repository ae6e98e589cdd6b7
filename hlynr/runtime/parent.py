"""A process that ends with the process that started it. Imports nothing heavy: `hlynr up` runs one such per server."""

import os
import signal
import threading
import time
from collections.abc import Callable

LOOK = 0.5
"""[s] between two looks."""


def wait_until_gone(parent: int, or_until: Callable[[], bool] = lambda: False) -> None:
    """Return when ``parent`` is no longer this process's parent, or the condition holds."""
    while os.getppid() == parent and not or_until():
        time.sleep(LOOK)


def end_with(parent: int, kill_after: float | None = None) -> None:
    """Send this process SIGTERM when ``parent`` is gone, and end it ``kill_after`` seconds later if given.

    A thread, because a parent-death signal also fires when the thread that started this process ends.
    """

    def watch() -> None:
        wait_until_gone(parent)
        os.kill(os.getpid(), signal.SIGTERM)
        if kill_after is not None:
            time.sleep(kill_after)
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
