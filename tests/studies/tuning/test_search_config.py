"""The configuration of a search: invalid ones are reported before the first trial, by name."""

# ruff: noqa: E501  (the lines are what a user sees)
from __future__ import annotations

from pathlib import Path

import pytest
from support import ROOT, projects, searches

from hlynr.config import params
from hlynr.config.params import ConfigError
from hlynr.runtime.errors import InputError
from hlynr.studies.tuning import search_config
from hlynr.studies.tuning.search_config import SearchConfig

FILE = ROOT / "params.yaml"

IMPOSSIBLE = [
    ("tune.space.gama.low=0.9", "tune.space.gama: unknown key (value 0.9); did you mean gamma?"),
    ("tune.space.net_arch={choices: [[8], [9]]}", "tune.space.net_arch: unknown key (value {\"choices\": [[8], [9]]}); did you mean train.net_arch?"),
    ("tune.space.gamma.low=1.5", "tune.space.gamma.low: 1.5 should be less than or equal to 1"),
    ("tune.space.clip_range.high=1.0", "tune.space.clip_range.high: 1.0 should be less than 1"),
    ("tune.space.n_epochs.low=0", "tune.space.n_epochs.low: 0 should be greater than or equal to 1"),
    ("tune.space.batch_size.choices=[64, a]", "tune.space.batch_size.choices[1]: \"a\" should be a valid integer"),
    ("tune.space.batch_size.choices=[64, 64]", "tune.space.batch_size.choices[1]: 64 is there twice"),
    ("tune.space.learning_rate={low: 0.1, high: 0.01, scale: log}", "tune.space.learning_rate.low: 0.1 is not below high = 0.01"),
    ("tune.space.ent_coef={low: 0, high: 0.01, scale: log}", "tune.space.ent_coef.low: 0.0 is not greater than 0, as the scale log needs"),
    ("tune.space.gamma={low: 0.98, high: 1, scale: log-complement}", "tune.space.gamma.high: 1.0 is not below 1, as the scale log-complement needs"),
    ("tune.space.gamma.scale=lin", "tune.space.gamma.scale: \"lin\" should be 'linear', 'log' or 'log-complement'"),
    ("tune.seeds=[101]", "tune.seeds: [101] should have at least 2 items after validation, not 1"),
    ("tune.seeds=[101, 201]", "tune.confirm.seeds[0]: 201 is the same as tune.seeds[1]"),
    ("tune.confirm.heldout_seed=3000018", "tune.confirm.heldout_seed: 3000018 is not at least 100000 from evaluation.heldout_seed = 3000017"),
    ("tune.interval=4096", "tune.interval: 4096 gives 2 evaluations in tune.timesteps = 8192, which is not more than monitor.window = 3"),
    ("tune.prune_after=9000", "tune.prune_after: 9000 is not in [1, tune.timesteps = 8192]"),
    ("tune.storage=redis://here", "tune.storage: \"redis://here\" is not sqlite:///PATH or postgresql://[USER@]HOST[:PORT]/DATABASE"),
    ("tune.storage=postgresql://me:secret@here/there", "tune.storage: a password is not allowed here; set PGPASSWORD, or write it to ~/.pgpass"),
    ("tune.study=default", "tune.study: \"default\" is the name of the sections without an overlay; give the study another name"),
    ("tune.study=a/b", "tune.study: \"a/b\" should match pattern '^[A-Za-z0-9_-]+$'"),
    # Found only by the combinations.
    ("tune.space.batch_size.choices=[512, 2048]", "tune.space: batch_size = 2048 cannot be: train.batch_size: 2048 is not in [2, n_envs * n_steps = 1024]"),
    ("tune.space.batch_size.choices=[512, 1024]", "tune.space: batch_size = 1024 with n_steps = 16 cannot be: train.batch_size: 1024 is not in [2, n_envs * n_steps = 512]"),
    ("tune.space.batch_size.choices=[512, 768]", "tune.space: batch_size = 768 cannot be: train.batch_size: 768 does not divide n_envs * n_steps = 1024"),
    ("tune.space.log_std_init.high=0.2", "tune.space: log_std_init = 0.2 cannot be: train.log_std_init: 0.2 is not in [log_std_min = -10.0, log_std_max = 0.0]"),
    ("tune.space.gamma.low=0.9", "tune.space: gamma = 0.9 cannot be: train.gamma: 0.9 looks 1 s ahead (sim.dt * sim.control_interval / (1 - gamma)), which is not at least a fifth of the scenario's time limit, 5 s"),
    ("tune.interval=600", "tune.interval: 600 is not in [n_envs * n_steps = 1024, tune.timesteps = 8192]"),
    ("tune.confirm.timesteps=2000", "monitor.interval: 4096 is not in [n_envs * n_steps = 1024, tune.confirm.timesteps = 2000]"),
    ("train.gamma=0.99", "train.gamma: is searched; take tune.space.gamma out to give it a value"),
    ("train.learning_rate.start=0.1", "train.learning_rate: is searched; take tune.space.learning_rate out to give it a value"),
]  # fmt: skip


@pytest.mark.parametrize(("override", "line"), IMPOSSIBLE, ids=[override for override, _ in IMPOSSIBLE])
def test_an_invalid_search_is_reported_by_name(override: str, line: str) -> None:
    with pytest.raises(InputError) as error:
        search_config.load(searches.FILE, [override])
    assert str(error.value).splitlines()[0] == line


def test_every_impossible_combination_is_reported_once() -> None:
    with pytest.raises(ConfigError) as error:
        search_config.load(searches.FILE, ["tune.space.batch_size.choices=[512, 1024, 2048]"])
    assert [line.partition(" cannot be")[0] for line in error.value.faults] == [
        "tune.space: batch_size = 2048",
        "tune.space: batch_size = 1024 with n_steps = 16",
    ]


def test_an_empty_space_is_an_error() -> None:
    emptied = [f"tune.space.{name}=null" for name in search_config.load(searches.FILE).config.tune.space.model_dump()]
    with pytest.raises(InputError, match=r"tune\.space: holds nothing to search in a training with ppo"):
        search_config.load(searches.FILE, emptied)


def test_the_command_rejects_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(FILE.read_text())
    done = projects.run(tmp_path, "hlynr", "tune", "--set", "tune.space.batch_size.choices=[1024, 65536]")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hlynr: tune.space: batch_size = 65536 cannot be: train.batch_size: 65536 is not in")
    assert projects.files(tmp_path) == {"params.yaml": FILE.stat().st_size}


@pytest.fixture
def brief() -> SearchConfig:
    return search_config.load(searches.FILE)


def test_a_trial_trains_with_its_values_and_the_budget_of_the_search(brief: SearchConfig) -> None:
    found = brief.trial(7, {"gamma": 0.99, "n_epochs": 3}, 102)
    assert (found.run.strategy, found.train.seed, found.train.timesteps) == ("stability-7", 102, 8192)
    assert (found.train.gamma, found.train.n_epochs, found.monitor.interval) == (0.99, 3, 2048)
    assert (found.train.device, found.train.torch_threads, found.run.retraining) == ("cpu", 1, 0)
    assert found.train.net_arch == brief.config.train.net_arch


def test_a_candidate_trains_with_its_own_budget_on_engagements_of_its_own(brief: SearchConfig) -> None:
    base, found = brief.candidate(None, {}, 201), brief.candidate(7, {"gamma": 0.99}, 201)
    assert (base.run.strategy, found.run.strategy) == ("default", "stability-7")
    assert found.heldout_seed == base.heldout_seed == brief.config.tune.confirm.heldout_seed
    assert found.monitor.interval == brief.config.monitor.interval
    assert base.train == brief.config.train.model_copy(update={"seed": 201, "timesteps": 8192})


def test_the_search_goes_around_the_strategy_that_is_followed() -> None:
    around = search_config.load(searches.FILE, ["run.strategy=default-lstm"])
    assert around.trial(0, {"lstm_chunk": 16}, 101).train.algorithm == "recurrent_ppo"
    assert around.candidate(None, {}, 201).run.strategy == "default-lstm"
    assert search_config.overlay(around, {"gamma": 0.99}) == {"train": {"algorithm": "recurrent_ppo", "gamma": 0.99}}
    assert around.definition() != search_config.load(searches.FILE).definition()


@pytest.mark.parametrize(
    ("override", "another"),
    [
        ("tune.space.gamma.low=0.986", True),
        ("tune.space.gamma=null", True),
        ("tune.timesteps=9216", True),
        ("tune.seeds=[101, 103]", True),
        ("tune.drop_penalty=0.5", True),
        ("tune.prune_below=0.4", True),
        ("reward.effort=0.06", True),
        ("train.net_arch=[8]", True),
        ("scenarios.reference.radar.noise_floor=16", True),
        ("tune.trials=9", False),
        ("tune.workers=1", False),
        ("tune.study=other", False),
        ("tune.confirm.top=2", False),
        ("gate.baseline=0.2", False),
        ("run.retraining=3", False),
    ],
)
def test_a_study_is_of_what_its_trials_depend_on(brief: SearchConfig, override: str, another: bool) -> None:
    assert (search_config.load(searches.FILE, [override]).definition() != brief.definition()) == another


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(FILE.read_text())
    return path


def test_the_diff_adds_the_strategy_and_nothing_else(file: Path) -> None:
    before, after = search_config.proposal(file, search_config.load(file), searches.record())
    lines = search_config.diff(Path("params.yaml"), before, after).splitlines()
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
    _, after = search_config.proposal(file, search_config.load(file), record)
    search_config.apply(file, after, record.study)
    config = params.load(file, ["run.strategy=stability"])
    assert config.train.ent_coef == 3.4e-06
    assert config.train.learning_rate.model_dump() == {"start": 0.002, "end": 0.0}  # type: ignore[union-attr]
    assert params.load(file).train == params.load(FILE).train
    before, again = search_config.proposal(file, search_config.load(file), record)
    assert before == again


def test_a_link_is_followed_and_the_mode_kept(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file.name)
    record = searches.record()
    search_config.apply(link, search_config.proposal(link, search_config.load(link), record)[1], record.study)
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o640
    assert record.study in params.load(file).strategies


def test_another_winner_takes_the_place_of_the_one_before(file: Path) -> None:
    first = searches.record()
    search_config.apply(file, search_config.proposal(file, search_config.load(file), first)[1], first.study)
    second = searches.record(candidates=(searches.candidate(), searches.candidate(7, train={"gamma": 0.99})))
    before, after = search_config.proposal(file, search_config.load(file), second)
    changes = [line for line in search_config.diff(file, before, after).splitlines()[2:] if line[:1] in "+-"]
    assert changes == [
        "-      learning_rate: {start: 0.002, end: 0.0}",
        "-      ent_coef: 3.4e-06",
        "+      gamma: 0.99",
    ]


def test_a_search_around_a_strategy_keeps_what_that_one_says(file: Path) -> None:
    around = search_config.load(file, ["run.strategy=default-lstm"])
    record = searches.record(strategy="default-lstm", algorithm="recurrent_ppo")
    search_config.apply(file, search_config.proposal(file, around, record)[1], record.study)
    assert params.load(file, ["run.strategy=stability"]).train.algorithm == "recurrent_ppo"


def test_a_file_that_would_not_read_is_not_written(file: Path) -> None:
    record = searches.record(candidates=(searches.candidate(), searches.candidate(7, train={"gamma": 2.0})))
    before, after = search_config.proposal(file, search_config.load(file), record)
    with pytest.raises(ConfigError, match=r"gamma: 2\.0 should be less than or equal to 1"):
        search_config.apply(file, after, record.study)
    assert file.read_text() == before
