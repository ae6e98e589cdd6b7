"""Descriptions for MLflow's pages of a run, a retraining, a model version and the registered model, as markdown.

MLflow shows the beginning of a description until it is unfolded, so verdict and reason come first.
"""

from collections.abc import Mapping, Sequence

from hlynr.records.diagnosis import Diagnosis
from hlynr.records.evaluation import EvaluationReport, GateDecision
from hlynr.records.retraining import Attempt, Promotion
from hlynr.records.training import TrainResult
from hlynr.report import tables, text

GAP, BELOW = " &emsp;", "&nbsp;"
"""MLflow draws tables without any space between their columns, nor between them and what follows."""
RECENT = 12
"""Decisions on the registered model's page, whose length some databases limit; `hlynr champions` has all."""
ROLES = {
    "champion": "the one in use",
    "challenger": "the newest that did not become champion",
    "previous_champion": "what a rollback returns to",
}


def run(
    train: TrainResult,
    evaluation: EvaluationReport | None = None,
    decision: GateDecision | None = None,
    promotion: Promotion | None = None,
) -> str:
    """The result of a run, and why its policy was promoted or not."""
    return _joined(
        [f"**{text.headline(promotion)}**", _why(decision, promotion), *_figures(train, evaluation, decision)]
    )


def version(train: TrainResult, evaluation: EvaluationReport, decision: GateDecision, promotion: Promotion) -> str:
    """The result of a version: every rule of the gate, its figures, its origin."""
    return _joined([promotion.reason, *_figures(train, evaluation, decision)])


def _figures(train: TrainResult, evaluation: EvaluationReport | None, decision: GateDecision | None) -> list[str]:
    parts = [text.judgement(evaluation) if evaluation else "", _gate(decision) if decision else ""]
    if evaluation and evaluation.targets:
        parts += [f"**Report on {evaluation.report.episodes:,} episodes**", _spaced(tables.report_rows(evaluation))]
    return [*parts, "**Training**", text.training(train), _origin(evaluation or train)]


def rolled_back(promotion: Promotion) -> str:
    """The line that a rollback adds to the version that was champion before it."""
    return f"Rolled back on {_minute(promotion)} UTC: version {promotion.champion_after} is champion again."


def model(name: str, roles: Mapping[str, int], history: Sequence[Promotion]) -> str:
    """The versions by alias, the newest decisions, and how to load the champion.

    Args:
        roles: versions by alias.
        history: every decision, oldest first.
    """
    parts = [
        "Policies of a scheduled retraining. A gate compares each new one with the champion on engagements that no "
        "training uses; its version's page has every rule.",
        _spaced([_role(alias, number, history) for alias in ROLES if (number := roles.get(alias)) is not None]),
        "**Load the champion**",
        f'```python\nmodel = mlflow.pyfunc.load_model("models:/{name}@champion")\n'
        "actions = model.predict(observations)  # histories, float32 of shape (B, T, D)\n```",
        f"Or judge it again: `hlynr evaluate --model models:/{name}@champion`",
        "**Decisions**",
        _spaced([_entry(entry) for entry in reversed(history[-RECENT:])]),
    ]
    if len(history) > RECENT:
        parts.append(f"{len(history) - RECENT} earlier ones: `hlynr champions`")
    return _joined(parts)


def retraining(
    attempts: Sequence[Attempt],
    promotion: Promotion | None = None,
    decision: GateDecision | None = None,
    evaluation: EvaluationReport | None = None,
    diagnosis: Diagnosis | None = None,
) -> str:
    """The attempts of a retraining, their reasons and the result; without a promotion, that all failed."""
    head = text.headline(promotion) if promotion else "Every strategy of the plan failed."
    parts = [f"**{head}**", _why(decision, promotion), _spaced(tables.attempt_rows(attempts))]
    if decision is not None:
        parts.append(_gate(decision))
    if evaluation is not None:
        parts += ["**Judgement**", text.judgement(evaluation)]
    if diagnosis is not None:
        parts.append(f"Diagnosis of {diagnosis.subject}: {diagnosis.verdict}")
    return _joined(parts)


def _why(decision: GateDecision | None, promotion: Promotion | None) -> str:
    """The promotion's reason before the decision's: it differs if the champion changed in between."""
    given = promotion or decision
    return f"Why: {text.reason(given.reason)}" if given else ""


def _gate(decision: GateDecision) -> str:
    parts = ["**Gate**", _spaced(tables.gate_rows(decision))]
    if decision.comparison is not None:
        parts.append(text.duel(decision.comparison))
    return _joined(parts)


def _role(alias: str, number: int, history: Sequence[Promotion]) -> dict[str, str]:
    judged = [entry for entry in history if entry.version == number]
    success = text.success(judged[-1].success_rate, judged[-1].success_rate_ci) if judged else text.UNKNOWN
    return {
        "alias": f"`{alias}`",
        "version": f"**{number}**",
        "success on held-out engagements": success,
        "": ROLES[alias],
    }


def _entry(entry: Promotion) -> dict[str, str]:
    return {
        "UTC": _minute(entry),
        "version": str(entry.version),
        "decision": entry.action.replace("_", " ") + (" to" if entry.action == "rolled_back" else ""),
        "success on held-out engagements": text.success(entry.success_rate, entry.success_rate_ci),
        "champion then": str(entry.champion_after or text.UNKNOWN),
    }


def _minute(entry: Promotion) -> str:
    return entry.when[:16].replace("T", " ")


def _origin(source: TrainResult | EvaluationReport) -> str:
    lineage = source.lineage
    commit = text.commit(lineage.git_commit, lineage.git_dirty)
    saved = "" if lineage.dvc_experiment is None else f", DVC experiment `{lineage.dvc_experiment}`"
    return (
        f"Lineage `{lineage.id}`, retraining {lineage.retraining}, attempt {lineage.attempt} ({lineage.strategy}): "
        f"commit {commit}{saved}, bundle sha256 `{source.bundle_sha256[:12]}`."
    )


def _spaced(rows: Sequence[dict[str, str]]) -> str:
    """A table with room on MLflow's pages: between its columns, of which the last needs none, and below it."""
    gaps = [GAP] * (len(rows[0]) - 1) + [""] if rows else []
    spaced = [{key + gap: cell + gap for (key, cell), gap in zip(row.items(), gaps, strict=True)} for row in rows]
    return f"{tables.markdown(spaced)}\n\n{BELOW}" if rows else ""


def _joined(parts: Sequence[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"
