"""The winner written into params.yaml: shown first, everything else left alone, never a file that does not read."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT, searches

from hlynr.config import params
from hlynr.config.params import ConfigError
from hlynr.studies.tuning import apply, search_config

FILE = ROOT / "params.yaml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(FILE.read_text())
    return path


def test_the_diff_adds_the_strategy_and_nothing_else(file: Path) -> None:
    before, after = apply.proposal(file, search_config.load(file), searches.record())
    lines = apply.diff(Path("params.yaml"), before, after).splitlines()
    assert lines[:2] == ["--- params.yaml", "+++ params.yaml"]
    assert [line for line in lines[2:] if line[:1] in "+-"] == [
        "+  stability:",
        "+    train:",
        "+      learning_rate: {start: 0.002, end: 0.0}",
        "+      ent_coef: 3.4e-06",
        "+",
    ]


def test_what_is_written_is_what_was_confirmed_and_is_found_again(file: Path) -> None:
    record = searches.record()
    _, after = apply.proposal(file, search_config.load(file), record)
    apply.write(file, after, record.study)
    config = params.load(file, ["run.strategy=stability"])
    assert config.train.ent_coef == 3.4e-06
    assert config.train.learning_rate.model_dump() == {"start": 0.002, "end": 0.0}  # type: ignore[union-attr]
    assert params.load(file).train == params.load(FILE).train
    before, again = apply.proposal(file, search_config.load(file), record)
    assert before == again


def test_another_winner_takes_the_place_of_the_one_before(file: Path) -> None:
    first = searches.record()
    apply.write(file, apply.proposal(file, search_config.load(file), first)[1], first.study)
    second = searches.record(candidates=(searches.candidate(), searches.candidate(7, train={"gamma": 0.99})))
    before, after = apply.proposal(file, search_config.load(file), second)
    changes = [line for line in apply.diff(file, before, after).splitlines()[2:] if line[:1] in "+-"]
    assert changes == [
        "-      learning_rate: {start: 0.002, end: 0.0}",
        "-      ent_coef: 3.4e-06",
        "+      gamma: 0.99",
    ]


def test_a_search_around_a_strategy_keeps_what_that_one_says(file: Path) -> None:
    around = search_config.load(file, ["run.strategy=default-lstm"])
    record = searches.record(strategy="default-lstm", algorithm="recurrent_ppo")
    apply.write(file, apply.proposal(file, around, record)[1], record.study)
    assert params.load(file, ["run.strategy=stability"]).train.algorithm == "recurrent_ppo"


def test_a_file_that_would_not_read_is_not_written(file: Path) -> None:
    record = searches.record(candidates=(searches.candidate(), searches.candidate(7, train={"gamma": 2.0})))
    before, after = apply.proposal(file, search_config.load(file), record)
    with pytest.raises(ConfigError, match=r"gamma: 2\.0 should be less than or equal to 1"):
        apply.write(file, after, record.study)
    assert file.read_text() == before
