"""Everything that needs DVC, as a script: a request as JSON in its argument, an answer as JSON on standard output.

DVC resolves paths against the working directory (committing a stage from elsewhere fails with "is outside of DVC
repo"), which all threads of a process share; so it gets a process of its own, which also keeps its loggers, progress
bars and warnings. The script imports nothing of hlynr: in a snapshot that would be the snapshot's code.

Beyond DVC's documented API it uses, checked by a test against the installed version: ``Repo(config=...)`` and
``Config.read``, because a snapshot needs the project's configuration with the project's cache; ``Repo.commit`` and
``Repo.dvcfs``, because the command line takes seconds a call and reads only through the workspace; and for garbage
collection ``Repo.used_objs`` with dvc_data's collector, because ``dvc gc`` knows no age and cannot leave out a ref. A
rehearsal replaces ``StageCache.save``.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


class RequestError(Exception):
    """The request cannot be met; the message is for the user."""


def commit(root: str, stages: list[str], outs: list[str], push: bool) -> dict[str, Any]:
    """Commit the stages of the working directory, a snapshot of ``root``, into root's cache; push their outs.

    A failed push is no error: the cache has the objects, so the experiment gets its ref.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Repo(".", config=_settings(root)) as repo:
        for stage in stages:
            repo.commit(stage, force=True, relink=False)
        try:
            if push:
                repo.cloud.get_remote_odb()  # raises where there is no remote; push alone would do nothing, silently
                repo.push(targets=outs)
        except (DvcException, OSError) as error:
            return {"push_fault": _line(error)}
    return {"push_fault": None}


def _settings(root: str) -> dict[str, Any]:
    """The configuration of ``root`` on all its levels, the user's config.local included; for use in a snapshot.

    Passed on, not written: DVC writes ASCII only, and paths come absolute.
    """
    from dvc.config import Config

    settings: dict[str, Any] = Config(f"{root}/.dvc").read()
    settings["cache"].setdefault("dir", f"{root}/.dvc/cache")
    return settings


def read(root: str, revision: str, paths: list[str], destination: str, cache: str | None = None) -> dict[str, Any]:
    """Bring ``paths`` of a revision into ``destination``, each file checked against its recorded md5.

    With ``cache``, an empty folder, instead of the project's own cache everything comes from the remote.
    """
    from dvc.repo import Repo
    from dvc.scm import RevError
    from dvc_data.index import DataIndexDirError

    config = {"cache": {"dir": cache}} if cache else {}
    try:
        with Repo.open(root, rev=revision, config=config) as repo:
            for path in paths:
                _fetch(repo.dvcfs, path, Path(destination), revision)
    except RevError:
        raise RequestError(
            f"unknown revision {revision!r}: no experiment, branch, tag or commit of that name"
        ) from None
    except (DataIndexDirError, FileNotFoundError):
        where = "in the remote" if cache else "in the DVC cache or the remote: it was never pushed, or lost since"
        raise RequestError(f"{path} of {revision} is not {where}") from None
    return {}


def _fetch(fs: Any, path: str, destination: Path, revision: str) -> None:
    try:
        info = fs.info(path)
    except FileNotFoundError:
        info = {}
    if not {"md5", "fs_info"} & info.keys():  # an out that was never committed has neither
        raise RequestError(f"{revision} holds no {path}")
    for found in list(fs.find(path)):
        target = destination / found.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(found, str(target))
        recorded = fs.info(found).get("md5")
        if recorded and hashlib.md5(target.read_bytes(), usedforsecurity=False).hexdigest() != recorded:
            raise RequestError(
                f"{found} of {revision} is damaged in the DVC cache or remote: its md5 is not {recorded}"
            )


def rehearse(root: str, stage: str, out: str, push: bool) -> dict[str, Any]:
    """Commit a stage of the snapshot, push its out, read it back from the remote alone; remove the objects again.

    The answer has the remote's name and address, or None without ``push``.
    """
    from dvc.repo import Repo

    settings = _settings(root)
    answer: dict[str, Any] = {"remote": None}
    with Repo(".", config=settings) as repo:
        stores = [repo.cache.local]
        if push:
            remote = repo.cloud.get_remote()
            stores.append(repo.cloud.get_remote_odb())
            answer["remote"] = f"{remote.name} ({settings['remote'][remote.name]['url']})"
        repo.stage_cache.save = lambda stage: None  # or `dvc repro` would take the few bytes for the stage's result
        repo.commit(stage, force=True, relink=False)
        used = {info.value for some in repo.used_objs(targets=[out]).values() for info in some}
        try:
            if push:
                _discard(stores[1:], used, root)  # what a killed one has left would count as pushed
                repo.push(targets=[out])
                shutil.rmtree(out)
                _read_back(settings, out)
        finally:
            _discard(stores, used, root)
    return answer


def _read_back(settings: dict[str, Any], out: str) -> None:
    from dvc.repo import Repo

    cache = settings["cache"] | {"dir": os.path.abspath(".dvc/tmp/empty-cache")}
    with Repo(".", config=settings | {"cache": cache}) as repo:
        try:
            _fetch(repo.dvcfs, out, Path(".dvc/tmp/back"), "the remote")
        except FileNotFoundError:
            raise RequestError("what was pushed does not come back from the remote") from None


def _discard(stores: Iterable[Any], values: set[str], root: str) -> None:
    """Remove objects; in the project also folders that are empty then, which elsewhere others may be filling."""
    for odb in stores:
        for value in values:
            path = odb.oid_to_path(value)
            with contextlib.suppress(FileNotFoundError, NotImplementedError):  # an HTTP server may only take files
                odb.fs.rm_file(path)
            for folder in Path(path).parents:
                if Path(root, ".dvc") in folder.parents:
                    with contextlib.suppress(OSError):
                        folder.rmdir()


def gc(root: str, without: list[str], before: float, cloud: bool, dry: bool) -> dict[str, Any]:
    """Remove objects that nothing in ``root``'s repository uses from its cache, and with ``cloud`` from its remote.

    A directory whose list of files is neither in cache nor remote is an error: its files would seem unused.

    Args:
        without: refs to be treated as deleted.
        before: younger objects are kept, since what uses them may not be committed yet [s since the epoch].
        dry: only count.
    """
    from dvc.config import NoRemoteError
    from dvc.exceptions import DvcException
    from dvc.repo import Repo, lock_repo

    with Repo(root) as repo, contextlib.nullcontext() if dry else lock_repo(repo):
        commits = _commits(root, without)
        used = {found for some in repo.used_objs(revs=commits, all_commits=True).values() for found in some}
        answer: dict[str, Any] = {"remote_fault": None}
        answer["cache"] = _sweep((odb for _, odb in repo.cache.by_scheme() if odb), used, before, dry)
        if cloud:
            try:
                remotes = [repo.cloud.get_remote_odb(None, "gc", hash_name=name) for name in ("md5", "md5-dos2unix")]
                answer["remote"] = _sweep(remotes, used, before, dry)
            except NoRemoteError:
                pass  # nothing was ever pushed
            except (DvcException, OSError) as error:
                answer["remote_fault"] = _line(error)
    return answer


def _commits(root: str, without: list[str]) -> list[str]:
    """All commits of refs, stashes and HEADs of worktrees: more than DVC's own ``--all-*``."""
    hidden = [f"--exclude={ref}" for ref in without]
    command = ["git", "-C", root, "rev-list", *hidden, "--all"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def _sweep(databases: Iterable[Any], used: set[Any], before: float, dry: bool) -> dict[str, int]:
    """DVC's own collector, with the young objects among the used ones."""
    from dvc_data.hashfile.db import get_index
    from dvc_data.hashfile.gc import gc as collect
    from dvc_data.hashfile.hash_info import HashInfo

    count = size = 0
    for odb in {odb.path: odb for odb in databases}.values():
        values = {info.value for info in used if info.name == odb.hash_name}
        young = set()
        for oid in [oid for oid in odb.all() if oid not in values]:
            path = odb.oid_to_path(oid)
            if _made(odb.fs, path) >= before:
                young.add(HashInfo(odb.hash_name, oid))
            else:
                count, size = count + 1, size + odb.fs.size(path)
        if not dry and collect(odb, used | young):
            get_index(odb).clear()
    return {"count": count, "bytes": size}


def _made(fs: Any, path: str) -> float:
    """When an object was stored [s since the epoch]; 0 where the file system does not say."""
    try:
        return float(fs.modified(path).timestamp())
    except NotImplementedError:
        return 0.0


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> None:
    request = json.loads(sys.argv[1])
    verbs: dict[str, Callable[..., dict[str, Any]]] = {"commit": commit, "gc": gc, "read": read, "rehearse": rehearse}
    verb = verbs[request.pop("verb")]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            answer = verb(**request)
    except RequestError as error:
        answer = {"fault": str(error)}
    except Exception as error:  # DVC's exceptions have no common base: all of them end as one line
        answer = {"fault": f"DVC: {_line(error)}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
