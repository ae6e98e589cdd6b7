"""The checks before a training: whether this machine is ready."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hlynr.config.project import Project
from hlynr.ops.tracking import rehearsal as tracking
from hlynr.ops.tracking import store
from hlynr.ops.versioning import experiments
from hlynr.ops.versioning import rehearsal as versioning
from hlynr.pipeline import training_check
from hlynr.records.retraining import Check
from hlynr.runtime import database_uri, webhook
from hlynr.runtime.errors import EnvironmentNotReady, as_user_error

FREE_BYTES = 2 * 1024**3
"""Of free disk, for the checkpoints, artifacts and caches of a retraining."""
TRIED_BYTES = 32 * 1024**2
"""Allocated for a moment, also where temporary files go."""
WEBHOOK_CHECK = "webhook"


def examine(project: Project) -> list[Check]:
    """All checks, whatever their outcome; processes try training and version step beside the others."""
    versioned = project.config.versioning.enabled
    with ThreadPoolExecutor(2) as aside:
        device = aside.submit(_check, "device", True, lambda: training_check.examine(project.config))
        version = aside.submit(_check, "dvc remote", versioned, lambda: _version(project))
        found = [
            _check("configuration", True, lambda: f"{len(project.config.flat())} settings are valid"),
            _check("python", True, lambda: f"{sys.version.split()[0]} at {sys.prefix}"),
            _check("disk", True, lambda: _disk(project)),
            _check("folders", True, lambda: _writable(project)),
            _check("gpu", False, _gpu),
            _check("tensorboard", False, lambda: _tensorboard(project)),
            _check("mlflow", True, lambda: _mlflow(project)),
            _check("git", versioned, lambda: f"HEAD is {experiments.check_project(project.root)[:10]}"),
            _check(WEBHOOK_CHECK, True, _webhook),
        ]
        return [*found, device.result(), version.result()]


def require_ready(project: Project, *, unattended: bool = False) -> None:
    """Raises `EnvironmentNotReady` naming every required check that fails.

    Args:
        unattended: with no user to correct the webhook: a retraining is worth more than its alerts, which are logged.
    """
    failed = [check for check in examine(project) if check.required and not check.ok]
    failed = [check for check in failed if not (unattended and check.name == WEBHOOK_CHECK)]
    if failed:
        raise EnvironmentNotReady("\n".join(f"{check.name}: {check.detail}" for check in failed))


def _check(name: str, required: bool, look: Callable[[], str]) -> Check:
    """Run one check; its error is the detail."""
    try:
        return Check(name=name, ok=True, required=required, detail=look())
    except Exception as error:
        known = error if isinstance(error, (OSError, ValueError, subprocess.SubprocessError)) else as_user_error(error)
        if known is None:
            raise
        return Check(name=name, ok=False, required=required, detail=" ".join(str(known).split()))


def _disk(project: Project) -> str:
    """Room by the file system's count, and for a few megabytes by trying, as that count knows no quota."""
    free = shutil.disk_usage(project.root).free
    if free < FREE_BYTES:
        needed = f"{FREE_BYTES / 1e9:.1f} GB are needed"
        raise EnvironmentNotReady(f"{free / 1e9:.1f} GB are free in {project.root}, {needed}")
    for folder in (_existing(project.root / ".hlynr"), _existing(project.root / project.config.run.outputs), None):
        with tempfile.TemporaryFile(dir=folder) as file:  # without a name, so that no kill leaves it
            os.posix_fallocate(file.fileno(), 0, TRIED_BYTES)
    return f"{free / 1e9:.0f} GB free"


def _writable(project: Project) -> str:
    for folder in (project.root, project.root / project.config.run.outputs):
        _require_writable(folder)
    return f"{project.root} is writable"


def _require_writable(folder: Path) -> None:
    """A missing folder can be made if the nearest existing parent is writable."""
    existing = _existing(folder)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise EnvironmentNotReady(f"{existing} is not a writable folder")


def _existing(folder: Path) -> Path:
    """The nearest existing folder: itself or a parent."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _gpu() -> str:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        raise EnvironmentNotReady("none found; training runs on the CPU")
    query = [tool, "--query-gpu=name,memory.free", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def _tensorboard(project: Project) -> str:
    if importlib.util.find_spec("tensorboard") is None:
        raise EnvironmentNotReady("is not installed; training curves go to MLflow only")
    return f"tensorboard --logdir {project.config.run.outputs}/train/tensorboard"


def _webhook() -> str:
    return "alerts are sent to it" if webhook.address() else "none; alerts are only logged"


def _mlflow(project: Project) -> str:
    uri = database_uri.absolute(project.config.tracking.uri, project.root)
    database = database_uri.file(uri)
    if database and not database.exists():
        _require_writable(database.parent)
        artifacts = store.local_path(store.artifact_root(project.config.tracking.artifacts, project.root))
        if artifacts:
            _require_writable(artifacts)
        return f"{uri} will be made by the first training"
    opened = store.open_store(project.config, project.root)
    tracking.rehearse(opened)
    return opened.uri


def _version(project: Project) -> str:
    settings = project.config.versioning
    if not settings.enabled:
        return "not used: versioning.enabled is false"
    return versioning.rehearse(project.root, project.config, push=settings.push)
