"""Which trainings the study consists of, and when one of them has come to its end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT, stability_samples

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.rl.train import training_digest
from hlynr.studies.stability.assignments import Assignment, assignments, finished, longest_first

FILE = ROOT / "params.yaml"
TWO = (
    "stability.runs=[{strategy: early-stopping, seeds: [4, 7], timesteps: 70000}, "
    "{strategy: default, seeds: [4], timesteps: 300000}]"
)


def test_a_run_is_a_strategy_with_a_seed_and_a_budget() -> None:
    found = assignments(FILE, [TWO, "run.retraining=3", "train.device=auto", "train.torch_threads=4"])
    assert [run.name for run in found] == ["early-stopping-4", "early-stopping-7", "default-4"]
    trains = [run.config.train for run in found]
    assert [train.timesteps for train in trains] == [70_000, 70_000, 300_000]
    assert [train.n_envs for train in trains[:2]] == 2 * [params.load(FILE).strategies["early-stopping"].train.n_envs]
    assert {(train.device, train.torch_threads) for train in trains} == {("cpu", 1)}
    assert {run.config.heldout_seed for run in found} == {params.load(FILE).evaluation.heldout_seed}


def test_a_run_is_watched_without_being_stopped() -> None:
    found = assignments(FILE, [TWO])
    assert {run.config.monitor.stop_on for run in found} == {("nan",)}
    assert "plateau" in found[0].stop_on
    assert "plateau" not in found[2].stop_on
    same = params.load_stability(FILE, [TWO, "monitor.stop_on=[nan]"])[2]
    assert training_digest(found[2].config) == training_digest(same)


def test_every_run_is_checked_as_a_whole_before_the_first() -> None:
    with pytest.raises(params.ConfigError) as error:
        assignments(FILE, [TWO, "strategies.early-stopping.train.n_steps=3000"])
    assert error.value.faults
    assert all(fault.endswith("(under strategy early-stopping)") for fault in error.value.faults)


def test_the_longest_is_begun_first() -> None:
    order = list(dict.fromkeys(run.config.run.strategy for run in longest_first(assignments(FILE))))
    assert order == ["original-lstm", "default-lstm", "default"]


@pytest.fixture
def ended(configure: Callable[..., Config], tmp_path: Path) -> Assignment:
    """A run with the record of its end."""
    run = stability_samples.assignment(tmp_path, configure("evaluation.heldout_episodes=1000", "gate.confidence=0.95"))
    config = run.config
    made = stability_samples.run(digest=training_digest(config), heldout_seed=config.heldout_seed)
    made.write(run.out / "run.json")
    return run


def test_a_run_has_ended_only_under_the_same_configuration(ended: Assignment) -> None:
    record = finished(ended)
    assert record is not None
    assert record.name == ended.name
    config = ended.config
    for section, change in (
        ("train", {"gamma": 0.99}),
        ("monitor", {"window": 4}),
        ("evaluation", {"heldout_episodes": 999}),
        ("evaluation", {"heldout_seed": 3_000_018}),
        ("gate", {"confidence": 0.9}),
    ):
        changed = getattr(config, section).model_copy(update=change)
        assert finished(ended.model_copy(update={"config": config.model_copy(update={section: changed})})) is None
    assert finished(ended.model_copy(update={"stop_on": ("abort",)})) is None
    elsewhere = config.model_copy(update={"tracking": config.tracking.model_copy(update={"experiment": "other"})})
    assert finished(ended.model_copy(update={"config": elsewhere})) == record


@pytest.mark.parametrize("text", [None, "", "{}", "\0"])
def test_a_record_that_cannot_be_read_is_none(ended: Assignment, text: str | None) -> None:
    path = ended.out / "run.json"
    path.unlink()
    if text is not None:
        path.write_text(text)
    assert finished(ended) is None
