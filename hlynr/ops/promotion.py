"""What becomes of the gate's decisions: aliases moved under one lock, and every decision in the history.

The history lies in the registry itself, one tag of the registered model per entry, so that it goes wherever the
registry goes and shows in the UI.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from hlynr.ops.registry import RegistryError, VersionInfo, by_alias, champion, fetch_bundle, find
from hlynr.ops.store import Store
from hlynr.records import EvaluationReport, GateDecision, Lineage, Promotion

HISTORY_TAG = "hlynr.history."
VERDICT_TAG = "hlynr.gate"
REASON_TAG = "hlynr.gate.reason"
REASON_LENGTH = 2000
"""Longer reasons are cut: a tag holds 5000 characters on a strict database."""


def apply_decision(
    store: Store, decision: GateDecision, version: int, evaluation: EvaluationReport, lineage: Lineage, run_id: str
) -> Promotion:
    """Carry out what the gate decided about ``version``, and write it down.

    A promotion is refused if by now the champion is another one than the decision was taken against. Repeating the
    call after a crash completes what was begun.

    Raises:
        RegistryError: if there is no such version.
    """
    find(store, version)
    with store.lock():
        old = champion(store)
        before = old.version if old else None
        if decision.promote and before == version:
            return _completed(store, decision, version, evaluation, lineage, run_id)
        decision = _unless_outdated(decision, before, version)
        if decision.promote:
            _crown(store, version, before)
        return _conclude(store, decision, version, before, evaluation, lineage, run_id)


def rollback(store: Store, bundle_loader: Callable[[Path], object]) -> Promotion:
    """Make the previous champion champion again, once its bundle has been fetched, verified and loaded.

    A second rollback goes on to the champion before that one, as the history tells.

    Args:
        bundle_loader: loads a bundle's folder, or raises.

    Raises:
        RegistryError: if there is no previous champion or its bundle does not load; nothing has changed then.
    """
    with store.lock():
        now, target = champion(store), by_alias(store, "previous_champion")
        if now is None:
            raise RegistryError(f"{store.model} has no champion to roll back from")
        if target is None or target.version == now.version:
            raise RegistryError(f"{store.model} has no previous champion: version {now.version} has nothing before it")
        _check_loads(store, target, now, bundle_loader)
        earlier = _champion_before(store, target.version)
        store.client.set_registered_model_alias(store.model, "champion", str(target.version))
        _point_previous(store, earlier)
        _tag(store, now.version, {VERDICT_TAG: "rolled_back"})
        rate, *interval = target.success or (None, None, None)
        promotion = _entry(
            action="rolled_back",
            version=target.version,
            champion_before=now.version,
            champion_after=target.version,
            reason=f"Rolled back from version {now.version} to version {target.version}, whose bundle loads.",
            lineage_id=target.lineage_id,
            mlflow_run_id=target.run_id,
            success_rate=rate,
            success_rate_ci=None if rate is None else tuple(interval),
        )
        return _append(store, promotion)


def history(store: Store) -> list[Promotion]:
    """All decisions ever taken about the registered model, oldest first."""
    from mlflow.exceptions import MlflowException

    try:
        tags = store.client.get_registered_model(store.model).tags
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return []
    return [Promotion.model_validate_json(tags[key]) for key in sorted(tags) if key.startswith(HISTORY_TAG)]


def _unless_outdated(decision: GateDecision, before: int | None, version: int) -> GateDecision:
    """The decision, or its refusal if it was taken against another champion than there is now."""
    judged = decision.comparison.champion_version if decision.comparison else None
    if not decision.promote or judged == before:
        return decision
    names = ["no champion" if number is None else f"version {number}" for number in (judged, before)]
    reason = (
        f"Refused: the champion changed while version {version} was judged, from {names[0]} to {names[1]}; "
        "judge it again."
    )
    return decision.model_copy(update={"promote": False, "reason": reason})


def _crown(store: Store, version: int, before: int | None) -> None:
    """Each step leaves a valid registry: the old champion reigns until the one write that puts the new one there."""
    if before is not None:
        store.client.set_registered_model_alias(store.model, "previous_champion", str(before))
    store.client.set_registered_model_alias(store.model, "champion", str(version))


def _completed(
    store: Store, decision: GateDecision, version: int, evaluation: EvaluationReport, lineage: Lineage, run_id: str
) -> Promotion:
    """A promotion that already reached the alias: its entry, written now if a crash came before it."""
    done = [entry for entry in history(store) if entry.champion_after == version and entry.lineage_id == lineage.id]
    if done and done[-1].action == "promoted":
        return done[-1]
    previous = by_alias(store, "previous_champion")
    return _conclude(store, decision, version, previous.version if previous else None, evaluation, lineage, run_id)


def _conclude(
    store: Store,
    decision: GateDecision,
    version: int,
    before: int | None,
    evaluation: EvaluationReport,
    lineage: Lineage,
    run_id: str,
) -> Promotion:
    action: Literal["promoted", "refused"] = "promoted" if decision.promote else "refused"
    challenger = by_alias(store, "challenger")
    if decision.promote and challenger is not None and challenger.version == version:
        store.client.delete_registered_model_alias(store.model, "challenger")
    _tag(store, version, {VERDICT_TAG: action, REASON_TAG: decision.reason[:REASON_LENGTH]})
    store.client.update_model_version(store.model, str(version), description=decision.reason[:REASON_LENGTH])
    promotion = _entry(
        action=action,
        version=version,
        champion_before=before,
        champion_after=version if decision.promote else before,
        reason=decision.reason[:REASON_LENGTH],
        lineage_id=lineage.id,
        mlflow_run_id=run_id,
        success_rate=evaluation.heldout.success_rate,
        success_rate_ci=evaluation.heldout.success_rate_ci,
    )
    return _append(store, promotion)


def _check_loads(store: Store, target: VersionInfo, now: VersionInfo, bundle_loader: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(prefix="hlynr-rollback-") as folder:
        try:
            bundle_loader(fetch_bundle(store, target.version, Path(folder) / "bundle"))
        except Exception as error:  # any: whatever keeps it from loading keeps it from reigning
            raise RegistryError(
                f"version {target.version} does not load, version {now.version} stays champion: {error}"
            ) from error


def _champion_before(store: Store, version: int) -> int | None:
    """Whom ``version`` followed when it was last promoted, if that one still exists."""
    entries = [entry for entry in history(store) if entry.action == "promoted" and entry.version == version]
    earlier = entries[-1].champion_before if entries else None
    if earlier is None:
        return None
    try:
        return find(store, earlier).version
    except RegistryError:
        return None


def _point_previous(store: Store, version: int | None) -> None:
    if version is None:
        store.client.delete_registered_model_alias(store.model, "previous_champion")
    else:
        store.client.set_registered_model_alias(store.model, "previous_champion", str(version))


def _tag(store: Store, version: int, tags: dict[str, str]) -> None:
    for key, value in tags.items():
        store.client.set_model_version_tag(store.model, str(version), key, value)


def _entry(**fields: Any) -> Promotion:
    return Promotion.model_validate({"when": datetime.now(UTC).isoformat(timespec="microseconds"), **fields})


def _append(store: Store, promotion: Promotion) -> Promotion:
    """Sorts by its key: UTC to the microsecond, unique under the lock; the lineage id helps a human to find it."""
    stamp = datetime.fromisoformat(promotion.when).strftime("%Y%m%dT%H%M%S.%fZ")
    key = f"{HISTORY_TAG}{stamp}.{promotion.lineage_id}"
    store.client.set_registered_model_tag(store.model, key, promotion.model_dump_json())
    return promotion
