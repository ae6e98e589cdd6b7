"""Runs that were deleted in MLflow while they are written to: restored where they can be, else gone on without."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, Literal, ParamSpec

from hlynr.ops.tracking.calls import if_exists

if TYPE_CHECKING:
    from hlynr.ops.tracking.store import Store

Presence = Literal["active", "restored", "erased"]
P = ParamSpec("P")
_ANSWERS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")
"""MLflow's for a write to a run that is marked as deleted, and to none."""
_log = logging.getLogger(__name__)
_erased: set[str] = set()
"""Runs about which that has been said."""


def meet(store: Store, run_id: str) -> Presence:
    """What became of a run; one that is only marked as deleted is restored.

    Deleting an experiment in MLflow marks its runs in the same way.
    """
    run = if_exists(store.client.get_run, run_id)
    if run is None:
        if run_id not in _erased:
            _log.warning("run %s was erased from MLflow; what it would show is not logged", run_id)
        _erased.add(run_id)
        return "erased"
    if run.info.lifecycle_stage == "active":
        return "active"
    _log.warning("run %s was deleted in MLflow, but its training or retraining still needs it: restored", run_id)
    store.client.restore_run(run_id)
    return "restored"


def if_present(write: Callable[Concatenate[Store, str, P], None]) -> Callable[Concatenate[Store, str, P], bool]:
    """A write to a run that deletions by hand do not stop; it returns whether the run holds it now.

    The write is repeated on a restored run, so it must have the same effect twice.
    """

    @wraps(write)
    def written(store: Store, run_id: str, /, *args: P.args, **named: P.kwargs) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            write(store, run_id, *args, **named)
        except MlflowException as error:
            if error.error_code not in _ANSWERS:  # a server that does not answer is not asked a second time
                raise
            presence = meet(store, run_id)
            if presence == "active":
                raise
            if presence == "erased":
                return False
            write(store, run_id, *args, **named)
        return True

    return written
