"""One MLflow run per retraining: its parameters, figures, seed sets, artifacts and the words that explain it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hlynr.config.config import Config
from hlynr.config.service import SECTIONS
from hlynr.ops.tracking.metrics import dataset_of, details, merits, metrics, prefixed
from hlynr.ops.tracking.store import Store, StoreError
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
DIGEST_TAG = "hlynr.lineage.params_digest"
PARAMS_PER_BATCH = 100  # MLflow's limits
VALUE_LENGTH = 6000
_NOT_IN_FORCE = ("strategies", "stability", "tune", *SECTIONS)

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
    for open_again in filter(None, (run_id, lineage.mlflow_parent_run_id)):
        store.client.update_run(open_again, status="RUNNING")
    _log_params(store, run_id, config)
    return run_id


def set_place(store: Store, run_id: str, device: str, folder: Path) -> None:
    """Note on the run what it trains on, which its parameters may leave open, and in which folder."""
    from mlflow.entities import RunTag

    store.client.log_batch(run_id, tags=[RunTag(DEVICE_TAG, device), RunTag(FOLDER_TAG, str(folder))])


def start_retraining(store: Store, lineage: Lineage, plan: Sequence[str]) -> str:
    """Open the run under which the attempts of a retraining stand, and return its id.

    It carries the retraining's id under a name of its own: the id of a lineage leads to one attempt.
    """
    tags = {RETRAINING_TAG: lineage.id, NUMBER_TAG: str(lineage.retraining), "hlynr.retraining.plan": ", ".join(plan)}
    tags |= _source(lineage)
    name = f"#{lineage.retraining} · {_started(lineage)}"
    return str(store.client.create_run(store.experiment_id, run_name=name, tags=tags).info.run_id)


def start_search(store: Store, study: str, config: Config) -> str:
    """Open the run under which the trials of a search stand, and return its id."""
    tags = {STUDY_TAG: study, "mlflow.source.name": "hlynr", "mlflow.source.type": "LOCAL"}
    run = store.client.create_run(
        store.experiment_id, run_name=f"search {study} · {config.run.strategy} · {config.train.algorithm}", tags=tags
    )
    return str(run.info.run_id)


def log_figures(store: Store, run_id: str, figures: Mapping[str, float]) -> None:
    """Figures without a time of their own."""
    store.client.log_batch(run_id, metrics=metrics(figures))


def failed_retrainings(store: Store) -> set[str]:
    """Ids of the retrainings whose every attempt failed, those included whose runs have been pruned since."""
    found = store.client.search_runs([store.experiment_id], f"tags.`{OUTCOME_TAG}` = 'failed'", max_results=10_000)
    remembered = store.client.get_experiment(store.experiment_id).tags
    pruned = {key.removeprefix(FAILED_TAG) for key in remembered if key.startswith(FAILED_TAG)}
    return {run.data.tags[RETRAINING_TAG] for run in found} | pruned


def remember_failed(store: Store, retraining: str) -> None:
    """Keep a failed retraining counted once its runs are gone: the number of a retraining decides its seeds."""
    store.client.set_experiment_tag(store.experiment_id, f"{FAILED_TAG}{retraining}", "pruned")


def conclude_retraining(
    store: Store, run_id: str, outcome: str, figures: Mapping[str, float], description: str
) -> None:
    """Close a retraining's run: what came of it in a word, also in its name, in figures and in markdown."""
    from mlflow.entities import RunTag

    tags = store.client.get_run(run_id).data.tags
    # The list of runs cuts names after some twenty characters: the number and the result come first.
    name = f"#{tags[NUMBER_TAG]} · {outcome.replace('_', ' ')} · {tags[RETRAINING_TAG].rpartition('-')[0]}"
    store.client.update_run(run_id, name=name)
    store.client.log_batch(run_id, metrics=metrics(figures), tags=[RunTag(OUTCOME_TAG, outcome)])
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
    latter ``heldout/baseline/<name>/*``; ``eval/*`` belongs to the evaluations during training. MLflow sorts its
    charts by these names: so the curves of the training come first.
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


def log_decision(store: Store, run_id: str, decision: GateDecision) -> None:
    """Store the gate's verdict: decision.json, tags, and the paired comparison as metrics."""
    from mlflow.entities import RunTag

    verdict = "promoted" if decision.promote else "not_promoted"
    tags = {"hlynr.gate": verdict, "hlynr.gate.reason": decision.reason[:VALUE_LENGTH]}
    compared = decision.comparison.model_dump() if decision.comparison else {}
    store.client.log_batch(
        run_id,
        metrics=metrics({f"gate/{key}": value for key, value in compared.items()}),
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
    attempt = f"#{lineage.retraining} · {lineage.attempt} {lineage.strategy}"
    return f"{attempt} · {config.train.algorithm} · {config.train.scenario} · {_started(lineage)}"


def _started(lineage: Lineage) -> str:
    started = re.sub(r"\D", "", lineage.created)[:14]
    return f"{started[:8]}-{started[8:]}"


def _tags(lineage: Lineage) -> dict[str, str]:
    """Lineage, the run above, and what MLflow's own columns for source and commit read."""
    above = {PARENT_TAG: lineage.mlflow_parent_run_id} if lineage.mlflow_parent_run_id else {}
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
