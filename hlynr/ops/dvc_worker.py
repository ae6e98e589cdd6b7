"""What needs DVC, as a script: one request as JSON in its argument, one answer as JSON on its standard output.

It has a process of its own because DVC resolves paths against the working directory (committing a stage from
elsewhere fails with "is outside of DVC repo"), which all threads of a process share; and so that DVC's loggers,
progress bars and warnings stay in there. It imports nothing of hlynr and takes no path from the working directory:
in a snapshot that would be the snapshot's code.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Refusal(Exception):
    """The request cannot be met; the message is for the user."""


def commit(root: str, stages: list[str], outs: list[str], push: bool) -> dict[str, Any]:
    """Commit the stages of the working directory, a snapshot of ``root``, into root's cache; push their outs.

    A failed push is no refusal: what is in the cache is worth its ref.
    """
    from dvc.config import Config, merge
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with Config(".dvc").edit("local") as local:
        merge(local, Config(f"{root}/.dvc").read())  # paths come absolute, the user's own config.local included
        local["cache"].setdefault("dir", f"{root}/.dvc/cache")
    with Repo(".") as repo:
        for stage in stages:
            repo.commit(stage, force=True, relink=False)
        if not push:
            return {"push_fault": None}
        try:
            repo.cloud.get_remote_odb()  # raises where there is no remote; push alone would do nothing, silently
            repo.push(targets=outs)
        except (DvcException, OSError) as error:
            return {"push_fault": _line(error)}
    return {"push_fault": None}


def read(root: str, revision: str, paths: list[str], destination: str, cache: str | None) -> dict[str, Any]:
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
        raise Refusal(f"unknown revision {revision!r}: no experiment, branch, tag or commit of that name") from None
    except (DataIndexDirError, FileNotFoundError):
        where = "in the remote" if cache else "in the DVC cache or the remote: it was never pushed, or lost since"
        raise Refusal(f"{path} of {revision} is not {where}") from None
    return {}


def _fetch(fs: Any, path: str, destination: Path, revision: str) -> None:
    try:
        info = fs.info(path)
    except FileNotFoundError:
        info = {}
    if not {"md5", "fs_info"} & info.keys():  # an out that dvc.yaml only promises has neither
        raise Refusal(f"{revision} holds no {path}")
    for found in list(fs.find(path)):
        target = destination / found.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        fs.get_file(found, str(target))
        recorded = fs.info(found).get("md5")
        if recorded and hashlib.md5(target.read_bytes(), usedforsecurity=False).hexdigest() != recorded:
            raise Refusal(f"{found} of {revision} is damaged in the DVC cache or remote: its md5 is not {recorded}")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def main() -> int:
    request = json.loads(sys.argv[1])
    verbs: dict[str, Callable[..., dict[str, Any]]] = {"commit": commit, "read": read}
    verb = verbs[request.pop("verb")]
    try:
        with contextlib.redirect_stdout(sys.stderr):
            answer = verb(**request)
    except Refusal as refusal:
        answer = {"fault": str(refusal)}
    except Exception as error:  # DVC's exceptions have no common base: all of them end as one line
        answer = {"fault": f"DVC: {_line(error)}"}
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
