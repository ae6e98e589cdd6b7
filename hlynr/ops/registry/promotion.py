"""Carries out promotions and rollbacks: aliases moved under one lock, and every decision in the history."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hlynr.ops.registry.journal import carry_out, history, is_pending, predecessor, settle
from hlynr.ops.registry.versions import RegistryError, VersionInfo, by_alias, champion, fetch_bundle, find
from hlynr.ops.tracking.store import Store
from hlynr.records.evaluation import EvaluationReport, GateDecision
from hlynr.records.retraining import Promotion
from hlynr.records.training import Lineage

REASON_LENGTH = 2000
"""Longer reasons are cut: a tag holds 5000 characters on a strict database."""


def apply_decision(
    store: Store, decision: GateDecision, version: int, evaluation: EvaluationReport, lineage: Lineage, run_id: str
) -> Promotion:
    """Carry out the gate's decision about ``version``, and append it to the history.

    Without a promotion if the champion is not the one that the decision was made against. Repeating the call after a
    crash completes it; repeating it after it was carried out returns the same entry.

    Raises:
        RegistryError: if there is no such version.
        hlynr.ops.tracking.shared_lock.LockError: if others kept the registry locked.
    """
    find(store, version)
    with store.registry_lock() as confirm:
        settle(store, confirm)
        old = champion(store)
        before = old.version if old else None
        earlier = [entry for entry in history(store) if (entry.version, entry.lineage_id) == (version, lineage.id)]
        done = _carried_out(earlier, decision, before)
        if done is not None:
            return done
        if decision.promote and before == version:  # the alias was moved by hand
            previous = by_alias(store, "previous_champion")
            before = previous.version if previous else None
        else:
            decision = _unless_outdated(decision, before, version)
        entry = _entry(
            action="promoted" if decision.promote else "not_promoted",
            version=version,
            champion_before=before,
            champion_after=version if decision.promote else before,
            reason=decision.reason[:REASON_LENGTH],
            lineage_id=lineage.id,
            mlflow_run_id=run_id,
            success_rate=evaluation.heldout.success_rate,
            success_rate_ci=evaluation.heldout.success_rate_ci,
        )
        if earlier and _says_the_same(earlier[-1], entry):
            return earlier[-1]
        return carry_out(store, entry, confirm)


def rollback(store: Store, examine: Callable[[VersionInfo, Path], str]) -> Promotion:
    """Make the previous champion champion again, once its bundle has been fetched, verified and examined.

    A second rollback continues to the champion before that one in the history; one that was killed is only finished.
    No lock is held during the examination; a change of the registry meanwhile is an error.

    Args:
        examine: given the version and its bundle's folder, returns its result as a clause for the reason; raises if
            that version must not be champion.

    Raises:
        RegistryError: if there is no previous champion, it does not pass the examination, or the champion changed
            during it; nothing has changed then.
        hlynr.ops.tracking.shared_lock.LockError: if others kept the registry locked.
    """
    done = _settled(store)
    if done is not None and done.action == "rolled_back":
        return done
    now, target = _step_back(store)
    found = _examined(store, target, now, examine)
    away = "no champion" if now is None else f"version {now}"
    with store.registry_lock() as confirm:
        settle(store, confirm)
        _check_unchanged(store, now, target)
        rate, *interval = target.success or (None, None, None)
        entry = _entry(
            action="rolled_back",
            version=target.version,
            champion_before=now,
            champion_after=target.version,
            reason=f"Rolled back from {away} to version {target.version}: {found}."[:REASON_LENGTH],
            lineage_id=target.lineage_id,
            mlflow_run_id=target.run_id,
            success_rate=rate,
            success_rate_ci=None if rate is None else tuple(interval),
        )
        return carry_out(store, entry, confirm)


def _settled(store: Store) -> Promotion | None:
    """The entry of a killed process that has been finished now."""
    if not is_pending(store):
        return None
    with store.registry_lock() as confirm:
        return settle(store, confirm)


def _carried_out(earlier: list[Promotion], decision: GateDecision, now: int | None) -> Promotion | None:
    """The promotion that this decision has already led to, whichever version is champion since.

    After a rollback the same decision can be made again, against the champion that is back.
    """
    judged = _judged(decision)
    if not decision.promote or judged == now:
        return None
    done = [entry for entry in earlier if entry.action == "promoted" and entry.champion_before == judged]
    return next((entry for entry in reversed(done) if entry.reason == decision.reason[:REASON_LENGTH]), None)


def _says_the_same(earlier: Promotion, entry: Promotion) -> bool:
    """Whether a version's newest entry already says that it was not promoted, for the same reason."""
    compared = {"action", "champion_before", "champion_after", "reason"}
    return entry.action == "not_promoted" and earlier.model_dump(include=compared) == entry.model_dump(include=compared)


def _unless_outdated(decision: GateDecision, before: int | None, version: int) -> GateDecision:
    """The decision, or one against the promotion if it was made against another champion than the present one."""
    judged = _judged(decision)
    if not decision.promote or judged == before:
        return decision
    names = ["no champion" if number is None else f"version {number}" for number in (judged, before)]
    reason = (
        f"Not promoted: the champion changed while version {version} was judged, from {names[0]} to {names[1]}; "
        "judge it again."
    )
    return decision.model_copy(update={"promote": False, "reason": reason})


def _judged(decision: GateDecision) -> int | None:
    """The champion that the decision was made against."""
    return decision.comparison.champion_version if decision.comparison else None


def _step_back(store: Store) -> tuple[int | None, VersionInfo]:
    """The champion, and the champion after a rollback.

    Where versions were deleted or aliases moved by hand, the history says which champion came before: there may be no
    champion now, or no usable previous one.
    """
    present, target = champion(store), by_alias(store, "previous_champion")
    now = present.version if present else None
    latest = now if now is not None else _last_champion(store)
    if latest is None:
        raise RegistryError(f"{store.model} has no champion to roll back from")
    if target is None or target.version == now or target.bundle_sha256 is None:
        earlier = predecessor(store, latest)
        if earlier is None:
            raise RegistryError(f"{store.model} has no previous champion: version {latest} has nothing before it")
        target = find(store, earlier)
    return now, target


def _last_champion(store: Store) -> int | None:
    """By the history, whether or not it still exists."""
    return next((entry.champion_after for entry in reversed(history(store))), None)


def _examined(store: Store, target: VersionInfo, now: int | None, examine: Callable[[VersionInfo, Path], str]) -> str:
    with tempfile.TemporaryDirectory(prefix="hlynr-rollback-") as folder:
        try:
            return examine(target, fetch_bundle(store, target.version, Path(folder) / "bundle"))
        except Exception as error:  # any: a version that cannot be examined cannot be champion
            raise RegistryError(
                f"version {target.version} cannot be champion again, "
                f"{'there is still no champion' if now is None else f'version {now} stays champion'}: {error}"
            ) from error


def _check_unchanged(store: Store, now: int | None, target: VersionInfo) -> None:
    found, again = _step_back(store)
    if (found, again.version) != (now, target.version):
        names = ["no version" if number is None else f"version {number}" for number in (found, now)]
        raise RegistryError(
            f"the registry changed while version {target.version} was examined: {names[0]} is champion now, "
            f"not {names[1]}; look at hlynr champions, then roll back again"
        )


def _entry(**fields: Any) -> Promotion:
    return Promotion.model_validate({"when": datetime.now(UTC).isoformat(timespec="microseconds"), **fields})
