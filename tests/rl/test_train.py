"""Training: reproducible to the bit, unharmed by kill -9 and Ctrl-C, and never worse than its best checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.trainings import LINEAGE, Child, Finished, PowerCut, Witness, finish, weights_of

from hlynr.config.config import Config
from hlynr.envs.reward import TERMS
from hlynr.evaluation.rollout import EpisodeResults, run_episodes
from hlynr.records.training import STATUS, TrainProgress, TrainResult
from hlynr.rl import callbacks, checkpoint
from hlynr.rl.algorithms import BoundedPPO
from hlynr.rl.bundle import WEIGHTS, BundleError, digest, load_policy, read_manifest
from hlynr.rl.train import RESULT, DeviceError, TrainingBusyError, resolve_device, train, training_digest
from hlynr.runtime.errors import TrainingError

Tiny = Callable[..., Config]


# Reproducible


def test_the_same_command_twice_gives_the_same_weights(ppo: Finished, tmp_path: Path) -> None:
    again = finish(ppo.config, tmp_path)
    assert again.weights == ppo.weights
    assert again.result.bundle_sha256 == ppo.result.bundle_sha256
    assert again.result.evaluations == ppo.result.evaluations


def test_a_new_training_leaves_nothing_of_an_earlier_one(brief: Callable[..., Config], tmp_path: Path) -> None:
    finish(brief("train.net_arch=[8]"), tmp_path)
    (tmp_path / "bundle" / "stray").touch()
    second = finish(brief(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "bundle").iterdir()) == ["manifest.json", WEIGHTS]
    fresh = finish(brief("train.seed=2"), tmp_path / "elsewhere")
    assert second.weights != fresh.weights


def test_the_retraining_shifts_the_seed(brief: Callable[..., Config]) -> None:
    assert brief("train.seed=2").train_seed == brief("run.retraining=1").train_seed
    assert training_digest(brief("train.seed=2")) != training_digest(brief("run.retraining=1"))


# kill -9

MOMENTS = {
    "before the first checkpoint": ("hlynr.rl.adapter.InterceptVecEnv.step_wait", 20),
    "in the middle of an update": ("torch.optim.Adam.step", 4 * 3 * 2 + 3),
    "with a checkpoint written and not yet in its place": ("pathlib.Path.replace", 4),
    "with a checkpoint in its place and its header not yet": ("pathlib.Path.replace", 5),
    "with a bundle moved away and the better one not yet in its place": ("pathlib.Path.rename", 3),
    "in the last update": ("torch.optim.Adam.step", 8 * 3 * 2 - 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_and_resumed_training_ends_with_the_same_bytes(ppo: Finished, tmp_path: Path, moment: str) -> None:
    """Must-show 7 of issue 2."""
    Child(ppo.config, tmp_path, *MOMENTS[moment]).kill()
    begun = (tmp_path / "checkpoints" / checkpoint.FILE).exists()
    assert begun == (moment != "before the first checkpoint")
    assert (tmp_path / "bundle").exists() == (begun and "bundle moved away" not in moment)
    resumed = finish(ppo.config, tmp_path, resume=True)
    assert (resumed.result.resumed_from is not None) == begun
    assert resumed.weights == ppo.weights
    assert resumed.result.bundle_sha256 == ppo.result.bundle_sha256
    assert resumed.result.evaluations == ppo.result.evaluations


def test_a_recurrent_training_survives_it_too(recurrent_ppo: Finished, tmp_path: Path) -> None:
    Child(recurrent_ppo.config, tmp_path, "hlynr.rl.adapter.InterceptVecEnv.step_wait", 2 * 32 + 5).kill()
    resumed = finish(recurrent_ppo.config, tmp_path, resume=True)
    assert resumed.result.resumed_from == 2048
    assert resumed.weights == recurrent_ppo.weights
    assert resumed.result.evaluations == recurrent_ppo.result.evaluations


def test_killed_twice(ppo: Finished, tmp_path: Path) -> None:
    Child(ppo.config, tmp_path, "hlynr.rl.adapter.InterceptVecEnv.step_wait", 3 * 32 + 1).kill()
    with pytest.raises(RuntimeError, match="power cut"):
        train(ppo.config, tmp_path, LINEAGE, progress_to=[PowerCut(6144)], resume=True)
    resumed = finish(ppo.config, tmp_path, resume=True)
    assert resumed.result.resumed_from == 6144
    assert resumed.weights == ppo.weights


def test_resuming_a_finished_training_changes_nothing(brief: Callable[..., Config], tmp_path: Path) -> None:
    whole = finish(brief(), tmp_path)
    before = whole.weights
    assert finish(brief(), tmp_path, resume=True).weights == before


def test_resuming_where_the_monitor_had_stopped_goes_no_further(brief: Callable[..., Config], tmp_path: Path) -> None:
    doomed = brief("monitor.abort_after=2048", "monitor.abort_below=1.0", "monitor.stop_on=[abort]")
    stopped = finish(doomed, tmp_path)
    resumed = finish(doomed, tmp_path, resume=True)
    for run in (stopped, resumed):
        assert run.result.timesteps == 2048
        assert (run.result.verdict.status, run.result.verdict.stopped) == ("abort", True)
    assert resumed.result.evaluations == stopped.result.evaluations
    assert resumed.weights == stopped.weights


def test_a_verdict_at_the_end_of_the_budget_did_not_stop_the_training(
    brief: Callable[..., Config], tmp_path: Path
) -> None:
    doomed = brief("monitor.abort_after=4096", "monitor.abort_below=1.0", "monitor.stop_on=[abort]")
    result = finish(doomed, tmp_path).result
    assert result.timesteps == result.budget
    assert (result.verdict.status, result.verdict.stopped) == ("abort", False)


# Ctrl-C


@pytest.mark.parametrize("step", [20, 4 * 32 + 7])
def test_ctrl_c_keeps_the_best_and_can_be_gone_on_from(ppo: Finished, tmp_path: Path, step: int) -> None:
    child = Child(ppo.config, tmp_path, "hlynr.rl.adapter.InterceptVecEnv.step_wait", step)
    result = child.interrupt()
    assert result.interrupted
    assert result.timesteps == (step // 32 + 1) * 1024  # the rollout under way is finished
    assert TrainResult.read(tmp_path / RESULT) == result
    assert digest(tmp_path / "bundle") == result.bundle_sha256
    load_policy(tmp_path / "bundle")
    resumed = finish(ppo.config, tmp_path, resume=True)
    assert resumed.result.resumed_from == result.timesteps
    assert not resumed.result.interrupted
    assert resumed.weights == ppo.weights


def test_ctrl_c_before_the_first_step_loses_nothing(ppo: Finished, tmp_path: Path) -> None:
    result = Child(ppo.config, tmp_path, "hlynr.rl.callbacks.TrainingCallback._on_training_start", 1).interrupt()
    assert (result.interrupted, result.timesteps) == (True, 0)
    resumed = finish(ppo.config, tmp_path, resume=True)
    assert resumed.result.resumed_from == 0
    assert resumed.weights == ppo.weights


# One at a time, and on what device


def test_two_trainings_cannot_share_a_folder(brief: Callable[..., Config], tmp_path: Path) -> None:
    class Intruder(Witness):
        refused = ""

        def progress(self, progress: TrainProgress) -> None:
            if not self.refused:
                with pytest.raises(TrainingBusyError) as refusal:
                    train(brief(), tmp_path, LINEAGE, resume=False)
                self.refused = str(refusal.value)

    intruder = Intruder()
    train(brief(), tmp_path, LINEAGE, progress_to=[intruder], resume=False)
    assert str(tmp_path) in intruder.refused


def test_a_demanded_gpu_that_is_absent_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, brief: Callable[..., Config]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(DeviceError, match="cuda"):
        train(brief("train.device=cuda"), tmp_path / "out", LINEAGE, resume=False)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == resolve_device("cuda") == "cuda"
    assert resolve_device("cpu") == "cpu"


def test_the_number_of_threads_is_put_back(brief: Callable[..., Config], tmp_path: Path) -> None:
    torch.set_num_threads(2)
    try:
        finish(brief("train.timesteps=1024", "train.torch_threads=1"), tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


# Numbers that are none


def poisoned(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """From the ``at``-th update on the network has weights that are no numbers."""
    original, calls = BoundedPPO.train, 0

    def poison(self: BoundedPPO) -> None:
        nonlocal calls
        original(self)
        calls += 1
        if calls >= at:
            with torch.no_grad():
                self.policy.action_net.weight.fill_(float("nan"))

    monkeypatch.setattr(BoundedPPO, "train", poison)


@pytest.mark.parametrize("at", [3, 4])
def test_nan_ends_the_training_with_the_best_bundle_kept(
    brief: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    poisoned(monkeypatch, at)
    result = finish(brief(), tmp_path).result
    assert (result.verdict.status, result.verdict.stopped) == ("nan", True)
    assert result.timesteps == at * 1024
    assert [point.timesteps for point in result.evaluations] == [1024 * k for k in range(1, at)]
    assert all(bool(torch.isfinite(tensor).all()) for tensor in load_file(tmp_path / "bundle" / WEIGHTS).values())
    assert digest(tmp_path / "bundle") == result.bundle_sha256


def test_nan_before_any_evaluation_leaves_nothing_to_keep(
    brief: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poisoned(monkeypatch, 1)
    with pytest.raises(TrainingError, match="no usable policy"):
        finish(brief(), tmp_path)
    with pytest.raises(BundleError):
        load_policy(tmp_path / "bundle")


def test_an_absurd_learning_rate_ends_without_a_traceback(brief: Callable[..., Config], tmp_path: Path) -> None:
    absurd = brief("train.learning_rate={start: 1.0, end: 1.0}", "train.max_grad_norm=1e9", "train.target_kl=null")
    run = finish(absurd, tmp_path)
    load_policy(tmp_path / "bundle")
    assert run.result.verdict.status != "healthy"


# Best checkpoint, intervals, metrics


def test_the_best_checkpoint_is_the_best_not_the_last(
    brief: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates, seen = [0.10, 0.60, 0.20, 0.40], []
    original = callbacks.run_episodes

    def run_fixed(policy: Any, *args: Any, **kwargs: Any) -> EpisodeResults:
        """The true results but for their outcomes."""
        results = original(policy, *args, **kwargs)
        rate = rates[len(seen)]
        seen.append({name: tensor.clone() for name, tensor in policy._network.state_dict().items()})
        outcome = results.final["outcome"]
        outcome[:] = np.where(np.arange(len(outcome)) < rate * len(outcome), 1, 2)
        return results

    monkeypatch.setattr(callbacks, "run_episodes", run_fixed)
    run = finish(brief(), tmp_path)
    assert [point.success_rate for point in run.result.evaluations] == rates
    assert (run.result.best_timesteps, run.result.best_success) == (2048, 0.6)
    kept = load_file(tmp_path / "bundle" / WEIGHTS)
    assert kept.keys() == seen[1].keys()
    for name, tensor in kept.items():
        assert torch.equal(tensor, seen[1][name])
    assert read_manifest(tmp_path / "bundle")["timesteps"] == 2048


@pytest.mark.parametrize("name", ["ppo", "recurrent_ppo"])
def test_the_bundle_does_as_well_as_in_its_selection(name: str, request: pytest.FixtureRequest) -> None:
    run: Finished = request.getfixturevalue(name)
    config = run.config
    best = max(run.result.evaluations, key=lambda point: (point.success_rate, point.mean_reward, -point.timesteps))
    assert (run.result.best_timesteps, run.result.best_success) == (best.timesteps, best.success_rate)
    results = run_episodes(
        load_policy(run.out / "bundle"),
        config,
        config.train.scenario,
        seed=config.monitor.selection_seed,
        episodes=config.monitor.episodes,
        batch_size=17,
    )
    assert float(results.success.mean()) == best.success_rate
    assert float(results.reward.mean()) == best.mean_reward
    assert float(results.final_distance.mean()) == best.mean_final_distance


@pytest.mark.parametrize(("n_envs", "n_steps"), [(16, 64), (64, 16), (32, 16)])
def test_intervals_are_timesteps_whatever_the_number_of_environments(
    tiny: Tiny, tmp_path: Path, n_envs: int, n_steps: int
) -> None:
    settings = (f"train.n_envs={n_envs}", f"train.n_steps={n_steps}", "train.batch_size=256", "train.timesteps=6144")
    run = finish(tiny(*settings, "train.n_epochs=1"), tmp_path)
    assert [point.timesteps for point in run.result.evaluations] == [2048, 4096, 6144]


def test_every_family_of_metrics_reaches_the_observer(ppo: Finished) -> None:
    names = {name for _, values in ppo.witness.metrics_seen for name in values}
    assert {f"reward/{term}" for term in TERMS} <= names
    assert {"eval/success_rate", "eval/mean_reward", "eval/mean_final_distance"} <= names
    assert {"train/approx_kl", "train/explained_variance", "train/std", "train/entropy_loss"} <= names
    assert {"rollout/ep_rew_mean", "rollout/success_rate", "rollout/action_saturation"} <= names
    assert {"monitor/best_success", "monitor/peak_success", "time/sps"} <= names
    assert {name.partition("/")[0] for name in names} <= {"eval", "reward", "train", "rollout", "monitor", "time"}
    evaluated = [timesteps for timesteps, values in ppo.witness.metrics_seen if "eval/success_rate" in values]
    assert evaluated == [2048, 4096, 6144, 8192]


def test_reward_terms_sum_to_the_logged_episode_reward(brief: Callable[..., Config], tmp_path: Path) -> None:
    """One rollout long enough for every environment's first episode: both means are over the same episodes."""
    whole = brief(
        "train.n_envs=8",
        "train.n_steps=256",
        "train.timesteps=2048",
        "train.checkpoint_interval=2048",
        "monitor.interval=2048",
        "scenarios.reference.time_limit=12.0",
    )
    run = finish(whole, tmp_path)
    values = {name: value for _, seen in run.witness.metrics_seen for name, value in seen.items()}
    total = sum(values[f"reward/{term}"] for term in TERMS)
    assert total == pytest.approx(values["rollout/ep_rew_mean"], abs=1e-6)


def test_progress_is_reported_once_per_rollout(ppo: Finished) -> None:
    seen = ppo.witness.progress_seen
    assert [progress.timesteps for progress in seen] == [1024 * k for k in range(8)]
    assert {progress.budget for progress in seen} == {8192}
    assert seen[0].success_rate is None
    assert seen[-1].best_success == max(point.success_rate for point in ppo.result.evaluations[:3])


@pytest.mark.parametrize(("bound", "bounded"), [(-0.4, True), (2.0, False)])
def test_log_std_never_exceeds_its_bound(
    brief: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: float, bounded: bool
) -> None:
    """Under an entropy bonus that raises it for ever, as the run without a bound shows."""
    original, seen = BoundedPPO.train, []

    def watched(self: BoundedPPO) -> None:
        original(self)
        seen.append(float(self.policy.log_std.detach().max()))

    monkeypatch.setattr(BoundedPPO, "train", watched)
    pushed = ("train.ent_coef=0.5", "train.learning_rate={start: 0.02, end: 0.02}", "train.target_kl=null")
    finish(brief(*pushed, f"train.log_std_max={bound}"), tmp_path)
    assert len(seen) == 4
    assert (max(seen) <= -0.4 + 1e-7) == bounded


def test_what_lies_in_the_folder_afterwards(ppo: Finished) -> None:
    names = {path.name for path in ppo.out.iterdir() if not path.name.startswith(".")}
    assert names == {"bundle", "checkpoints", "tensorboard", "learning.csv", "metrics.json", RESULT, STATUS}
    assert list((ppo.out / "tensorboard").iterdir())
    lines = (ppo.out / "learning.csv").read_text().splitlines()
    assert lines[0] == "timesteps,success_rate,mean_reward"
    assert len(lines) == 1 + len(ppo.result.evaluations)
    metrics = json.loads((ppo.out / "metrics.json").read_text())
    assert metrics["best_success"] == ppo.result.best_success
    assert metrics["verdict"] == ppo.result.verdict.status
    assert TrainResult.read(ppo.out / RESULT) == ppo.result
    assert (ppo.result.interrupted, ppo.result.resumed_from, ppo.result.device) == (False, None, "cpu")
    assert weights_of(ppo.out) == ppo.weights
