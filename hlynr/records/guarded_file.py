"""Reading our own files, in whose place something else may lie: a pipe that never ends, a device, a file that fills the
memory, bytes that a disk has changed.
"""

import os
import stat
from errno import EFBIG, EISDIR, EPERM
from pathlib import Path


class DamagedFileError(ValueError):
    """A file of ours with other content than we wrote; the message is one line that begins with its path."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes; links to one are followed.

    Raises:
        OSError: if it cannot be read, is no regular file, or is larger.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)  # of what was opened: the path may lead elsewhere by now
        if stat.S_ISDIR(found.st_mode):
            raise OSError(EISDIR, os.strerror(EISDIR), str(path))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(EPERM, "Not a regular file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1) if found.st_size <= limit else None
        if content is None or len(content) > limit:
            raise OSError(EFBIG, f"Larger than {limit:,} bytes", str(path))
        return content
    finally:
        os.close(descriptor)
