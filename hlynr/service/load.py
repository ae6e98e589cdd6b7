"""What a tree of processes takes of the machine."""

from __future__ import annotations

import time

import psutil

from hlynr.service_records import Load

LEAST = 2.0
"""[s] between the two looks at the processor's clock, which counts in hundredths."""


class Meter:
    """Measures from its making to `read`."""

    def __init__(self, pid: int) -> None:
        self._pid, self._began, self._spent = pid, time.monotonic(), self._used(pid)

    def read(self) -> Load | None:
        """None if the process is gone."""
        time.sleep(max(0.0, LEAST - (time.monotonic() - self._began)))
        spent, seconds = self._used(self._pid), time.monotonic() - self._began
        if not spent:
            return None
        cpu = sum(max(used - self._spent.get(pid, used), 0.0) for pid, used in spent.items()) / seconds
        return Load(memory=sum(map(_memory, spent)), cpu=cpu)

    def _used(self, pid: int) -> dict[int, float]:
        """Processor time of each process [s]."""
        return {each.pid: _processor_time(each) for each in _tree(pid)}


def _tree(pid: int) -> list[psutil.Process]:
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def _processor_time(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_full_info().pss)
    except psutil.Error:
        return 0
