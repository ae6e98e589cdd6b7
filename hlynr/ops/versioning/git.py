"""git as a subprocess, without the caller's repository variables."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

TIMEOUT = 120.0  # [s] no call here takes longer than a checkout of the project

# Set by git around hooks and aliases: with them every call would go to another repository.
_REPOSITORY_VARIABLES = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_PREFIX",
)  # fmt: skip


class GitError(RuntimeError):
    """git failed, or is not installed; the message is one line."""


def run(root: Path, *arguments: str, stdin: str | None = None, extra: Mapping[str, str] | None = None) -> str:
    """What ``git -C root *arguments`` prints, without the last line break.

    Args:
        extra: environment variables on top of the caller's.

    Raises:
        GitError: if git is missing, takes too long or exits with another status than 0.
    """
    environment = {key: value for key, value in os.environ.items() if key not in _REPOSITORY_VARIABLES}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", **(extra or {})}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            input=stdin,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
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
