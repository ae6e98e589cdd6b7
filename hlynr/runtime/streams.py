"""Standard streams that may fail: what a process does never depends on what reads them.

A reader that is gone, a full disk, a closed terminal or descriptor: what is written then is lost, and the process goes
on. So does one whose messages on standard error are not read; for standard output it waits, as a pager takes its time.
"""

from __future__ import annotations

import io
import os
import runpy
import select
import signal
import sys
import threading
from errno import EPIPE
from types import FrameType
from typing import TYPE_CHECKING, TextIO

from hlynr.runtime.errors import EnvironmentNotReady

if TYPE_CHECKING:
    from typing_extensions import Buffer

PATIENCE = 5.0
"""[s] for a reader of standard error to make room; later lines are lost at once until it reads again."""


class LastingOutput(io.RawIOBase):
    """A descriptor to write to, whose errors are kept instead of raised."""

    def __init__(self, descriptor: int, patience: float | None = None) -> None:
        """Takes a patience for a pipe without room [s]; None: without end."""
        self._descriptor = descriptor
        self._patience, self._stalled = patience, False
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.failure: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, content: Buffer, /) -> int:
        whole = memoryview(content).cast("B")
        try:
            while self._has_room():
                try:
                    return os.write(self._descriptor, whole[: select.PIPE_BUF])  # for so much it has room
                except BlockingIOError:  # another process has made the open file non-blocking, and filled it
                    continue
        except OSError as error:
            self.failure = self.failure or error
        return len(whole)

    def _has_room(self) -> bool:
        patience = None if self._patience is None else 0.0 if self._stalled else 1000 * self._patience
        self._stalled = not self._poll.poll(patience)
        return not self._stalled


def lasting(descriptor: int, patience: float | None = None, encoding: str = "utf-8") -> TextIO:
    """A text stream to the descriptor, line by line; a character that its encoding lacks becomes a question mark."""
    raw = io.BufferedWriter(LastingOutput(descriptor, patience))
    return io.TextIOWrapper(raw, encoding=encoding, errors="replace", line_buffering=True)


def guard() -> None:
    """Let this process's standard streams last; those that were put in their place stay.

    Closed descriptors are opened: otherwise the next file, say a database, would take the number, and receive what a
    library writes there.
    """
    for number in (0, 1, 2):
        _open_if_closed(number)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  (for the life of the process)
    if sys.stdout is None or sys.stdout is sys.__stdout__:
        sys.stdout = lasting(1, encoding=getattr(sys.stdout, "encoding", "utf-8"))
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = lasting(2, PATIENCE, getattr(sys.stderr, "encoding", "utf-8"))


def _open_if_closed(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)
        os.dup2(opened, number)
        if opened != number:
            os.close(opened)


def require_written() -> None:
    """Raises `EnvironmentNotReady` if something of standard output is lost, unless its reader did not want it all."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    failure = raw.failure if isinstance(raw, LastingOutput) else None
    if failure is not None and failure.errno != EPIPE:
        raise EnvironmentNotReady(f"standard output: {failure.strerror}")


def interrupt_on_hangup() -> None:
    """Make of a closed terminal what Ctrl-C is, once; not under nohup."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the shell sends another one, and a second Ctrl-C kills
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, interrupt)


def main() -> None:
    """Run another library's module, the first argument, as ``python -m`` does, with streams that last."""
    del sys.argv[0]
    sys.path.insert(0, os.getcwd())
    guard()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
