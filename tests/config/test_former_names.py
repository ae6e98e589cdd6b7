"""Settings under the names of earlier versions."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support import ROOT

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.config.former_names import FORMER
from hlynr.config.params import ConfigError
from hlynr.config.sections import SERVICE
from hlynr.ops.versioning import params_file

OURS = ROOT / "params.yaml"


def _former(text: str) -> str:
    """params.yaml as an earlier version had it."""
    for new, old in FORMER.items():
        indent = "  " if "." in new else ""
        key, former = (name.rpartition(".")[2] for name in (new, old))
        text, count = re.subn(rf"^{indent}{key}:", f"{indent}{former}:", text, flags=re.MULTILINE)
        assert count == 1
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "params.yaml"
    written.write_text(_former(OURS.read_text(encoding="utf-8")), encoding="utf-8")
    return written


def test_a_file_with_former_names_is_the_same_configuration(file: Path, config: Config) -> None:
    assert params.load(file) == config


@pytest.mark.parametrize(
    ("former", "present"),
    [
        ("run.night=7", "run.retraining=7"),
        ("retention.after_night=false", "retention.after_retraining=false"),
        ("gate.canary_pn=[0.4, 0.5]", "gate.evaluator_check_pn=[0.4, 0.5]"),
        ("study.workers=3", "stability.workers=3"),
        ("run={night: 7, outputs: a, strategy: default}", "run={retraining: 7, outputs: a, strategy: default}"),
    ],
)
def test_an_override_may_use_either_name(
    former: str, present: str, file: Path, configure: Callable[..., Config]
) -> None:
    expected = configure(present)
    assert expected != configure()
    for path, override in ((OURS, former), (file, former), (file, present)):
        assert params.load(path, [override]) == expected


@pytest.mark.parametrize("extra", ["run.night", "gate.canary_random", "study"])
def test_a_setting_with_both_names_is_one_line(extra: str) -> None:
    tree = params.read(OURS)
    section, _, key = extra.rpartition(".")
    (tree[section] if section else tree)[key] = 1
    with pytest.raises(ConfigError) as error:
        params.parse(tree)
    (line,) = error.value.faults
    assert line.startswith(f"{extra}: is the former name of ")
    assert line.endswith(", which is set too; remove one of them")


def test_a_digest_is_that_of_the_earlier_version(config: Config) -> None:
    values = config.model_dump(mode="json", exclude=set(SERVICE))
    values["study"] = values.pop("stability")
    values["run"]["night"] = values["run"].pop("retraining")
    for law in ("random", "pn"):
        values["gate"][f"canary_{law}"] = values["gate"].pop(f"evaluator_check_{law}")
    assert config.digest() == hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def test_a_file_is_renamed_in_place(file: Path, configure: Callable[..., Config]) -> None:
    assert params_file.align(file, configure("train.seed=9")) is True
    lines = file.read_text(encoding="utf-8").splitlines()
    ours = OURS.read_text(encoding="utf-8").splitlines()
    assert [line.split() for line in lines if "seed: 9" not in line] == [
        line.split() for line in ours if line.strip() != "seed: 1"
    ]
