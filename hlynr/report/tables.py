"""Records as tables: for the terminal (rich renderables, 80 columns, colour never the only sign) and as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from hlynr.config.config import Config
from hlynr.records.diagnosis import Diagnosis
from hlynr.records.evaluation import EvaluationReport, GateDecision, Judgement, PolicyReport
from hlynr.records.retraining import Attempt, Check, Promotion, RetrainRecord
from hlynr.records.training import TrainResult
from hlynr.report import text

if TYPE_CHECKING:
    from rich.console import RenderableType

SIGNS = {"pass": "green", "met": "green", "ok": "green", "FAIL": "bold red", "NOT MET": "bold red", "warn": "yellow"}
STATES = {"ok": "ok", "warning": "warn", "fault": "FAIL", "skipped": "-"}
UNITS = {"range": "m", "azimuth": "deg", "elevation": "deg", "target_speed": "m/s"}


def summary(record: RetrainRecord, config: Config) -> RenderableType:
    """The result of a retraining, the reason, and where its records are."""
    return _stack(
        _banner(record, config.tracking.model),
        *([grid("The plan", attempt_rows(record.attempts))] if len(record.attempts) > 1 else []),
        _comparison(record),
        _gate(record.decision),
        grid(f"Report on {record.evaluation.report.episodes:,} episodes", report_rows(record.evaluation)),
        _split(record.seconds),
        _next(config.run.outputs),
    )


def judgement(report: Judgement) -> RenderableType:
    """One policy on one seed set, with the reference laws on the same engagements."""
    intercept_time = text.duration(report.mean_time_to_intercept)
    facts = [
        ("engagements", f"{report.episodes:,}, seed {report.seed}, capture radius {report.capture_radius:g} m"),
        ("success", text.report_success(report)),
        ("mean reward", text.signed(report.mean_reward)),
        ("reward terms", _listed((key, text.signed(value)) for key, value in report.reward_terms.items())),
        ("mean final distance", text.metres(report.mean_final_distance)),
        ("miss distance", _listed((f"p{key}", text.metres(at)) for key, at in report.miss_distance_quantiles.items())),
        ("outcomes", _listed((key, f"{count:,}") for key, count in report.outcomes.items())),
        ("fuel left", text.percent(report.mean_fuel_left)),
        ("time to intercept", f"{intercept_time} (episodes {text.duration(report.mean_episode_seconds)})"),
    ]
    rows = [{"quantity": key, "value": value} for key, value in facts]
    return _stack(
        grid(f"{text.title(report.policy)} on {report.scenario}", rows),
        grid("Success by slice", slice_rows(report)),
        grid("On the same engagements", _standings({report.policy: report, **report.baselines})),
    )


def evaluation_summary(evaluation: EvaluationReport) -> RenderableType:
    """The evaluate stage: held-out engagements beside the laws, report against targets."""
    heldout = evaluation.heldout
    return _stack(
        grid(_heldout_title(heldout), _standings({"policy": heldout, **evaluation.baselines})),
        grid(f"Report on {evaluation.report.episodes:,} episodes", report_rows(evaluation)),
    )


def training_summary(result: TrainResult) -> RenderableType:
    """The result of a training."""
    facts = {
        "verdict": f"{result.verdict.status}: {result.verdict.reason}",
        "best": f"{text.percent(result.best_success)} at {result.best_timesteps:,} timesteps (selection seeds)",
        "trained": f"{result.timesteps:,} timesteps in {text.duration(result.seconds)} on {result.device}",
        "bundle": result.bundle,
    }
    title = "Training interrupted, the best policy so far is kept" if result.interrupted else "Training"
    return grid(title, [{"quantity": key, "value": value} for key, value in facts.items()])


def decision_summary(decision: GateDecision, promotion: Promotion) -> RenderableType:
    """The gate's rules and the decision on the version."""
    return _stack(f"{text.headline(promotion)}: {text.reason(promotion.reason)}", _gate(decision))


def history(promotions: Sequence[Promotion], champion: int | None, model: str = "") -> RenderableType:
    """The registry's decisions, in the order given; the version that is champion now is marked with ``*``."""
    rows = [
        {
            "version": f"{text.version(entry.version)}{'*' if entry.version == champion else ''}",
            "when (UTC)": f"{entry.when[:16].replace('T', ' ')}\nrun {(entry.mlflow_run_id or 'none')[:8]}",
            "held-out": text.success(entry.success_rate, entry.success_rate_ci).replace(" (", "\n("),
            "decision": f"{entry.action.replace('_', ' ')}: {text.reason(entry.reason)}\nlineage {entry.lineage_id}",
        }
        for entry in promotions
    ]
    now = "no champion yet" if champion is None else f"champion {text.version(champion)}*"
    return grid(f"{model} {now}".strip(), rows)


def checks(found: Sequence[Check]) -> RenderableType:
    """The preflight checks; a failed one that is not required is a warning."""
    rows = [
        {"check": item.name, "state": "ok" if item.ok else "FAIL" if item.required else "warn", "detail": item.detail}
        for item in found
    ]
    missing = sum(item.required and not item.ok for item in found)
    return grid(f"Not ready: {missing} of {len(found)} checks failed" if missing else "Ready", rows)


def diagnosis(found: Diagnosis) -> RenderableType:
    """The verdict, and one line per check; faults and warnings in full."""
    rows = [
        {
            "check": finding.check,
            "state": STATES[finding.status],
            "finding": finding.finding if finding.cause else finding.finding.partition(". ")[0].rstrip(".") + ".",
        }
        for finding in found.findings
    ]
    return grid(f"{found.subject}: {found.verdict.partition('. ')[0].rstrip('.')}.", rows)


def _gate(decision: GateDecision) -> RenderableType:
    return grid(f"Gate: {'passed' if decision.promote else 'not passed'}", gate_rows(decision))


def gate_rows(decision: GateDecision) -> list[dict[str, str]]:
    """One row per rule of the gate."""
    return [
        {"rule": rule.name, "value": rule.value, "bound": rule.bound, "verdict": "pass" if rule.passed else "FAIL"}
        for rule in decision.rules
    ]


def report_rows(evaluation: EvaluationReport) -> list[dict[str, str]]:
    """One row per target of the report."""
    return [
        {
            "metric": row.metric,
            "value": text.figure(row.metric, row.value),
            "target": row.target,
            "verdict": "met" if row.met else "NOT MET",
        }
        for row in evaluation.targets
    ]


def slice_rows(report: PolicyReport) -> list[dict[str, str]]:
    """One row per slice of each quantity."""
    return [
        {
            "by": key.replace("_", " "),
            "from": f"{part.low:,.4g}",
            "to": f"{part.high:,.4g} {UNITS.get(key, '')}",
            "engagements": f"{part.episodes:,}",
            "success": text.success(part.success_rate, part.success_rate_ci),
        }
        for key, parts in report.slices.items()
        for part in parts
    ]


def attempt_rows(attempts: Sequence[Attempt]) -> list[dict[str, str]]:
    """One row per attempt of a retraining's plan."""
    return [
        {
            "attempt": f"{attempt.lineage.attempt} {attempt.lineage.strategy}",
            "why": attempt.lineage.reason or text.UNKNOWN,
            "best": text.percent(attempt.best_success),
            "result": attempt.outcome,
        }
        for attempt in attempts
    ]


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """Rows of equal keys as a markdown table; empty for no rows."""
    if not rows:
        return ""
    cells = [list(rows[0]), ["---"] * len(rows[0]), *([*row.values()] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells)


def _stack(*blocks: RenderableType) -> RenderableType:
    from rich.console import Group

    return Group(*blocks)


def _banner(record: RetrainRecord, model: str) -> RenderableType:
    from rich.text import Text

    promoted = record.promotion.action == "promoted"
    lines = Text(f"\n{text.headline(record.promotion, model)}\n", style="bold green" if promoted else "bold yellow")
    lines.append(f"{text.reason(record.decision.reason)}\n", style="not bold default")
    verdict = record.train.verdict
    lineage = f"Retraining {record.lineage.retraining}, lineage {record.lineage.id}"
    training = f"{lineage}. Training: {verdict.status}, {verdict.reason}\n"
    return lines.append(training, style="not bold default")


def _comparison(record: RetrainRecord) -> RenderableType:
    evaluation, comparison = record.evaluation, record.decision.comparison
    role = "champion" if record.promotion.champion_after == record.promotion.version else "challenger"
    name = f"{role} {text.version(record.promotion.version)}"
    report, heldout = evaluation.report, evaluation.heldout
    rows = [_standing(f"{name}, {report.episodes:,} episodes", report), _standing(f"{name}, held-out", heldout)]
    if comparison is not None:
        before = f"champion {text.version(comparison.champion_version)}"
        name = f"{before} ({'replaced' if role == 'champion' else 'stays'})"
        rows.append(
            {**dict.fromkeys(rows[0], ""), "policy": name, "success": text.percent(comparison.champion_success)}
        )
    return grid(_heldout_title(heldout), rows + _standings(evaluation.baselines))


def _heldout_title(heldout: PolicyReport) -> str:
    return f"Success within {heldout.capture_radius:g} m; {heldout.episodes:,} held-out engagements"


def _standings(reports: Mapping[str, PolicyReport]) -> list[dict[str, str]]:
    return [_standing(text.policy_name(key), report) for key, report in reports.items()]


def _standing(name: str, report: PolicyReport) -> dict[str, str]:
    return {
        "policy": name,
        "success": text.report_success(report),
        "reward": text.signed(report.mean_reward),
        "final distance": text.metres(report.mean_final_distance),
    }


def _split(seconds: dict[str, float]) -> RenderableType:
    from rich.text import Text

    total = sum(seconds.values())
    rest = text.duration(total - seconds.get("train", 0.0))
    steps = _listed((step, text.duration(taken)) for step, taken in seconds.items())
    line = Text("Wall time: ", style="bold")
    return line.append(f"{text.duration(total)}, all but training {rest}\n{steps}\n", style="not bold")


def _next(outputs: str) -> RenderableType:
    places = {
        "make ui": "runs, figures and the registry in the MLflow UI",
        "hlynr champions": "every decision, with its reason",
        f"{outputs}/": "records and figures of this retraining",
    }
    return grid("Where to look next", [{"where": where, "what": what} for where, what in places.items()])


def _listed(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{key} {value}" for key, value in pairs) or text.UNKNOWN


def grid(title: str, rows: Sequence[dict[str, str]]) -> RenderableType:
    """Rows of equal keys as a table; words of verdict in their colour."""
    from rich import box
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.title, table.title_justify, table.title_style = Text(title), "left", "bold"
    for key in rows[0] if rows else ["nothing recorded"]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=SIGNS.get(cell, "")) for cell in row.values()))
    return Padding(table, (0, 0, 1, 0))
