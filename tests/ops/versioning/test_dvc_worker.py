"""The parts of DVC that the worker uses beyond its documented API are what the installed version has."""

from __future__ import annotations

import inspect
from importlib import import_module

import dvc
import pytest

CHANGED = f"DVC {dvc.__version__} differs from the one hlynr was written for: see hlynr/ops/versioning/dvc_worker.py"


@pytest.mark.parametrize(
    ("module", "name", "parameters"),
    [
        ("dvc.config", "Config.read", ["level"]),
        ("dvc.repo", "Repo", ["root_dir", "config"]),
        ("dvc.repo", "Repo.open", ["url"]),
        ("dvc.repo", "Repo.commit", ["target", "force", "relink"]),
        ("dvc.repo", "Repo.push", ["targets"]),
        ("dvc.repo", "Repo.used_objs", ["revs", "all_commits"]),
        ("dvc.repo", "lock_repo", ["repo"]),
        ("dvc.stage.cache", "StageCache.save", ["stage"]),
        ("dvc.data_cloud", "DataCloud.get_remote", ["name"]),
        ("dvc.data_cloud", "DataCloud.get_remote_odb", ["name", "command", "hash_name"]),
        ("dvc.cachemgr", "CacheManager.by_scheme", []),
        ("dvc_data.hashfile.db", "get_index", ["odb"]),
        ("dvc_data.hashfile.gc", "gc", ["odb", "used"]),
        ("dvc_data.hashfile.hash_info", "HashInfo", ["name", "value"]),
        ("dvc_data.index", "DataIndexDirError", None),
        ("dvc.scm", "RevError", None),
    ],
)
def test_the_worker_finds_what_it_uses(module: str, name: str, parameters: list[str] | None) -> None:
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise AssertionError(f"{module}.{name}: {CHANGED}") from error
    if parameters is not None:
        assert set(parameters) <= inspect.signature(found).parameters.keys(), f"{module}.{name}: {CHANGED}"
