"""The records of a retraining: attempts, saved version, decision in the registry, and the whole."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator

from hlynr.records.base import Record, StoredRecord
from hlynr.records.evaluation import EvaluationReport, GateDecision
from hlynr.records.training import Lineage, TrainResult


class VersionRecord(Record):
    """One saved DVC experiment."""

    experiment: str
    revision: str
    pushed: bool
    verified: bool
    """Read back from the remote and found to hold the same bundle."""


def _present_action(action: str) -> str:
    """Earlier versions wrote ``refused``."""
    return "not_promoted" if action == "refused" else action


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


class Promotion(StoredRecord):
    """One entry of the registry's history; success is that on the held-out engagements."""

    when: Annotated[str, AfterValidator(_moment)]
    """UTC, ISO 8601."""
    action: Annotated[Literal["promoted", "not_promoted", "rolled_back"], BeforeValidator(_present_action)]
    version: int
    champion_before: int | None
    champion_after: int | None
    reason: str
    lineage_id: str
    mlflow_run_id: str | None
    success_rate: float | None
    success_rate_ci: tuple[float, float] | None


class Attempt(Record):
    """One training of a retraining's plan, and its result."""

    lineage: Lineage
    status: str
    """The monitor's verdict; ``failed`` where there was no policy to judge."""
    outcome: str
    failed: bool
    """Whether the plan goes on to the next strategy."""
    best_success: float | None
    """On the selection seeds; None where the training ended before it had made a usable policy."""
    bundle: str | None
    """Folder of the best bundle, relative to the project; a failed attempt's is in the attempts folder."""


class RetrainRecord(Record):
    """One retraining, from configuration to decision."""

    lineage: Lineage
    attempts: tuple[Attempt, ...] = ()
    """Of the plan; all but the last one have failed, the last one is ``train``."""
    train: TrainResult
    evaluation: EvaluationReport
    decision: GateDecision
    promotion: Promotion
    version: VersionRecord | None
    seconds: dict[str, float]
    """Wall time by step."""


class Check(Record):
    """One line of the checklist of `hlynr doctor`."""

    name: str
    ok: bool
    required: bool
    detail: str
