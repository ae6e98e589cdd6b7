"""MLflow's runs: of trainings, with parameters, figures, seed sets and artifacts, and of retrainings and searches."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from hlynr.config.base import SEED_DISTANCE
from hlynr.config.config import Config
from hlynr.config.sections import SERVICE
from hlynr.ops.tracking.calls import if_exists, pages, set_tags
from hlynr.ops.tracking.metrics import dataset_of, details, merits, metrics, prefixed
from hlynr.ops.tracking.presence import if_present
from hlynr.ops.tracking.store import Store
from hlynr.records.base import Record
from hlynr.records.evaluation import EvaluationReport, GateDecision
from hlynr.records.retraining import Attempt
from hlynr.records.training import Lineage

if TYPE_CHECKING:
    from mlflow.entities import Run

LINEAGE_TAG = "hlynr.lineage.id"
RETRAINING_TAG = "hlynr.retraining"
NUMBER_TAG = "hlynr.retraining.number"
OUTCOME_TAG = "hlynr.retraining.outcome"
FAILED_TAG = "hlynr.retraining.failed."
DEVICE_TAG = "hlynr.device"
FOLDER_TAG = "hlynr.folder"
PARENT_TAG = "mlflow.parentRunId"
STUDY_TAG = "hlynr.study"
BUNDLE = "bundle"
DECISION = "decision.json"
DIGEST_TAG = "hlynr.lineage.params_digest"
CONCLUDED = 200
"""Retrainings looked at for the highest number."""
PARAMS_PER_BATCH = 100  # MLflow's limits
VALUE_LENGTH = 6000
_NOT_IN_FORCE = ("strategies", "stability", "tune", *SERVICE)

NO_TAGS: Mapping[str, str] = MappingProxyType({})

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


def start_run(store: Store, lineage: Lineage, config: Config, owner: Mapping[str, str] = NO_TAGS) -> str:
    """Open the run of this lineage and return its id; a retry after a crash resumes the run it had begun.

    Args:
        owner: tags of `hlynr.ops.tracking.abandoned`, by which a later process sees that its own is dead.
    """
    run_id = begun_run(store, lineage, config, owner)
    for resumed in filter(None, (run_id, lineage.mlflow_parent_run_id)):
        reopen(store, resumed)
    return run_id


def begun_run(store: Store, lineage: Lineage, config: Config, owner: Mapping[str, str] = NO_TAGS) -> str:
    """The run of this lineage, made where there is none: none was begun, it was erased, or its tags were edited."""
    with store.lock():
        found = everywhere(store, f"tags.`{LINEAGE_TAG}` = '{lineage.id}'")
        own = [run for run in found if run.data.tags.get(DIGEST_TAG) == lineage.params_digest]
        run = min(own, key=lambda each: str(each.info.lifecycle_stage), default=None)  # active ones before deleted ones
        for other in found:
            if other not in own and (other.info.status, other.info.lifecycle_stage) == ("RUNNING", "active"):
                finish_run(store, other.info.run_id, "KILLED", "Its tags name other parameters; another run goes on.")
        if run is None:
            tags = {**_tags(lineage), **owner}
            run = store.client.create_run(store.experiment_id, run_name=_run_name(lineage, config), tags=tags)
    _log_params(store, str(run.info.run_id), config)
    return str(run.info.run_id)


@if_present
def reopen(store: Store, run_id: str) -> None:
    """Show a run as running, for its training, retraining or search goes on."""
    store.client.update_run(run_id, status="RUNNING")


@if_present
def set_device(store: Store, run_id: str, device: str, folder: Path) -> None:
    """Tag the run with its device, which its parameters may leave open, and with its folder."""
    set_tags(store.client, run_id, {DEVICE_TAG: device, FOLDER_TAG: str(folder)})


def start_retraining(store: Store, lineage: Lineage, plan: Sequence[str], owner: Mapping[str, str] = NO_TAGS) -> str:
    """Open the parent run of a retraining's attempts, and return its id.

    Its tag for the retraining's id is not that of lineages, whose ids lead to one attempt.
    """
    tags = {RETRAINING_TAG: lineage.id, NUMBER_TAG: str(lineage.retraining), "hlynr.retraining.plan": ", ".join(plan)}
    tags |= {**_source(lineage), **owner}
    name = f"#{lineage.retraining} · {_started(lineage)}"
    return str(store.client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id)


def start_search(store: Store, study: str, config: Config, owner: Mapping[str, str] = NO_TAGS) -> str:
    """Open the parent run of a search's trials, and return its id."""
    tags = {STUDY_TAG: study, "mlflow.source.name": "hlynr", "mlflow.source.type": "LOCAL", **owner}
    run = store.client.create_run(
        store.experiment_id, run_name=f"search {study} · {config.run.strategy} · {config.train.algorithm}", tags=tags
    )
    return str(run.info.run_id)


@if_present
def log_figures(store: Store, run_id: str, figures: Mapping[str, float]) -> None:
    """Figures without a time of their own."""
    store.client.log_batch(run_id, metrics=metrics(figures))


def failed_retrainings(store: Store) -> set[str]:
    """Ids of the retrainings whose every attempt failed, including those whose runs have been pruned."""
    found = everywhere(store, f"tags.`{OUTCOME_TAG}` = 'failed'")
    tags = store.client.get_experiment(store.experiment_id).tags
    pruned = {key.removeprefix(FAILED_TAG) for key in tags if key.startswith(FAILED_TAG)}
    return {run.data.tags[RETRAINING_TAG] for run in found if RETRAINING_TAG in run.data.tags} | pruned


def everywhere(store: Store, wanted: str) -> list[Run]:
    """The experiment's runs that a filter finds, those deleted in MLflow included, the newest first."""
    from mlflow.entities import ViewType

    found = pages(
        store.client.search_runs,
        experiment_ids=[store.experiment_id],
        filter_string=wanted,
        run_view_type=ViewType.ALL,
        max_results=1000,
        order_by=["start_time DESC"],
    )
    return list(found)


def promoted_before(store: Store) -> bool:
    """Whether a retraining of this experiment ended in a promotion."""
    return bool(everywhere(store, f"tags.`{OUTCOME_TAG}` = 'promoted'"))


def concluded(store: Store) -> dict[str, int | None]:
    """Ids of the newest retrainings that ended with a result, and their numbers, those deleted in MLflow included."""
    from mlflow.entities import ViewType

    wanted = f"tags.`{OUTCOME_TAG}` LIKE '%'"
    order = ["start_time DESC"]
    found = store.client.search_runs([store.experiment_id], wanted, ViewType.ALL, CONCLUDED, order)
    return {run.data.tags.get(RETRAINING_TAG, ""): _number(run.data.tags.get(NUMBER_TAG)) for run in found}


def _number(text: str | None) -> int | None:
    """None for a number that was removed or edited into an impossible one."""
    return int(text) if text is not None and text.isdecimal() and int(text) < SEED_DISTANCE else None


def remember_failed(store: Store, retraining: str) -> None:
    """Keep a failed retraining counted once its runs are gone: the number of a retraining sets its seeds."""
    store.client.set_experiment_tag(store.experiment_id, f"{FAILED_TAG}{retraining}", "pruned")


@if_present
def conclude_retraining(
    store: Store, run_id: str, outcome: str, figures: Mapping[str, float], description: str
) -> None:
    """Close a retraining's run with its result, also in its name, with figures and a description in markdown."""
    tags = store.client.get_run(run_id).data.tags
    if {NUMBER_TAG, RETRAINING_TAG} <= tags.keys():  # unless they were removed by hand
        # The list of runs cuts names after some twenty characters: the number and the result come first.
        name = f"#{tags[NUMBER_TAG]} · {outcome.replace('_', ' ')} · {tags[RETRAINING_TAG].rpartition('-')[0]}"
        store.client.update_run(run_id, name=name)
    log_figures(store, run_id, figures)
    finish_run(store, run_id, "FAILED" if outcome == "failed" else "FINISHED", description)
    store.client.set_tag(run_id, OUTCOME_TAG, outcome)  # last: a retraining without it is taken for interrupted


@if_present
def conclude_attempt(store: Store, run_id: str, attempt: Attempt, bundle: Path | None) -> None:
    """Tag an attempt's run with its result; a failed attempt's bundle is logged with it."""
    store.client.set_tag(run_id, "hlynr.attempt", attempt.outcome[:VALUE_LENGTH])
    if attempt.failed and bundle is not None:
        log_folder(store, run_id, bundle, BUNDLE)


@if_present
def log_folder(store: Store, run_id: str, folder: Path, name: str) -> None:
    """Store a folder as the run's artifacts below ``name``."""
    store.client.log_artifacts(run_id, str(folder), name)


def fetch_bundle(store: Store, run_id: str, destination: Path) -> Path | None:
    """Bring the bundle that `conclude_attempt` logged below ``destination``; None if there is none."""
    if not has_run(store, run_id) or not store.client.list_artifacts(run_id, BUNDLE):
        return None
    destination.mkdir(parents=True, exist_ok=True)
    return Path(store.client.download_artifacts(run_id, BUNDLE, str(destination)))


def has_run(store: Store, run_id: str) -> bool:
    """Whether the store holds this run; a bundle may come from another store."""
    return if_exists(store.client.get_run, run_id) is not None


@if_present
def set_lineage(store: Store, run_id: str, lineage: Lineage) -> None:
    """Update the run's lineage tags."""
    set_tags(store.client, run_id, _tags(lineage))


@if_present
def log_report(
    store: Store, run_id: str, evaluation: EvaluationReport, config: Config, figures: Iterable[Path]
) -> None:
    """Log the evaluation: metrics, its seed sets as datasets, report.json, plots.

    Metrics are ``report/*``, ``heldout/*``, and ``heldout/baseline/<name>/*`` for the baselines on the held-out
    engagements; ``eval/*`` are the evaluations during training, which MLflow's charts, sorted by name, show first.
    """
    from mlflow.entities import DatasetInput, InputTag

    sets = {"report": evaluation.report, "heldout": evaluation.heldout}
    groups = [prefixed(name, details(report)) for name, report in sets.items()]
    groups += [prefixed(f"heldout/baseline/{law}", merits(report)) for law, report in evaluation.baselines.items()]
    store.client.log_batch(run_id, metrics=[metric for group in groups for metric in metrics(group)])
    datasets = [dataset_of(report, name, config) for name, report in sets.items()]
    context = [InputTag("mlflow.data.context", "evaluation")]
    store.client.log_inputs(run_id, datasets=[DatasetInput(dataset, context) for dataset in datasets])
    log_record(store, run_id, "report.json", evaluation)
    for figure in figures:
        store.client.log_artifact(run_id, str(figure), "figures")


@if_present
def log_decision(store: Store, run_id: str, decision: GateDecision) -> None:
    """Log the gate's verdict: decision.json, tags, and the paired comparison as metrics."""
    verdict = "promoted" if decision.promote else "not_promoted"
    tags = {"hlynr.gate": verdict, "hlynr.gate.reason": decision.reason[:VALUE_LENGTH]}
    log_figures(store, run_id, prefixed("gate", decision.comparison.model_dump() if decision.comparison else {}))
    set_tags(store.client, run_id, tags)
    log_record(store, run_id, DECISION, decision)


def logged_decision(store: Store, run_id: str) -> GateDecision | None:
    """The gate's decision as `log_decision` has stored it; None where it is missing or of another version."""
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory(prefix="hlynr-decision-") as folder:
        try:
            return GateDecision.read(Path(store.client.download_artifacts(run_id, DECISION, folder)))
        except (MlflowException, OSError, ValueError):
            return None


def is_concluded(store: Store, run_id: str) -> bool:
    """Whether the run of a retraining has its result, or is no longer there to get one."""
    run = if_exists(store.client.get_run, run_id)
    return run is None or run.info.lifecycle_stage == "deleted" or OUTCOME_TAG in run.data.tags


def log_record(store: Store, run_id: str, name: str, record: Record) -> None:
    """Store a record as the run's artifact ``name``; MLflow's page indents it."""
    store.client.log_text(run_id, record.model_dump_json() + "\n", name)


@if_present
def finish_run(store: Store, run_id: str, status: RunStatus, description: str) -> None:
    """Close the run, with a text under its title in the UI.

    Args:
        description: markdown.
    """
    store.client.set_tag(run_id, "mlflow.note.content", description)
    store.client.set_terminated(run_id, status=status)


@contextmanager
def closed_on_error(
    store: Store, run_ids: Iterable[str | None], description: str, *, unless: type[Exception] | None = None
) -> Iterator[None]:
    """Close the runs when the block is interrupted or fails, so that none stays open for ever.

    Args:
        unless: an error whose source has closed the runs itself.
    """
    try:
        yield
    except BaseException as error:
        if unless is None or not isinstance(error, unless):
            status: RunStatus = "FAILED" if isinstance(error, Exception) else "KILLED"
            with suppress(Exception):  # the error may come from the store
                for run_id in filter(None, run_ids):
                    finish_run(store, run_id, status, f"{description}: {error!r}")
        raise


def run_id_of(store: Store, lineage: Lineage) -> str | None:
    """The run of a lineage that may not name it, as after a killed training."""
    run = None if lineage.mlflow_run_id else _run_of(store, lineage)
    return str(run.info.run_id) if run else lineage.mlflow_run_id


def _run_of(store: Store, lineage: Lineage) -> Run | None:
    """The newest run that carries this lineage's id, deleted ones last."""
    wanted = f"tags.`{LINEAGE_TAG}` = '{lineage.id}'"
    found = everywhere(store, wanted)
    return min(found, key=lambda run: run.info.lifecycle_stage, default=None)  # active, deleted


def _run_name(lineage: Lineage, config: Config) -> str:
    attempt = f"#{lineage.retraining} · {lineage.attempt} {lineage.strategy}"
    return f"{attempt} · {config.train.algorithm} · {config.train.scenario} · {_started(lineage)}"


def _started(lineage: Lineage) -> str:
    started = re.sub(r"\D", "", lineage.created)[:14]
    return f"{started[:8]}-{started[8:]}"


def _tags(lineage: Lineage) -> dict[str, str]:
    """Lineage, parent run, and the tags of MLflow's own columns for source and commit."""
    parent = {PARENT_TAG: lineage.mlflow_parent_run_id} if lineage.mlflow_parent_run_id else {}
    return lineage.tags() | parent | _source(lineage)


def _source(lineage: Lineage) -> dict[str, str]:
    tags = {"mlflow.source.name": "hlynr", "mlflow.source.type": "LOCAL"}
    return tags if lineage.git_commit is None else tags | {"mlflow.source.git.commit": lineage.git_commit}


@if_present
def _log_params(store: Store, run_id: str, config: Config) -> None:
    """Log the settings in force, without all strategies and the sections of other commands."""
    from mlflow.entities import Param

    leaves = [(key, value) for key, value in config.flat().items() if key.partition(".")[0] not in _NOT_IN_FORCE]
    texts = [(key, value if isinstance(value, str) else json.dumps(value)) for key, value in leaves]
    params = [Param(key, text[:VALUE_LENGTH]) for key, text in texts]
    for start in range(0, len(params), PARAMS_PER_BATCH):
        store.client.log_batch(run_id, params=params[start : start + PARAMS_PER_BATCH])
