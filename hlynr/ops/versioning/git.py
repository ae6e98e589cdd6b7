"""git as a subprocess, without the caller's repository variables."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from hlynr.runtime import environment, file_modes

TIMEOUT = 120.0  # [s] no call here takes longer than a checkout of the project


_timeout = ContextVar("_timeout", default=TIMEOUT)
_variables: ContextVar[Mapping[str, str] | None] = ContextVar("_variables", default=None)


class GitError(RuntimeError):
    """git failed, or is not installed; the message is one line."""


def run(root: Path, *arguments: str, stdin: str | None = None, extra: Mapping[str, str] | None = None) -> str:
    """What ``git -C root *arguments`` prints, without the last line break.

    Args:
        extra: environment variables beside those of every child process.

    Raises:
        GitError: if git is missing, takes too long or exits with another status than 0.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            input=stdin,
            env=environment.of_child({"LC_ALL": "C", **(_variables.get() or {}), **(extra or {})}),
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            umask=file_modes.users_umask(),
            timeout=_timeout.get(),
            check=False,
        )
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} in {root} took longer than {_timeout.get():g} s") from None
    if done.returncode:
        complaint = " ".join((done.stderr or done.stdout).split())
        raise GitError(f"git {arguments[0]} in {root}: {complaint or f'exit status {done.returncode}'}")
    return done.stdout.removesuffix("\n")


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Another limit for each call in this thread."""
    before = _timeout.set(seconds)
    try:
        yield
    finally:
        _timeout.reset(before)


@contextmanager
def writing_objects(root: Path, folder: Path) -> Iterator[None]:
    """Let the calls in this thread write objects to ``folder`` and read them there and in ``root``'s repository."""
    objects = run(root, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    quoted = objects.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")  # git separates paths by colons
    folder.mkdir(parents=True)
    before = _variables.set({"GIT_OBJECT_DIRECTORY": str(folder), "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{quoted}"'})
    try:
        yield
    finally:
        _variables.reset(before)
