"""The stages of dvc.yaml depend on what they compute with: the modules they load and the sections they read."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from support import ROOT

STAGES: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]

NO_EFFECT = {
    "train": ("hlynr/runtime",),  # errors, locks and progress: no figure depends on them
    # Figures are no outs of the stage, and the records of a retraining are loaded for them alone.
    "evaluate": ("hlynr/runtime", "hlynr/report", "hlynr/records/retraining.py"),
}
"""What a stage loads without a trace in its outs, unless dvc.yaml lists it."""

NO_EFFECT_SECTIONS = {
    "train": {"evaluation"},  # its batch_size alone, which changes no figure
    "evaluate": {"gate", "monitor"},  # lines in figures
}

UNUSED = {
    "hlynr/config/project.py",
    "hlynr/rl/inference/served.py",  # for MLflow's server
    "hlynr/rl/diagnosis_policies.py",
    "hlynr/sim/guidance.py",
}
"""Modules of listed folders that a stage does not load: a change of theirs trains again for nothing."""


@dataclass(frozen=True)
class Use:
    files: set[Path]
    sections: set[str]


@pytest.fixture(scope="module")
def uses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Use]:
    """What each stage uses, in the order of the pipeline: the evaluation reads the bundle of the training."""
    folder = tmp_path_factory.mktemp("stages")
    return {name: _use(name, folder) for name in STAGES}


def _use(name: str, folder: Path) -> Use:
    script = [sys.executable, ROOT / "tests/support/stages.py", name, ROOT / "params.yaml", folder]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return Use({Path(file).relative_to(ROOT) for file in found["files"]}, set(found["sections"]))


def _below(path: Path, folders: list[str] | tuple[str, ...] | set[str]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _has_code(path: Path) -> bool:
    """Whether a module holds more than a docstring; the packages of listed modules do not."""
    return len(ast.parse((ROOT / path).read_text(encoding="utf-8")).body) > 1


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_every_module_that_it_computes_with(uses: dict[str, Use], name: str) -> None:
    deps = STAGES[name]["deps"]
    loaded = {path for path in uses[name].files if path != Path("hlynr/__init__.py") and _has_code(path)}
    assert {path for path in loaded if not _below(path, deps) and not _below(path, NO_EFFECT[name])} == set()


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_nothing_else(uses: dict[str, Use], name: str) -> None:
    code = [dep for dep in STAGES[name]["deps"] if dep.startswith("hlynr/")]
    assert [dep for dep in code if not (ROOT / dep).exists()] == []
    listed = {path.relative_to(ROOT) for dep in code for path in [*(ROOT / dep).rglob("*.py"), ROOT / dep]}
    unused = {path for path in listed if path.suffix == ".py" and _has_code(path)} - uses[name].files
    assert {path.as_posix() for path in unused} <= UNUSED


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_every_section_that_it_reads(uses: dict[str, Use], name: str) -> None:
    assert uses[name].sections - NO_EFFECT_SECTIONS[name] <= set(STAGES[name]["params"])
