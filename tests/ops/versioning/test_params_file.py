"""params.yaml brought in line with what ran: values change, everything else stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT

from hlynr.config import params
from hlynr.ops.versioning import params_file

OURS = ROOT / "params.yaml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    copy = tmp_path / "params.yaml"
    copy.write_bytes(OURS.read_bytes())
    return copy


def _changed_lines(file: Path) -> list[str]:
    """The values of lines that are not in our file, without comments."""
    ours = set(OURS.read_text().splitlines())
    return [line.split(" #")[0].strip() for line in file.read_text().splitlines() if line not in ours]


def test_equal_values_leave_the_file_alone(file: Path) -> None:
    assert params_file.align(file, params.load(OURS)) is False
    assert file.read_bytes() == OURS.read_bytes()


@pytest.mark.parametrize(
    ("overrides", "lines"),
    [
        (["run.retraining=7"], ["retraining: 7"]),
        (["train.learning_rate.start=1e-5"], ["learning_rate: {start: 1e-05, end: 0.0}"]),
        (["train.target_kl=null"], ["target_kl: null"]),
        (["train.clip_range=0.1"], ["clip_range: 0.1"]),
        (["train.ent_coef={start: 0.1, end: 0}"], ["ent_coef: {start: 0.1, end: 0.0}"]),
        (
            ["train.learning_rate={phases: [{until: 9, value: 0.1}, {value: 0.2}]}"],
            ["learning_rate: {phases: [{until: 9, value: 0.1}, {value: 0.2}]}"],
        ),
        (["run.strategy=two-phase"], ["strategy: two-phase"]),  # what it says is left to it
        (
            ["run.strategy=stabilised-lstm", "train.learning_rate=0.0007", "train.seed=9"],
            ["strategy: stabilised-lstm", "seed: 9", "learning_rate: 0.0007"],
        ),
        (["strategies.two-phase.train.clip_range=0.3"], ["clip_range: 0.3"]),
        (["strategies.mine={train: {gamma: 0.9999}}"], ["mine:", "gamma: 0.9999"]),
        (["train.net_arch=[64, 64, 64]"], ["net_arch: [64, 64, 64]"]),
        (["monitor.stop_on=[nan]"], ["stop_on: [nan]"]),
        (["train.algorithm=recurrent_ppo"], ["algorithm: recurrent_ppo"]),
        (["scenarios.reference.spawn.range=3100"], ["range: 3100.0"]),  # precision and hard inherit it
        (["scenarios.hard.target.jink=11"], ["jink: 11.0"]),
        (["scenarios.precision.radar={delay: 1}"], ["delay: 1"]),
    ],
)
def test_overrides_are_edited_in_place(file: Path, overrides: list[str], lines: list[str]) -> None:
    config = params.load(OURS, overrides)
    assert params_file.align(file, config) is True
    assert params.load(file) == config
    assert _changed_lines(file) == lines
    assert file.read_text().count("extends: reference") == OURS.read_text().count("extends: reference")
    assert file.read_text().count("#") == OURS.read_text().count("#")


@pytest.mark.parametrize("text", ["", "run: [", "- a\n- b\n", "scenarios: 3\n", "run: {retraining: 1}\n"])
def test_a_file_that_cannot_be_edited_is_written_anew(file: Path, text: str) -> None:
    file.write_text(text)
    config = params.load(OURS)
    assert params_file.align(file, config) is True
    assert params.load(file) == config


def test_a_missing_file_is_written(tmp_path: Path) -> None:
    config = params.load(OURS)
    assert params_file.align(tmp_path / "params.yaml", config) is True
    assert params.load(tmp_path / "params.yaml") == config


def test_a_key_that_a_strategy_no_longer_sets_goes(file: Path) -> None:
    tree = params.read(OURS)
    del tree["strategies"]["original-lstm"]["train"]["log_std_max"]
    config = params.parse(tree)
    assert params_file.align(file, config) is True
    assert params.load(file) == config
    gone = set(OURS.read_text().splitlines()) - set(file.read_text().splitlines())
    assert [line.strip() for line in gone] == ["log_std_max: 20.0"]
    assert _changed_lines(file) == []


def test_other_scenarios_are_taken_over(file: Path) -> None:
    tree = params.read(OURS)
    tree["scenarios"]["easy"] = {"extends": "reference", "capture_radius": 300.0}
    del tree["scenarios"]["hard"]
    config = params.parse(tree)
    assert params_file.align(file, config) is True
    assert params.load(file) == config
