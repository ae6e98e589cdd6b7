"""One MLflow run per retraining: its parameters, figures, seed sets, artifacts and the words that explain it."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hlynr.config import Config
from hlynr.ops.store import Store, StoreError
from hlynr.records import Attempt, EvaluationReport, GateDecision, Lineage, PolicyReport, Record

if TYPE_CHECKING:
    from mlflow.entities import Dataset, Metric, Run

LINEAGE_TAG = "hlynr.lineage.id"
NIGHT_TAG = "hlynr.night"
OUTCOME_TAG = "hlynr.night.outcome"
DEVICE_TAG = "hlynr.device"
FOLDER_TAG = "hlynr.folder"
PARENT_TAG = "mlflow.parentRunId"
BUNDLE = "bundle"
DIGEST_TAG = "hlynr.lineage.params_digest"
PARAMS_PER_BATCH = 100  # MLflow's limits
VALUE_LENGTH = 6000
_NOT_IN_FORCE = ("strategies", "study", "tune")

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


def start_run(store: Store, lineage: Lineage, config: Config) -> str:
    """Open the run of this lineage and return its id; a retry after a crash goes on in the run it had begun.

    Raises:
        StoreError: if the lineage's run was begun under another configuration.
    """
    with store.lock():
        run = _run_of(store, lineage)
        if run is None:
            run = store.client.create_run(store.experiment_id, run_name=_run_name(lineage, config), tags=_tags(lineage))
        elif run.data.tags.get(DIGEST_TAG) != lineage.params_digest:
            raise StoreError(f"run {run.info.run_id} of lineage {lineage.id} was begun with other parameters")
    run_id = str(run.info.run_id)
    for open_again in filter(None, (run_id, lineage.mlflow_night_id)):
        store.client.update_run(open_again, status="RUNNING")
    _log_params(store, run_id, config)
    return run_id


def set_place(store: Store, run_id: str, device: str, folder: Path) -> None:
    """Note on the run what it trains on, which its parameters may leave open, and in which folder."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(DEVICE_TAG, device), RunTag(FOLDER_TAG, str(folder))])


def start_night(store: Store, lineage: Lineage, plan: Sequence[str]) -> str:
    """Open the run under which the attempts of a night stand, and return its id.

    It carries the night's id under a name of its own: the id of a lineage leads to one attempt.
    """
    tags = {NIGHT_TAG: lineage.id, "hlynr.night.number": str(lineage.night), "hlynr.night.plan": ", ".join(plan)}
    tags |= _source(lineage)
    run = store.client.create_run(
        store.experiment_id, run_name=f"night {lineage.night} · {_started(lineage)}", tags=tags
    )
    return str(run.info.run_id)


def start_search(store: Store, study: str, config: Config) -> str:
    """Open the run under which the trials of a search stand, and return its id."""
    tags = {"hlynr.study": study, "mlflow.source.name": "hlynr", "mlflow.source.type": "LOCAL"}
    run = store.client.create_run(
        store.experiment_id, run_name=f"search {study} · {config.run.strategy} · {config.train.algorithm}", tags=tags
    )
    return str(run.info.run_id)


def log_figures(store: Store, run_id: str, figures: Mapping[str, float]) -> None:
    """Figures without a time of their own."""
    store.client.log_batch(run_id, metrics=_metrics(figures))


def failed_nights(store: Store) -> set[str]:
    """Ids of the nights whose every attempt failed."""
    found = store.client.search_runs([store.experiment_id], f"tags.`{OUTCOME_TAG}` = 'failed'", max_results=10_000)
    return {run.data.tags[NIGHT_TAG] for run in found}


def conclude_night(store: Store, run_id: str, outcome: str, figures: Mapping[str, float], description: str) -> None:
    """Close a night's run: what came of it in a word, in figures and in markdown."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, metrics=_metrics(figures), tags=[RunTag(OUTCOME_TAG, outcome)])
    finish_run(store, run_id, "FAILED" if outcome == "failed" else "FINISHED", description)


def conclude_attempt(store: Store, run_id: str, attempt: Attempt, bundle: Path | None) -> None:
    """Write on an attempt's run what came of it; the bundle of a failed one is kept with it."""
    store.client.set_tag(run_id, "hlynr.attempt", attempt.outcome[:VALUE_LENGTH])
    if attempt.failed and bundle is not None:
        log_folder(store, run_id, bundle, BUNDLE)


def log_folder(store: Store, run_id: str, folder: Path, name: str) -> None:
    """Store a folder as the run's artifacts below ``name``."""
    store.client.log_artifacts(run_id, str(folder), name)


def fetch_bundle(store: Store, run_id: str, destination: Path) -> Path | None:
    """The bundle that `conclude_attempt` kept with a run, below ``destination``; None if there is none."""
    if not has_run(store, run_id) or not store.client.list_artifacts(run_id, BUNDLE):
        return None
    destination.mkdir(parents=True, exist_ok=True)
    return Path(store.client.download_artifacts(run_id, BUNDLE, str(destination)))


def has_run(store: Store, run_id: str) -> bool:
    """Whether the store holds this run; a bundle may come from another store."""
    from mlflow.exceptions import MlflowException

    try:
        store.client.get_run(run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return True


def set_lineage(store: Store, run_id: str, lineage: Lineage) -> None:
    """Bring the run's lineage tags up to what is known by now."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in _tags(lineage).items()])


def log_report(
    store: Store, run_id: str, evaluation: EvaluationReport, config: Config, figures: Iterable[Path]
) -> None:
    """Store the evaluation: figures of merit as metrics, its seed sets as datasets, report.json, plots.

    Metrics of the report are ``report/*``, of the held-out engagements ``heldout/*``, of the baselines on the
    latter ``baseline/<name>/*``; ``eval/*`` belongs to the evaluations during training.
    """
    from mlflow.entities import DatasetInput, InputTag

    sets = {"report": evaluation.report, "heldout": evaluation.heldout}
    groups = {**sets, **{f"baseline/{name}": report for name, report in evaluation.baselines.items()}}
    metrics = [metric for prefix, report in groups.items() for metric in metrics_of(report, f"{prefix}/")]
    store.client.log_batch(run_id, metrics=metrics)
    datasets = [dataset_of(report, name, config) for name, report in sets.items()]
    context = [InputTag("mlflow.data.context", "evaluation")]
    store.client.log_inputs(run_id, datasets=[DatasetInput(dataset, context) for dataset in datasets])
    log_record(store, run_id, "report.json", evaluation)
    for figure in figures:
        store.client.log_artifact(run_id, str(figure), "figures")


def log_decision(store: Store, run_id: str, decision: GateDecision) -> None:
    """Store the gate's verdict: decision.json, tags, and the paired comparison as metrics."""
    from mlflow.entities import RunTag

    verdict = "promoted" if decision.promote else "refused"
    tags = {"hlynr.gate": verdict, "hlynr.gate.reason": decision.reason[:VALUE_LENGTH]}
    compared = decision.comparison.model_dump() if decision.comparison else {}
    store.client.log_batch(
        run_id,
        metrics=_metrics({f"gate/{key}": value for key, value in compared.items()}),
        tags=[RunTag(key, value) for key, value in tags.items()],
    )
    log_record(store, run_id, "decision.json", decision)


def log_record(store: Store, run_id: str, name: str, record: Record) -> None:
    """Store a record as the run's artifact ``name``."""
    store.client.log_text(run_id, record.model_dump_json(indent=2) + "\n", name)


def finish_run(store: Store, run_id: str, status: RunStatus, description: str) -> None:
    """Close the run and put the words under its title in the UI.

    Args:
        description: markdown.
    """
    store.client.set_tag(run_id, "mlflow.note.content", description)
    store.client.set_terminated(run_id, status=status)


def metrics_of(report: PolicyReport, prefix: str = "", **bound: Any) -> list[Metric]:
    """A policy's report as MLflow metrics; ``bound`` ties them to a model or a dataset."""
    low, high = report.success_rate_ci
    values: dict[str, float | None] = {
        "episodes": report.episodes,
        "success_rate": report.success_rate,
        "success_rate_low": low,
        "success_rate_high": high,
        "mean_reward": report.mean_reward,
        "mean_final_distance": report.mean_final_distance,
        "mean_fuel_left": report.mean_fuel_left,
        "mean_time_to_intercept": report.mean_time_to_intercept,
        "mean_episode_seconds": report.mean_episode_seconds,
    }
    values |= {f"miss_distance_p{key}": value for key, value in report.miss_distance_quantiles.items()}
    values |= {f"outcome/{key}": count for key, count in report.outcomes.items()}
    values |= {f"reward/{key}": value for key, value in report.reward_terms.items()}
    return _metrics({f"{prefix}{key}": value for key, value in values.items() if value is not None}, **bound)


def dataset_of(report: PolicyReport, role: str, config: Config) -> Dataset:
    """The seed set a report was made on, named like ``reference-heldout-3000017``.

    The digest covers all that decides which engagements these are: scenario, simulation, seed and number.
    """
    from mlflow.entities import Dataset

    described = {"scenario": report.scenario, "seed": report.seed, "episodes": report.episodes}
    world = {"definition": config.scenarios[report.scenario].model_dump(), "sim": config.sim.model_dump()}
    digest = hashlib.sha256(json.dumps(described | world, sort_keys=True).encode()).hexdigest()[:16]
    tags = {"mlflow.source.name": "hlynr evaluate"} | {key: str(value) for key, value in described.items()}
    return Dataset(
        name=f"{report.scenario}-{role}-{report.seed}",
        digest=digest,
        source_type="code",
        source=json.dumps({"tags": tags}),
        profile=json.dumps({"num_rows": report.episodes}),
    )


def _metrics(values: Mapping[str, float], **bound: Any) -> list[Metric]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(key, float(value), now, 0, **bound) for key, value in values.items()]


def run_id_of(store: Store, lineage: Lineage) -> str | None:
    """The run of a lineage whose training may have ended without telling it."""
    run = None if lineage.mlflow_run_id else _run_of(store, lineage)
    return str(run.info.run_id) if run else lineage.mlflow_run_id


def _run_of(store: Store, lineage: Lineage) -> Run | None:
    """The newest run that carries this lineage's id."""
    found = store.client.search_runs(
        [store.experiment_id], f"tags.`{LINEAGE_TAG}` = '{lineage.id}'", order_by=["start_time DESC"], max_results=1
    )
    return found[0] if found else None


def _run_name(lineage: Lineage, config: Config) -> str:
    attempt = f"night {lineage.night} · {lineage.attempt} {lineage.strategy}"
    return f"{attempt} · {config.train.algorithm} · {config.train.scenario} · {_started(lineage)}"


def _started(lineage: Lineage) -> str:
    started = re.sub(r"\D", "", lineage.created)[:14]
    return f"{started[:8]}-{started[8:]}"


def _tags(lineage: Lineage) -> dict[str, str]:
    """Lineage, the run above, and what MLflow's own columns for source and commit read."""
    above = {PARENT_TAG: lineage.mlflow_night_id} if lineage.mlflow_night_id else {}
    return lineage.tags() | above | _source(lineage)


def _source(lineage: Lineage) -> dict[str, str]:
    tags = {"mlflow.source.name": "hlynr", "mlflow.source.type": "LOCAL"}
    return tags if lineage.git_commit is None else tags | {"mlflow.source.git.commit": lineage.git_commit}


def _log_params(store: Store, run_id: str, config: Config) -> None:
    """What is in force; strategies, followed or not, and the sections of other commands are no parameters of a run."""
    from mlflow.entities import Param

    leaves = [(key, value) for key, value in config.flat().items() if key.partition(".")[0] not in _NOT_IN_FORCE]
    texts = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in leaves]
    params = [Param(key, text[:VALUE_LENGTH]) for key, text in texts]
    for start in range(0, len(params), PARAMS_PER_BATCH):
        store.client.log_batch(run_id, params=params[start : start + PARAMS_PER_BATCH])
