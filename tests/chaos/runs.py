"""One command at a time, with what is done to it: killed at a time or at a change, or left without disk."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

import psutil

from chaos import interposer, processes
from chaos.interposer import SharedPlan
from chaos.servers import Server
from chaos.world import World

LOOK = 0.005
"""[s] between two looks at a command."""
PATIENCE = 300.0
"""[s] for a command; longer is a hang."""

Who = Literal["one", "all", "main", "prefect", "proxy"]
"""One of a command's processes at random, all, the first; Prefect's server, which is started again; or a proxy."""


@dataclass(frozen=True)
class Fault:
    """What is done to a command, once it has reached a phase."""

    phase: str
    occurrence: int = 1
    share: float | None = None
    """Killed after this share of the time that the phase usually takes."""
    k: int | None = None
    """Failed at this change of the phase instead."""
    mode: int = interposer.DIE
    who: Who = "all"
    proxy: str = ""
    """What the proxy does to its connections, for some seconds."""
    seconds: float = 0.0

    def describe(self) -> dict[str, Any]:
        """For the ledger."""
        how = {interposer.DIE: "kill", interposer.TORN: "torn write", interposer.FULL: "full disk"}[self.mode]
        place = {"k": self.k} if self.share is None else {"share": round(self.share, 3)}
        if self.proxy:
            return {"phase": self.phase, **place, "how": f"{self.proxy} {self.seconds:.1f} s", "who": "proxy"}
        return {"phase": self.phase, **place, "how": how, "who": self.who}


@dataclass
class Ended:
    """How a command ended."""

    code: int
    """As `os.waitstatus_to_exitcode`; negative for a signal."""
    hit: list[tuple[Fault, str]] = field(default_factory=list)
    """The faults that met it, with what it was doing."""
    hung: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    """By phase."""
    changes: dict[str, int] = field(default_factory=dict)


@dataclass
class Runner:
    """Runs commands in a world; the servers' processes are not theirs."""

    world: World
    library: Path
    servers: Callable[[], Collection[int]]
    prefect: Server
    proxy: TextIO | None = None
    usual: dict[str, float] = field(default_factory=dict)
    """The time that a phase took in the newest command that ended [s]."""

    def command(self, *arguments: str, faults: list[Fault], rng: random.Random, between: Callable[[], None]) -> Ended:
        """A command of `hlynr`; the faults that have met it are taken from the list.

        Args:
            between: called after each fault that the command has survived.
        """

        def main() -> None:
            from hlynr.cli.app import main as cli

            sys.argv = ["hlynr", *arguments]
            cli()

        return self.run(main, faults, rng, between)

    def run(
        self, main: Callable[[], object], faults: list[Fault], rng: random.Random, between: Callable[[], None]
    ) -> Ended:
        """Fork it, do the faults to it in their order, and wait for its end."""
        self.reap()  # a process that nobody waits for seems alive to the next command
        plan = self.world.plan()
        self._arm(plan, faults)
        follow = lambda: interposer.follow(self.library, plan.file)  # noqa: E731
        pid = processes.fork(main, self.world.root, self.world.output, follow)
        ended, started, since, seen = Ended(0), time.monotonic(), time.monotonic(), (0, 0)
        while True:
            now = time.monotonic()
            done, status = os.waitpid(pid, os.WNOHANG)
            if (plan.plan.phase, plan.plan.lines) != seen:
                self._clock(ended, seen, since, now)
                seen, since = (plan.plan.phase, plan.plan.lines), now
            if self._met(plan, faults, ended, done, since, now, pid, rng) and not done:
                between()
            if done:
                self._clock(ended, seen, since, now)
                ended.code, ended.changes = os.waitstatus_to_exitcode(status), plan.changes()
                if ended.code == 0:
                    self.usual.update(ended.seconds)
                return ended
            if now - started > PATIENCE:
                self.kill_all()
                ended.hung = True
            time.sleep(LOOK)

    def _clock(self, ended: Ended, seen: tuple[int, int], since: float, now: float) -> None:
        name = interposer.PHASES[seen[0]]
        ended.seconds[name] = max(ended.seconds.get(name, 0.0), now - since)

    def _arm(self, plan: SharedPlan, faults: list[Fault]) -> None:
        if faults and faults[0].k is not None:
            fault = faults[0]
            plan.fail_at(fault.mode, fault.phase, fault.occurrence, faults[0].k, everything=fault.who == "all")  # type: ignore[arg-type]
        else:
            plan.spare()

    def _met(
        self,
        plan: SharedPlan,
        faults: list[Fault],
        ended: Ended,
        done: int,
        since: float,
        now: float,
        pid: int,
        rng: random.Random,
    ) -> bool:
        """Whether the next fault has met the command by now."""
        while faults and self._passed(plan, faults[0]):
            faults.pop(0)
            self._arm(plan, faults)
        if not faults:
            return False
        fault = faults[0]
        if fault.k is not None:
            if not plan.plan.fired or (fault.mode == interposer.FULL and not done):
                return False
            if fault.who == "all":
                self.kill_all()
            ended.hit.append((fault, plan.what))
        else:
            if done or plan.phase != fault.phase or plan.occurrence != fault.occurrence:
                return False
            if now - since < (fault.share or 0.0) * self.usual.get(fault.phase, 0.0):
                return False
            ended.hit.append((fault, self._kill(fault, pid, rng)))
        faults.pop(0)
        self._arm(plan, faults)
        return True

    def _passed(self, plan: SharedPlan, fault: Fault) -> bool:
        """Whether the command has left the fault's phase without having been hit."""
        if plan.plan.fired:
            return False
        seen = int(plan.plan.seen[interposer.PHASES.index(fault.phase)])
        return seen > fault.occurrence or (seen == fault.occurrence and plan.phase != fault.phase)

    def _kill(self, fault: Fault, pid: int, rng: random.Random) -> str:
        """Returns the program of the killed process."""
        if fault.who == "all":
            self.kill_all()
            return "all"
        if fault.who == "proxy":
            assert self.proxy is not None
            print(fault.proxy, fault.seconds, file=self.proxy, flush=True)
            return fault.proxy
        if fault.who == "prefect":
            self.prefect.kill()
            self.prefect.start()
            return "prefect"
        own = [each for each in self.running() if _name(each) != processes.FORKER]
        chosen = psutil.Process(pid) if fault.who == "main" or not own else rng.choice(own)
        name = "main" if chosen.pid == pid else _name(chosen)
        _send_kill(chosen)
        return name

    def running(self) -> list[psutil.Process]:
        """The processes of the command and what earlier ones have left, the oldest first."""
        servers = set(self.servers())
        try:
            children = psutil.Process().children(recursive=True)
        except psutil.Error:
            return []
        found = [each for each in children if each.pid not in servers and not _below(each, servers) and _alive(each)]
        return sorted(found, key=lambda each: each.pid)

    def kill_all(self) -> None:
        """Every process of the command, at once as far as that is possible."""
        for _ in range(3):
            for each in self.running():
                _send_kill(each)

    def reap(self) -> None:
        """Take the exit codes of adopted processes."""
        servers = set(self.servers())
        for each in psutil.Process().children():
            if each.pid not in servers and not _alive(each):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(each.pid, os.WNOHANG)

    def remaining(self, patience: float) -> list[str]:
        """Processes that still run after ``patience`` [s]."""
        deadline = time.monotonic() + patience
        while True:
            self.reap()
            found = self.running()
            if not found or time.monotonic() > deadline:
                return [f"{_name(each)} {each.pid}" for each in found]
            time.sleep(0.05)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return "gone"


def describe_process(process: psutil.Process) -> str:
    """The module or program that it runs."""
    try:
        command = process.cmdline()
    except psutil.Error:
        return "gone"
    after = command.index("-m") if "-m" in command[:-1] else 0
    return os.path.basename(command[after + 1] if after else command[0])


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _below(process: psutil.Process, servers: set[int]) -> bool:
    try:
        return any(parent.pid in servers for parent in process.parents())
    except psutil.Error:
        return False


def _send_kill(process: psutil.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
