"""The search of hyperparameters as flows: one that leads and confirms it, one that works on it from anywhere."""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment

from flows import scheduling
from flows.artifacts import table
from hlynr.records.tuning import TuneRecord
from hlynr.runtime.errors import as_user_error
from hlynr.studies.tuning import search_config

WORKER = "tune-worker/tune-worker"
"""The deployment that `tune` starts runs of, as `deploy` makes it."""


@task(name="start workers", cache_policy=NO_CACHE)
def start_workers(parameters: dict[str, object], count: int) -> list[str]:
    """Put runs of the deployment into the line of its work pool; they join the study as soon as a worker takes them."""
    runs = [run_deployment(WORKER, parameters=parameters, timeout=0) for _ in range(count)]
    return [str(run.id) for run in runs]  # type: ignore[union-attr]  # no coroutine, as this is synchronous


@task(name="search and confirm", cache_policy=NO_CACHE)
def search(root: str, params_file: str, overrides: list[str], trials: int | None, workers: int | None) -> TuneRecord:
    """Lead the search on this machine to its winner."""
    from hlynr.report.tuning import candidate_rows
    from hlynr.studies.tuning import tune as tuning_run

    searched = search_config.load(Path(root, params_file), overrides)
    wanted = trials or searched.config.tune.trials
    with scheduling.gpu():
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
    """Search, confirm and write down; ``remote`` runs of the worker deployment help wherever its pool has workers.

    The study must then be one that they all reach: `tune.storage` on PostgreSQL.
    """
    overrides = overrides or []
    searched = search_config.load(Path(root, params_file), overrides)  # a fault is told before anybody is sent for
    if remote:
        from hlynr.studies.tuning import optuna_study

        optuna_study.begin(searched)  # so that there is something to join
        start_workers({"params_file": params_file, "overrides": overrides, "trials": trials}, remote)
    return search(root, params_file, overrides, trials, workers)


@flow(name="tune-worker")
def tune_worker(
    root: str = ".",
    params_file: str = "params.yaml",
    overrides: list[str] | None = None,
    trials: int | None = None,
) -> None:
    """Work on the study until it has its trials; cancelled, the trial at hand goes back into the line."""
    from hlynr.studies.tuning import tune as tuning_run

    scheduling.end_with_worker()
    searched = search_config.load(Path(root, params_file), overrides or [])
    try:
        with scheduling.gpu():
            tuning_run.join(searched, trials=trials or searched.config.tune.trials)
    except Exception as error:
        raise as_user_error(error) or error from None


def deploy(pool: str, root: str = ".") -> None:
    """Let the workers of a work pool take runs of `tune_worker`, in the checkout that lies at ``root`` on each."""
    source = tune_worker.from_source(source=str(Path(root).resolve()), entrypoint="flows/tune.py:tune_worker")
    source.deploy(  # type: ignore[union-attr]  # no coroutine, as this is synchronous
        name=WORKER.partition("/")[2], work_pool_name=pool, print_next_steps=False, ignore_warnings=True
    )
