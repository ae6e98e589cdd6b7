"""Logs that processes append to, kept from growing without end."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

LOG_BYTES = 5_000_000


def cut(log: Path) -> None:
    """Begin a log anew once it is long, and keep what it held as ``.log.1``; raises nothing.

    Copied and truncated, because processes have it open.
    """
    try:
        if log.stat().st_size <= LOG_BYTES:
            return
    except OSError:
        return
    with suppress(OSError):  # a full disk: the room matters more than the lines
        shutil.copyfile(log, log.with_suffix(".log.1"))
    with suppress(OSError):
        os.truncate(log, 0)
