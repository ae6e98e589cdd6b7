"""Closes the MLflow runs of retrainings whose process was killed; the project's next retraining calls it.

Only the project's own machine can know that a retraining is dead, since only one at a time runs there.
"""

from __future__ import annotations

import socket
from pathlib import Path

from hlynr.ops.tracking import runs
from hlynr.ops.tracking.calls import set_tags
from hlynr.ops.tracking.store import Store

MACHINE_TAG = "hlynr.machine"
MOST = 1000


def claim(store: Store, retraining_id: str, root: Path) -> None:
    """Tag a retraining's run with this machine and the project at ``root``."""
    set_tags(store.client, retraining_id, {MACHINE_TAG: socket.gethostname(), runs.FOLDER_TAG: str(root)})


def close(store: Store, root: Path, keep: str | None) -> None:
    """Close the retrainings of this machine and project that are marked as running, with their attempts.

    Args:
        keep: the retraining that is resumed.
    """
    ours = f"tags.`{MACHINE_TAG}` = '{socket.gethostname()}' and attributes.status = 'RUNNING'"
    for retraining in store.client.search_runs([store.experiment_id], ours, max_results=MOST):
        retraining_id = str(retraining.info.run_id)
        if retraining.data.tags.get(runs.FOLDER_TAG) != str(root) or retraining_id == keep:
            continue
        attempts = f"tags.`{runs.PARENT_TAG}` = '{retraining_id}' and attributes.status = 'RUNNING'"
        for run in [*store.client.search_runs([store.experiment_id], attempts, max_results=MOST), retraining]:
            runs.finish_run(store, run.info.run_id, "KILLED", "Lost: its process was killed, or its machine.")
