"""`dvc repro` by hand is the same pipeline, and a retraining is an experiment of it; with the real DVC command."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from support import projects
from support.projects import RetrainedProject

from hlynr.rl import bundle


@pytest.fixture(scope="module")
def copy(retraining: RetrainedProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after its retraining, elsewhere: what is done here does not reach the other tests."""
    left_out = shutil.ignore_patterns("mlruns", ".hlynr", "outputs", "__pycache__")
    return shutil.copytree(retraining.root, tmp_path_factory.mktemp("copy") / "project", ignore=left_out)


@pytest.fixture(scope="module")
def applied(retraining: RetrainedProject, copy: Path) -> Path:
    """The copy after `dvc exp apply` of the retraining, with nothing but git and DVC to bring its outs back."""
    assert retraining.record.version is not None
    projects.checked(copy, "dvc", "exp", "apply", retraining.record.version.experiment)
    return copy


def test_repro_by_hand_trains_and_evaluates_once(tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project")
    projects.checked(root, "dvc", "repro")
    report = json.loads((root / "outputs/evaluate/report.json").read_text())
    assert report["bundle_sha256"] == bundle.digest(root / "outputs/train/bundle")
    before = projects.files(root / "outputs")
    again = projects.checked(root, "dvc", "repro")
    assert again.count("didn't change, skipping") == 2
    assert projects.files(root / "outputs") == before


def test_after_applying_a_retraining_there_is_nothing_to_reproduce(retraining: RetrainedProject, applied: Path) -> None:
    assert bundle.digest(applied / "outputs/train/bundle") == retraining.record.evaluation.bundle_sha256
    assert "up to date" in projects.checked(applied, "dvc", "status")
    assert projects.checked(applied, "dvc", "repro").count("didn't change, skipping") == 2


def test_a_change_of_what_a_training_computes_with_invalidates_it(applied: Path) -> None:
    """The schedules give learning rate and clip range; compiled files beside them change nothing."""
    schedules = applied / "hlynr" / "config" / "schedules.py"
    before = schedules.read_text()
    (schedules.parent / "__pycache__").mkdir(exist_ok=True)
    (schedules.parent / "__pycache__" / "schedules.cpython-311.pyc").write_bytes(b"other")
    assert json.loads(projects.checked(applied, "dvc", "status", "--json")) == {}
    schedules.write_text(before + "\n")
    changed = json.loads(projects.checked(applied, "dvc", "status", "--json"))
    schedules.write_text(before)
    for stage in ("train", "evaluate"):
        assert {"changed deps": {"hlynr/config": "modified"}} in changed[stage]


def test_dvc_compares_the_retrainings(retraining: RetrainedProject, applied: Path) -> None:
    assert retraining.record.version is not None
    rows = list(csv.DictReader(io.StringIO(projects.checked(applied, "dvc", "exp", "show", "--csv"))))
    (row,) = [row for row in rows if row["Experiment"] == retraining.record.version.experiment]
    assert float(row["heldout_success"]) == retraining.record.evaluation.heldout.success_rate
    assert float(row["best_success"]) == retraining.record.train.best_success
    shown = projects.checked(applied, "dvc", "metrics", "show", "--json")
    assert retraining.record.evaluation.heldout.success_rate == _find(json.loads(shown), "heldout_success")


def _find(tree: object, key: str) -> object:
    """The value of ``key`` at any depth."""
    if not isinstance(tree, dict):
        return None
    return tree[key] if key in tree else next((hit for each in tree.values() if (hit := _find(each, key))), None)


def test_dvc_draws_the_plots(applied: Path) -> None:
    projects.checked(applied, "dvc", "plots", "show", "--out", "drawn")
    page = (applied / "drawn" / "index.html").read_text()
    assert "Success on the selection seeds" in page
    assert "Success on the held-out engagements" in page


def test_restore_brings_a_bundle_back_from_the_remote_alone(
    retraining: RetrainedProject, applied: Path, tmp_path: Path
) -> None:
    assert retraining.record.version is not None
    shutil.rmtree(applied / "outputs")
    shutil.rmtree(applied / ".dvc" / "cache")
    name, to = retraining.record.version.experiment, tmp_path / "back"
    printed = projects.checked(applied, "hlynr", "restore", name, "--to", str(to))
    assert printed == f"restored to {to}\n"
    assert bundle.digest(to) == retraining.record.evaluation.bundle_sha256
    unknown = projects.run(applied, "hlynr", "restore", "retraining-unknown", "--to", str(tmp_path / "none"))
    assert (unknown.returncode, unknown.stderr.count("\n")) == (4, 1)
    assert not (tmp_path / "none").exists()
