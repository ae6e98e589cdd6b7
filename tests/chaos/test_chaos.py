"""The tools of `make chaos`, and that the page of the ledger says what the ledger holds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from chaos import interposer, judge, ledger, page
from chaos.interposer import SharedPlan

CHANGES = """
import os, sys
print("train ...", file=sys.stderr, flush=True)
with open("first", "w") as file:
    file.write("12345678")
os.rename("first", "second")
os.unlink("second")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return interposer.compiled(tmp_path_factory.mktemp("library"))


def _run(library: Path, plan: SharedPlan, folder: Path) -> int:
    environment = os.environ | {"LD_PRELOAD": str(library), "CHAOS_FILE": str(plan.file)}
    return subprocess.run(
        [sys.executable, "-c", CHANGES], cwd=folder, env=environment, stderr=subprocess.PIPE
    ).returncode


@pytest.fixture
def plan(tmp_path: Path) -> SharedPlan:
    (tmp_path / "project").mkdir()
    return SharedPlan(tmp_path / "plan", tmp_path / "project")


def test_changes_below_the_project_are_counted_by_phase(library: Path, plan: SharedPlan, tmp_path: Path) -> None:
    assert _run(library, plan, tmp_path / "project") == 0
    assert plan.changes() == {"train": 4}  # open, write, rename, unlink
    assert _run(library, plan, tmp_path) == 0
    assert plan.changes() == {"train": 4}


@pytest.mark.parametrize(
    ("mode", "k", "code", "left"),
    [
        (interposer.DIE, 1, -signal.SIGKILL, {}),
        (interposer.DIE, 2, -signal.SIGKILL, {"first": ""}),
        (interposer.TORN, 2, -signal.SIGKILL, {"first": "1234"}),
        (interposer.DIE, 4, -signal.SIGKILL, {"second": "12345678"}),
        (interposer.DIE, 5, 0, {}),
        (interposer.FULL, 2, 1, {"first": ""}),
    ],
)
def test_a_run_fails_at_the_chosen_change(
    library: Path, plan: SharedPlan, tmp_path: Path, mode: int, k: int, code: int, left: dict[str, str]
) -> None:
    project = tmp_path / "project"
    plan.fail_at(mode, "train", 1, k, everything=False)
    assert _run(library, plan, project) == code
    assert {path.name: path.read_text() for path in project.iterdir()} == left
    assert bool(plan.plan.fired) == (k < 5)


FORKS = """
import os, subprocess, sys
from pathlib import Path
from chaos import processes

def main():
    command = [sys.executable, "-P", "program.py", "argument"]
    done = subprocess.run(command, input="input", capture_output=True, text=True)
    print(done.stdout.split() == [str(os.getpid()), "argument", "input"], done.returncode)

pid = processes.fork(main, Path.cwd(), Path("output.x"), lambda: None)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_fork_has_python_children_of_its_own(tmp_path: Path) -> None:
    """They are forks too, and find the command as their parent."""
    (tmp_path / "program.py").write_text(
        "import os, sys; print(os.getppid(), sys.argv[1], sys.stdin.read()); sys.exit(3)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run([sys.executable, "-c", FORKS], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
    assert (tmp_path / "output.out").read_text() == "True 3\n"


def test_what_differs_is_named() -> None:
    assert judge.difference({"weights": "a", "versions": [1, 2]}, {"weights": "a", "versions": (1, 2)}) == ""
    assert judge.difference({"weights": "b"}, {"weights": "a"}) == "weights: 'b' instead of 'a'"


def test_the_page_is_what_make_chaos_writes_from_the_ledger() -> None:
    found = ledger.read()
    assert ledger.FILE.with_name("README.md").read_text(encoding="utf-8") == page.written(found)
    assert {row["kind"] for row in found["faults"]} <= page.KINDS.keys()
    assert {row["phase"] for row in found["faults"]} <= set(page.PHASES)


def test_every_failure_in_the_ledger_is_mended_and_none_came_after() -> None:
    found = ledger.read()
    failed = {(row["kind"], row["seed"]) for row in found["faults"] if row["verdict"] != "ok"}
    assert failed == {(row["kind"], seed) for row in found["mended"] for seed in row["seeds"]}


def test_the_bound_counts_what_came_after_the_last_failure() -> None:
    rows = [{"verdict": "ok"}, {"verdict": "weights: ..."}, {"verdict": "ok"}, {"verdict": "ok"}]
    assert page.since_the_last_failure(rows) == rows[2:]
    assert page.bound(600) == "at most 0.50 %"
    assert page.bound(0) == "unknown"


def test_the_ledger_comes_back_as_it_was_written(tmp_path: Path) -> None:
    row = {"commit": "0123456789", "seed": 1, "kind": "kill", "phase": "train", "verdict": "ok", "seconds": 1.5}
    ledger.add([row], tmp_path / "ledger.json")
    ledger.add([row | {"seed": 2}], tmp_path / "ledger.json")
    found = ledger.read(tmp_path / "ledger.json")
    assert [each["seed"] for each in found["faults"]] == [1, 2]
    assert ledger.following(found["faults"], "kill") == 3
    assert ledger.following(found["faults"], "disk") == 1
