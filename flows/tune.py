"""The search of hyperparameters as flows: one that runs and confirms it, one that adds a worker on any machine."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment

from flows import scheduling, work_pool
from flows.artifacts import table
from hlynr.records.tuning import TuneRecord
from hlynr.runtime import scratch
from hlynr.runtime.errors import as_user_error
from hlynr.studies.tuning import search_config

DEPLOYMENT = "tune-worker/tune-worker"
"""Flow and deployment as `deploy` creates it, of which `tune` starts runs."""


@task(name="start workers", cache_policy=NO_CACHE)
def start_workers(parameters: dict[str, object], count: int) -> list[str]:
    """Queue runs of the deployment in its work pool; each joins the study when a worker takes it."""
    runs = [run_deployment(DEPLOYMENT, parameters=parameters, timeout=0) for _ in range(count)]
    return [str(run.id) for run in runs]  # type: ignore[union-attr]  # no coroutine, as this is synchronous


@task(name="search and confirm", cache_policy=NO_CACHE)
def search(root: str, params_file: str, overrides: list[str], trials: int | None, workers: int | None) -> TuneRecord:
    """Run the search on this machine, and confirm its best trials."""
    from hlynr.report.tuning import candidate_rows
    from hlynr.studies.tuning import tune as tuning_run

    searched = search_config.load(Path(root, params_file), overrides)
    wanted = trials or searched.config.tune.trials
    with scheduling.gpu_slot():
        found, _ = tuning_run.tune(searched, trials=wanted, workers=searched.workers(workers), command="the flow tune")
    table("winner", candidate_rows(found), found.reason)
    return found


@flow(name="tune")
def tune(
    root: str = ".",
    params_file: str = "params.yaml",
    overrides: list[str] | None = None,
    trials: int | None = None,
    workers: int | None = None,
    remote: int = 0,
) -> TuneRecord:
    """Search, confirm and record; ``remote`` runs of the worker deployment join wherever its pool has workers.

    `tune.storage` must then be on PostgreSQL, which all of them reach.
    """
    overrides = overrides or []
    searched = search_config.load(Path(root, params_file), overrides)
    if remote:
        from hlynr.studies.tuning import optuna_study

        optuna_study.begin(searched)  # they join it
        start_workers({"params_file": params_file, "overrides": overrides, "trials": trials}, remote)
    return search(root, params_file, overrides, trials, workers)


@flow(name="tune-worker")
def tune_worker(
    root: str = ".",
    params_file: str = "params.yaml",
    overrides: list[str] | None = None,
    trials: int | None = None,
) -> None:
    """Run trials until the study has as many as wanted; if cancelled, the current trial is queued again."""
    from hlynr.studies.tuning import tune as tuning_run

    scratch.claim()
    scheduling.end_with_worker()
    searched = search_config.load(Path(root, params_file), overrides or [])
    try:
        with scheduling.gpu_slot():
            tuning_run.join(searched, trials=trials or searched.config.tune.trials)
    except Exception as error:
        raise as_user_error(error) or error from None


def deploy(pool: str, root: str = ".") -> None:
    """Let the workers of a work pool take runs of `tune_worker`, in the checkout at ``root`` of each machine."""
    with get_client(sync_client=True) as client:
        work_pool.create(client, pool)
    source = tune_worker.from_source(source=str(Path(root).resolve()), entrypoint="flows/tune.py:tune_worker")
    source.deploy(  # type: ignore[union-attr]  # no coroutine, as this is synchronous
        name=DEPLOYMENT.partition("/")[2], work_pool_name=pool, print_next_steps=False, ignore_warnings=True
    )
