"""What a project under `hlynr up` takes at one moment: memory and descriptors by process, files and bytes by folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
from support.services import Service

from hlynr.runtime import scratch

FOLDERS = (".git", ".dvc", ".hlynr", "mlruns", "outputs")


def measured(service: Service, temporary: Path) -> dict[str, float]:
    """Each quantity by a name whose last word is its unit."""
    found: dict[str, float] = {}
    for name, process in _processes(service):
        with process.oneshot():
            found[f"{name} memory MB"] = process.memory_info().rss / 1e6
            found[f"{name} descriptors"] = process.num_fds()
    for folder in (*(service.root / name for name in FOLDERS), temporary):
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        label = folder.name if folder != temporary else "temporary folder"
        found[f"{label} files"] = len(sizes)
        found[f"{label} kB"] = sum(sizes) / 1e3
    for database in ("mlruns/mlflow.db", ".hlynr/prefect/prefect.db"):
        found[f"{Path(database).name} kB"] = (service.root / database).stat().st_size / 1e3
    return found


def _processes(service: Service) -> Iterator[tuple[str, psutil.Process]]:
    """The supervisor, and each component with its children numbered."""
    yield "supervisor", psutil.Process(service.state.pid)
    for component in service.state.components:
        if component.pid is not None:
            guard = psutil.Process(component.pid)
            yield f"{component.name} guard", guard
            for number, child in enumerate(guard.children(recursive=True)):
                yield component.name if number == 0 else f"{component.name} child {number}", child


def temporary_folder() -> Path:
    """Where the processes keep their temporary files."""
    return scratch.user_folder()
