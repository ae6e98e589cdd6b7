"""The start of a lineage, before a training."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

from hlynr.config.config import Config
from hlynr.ops.versioning import git
from hlynr.records.training import Lineage


def start(config: Config, root: Path, flow_run_id: str | None = None) -> Lineage:
    """A fresh lineage; its id sorts by time, like ``20261123-180530-4f2a9c`` (UTC, then 6 random hex digits).

    Commit and dirtiness are None where ``root`` is in no git repository, has no commit yet, or git is missing.
    """
    now = datetime.now(UTC)
    commit, dirty = state(root)
    return Lineage(
        id=f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        created=now.isoformat(timespec="seconds"),
        retraining=config.run.retraining,
        strategy=config.run.strategy,
        params_digest=config.digest(),
        git_commit=commit,
        git_dirty=dirty,
        flow_run_id=flow_run_id,
    )


def state(root: Path) -> tuple[str | None, bool | None]:
    """HEAD's commit, and whether any tracked file differs from it, in the working tree or in the index."""
    try:
        commit = git.run(root, "rev-parse", "--verify", "HEAD^{commit}")
        changes = git.run(root, "status", "--porcelain", "--untracked-files=no")
    except git.GitError:
        return None, None
    return commit, bool(changes)
