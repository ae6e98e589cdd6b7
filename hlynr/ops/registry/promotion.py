"""What becomes of the gate's decisions: aliases moved under one lock, and every decision in the history."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hlynr.ops.registry.journal import carry_out, history, settle, unfinished
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
    """Carry out what the gate decided about ``version``, and write it down.

    A promotion is refused if by now the champion is another one than the decision was taken against. Repeating the
    call after a crash completes what was begun; repeating it after it was carried out returns the entry it made.

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
        if decision.promote and before == version:  # somebody moved the alias by hand
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

    A second rollback goes on to the champion before that one, as the history tells; but one that was killed on the
    way is only finished. The examination may take its time: nobody is kept waiting for it, and what changes
    meanwhile is noticed.

    Args:
        examine: given the version and its bundle's folder, returns what it found as a clause for the reason; raises
            if that version must not reign.

    Raises:
        RegistryError: if there is no previous champion, it does not stand the examination, or the champion changed
            during it; nothing has changed then.
        hlynr.ops.tracking.shared_lock.LockError: if others kept the registry locked.
    """
    done = _settled(store)
    if done is not None and done.action == "rolled_back":
        return done
    now, target = _step_back(store)
    found = _examined(store, target, now, examine)
    with store.registry_lock() as confirm:
        settle(store, confirm)
        _check_unchanged(store, now, target)
        rate, *interval = target.success or (None, None, None)
        entry = _entry(
            action="rolled_back",
            version=target.version,
            champion_before=now.version,
            champion_after=target.version,
            reason=f"Rolled back from version {now.version} to version {target.version}: {found}."[:REASON_LENGTH],
            lineage_id=target.lineage_id,
            mlflow_run_id=target.run_id,
            success_rate=rate,
            success_rate_ci=None if rate is None else tuple(interval),
        )
        return carry_out(store, entry, confirm)


def _settled(store: Store) -> Promotion | None:
    """What a killed process had left to do and is done now."""
    if unfinished(store) is None:
        return None
    with store.registry_lock() as confirm:
        return settle(store, confirm)


def _carried_out(earlier: list[Promotion], decision: GateDecision, now: int | None) -> Promotion | None:
    """The promotion that this decision has already brought about, whoever may be champion since.

    After a rollback the same decision can be taken anew, against the champion that is there again.
    """
    judged = _judged(decision)
    if not decision.promote or judged == now:
        return None
    done = [entry for entry in earlier if entry.action == "promoted" and entry.champion_before == judged]
    return next((entry for entry in reversed(done) if entry.reason == decision.reason[:REASON_LENGTH]), None)


def _says_the_same(earlier: Promotion, entry: Promotion) -> bool:
    """Whether the newest entry of a version is a refusal that only would be written a second time."""
    told = {"action", "champion_before", "champion_after", "reason"}
    return entry.action == "not_promoted" and earlier.model_dump(include=told) == entry.model_dump(include=told)


def _unless_outdated(decision: GateDecision, before: int | None, version: int) -> GateDecision:
    """The decision, or its refusal if it was taken against another champion than there is now."""
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
    """The champion that the decision was taken against."""
    return decision.comparison.champion_version if decision.comparison else None


def _step_back(store: Store) -> tuple[VersionInfo, VersionInfo]:
    """The champion, and the one a rollback leads to."""
    now, target = champion(store), by_alias(store, "previous_champion")
    if now is None:
        raise RegistryError(f"{store.model} has no champion to roll back from")
    if target is None or target.version == now.version:
        raise RegistryError(f"{store.model} has no previous champion: version {now.version} has nothing before it")
    return now, target


def _examined(store: Store, target: VersionInfo, now: VersionInfo, examine: Callable[[VersionInfo, Path], str]) -> str:
    with tempfile.TemporaryDirectory(prefix="hlynr-rollback-") as folder:
        try:
            return examine(target, fetch_bundle(store, target.version, Path(folder) / "bundle"))
        except Exception as error:  # any: whatever keeps it from being examined keeps it from reigning
            raise RegistryError(
                f"version {target.version} cannot reign again, version {now.version} stays champion: {error}"
            ) from error


def _check_unchanged(store: Store, now: VersionInfo, target: VersionInfo) -> None:
    found = [by_alias(store, "champion"), by_alias(store, "previous_champion")]
    numbers = [version.version if version else None for version in found]
    if numbers != [now.version, target.version]:
        raise RegistryError(
            f"the registry changed while version {target.version} was examined: version {numbers[0]} is champion now, "
            f"not version {now.version}; look at hlynr champions, then roll back again"
        )


def _entry(**fields: Any) -> Promotion:
    return Promotion.model_validate({"when": datetime.now(UTC).isoformat(timespec="microseconds"), **fields})
