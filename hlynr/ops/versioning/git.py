"""git as a subprocess, without the caller's repository variables."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from hlynr.runtime import environment, file_modes

TIMEOUT = 120.0  # [s] no call here takes longer than a checkout of the project


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
            env=environment.of_child({"LC_ALL": "C", **(extra or {})}),
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            umask=file_modes.users_umask(),
            timeout=TIMEOUT,
            check=False,
        )
    except FileNotFoundError:
        raise GitError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise GitError(f"git {arguments[0]} in {root} took longer than {TIMEOUT:g} s") from None
    if done.returncode:
        complaint = " ".join((done.stderr or done.stdout).split())
        raise GitError(f"git {arguments[0]} in {root}: {complaint or f'exit status {done.returncode}'}")
    return done.stdout.removesuffix("\n")
