"""params.yaml: what it may hold, and that every fault is one line naming key, value and what is allowed."""

import copy
import itertools
import json
import os
import re
import sys
from pathlib import Path

import pytest
from support import ROOT
from support.malformed import BROKEN, EDITS, MISSING, PINNED

from hlynr.cli import app
from hlynr.config import params, strict_yaml
from hlynr.config.params import ConfigError

FILE = ROOT / "params.yaml"
TREE = params.read(FILE)


def _edited(edits):
    """params.yaml with the values at dotted keys replaced, as text."""
    tree = copy.deepcopy(TREE)
    for key, value in (PINNED | edits).items():
        *sections, last = key.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        if value is MISSING:
            del node[last]
        else:
            node[last] = value
    return strict_yaml.dump(tree).encode()


CASES = [(_edited(edits), lines) for edits, lines in EDITS] + [(text, [f"FILE{line}"]) for text, line in BROKEN]
IDS = [", ".join(edits) for edits, _ in EDITS] + [repr(text[:20]) for text, _ in BROKEN]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _validate(monkeypatch, capsys, *options):
    """The command in this process; (exit code, standard output, standard error)."""
    monkeypatch.setattr(sys, "argv", ["hlynr", "validate", *options])
    with pytest.raises(SystemExit) as exit_:
        app.main()
    captured = capsys.readouterr()
    return exit_.value.code, captured.out, captured.err


def _alike(lines, expected):
    """``lines``, cut where the expected one says that more may come."""
    cuts = [len(line) - 3 if line.endswith("...") else None for line in expected]
    return [line if cut is None else f"{line[:cut]}..." for line, cut in zip(lines, cuts, strict=True)]


def test_there_are_enough_malformed_files():
    assert len({text for text, _ in CASES}) == len(CASES) >= 50


@pytest.mark.parametrize(("text", "lines"), CASES, ids=IDS)
def test_every_fault_of_a_malformed_file_is_one_line(text, lines, folder, monkeypatch, capsys):
    file = folder / "bad.yaml"
    file.write_bytes(text)
    expected = [line.replace("FILE", "bad.yaml", 1) for line in lines]
    with pytest.raises(ConfigError) as error:
        params.load(Path("bad.yaml"))
    assert error.value.faults == str(error.value).splitlines()
    assert _alike(error.value.faults, expected) == expected
    code, out, err = _validate(monkeypatch, capsys, "--params", "bad.yaml")
    assert (code, out) == (2, "")
    assert err.splitlines() == [f"hlynr: {line}" for line in error.value.faults]
    assert [path.name for path in folder.iterdir()] == ["bad.yaml"]


def test_the_command_says_that_a_file_is_valid(folder, monkeypatch, capsys):
    code, out, err = _validate(monkeypatch, capsys, "--params", str(FILE))
    assert (code, err) == (0, "")
    assert f"is valid: {len(params.load(FILE).flat())} settings" in out
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(name, folder):
    with pytest.raises(ConfigError, match=r"^(absent\.yaml|\.): cannot be read: \w[\w ]+$"):
        params.load(Path(name))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("".join(f"key{number}: 1\n" for number in range(150_000)), ": cannot be read: Larger than 262,144 bytes"),
        ("".join(f"k{number}: 1\n" for number in range(9_000)), ":2500:8: more than 5,000 keys and values"),
        ("x: [" + "1, " * 80_000 + "1]\n", ":1:14996: more than 5,000 keys and values"),
    ],
)
def test_a_file_that_would_run_for_minutes_is_rejected_at_once(text, message, folder):
    Path("params.yaml").write_text(text)
    with pytest.raises(ConfigError) as refusal:
        params.load(Path("params.yaml"))
    assert refusal.value.faults == [f"params.yaml{message}"]


def test_a_file_that_is_a_pipe_is_rejected_at_once(folder):
    os.mkfifo("params.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Not a regular file"):
        params.load(Path("params.yaml"))


def test_of_many_faults_the_first_hundred_are_explained(folder):
    Path("params.yaml").write_text(FILE.read_text() + "".join(f"key{number}: 1\n" for number in range(1_000)))
    with pytest.raises(ConfigError) as refusal:
        params.load(Path("params.yaml"))
    assert len(refusal.value.faults) == 101
    assert refusal.value.faults[-1] == "and 900 more faults"


def test_too_many_strategies_are_a_fault():
    strategies = {f"s{number}": {} for number in range(101)}
    with pytest.raises(ConfigError, match=r"strategies: .* should have at most 100 items"):
        params.parse({**TREE, "strategies": strategies})


def test_all_faults_are_listed_at_once():
    edits = {
        "trian": {},
        "policy.axial": 1.5,
        "gate.p_value": 0,
        "scenarios.hard.extends": "refrence",
        "evaluation.heldout_seed": 2000003,
        "monitor.selection_seed": 2000004,
    }
    with pytest.raises(ConfigError) as error:
        params.parse(strict_yaml.load(_edited(edits).decode()), ["monitr.window=1"])
    assert [line.partition(": ")[0] for line in error.value.faults] == [
        "monitr",
        "scenarios.hard.extends",
        "policy.axial",
        "gate.p_value",
        "trian",
        "evaluation.report_seed",
        "evaluation.heldout_seed",
        "evaluation.heldout_seed",
    ]


def test_an_inherited_fault_is_blamed_on_the_scenario_that_wrote_it():
    chain = {"scenarios.middle": {"extends": "hard", "wind": {"gust": -1}}, "scenarios.last": {"extends": "middle"}}
    with pytest.raises(ConfigError) as error:
        params.parse(strict_yaml.load(_edited(chain | {"scenarios.hard.wind": {"gust": -2}}).decode()))
    assert error.value.faults == [
        "scenarios.hard.wind.gust: -2 should be greater than or equal to 0",
        "scenarios.middle.wind.gust: -1 should be greater than or equal to 0",
    ]


# Values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        ("3_000.5", 3000.5),
        (".5", 0.5),
        ("2", 2.0),
        ("+1.", 1.0),
        ("0.30", 0.3),
        (".5e3", 500.0),
        ("+.5E3", 500.0),
        (".5e+3", 500.0),
        (".5e-3", 0.0005),
        ("-.0e0", 0.0),
    ],
)
def test_every_spelling_of_a_number_is_one(text, value):
    read = params.load(FILE, [f"retrain.retry_delay={text}"]).retrain.retry_delay
    assert (read, type(read)) == (value, float)


@pytest.mark.parametrize(
    "text", ["on", "yes", "1:30", "010", "0x10", "2026-11-23", "'3'", "_1", "1e", "--1", "=", "0b1", ".e3"]
)
def test_what_yaml_1_1_takes_for_numbers_is_text(text):
    with pytest.raises(ConfigError, match=r'^retrain\.retries: "[^"]+" should be a valid integer$'):
        params.load(FILE, [f"retrain.retries={text}"])


@pytest.mark.parametrize("cron", ["0 2 * * *", "*/15 22-5 1,15 jan-mar MON", "0 0 29 2 *", "0 3 L * *"])
def test_cron_is_read_as_prefect_does(cron):
    assert params.load(FILE, [f'schedule.cron="{cron}"']).schedule.cron == cron


def test_negative_zero_is_zero():
    assert params.load(FILE, ["sim.gravity=-0.0"]).digest() == params.load(FILE, ["sim.gravity=0"]).digest()


def test_round_trip():
    odd = ["tracking.experiment='1e4'", "run.outputs='on'", "train.target_kl=null", "train.learning_rate.end=1e-7"]
    for overrides in ([], odd):
        config = params.load(FILE, overrides)
        again = params.parse(strict_yaml.load(params.dump(config)))
        assert again == config
        assert again.digest() == config.digest()


@pytest.mark.parametrize(
    "tree",
    [
        ["on", "1:30", "010", "0x10", "2026-11-23", "3", "1e4", ".5", "~", "null", "", "=", "<<", "- a", "a: b", "#"],
        ["é", "a\nb\n", "\u2028", "x" * 200, " ", "'", "%", "!a", "&a", "*a", "\U0001f600", "true", "._", "-_", ".5e3"],
        {"1": 1, "on": True, "": None, "<<": {}, "=": [], "a": [[{}]], "f": [1e-7, 1e300, -0.5, 10**200, float("inf")]},
        2 * [["shared"]],
        [first := ["first"], first],
    ],
)
def test_what_is_dumped_loads_equal(tree):
    assert strict_yaml.load(strict_yaml.dump(tree)) == tree


def test_digest_depends_on_values_alone(tmp_path):
    config = params.load(FILE)
    reordered = tmp_path / "params.yaml"
    reordered.write_text(json.dumps(dict(reversed(TREE.items()))), encoding="utf-8")
    assert params.load(reordered).digest() == config.digest()
    assert (
        len({params.load(FILE, [o]).digest() for o in ("run.retraining=0", "run.retraining=1", "train.gamma=1")}) == 3
    )


def test_retrainings_never_share_engagements():
    """Whatever the retrainings, no seed of one use meets a seed of another."""
    last = params.load(FILE, ["run.retraining=99999"])
    first = params.load(FILE)
    spans = sorted(zip(_seeds(first), _seeds(last), strict=True))
    assert all(high < low for (_, high), (low, _) in itertools.pairwise(spans))


def _seeds(config):
    return config.train_seed, config.monitor.selection_seed, config.report_seed, config.heldout_seed


# Overrides


def test_overrides_reach_heirs_and_inherited_sections():
    config = params.load(FILE, ["scenarios.reference.wind.gust=1.5", "scenarios.precision.spawn.range=4000"])
    assert {scenario.wind.gust for scenario in config.scenarios.values()} == {1.5}
    assert {name: s.spawn.range for name, s in config.scenarios.items()} == {
        "reference": 3000.0,
        "precision": 4000.0,
        "hard": 3000.0,
    }


def test_the_last_override_of_a_key_counts():
    assert params.load(FILE, ["train.seed=3", " train.seed =4"]).train.seed == 4


def test_an_override_may_add_a_scenario():
    config = params.load(FILE, ["scenarios.windy={extends: hard, wind: {gust: 9}}", "train.scenario=windy"])
    assert config.scenarios["windy"].wind.gust == 9
    assert config.scenarios["windy"].capture_radius == config.scenarios["hard"].capture_radius


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("train.seed", '--set "train.seed": is not of the form section.key=value'),
        ("=3", '--set "=3": is not of the form section.key=value'),
        ("trian.seed=3", "trian: unknown key (value 3); did you mean train?"),
        ("train.sed=3", "train.sed: unknown key (value 3); did you mean seed?"),
        ("scenarios.hrd.target.jink=1", "scenarios.hrd: unknown key (value 1); did you mean hard?"),
        ("scenarios.hard.tarjet.jink=1", "scenarios.hard.tarjet: unknown key (value 1); did you mean target?"),
        ("train.seed.low=1", "train.seed.low: 1 cannot be set: train.seed has no keys"),
        ("train..seed=1", 'train."": unknown key (value 1); allowed: '),
        ("train.seed=[1", 'train.seed: "[1" is not valid YAML: 1:3: while parsing a flow sequence: '),
        ("train.seed=a: b: c", 'train.seed: "a: b: c" is not valid YAML: 1:5: mapping values are not allowed here'),
        ("train.seed=\udcff", 'train.seed: "\\udcff" is not valid YAML: 1:1: the character U+DCFF is not allowed'),
        ("train.seed=", "train.seed: null should be a valid integer"),
        ("train=", "train: null should be an object"),
    ],
)
def test_a_wrong_override_is_one_line(override, line):
    with pytest.raises(ConfigError) as error:
        params.load(FILE, [override])
    assert len(error.value.faults) == 1
    assert str(error.value).startswith(line)


# JSON schema

# Pairs, numbers that are not finite, and keys that a scenario may inherit.
BEYOND_SCHEMA = re.compile(
    r"NaN|Infinity|PATH|spawn: is missing|not in order|not below|not at (least|most)|\.extends|\.scenario:|"
    r"batch_size|monitor\.interval|not a multiple|not enough|last phase|should (in|de)crease|log_std_min = |"
    r"schedule\.(cron|timezone)|a password"
)


def test_the_json_schema_accepts_what_is_valid_and_rejects_what_is_not(monkeypatch, capsys):
    jsonschema = pytest.importorskip("jsonschema")
    code, out, _ = _validate(monkeypatch, capsys, "--schema")
    assert code == 0
    schema = json.loads(out)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(TREE)
    assert validator.is_valid(params.load(FILE).model_dump(mode="json"))
    for edits, lines in EDITS:
        if validator.is_valid(strict_yaml.load(_edited(edits).decode())):
            assert BEYOND_SCHEMA.search(lines[0]), f"the schema accepts {edits}"
