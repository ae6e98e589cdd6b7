"""The status that a training writes for other processes, and the figures that rebuild its evaluations."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainings import LINEAGE, Finished, Witness, finish

from hlynr.config.config import Config
from hlynr.records.training import STATUS, EvaluationPoint, TrainingStatus
from hlynr.rl import callbacks
from hlynr.rl.algorithms import BoundedPPO
from hlynr.rl.train import train
from hlynr.runtime.errors import TrainingError

FIGURES = {"success_rate", "mean_reward", "mean_final_distance"}


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first update makes a weight NaN."""
    update = BoundedPPO.train

    def poison(model: Any) -> None:
        update(model)
        with torch.no_grad():
            model.policy.action_net.weight.fill_(math.nan)

    monkeypatch.setattr(BoundedPPO, "train", poison)


def test_a_finished_training_has_that_state(ppo: Finished) -> None:
    status = TrainingStatus.read(ppo.out / STATUS)
    assert (status.state, status.process, status.seed) == ("finished", os.getpid(), ppo.config.train_seed)
    assert (status.evaluations, status.verdict) == (ppo.result.evaluations, ppo.result.verdict)
    assert status.window == ppo.config.monitor.window
    assert status.progress.timesteps == ppo.result.timesteps


def test_a_running_training_reports_its_progress(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "STATUS_INTERVAL", 0.0)
    seen: list[TrainingStatus] = []
    write = callbacks.TrainingCallback.write_status

    def witnessed(supervisor: Any, *args: Any) -> None:
        write(supervisor, *args)
        seen.append(TrainingStatus.read(tmp_path / STATUS))

    monkeypatch.setattr(callbacks.TrainingCallback, "write_status", witnessed)
    finish(tiny("train.timesteps=4096"), tmp_path)
    assert [(status.state, status.progress.timesteps, len(status.evaluations)) for status in seen] == [
        ("running", 0, 0),
        ("running", 1024, 0),
        ("running", 2048, 1),
        ("running", 3072, 1),
        ("finished", 4096, 2),
    ]


@pytest.mark.parametrize("name", ["ppo", "recurrent_ppo"])
def test_the_metrics_rebuild_every_evaluation(name: str, request: pytest.FixtureRequest) -> None:
    run: Finished = request.getfixturevalue(name)
    rebuilt = [
        EvaluationPoint.model_validate(
            {key.partition("/")[2]: value for key, value in values.items() if _names_a_field(key)}
            | {"timesteps": timesteps, "episodes": run.config.monitor.episodes}
        )
        for timesteps, values in run.witness.metrics_seen
        if "eval/success_rate" in values
    ]
    assert tuple(rebuilt) == run.result.evaluations
    assert rebuilt[-1].signs().keys() == EvaluationPoint.model_fields.keys() - FIGURES - {"timesteps", "episodes"}


def _names_a_field(metric: str) -> bool:
    return metric.partition("/")[2] in EvaluationPoint.model_fields


@pytest.mark.usefixtures("poisoned")
def test_a_training_without_a_policy_has_failed(tiny: Callable[..., Config], tmp_path: Path) -> None:
    witness = Witness()
    with pytest.raises(TrainingError):
        train(tiny(), tmp_path, LINEAGE, progress_to=[witness], metrics_to=[witness], resume=False)
    status = TrainingStatus.read(tmp_path / STATUS)
    assert (status.state, status.verdict.status, status.progress.timesteps) == ("failed", "nan", 1024)
    assert (1024, {"monitor/finite_weights": 0.0}) in witness.metrics_seen
