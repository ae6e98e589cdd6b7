"""What the settings of params.yaml end up as: a probe maps a configuration to named observations."""

import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
import torch

from hlynr.cli import studies
from hlynr.config import params
from hlynr.config.project import Project
from hlynr.envs.observation import SIZE
from hlynr.envs.reward import TERMS
from hlynr.evaluation import gate, judge, laws
from hlynr.evaluation.rollout import run_episodes
from hlynr.ops.retention import dvc_objects, prune
from hlynr.ops.tracking import store
from hlynr.ops.versioning import experiments
from hlynr.pipeline import diagnosis, steps
from hlynr.pipeline.retraining import Retraining
from hlynr.records.evaluation import PairedComparison
from hlynr.records.retraining import Attempt
from hlynr.records.training import EvaluationPoint, Lineage, MonitorVerdict
from hlynr.rl import algorithms, callbacks, monitor
from hlynr.rl import train as training
from hlynr.rl.curriculum import RadiusCurriculum
from hlynr.service import alerts, components
from hlynr.sim.scenario import parameters
from hlynr.studies.stability import stability_study
from hlynr.studies.tuning import confirm as tuning_confirm
from hlynr.studies.tuning import optuna_study, trial
from hlynr.studies.tuning import tune as tuning
from support import searches

ROOT = Path("/project")
LINEAGE = Lineage(id="a", created="2026-11-23T18:05:30+00:00", retraining=0, params_digest="d")


def worlds(config):
    """Each scenario as its kernel sees it; that the kernel heeds all of it is shown by tests/sim/test_scenario.py."""
    return {name: parameters(config, name).tobytes() for name in config.scenarios}


def rewards(config):
    """Each reward term over some engagements."""
    policy = laws.law("pn", config, "reference")
    terms = run_episodes(policy, config, "reference", seed=7, episodes=48, batch_size=48).terms
    return {name: terms[:, k].tobytes() for k, name in enumerate(TERMS)}


def actions(config):
    """What each law makes of the same observations."""
    seen = np.random.default_rng(1).uniform(-0.1, 0.1, (64, SIZE)).astype(np.float32)
    return {
        name: laws.law(name, config, "reference").predict(seen, None, np.zeros(64, dtype=bool))[0].tobytes()
        for name in laws.LAWS
    }


class _Enough(Exception):
    pass


def assembled(config, folder):
    """A training before its first timestep, and the evaluation it would make after the last."""
    seen = {}

    def learn(model, total_timesteps, callback, **_):
        callback.init_callback(model)
        seen.update(_learner(model), budget=total_timesteps, threads=torch.get_num_threads())
        env = callback.env.env
        seen.update({"envs": env.num_envs, "env seed": env.batch.seed, "env world": env.batch.params.tobytes()})
        seen.update(
            {"next evaluation": callback.state.next_evaluation, "next checkpoint": callback.state.next_checkpoint}
        )
        seen["later checkpoint"] = _checkpoint_after(callback)

    def evaluate(policy, config, scenario, *, seed, episodes, batch_size):
        seen.update({"judged scenario": scenario, "judged seed": seed, "judged episodes": episodes})
        raise _Enough

    with pytest.MonkeyPatch.context() as patch:
        for algorithm in (algorithms.BoundedPPO, algorithms.BoundedRecurrentPPO):
            patch.setattr(algorithm, "learn", learn)
        patch.setattr(callbacks, "run_episodes", evaluate)
        with pytest.raises(_Enough):
            training.train(config, folder, LINEAGE, resume=False)
    return seen


def _learner(model):
    policy, buffer = model.policy, model.rollout_buffer
    return {
        "algorithm": type(model).__name__,
        "device": str(model.device),
        "seed": model.seed,
        "weights": {name: tensor.tolist() for name, tensor in policy.state_dict().items() if name != "log_std"},
        "network": str(policy),
        "log_std": policy.log_std.tolist(),
        "log_std lower bound": model.log_std_min,
        "log_std bound": model.log_std_max,
        "rollout": (buffer.buffer_size, model.n_steps),
        "minibatch": model.batch_size,
        "chunk": getattr(buffer, "chunk", None),
        "epochs": model.n_epochs,
        "rate at start": (model.lr_schedule(1.0), policy.optimizer.param_groups[0]["lr"]),
        "rate at end": model.lr_schedule(0.0),
        "clip at start": model.clip_range(1.0),
        "clip at end": model.clip_range(0.0),
        "entropy": (model.ent_coef, model.entropy_schedule(1.0), model.entropy_schedule(0.0)),
        "value": model.vf_coef,
        "discount": (model.gamma, buffer.gamma),
        "lambda": (model.gae_lambda, buffer.gae_lambda),
        "gradient": model.max_grad_norm,
        "kl": model.target_kl,
    }


def _checkpoint_after(callback):
    """When the next training checkpoint is due after one at 20,000 timesteps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.checkpoint, "save", lambda *_: None)
        before, callback.num_timesteps = callback.state.next_checkpoint, 20_000
        callback._save_checkpoint()
        due, callback.state.next_checkpoint, callback.num_timesteps = callback.state.next_checkpoint, before, 0
    return due


def device(config):
    """The device a training takes, or that there is none."""
    try:
        return {"device": training.resolve_device(config.train.device)}
    except training.DeviceError:
        return {"device": "rejected"}


def radii(config):
    """The capture radius over a made-up course of rollouts of 1,000 timesteps, 60 episodes and rising success."""
    curriculum, seen = RadiusCurriculum(config), []
    for number in range(1, 9):
        seen.append(curriculum.radius)
        curriculum.advance(1000 * number, 60, 15 + 5 * number)
    return {"first": seen[0], "course": seen}


STEADY = (0.5, 0.5, 0.5, 0.5)
STORIES = {
    "slide": {"success_rate": (0.6, 0.6, 0.6, 0.3, 0.2, 0.2)},
    "dip": {"success_rate": (0.6, 0.6, 0.6, 0.6, 0.1)},
    "hopeless": {"success_rate": (0.03, 0.03, 0.03, 0.03, 0.03)},
    "flat": {"success_rate": (0.5, 0.5, 0.5, 0.5, 0.5, 0.5)},
    "creeping": {"success_rate": (0.5, 0.503, 0.506, 0.509, 0.512, 0.515)},
    "farming": {"success_rate": (0.6, 0.6, 0.6, 0.45, 0.45, 0.45), "mean_reward": (0.1, 0.1, 0.1, 0.8, 0.8, 0.8)},
    "exploding": {"success_rate": STEADY, "value_loss": (0.2, 0.2, 0.2, 30.0)},
    "wild": {"success_rate": STEADY, "std": (0.6, 0.9, 1.5, 2.5)},
    "saturated": {"success_rate": STEADY, "action_saturation": (0.95, 0.95, 0.95, 0.95)},
}


def verdicts(config):
    """What the monitor makes of courses of a training's figures, one evaluation every 250,000 timesteps."""
    found = {name: monitor.judge(_points(story), config.monitor) for name, story in STORIES.items()}
    return {name: (verdict.status, verdict.stopped) for name, verdict in found.items()}


def _points(story):
    rows = [dict(zip(story, values, strict=True)) for values in zip(*story.values(), strict=True)]
    same = {"episodes": 200, "mean_reward": 0.1, "mean_final_distance": 1.0}
    return [EvaluationPoint(timesteps=250_000 * (k + 1), **(same | row)) for k, row in enumerate(rows)]


def followed(config):
    """Every setting of the sections that a strategy can replace, under each strategy."""
    tree = config.model_dump(mode="json")
    under = {name: params.parse(tree, [f"run.strategy={name}"]) for name in ["default", *config.strategies]}
    return {
        f"{name}: {section}.{key}": value
        for name, found in under.items()
        for section in ("train", "monitor")
        for key, value in found.model_dump(mode="json")[section].items()
    }


def planned(config, folder):
    """What the trainings of a retraining would be."""
    file = folder / "params.yaml"
    file.write_text(params.dump(config), encoding="utf-8")
    plan = params.load_plan(file)
    return {"strategies": [found.run.strategy for found in plan], "networks": [found.train.net_arch for found in plan]}


def judged(config):
    """The evaluation report of a law, in its parts."""
    heights = set()
    law = laws.law("pursuit", config, config.evaluation.scenario)

    def predict(observation, state, first):
        heights.add(len(observation))
        return law.predict(observation, state, first)

    policy = SimpleNamespace(name="pursuit", frame=law.frame, predict=predict)
    found, _ = judge.evaluate(policy, config, LINEAGE, "sha")
    return {
        "scenario": (found.report.scenario, found.heldout.scenario),
        "report seed": found.report.seed,
        "report episodes": found.report.episodes,
        "heldout seed": found.heldout.seed,
        "heldout episodes": found.heldout.episodes,
        "baseline sets": {(report.seed, report.episodes) for report in found.baselines.values()},
        "slices": {name: len(parts) for name, parts in found.heldout.slices.items()},
        "rate": found.heldout.success_rate,
        "interval": found.heldout.success_rate_ci,
        "batch": max(heights),
        "targets": [row.target for row in found.targets],
    }


def decisions(config):
    """Which rules of the gate pass a decent challenger, whatever the evaluation settings."""
    law = laws.law("pn", config, "reference")
    base, _ = judge.report_on(law, config, judge.SeedSet("reference", 7, 20))

    def report(rate):
        changed = {"success_rate": rate, "success_rate_ci": (rate - 0.03, rate + 0.03)}
        return base.model_copy(update=changed | {"mean_reward": 0.5, "mean_final_distance": 900.0})

    evaluation = SimpleNamespace(
        report=report(0.4), heldout=report(0.4), baselines={"random": report(0.005), "pn": report(0.55)}
    )
    verdict = MonitorVerdict(
        status="healthy", reason="", stopped=False, at_timesteps=1, peak_success=1, peak_timesteps=1, final_success=1
    )
    compared = PairedComparison(
        champion_version=1,
        champion_success=0.38,
        challenger_success=0.4,
        challenger_only=1,
        champion_only=1,
        p_value=0.02,
    )
    return {rule.name: rule.passed for rule in gate.decide(evaluation, verdict, compared, config.gate).rules}


def paths(config):
    """Where stages write."""
    project = Project(ROOT, config)
    return {name: getattr(project, name) for name in ("train", "evaluate", "bundle", "record")}


class _Client:
    """A stub of MLflow's client, which takes seconds to connect."""

    created: tuple = ()

    def __init__(self, tracking_uri, registry_uri):
        self.uris = (tracking_uri, registry_uri)

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name, artifact_location, tags):
        self.created = (name, artifact_location)
        return "1"


def opened(config):
    """The MLflow store as it would be opened."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "mlflow", SimpleNamespace(MlflowClient=_Client))
        patch.setattr(store, "_opened", {})
        patch.setattr(store, "_locked", lambda _: nullcontext())
        patch.setattr(store, "_create_database", lambda *_: None)
        found = store.open_store(config, ROOT)
    name, artifacts = found.client.created
    return {"uri": (found.uri, found.client.uris), "experiment": name, "artifacts": artifacts, "model": found.model}


def versioned(config):
    """How a retraining is saved with DVC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments, "save", lambda root, name, config, *, push: {"push": push})
        saved = steps.version(Project(ROOT, config), LINEAGE)
    return {"saved": saved is not None, "pushed": saved and saved["push"]}


def flow(config):
    """How often and when a crashed training is repeated, how often its progress is shown, what a failed plan costs."""
    from flows import retrain as module

    seen = {}

    def with_options(retries, retry_delay_seconds):
        seen.update(retries=retries, delay=retry_delay_seconds)
        return lambda *_: SimpleNamespace(lineage=LINEAGE)

    def examined(*_, budget, **__):
        seen.update(diagnosis=budget)
        raise _Enough

    project = Project(ROOT, config)
    failed = Attempt(lineage=LINEAGE, status="collapse", outcome="", failed=True, best_success=0.1, bundle="bundle")
    train = module.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ProgressArtifact", lambda interval: seen.update(interval=interval))
        patch.setattr(module.training_process, "train", lambda *_, **__: None)
        train.fn(project, LINEAGE, False)
        patch.setattr(module, "validate", lambda *_: Retraining((project,), LINEAGE, ()))
        patch.setattr(module, "train", SimpleNamespace(with_options=with_options))
        patch.setattr(module, "conclude_attempt", lambda *_: failed)
        patch.setattr(module.alerts, "attempted", lambda *_: None)
        patch.setattr(module.scheduling, "gpu_slot", lambda *_, **__: nullcontext())
        patch.setattr(module, "diagnose", steps.diagnose_failure)
        patch.setattr(diagnosis, "examine", examined)
        patch.setattr(store, "open_store", lambda *_: None)
        with pytest.raises(_Enough):
            module.retrain.fn()
    return seen


def studied(config, folder):
    """What the stability study trains, how many at a time, and where its page goes."""
    seen = {}

    def complete(runs, board):
        seen.update(workers=board.workers, runs=[(run.name, run.config.train.timesteps) for run in runs])
        raise _Enough

    file = folder / "params.yaml"
    file.write_text(params.dump(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            stability_study,
            "require_folder",
            lambda key, path: seen.update(folder=str(path.relative_to(folder))) if key == "stability.folder" else None,
        )
        patch.setattr(judge, "compile_kernels", lambda _: None)
        patch.setattr(stability_study.parallel_runs, "complete", complete)
        with pytest.raises(_Enough):
            stability_study.run(file, [], "hlynr study")
    return seen


def _drawn(name, entry):
    """What 20 random trials would have of one searched setting."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    return [entry.draw(study.ask(), name) for _ in range(20)]


def searched(config, folder):
    """What a search begins, how it judges a trial, and what it confirms."""
    seen = {}
    file = folder / "params.yaml"
    file.write_text(params.dump(config))
    memory = optuna.storages.InMemoryStorage()

    def storage(uri, *, heartbeat_interval, grace_period, **_):
        seen.update(storage=uri.replace(str(folder), ""), heartbeat=(heartbeat_interval, grace_period))
        return memory

    def work(found, study, trials, workers, mirror):
        joined = optuna_study.join(found)
        values, tune = joined.pruner, found.config.tune
        budget = found.trial(0, {}, 7)
        seen.update(study=study.study_name, trials=trials, workers=workers, startup=joined.sampler._n_startup_trials)
        seen.update(chance=optuna.create_study(sampler=joined.sampler).ask().suggest_float("x", 0, 1))
        seen.update({"pruned after": values._after, "pruned below": values._below, "compared": values._startup})
        seen.update({"trial's budget": budget.train.timesteps, "trial's interval": budget.monitor.interval})
        seen.update(seeds=tune.seeds, objective=trial.objective([searches.run(0.5, 0.7)], tune.drop_penalty))
        return [searches.trial(number, 0.5) for number in range(20)]

    def confirmed(found, chosen, workers):
        runs = [run.config for run in tuning_confirm.assignments(found, tuning_confirm.entries(chosen[:1]))]
        seen.update({"confirmed": len(chosen), "fresh seeds": sorted({run.train.seed for run in runs})})
        seen.update({"their budget": runs[0].train.timesteps, "their engagements": runs[0].heldout_seed})
        raise _Enough

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna_study, "RDBStorage", storage)
        patch.setattr(optuna_study.Path, "exists", lambda _: True)
        patch.setattr(tuning.judge, "compile_kernels", lambda _: None)
        patch.setattr(
            tuning.search_mirror,
            "SearchMirror",
            lambda *_: SimpleNamespace(run_id="r", reported=nullcontext, update=None),
        )
        patch.setattr(tuning, "_searched", work)
        patch.setattr(tuning, "_confirmed", confirmed)
        with pytest.raises(_Enough):
            studies.tune(file, [], None, None, None, None, False, False, False, None)
    entries = {name: getattr(config.tune.space, name) for name in type(config.tune.space).model_fields}
    return seen | {f"space: {name}": _drawn(name, entry) for name, entry in entries.items()}


def served(config, folder):
    """Which servers `hlynr up` starts, where they listen, and with which options."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        asked = []
        patch.setattr(components.PrefectApi, "worker_online", lambda _, pool, name: asked.append(pool))
        prefect, mlflow, worker = components.plan(Project(folder, config), "params.yaml", ("worker",)).all
        worker.healthy()
    (prefect_at, prefect_allowed), (mlflow_at, mlflow_allowed) = (
        (each.command[4:6], each.command[6:]) for each in (prefect, mlflow)
    )
    settings = "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD"
    database, kept = (prefect.environment[name].replace(str(folder), "") for name in settings)
    return {
        "listening": (*prefect_at, *mlflow_at),
        "addresses": (prefect.url, mlflow.url, worker.environment["PREFECT_API_URL"]),
        "allowed": (prefect_allowed, mlflow_allowed),
        "database": database,
        "Prefect's runs are kept": kept,
        "pool": asked,
    }


def pruned(config):
    """The age that `hlynr prune` keeps, whether it prunes the remote, whether a retraining ends with it."""
    from flows import retrain as module

    seen = {"after the retraining": False}

    def survey(_, folder, before):
        seen.update({"older than": before})
        return prune.Survey()

    def collect(*_, remote, **__):
        seen.update(remote=remote)
        return dvc_objects.Collected()

    project, silent = Project(ROOT, config), lambda *_: SimpleNamespace(lineage=LINEAGE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prune, "open_existing", lambda *_: object())
        patch.setattr(prune, "survey", survey)
        patch.setattr(dvc_objects, "collect", collect)
        prune.prune(project, dry_run=True, now=datetime(2026, 11, 23, tzinfo=UTC))
        patch.setattr(module, "validate", lambda *_: Retraining((project,), LINEAGE, ()))
        patch.setattr(module, "_trained", lambda *_: (project, silent(), []))
        for step in ("version", "evaluate", "gate", "promote"):
            patch.setattr(module, step, silent)
        patch.setattr(module.alerts, "decided", silent)
        patch.setattr(module.steps, "reported_retraining", lambda *_: nullcontext())
        patch.setattr(module.steps, "conclude", silent)
        patch.setattr(module, "_pruned", lambda _: seen.update({"after the retraining": True}))
        module._retraining("", "", [], False, True)
    return seen


def deployed(config):
    """What a Prefect server receives about the retrainings."""
    from flows import deploy as module

    seen = {"pools": []}

    class Client:
        def create_work_pool(self, pool):
            seen["pools"].append(pool.name)

        def read_global_concurrency_limit_by_name(self, name):
            pass

        def update_global_concurrency_limit(self, name, limit):
            seen["slots"] = (name, limit.limit)

        def read_deployment_by_name(self, name):
            return SimpleNamespace(schedules=[])

    def deploy(work_pool_name, schedules, **_):
        seen["pools"].append(work_pool_name)
        seen["schedules"] = [(schedule.cron, schedule.timezone) for schedule in schedules]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "get_client", lambda sync_client: nullcontext(Client()))
        patch.setattr(
            module, "retrain", SimpleNamespace(name="retrain", from_source=lambda **_: SimpleNamespace(deploy=deploy))
        )
        patch.setattr(module, "deploy_tune", lambda pool, _: seen["pools"].append(pool))
        patch.setattr(module, "_automate", lambda: None)
        module.deploy(config, ROOT, "params.yaml", [])
    return seen


def alerted(config, folder):
    """Which alerts go to the webhook, and how long it may take."""
    seen = {"sent": [], "patience": set()}

    def handed_over(log, url, body, deadline):
        seen["sent"].append(body.partition(",")[0])
        seen["patience"].add(deadline)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HLYNR_WEBHOOK", "http://127.0.0.1/hook")
        patch.setattr(alerts, "_hand_over", handed_over)
        for kind in ("failed", "crashed", "collapsed", "promoted"):
            alerts.notify(folder, config.alerts, kind, "something")
    return seen
