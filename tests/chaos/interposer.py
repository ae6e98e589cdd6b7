"""The library that counts what a run changes below its project and fails it there, and the plan that it follows."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from pathlib import Path

from hlynr.runtime.errors import EnvironmentNotReady

SOURCE = Path(__file__).with_name("interpose.c")
PHASES = ("start", "validate", "train", "version", "evaluate", "gate", "promote", "prune", "conclude")
"""In the order of the plan's counters; the first is before a command has said what it begins with."""
COUNT, DIE, TORN, FULL = range(4)
"""What happens at the chosen change: nothing, the process is killed before it or in its middle, the disk is full."""
_PHASES, _NAME, _TEXT = 16, 32, 512


class Plan(ctypes.Structure):
    """``struct shared`` of interpose.c."""

    _fields_ = (
        ("mode", ctypes.c_int32),
        ("all", ctypes.c_int32),
        ("wanted", ctypes.c_int32),
        ("occurrence", ctypes.c_int32),
        ("k", ctypes.c_int64),
        ("total", ctypes.c_int64),
        ("changes", ctypes.c_int64),
        ("phase", ctypes.c_int32),
        ("lines", ctypes.c_int32),
        ("fired", ctypes.c_int32),
        ("seen", ctypes.c_int32 * _PHASES),
        ("most", ctypes.c_int64 * _PHASES),
        ("names", (ctypes.c_char * _NAME) * _PHASES),
        ("prefix", ctypes.c_char * _TEXT),
        ("what", ctypes.c_char * _TEXT),
    )


def compiled(folder: Path) -> Path:
    """The library, compiled anew if its source is newer.

    Raises:
        EnvironmentNotReady: where there is no C compiler, or no Linux.
    """
    library = folder / "interpose.so"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise EnvironmentNotReady("make chaos needs a C compiler called cc, and Linux") from None
        if done.returncode:
            raise EnvironmentNotReady(f"{SOURCE.name} does not compile here: {done.stderr.strip()}")
    return library


class SharedPlan:
    """The plan and the counters of one command, in a file that all its processes map."""

    def __init__(self, file: Path, project: Path) -> None:
        self.file = file
        file.write_bytes(bytes(ctypes.sizeof(Plan)))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), ctypes.sizeof(Plan))
        self.plan = Plan.from_buffer(self._memory)
        self.plan.prefix = os.fsencode(project)
        self.plan.seen[0] = 1
        for number, name in enumerate(PHASES):
            self.plan.names[number].value = name.encode()

    @property
    def phase(self) -> str:
        return PHASES[self.plan.phase]

    @property
    def occurrence(self) -> int:
        """The present phase's: the first is 1."""
        return int(self.plan.seen[self.plan.phase])

    @property
    def what(self) -> str:
        """The call and the path below the project at which it fired."""
        return bytes(self.plan.what).decode(errors="replace")

    def changes(self) -> dict[str, int]:
        """Of the longest occurrence of each phase."""
        return {name: int(self.plan.most[number]) for number, name in enumerate(PHASES) if self.plan.most[number]}

    def fail_at(self, mode: int, phase: str, occurrence: int, k: int, *, everything: bool) -> None:
        """Fail at the ``k``-th change of a phase; the mode last, since a process may already be running."""
        self.plan.mode, self.plan.fired = COUNT, 0
        self.plan.wanted, self.plan.occurrence = PHASES.index(phase), occurrence
        self.plan.k, self.plan.all = k, int(everything)
        self.plan.mode = mode

    def spare(self) -> None:
        """Only count from here on."""
        self.plan.mode = COUNT


def follow(library: Path, file: Path) -> None:
    """Let this process and those that it starts follow a plan; the library must have been preloaded."""
    os.environ["CHAOS_FILE"] = str(file)
    ctypes.CDLL(str(library)).chaos_map(os.fsencode(file))
