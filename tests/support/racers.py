"""What racing processes run; it imports little, because every one of them starts a fresh interpreter."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import closing
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from hlynr.ops.registry.promotion import apply_decision
from hlynr.ops.tracking.metric_stream import MetricStream
from hlynr.ops.tracking.runs import start_run
from hlynr.ops.tracking.store import open_store
from support import stores
from support.mortal import exit_at_once, mortal

_SPAWN = multiprocessing.get_context("spawn")


def start_line(count: int) -> Barrier:
    """Where ``count`` processes wait for each other."""
    return _SPAWN.Barrier(count)


def run(target: Callable[..., None], arguments: list[tuple[Any, ...]]) -> list[int | None]:
    """Exit codes of ``target`` run at once in fresh interpreters."""
    processes = [_SPAWN.Process(target=target, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    return [process.exitcode for process in processes]


def open_and_log(root: Path, number: int) -> None:
    """A retraining's first steps, in a project that may have no store yet."""
    store = open_store(stores.config(), root)
    run_id = start_run(store, stores.lineage(number), stores.config())
    with closing(MetricStream(store, run_id, root / "unsent.jsonl")) as stream:
        stream.log(1, {"train/loss": float(number)})


def promote(
    root: Path,
    settings: tuple[str, ...],
    version: int,
    run_id: str,
    champion: int,
    start: Barrier | None = None,
    lives: int = 1000,
) -> None:
    """Apply a promotion that was decided against ``champion``, once all are ready; be killed after ``lives`` writes."""
    store = mortal(open_store(stores.config(*settings), root), lives, exit_at_once)
    found, lineage = stores.evaluation(number=version), stores.lineage(version)
    if start is not None:
        start.wait(120)
    apply_decision(store, stores.decision(champion=champion), version, found, lineage, run_id)
