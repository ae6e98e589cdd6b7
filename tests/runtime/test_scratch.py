"""What killed processes leave is gone after the next one's start; what living ones use stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hlynr.records.base import intermediate
from hlynr.runtime import scratch
from hlynr.runtime.errors import EnvironmentNotReady

# Claims a folder, as MLflow, DVC and stable-baselines3 leaves files in it, and waits to be killed or to be let go.
PROGRAM = """
import sys, tempfile
from hlynr.runtime import scratch
scratch.claim()
open(tempfile.mkdtemp(prefix="SB3-") + "/file", "w").close()
tempfile.mkdtemp(prefix="hlynr-dvc-")
print(tempfile.gettempdir(), flush=True)
sys.stdin.read()
"""


class Process:
    """A process with temporary files of its own; ``folder`` is where they are."""

    def __init__(self, temporary: Path, program: str = PROGRAM) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | {"TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.child.stdout is not None
        self.folder = Path(self.child.stdout.readline().strip())

    def kill(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.child.communicate()

    def end(self) -> None:
        self.child.communicate("")
        assert self.child.returncode == 0


def test_a_year_of_killed_processes_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(3):
        killed = Process(tmp_path)
        assert {path.name[:4] for path in killed.folder.iterdir()} == {"SB3-", "hlyn"}
        killed.kill()
    last = Process(tmp_path)
    assert [path.parent for path in tmp_path.glob("*/*")] == [last.folder.parent]
    last.end()
    assert list(tmp_path.glob("*/*")) == []


def test_a_living_process_keeps_its_folder(tmp_path: Path) -> None:
    living, other = Process(tmp_path), Process(tmp_path)
    other.end()
    assert (next(living.folder.glob("SB3-*")) / "file").exists()
    living.end()


def test_a_child_has_a_folder_beside_its_parents(tmp_path: Path) -> None:
    living = Process(tmp_path)
    child = Process(living.folder)
    assert child.folder.parent == living.folder.parent == tmp_path / f"hlynr-{os.getuid()}"
    living.end()
    later = Process(living.folder)  # TMPDIR names a folder that is gone
    assert later.folder.parent == child.folder.parent
    child.end()
    later.end()


def test_the_folder_is_private_and_a_foreign_one_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in (process.folder, process.folder.parent)} == {0o700}
    process.end()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "second"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "second"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / f"hlynr-{os.getuid()}").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentNotReady, match=r"TMPDIR: .* is no folder of this user"):
        scratch.claim()


def test_no_room_for_temporary_files_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(EnvironmentNotReady, match=r"TMPDIR: .* cannot be used for temporary files: No such file"):
        scratch.claim()


@pytest.fixture
def dead() -> int:
    """The id of a process that is gone."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def remove_left(folder: Path) -> None:
    for path in scratch.left(folder):
        scratch.remove(path)


def test_intermediate_files_of_dead_processes_go(tmp_path: Path, dead: int) -> None:
    file, folder = tmp_path / f".status.json.{dead}.tmp", tmp_path / "train" / f".bundle.{dead}.tmp"
    (folder / "inner").mkdir(parents=True)
    file.write_text("half")
    kept = [intermediate(tmp_path / "retrain.json"), tmp_path / ".gitignore", tmp_path / f"notes.{dead}.tmp"]
    for path in kept:
        path.write_text("kept")
    assert scratch.left(tmp_path) == sorted([file, folder])
    remove_left(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*kept, tmp_path / "train"])
    assert list((tmp_path / "train").iterdir()) == []


def test_a_folder_whose_replacement_was_never_finished_is_put_back(tmp_path: Path, dead: int) -> None:
    (tmp_path / f".bundle.{dead}.old").mkdir()
    (tmp_path / f".bundle.{dead}.old" / "manifest.json").write_text("old")
    (tmp_path / f".report.{dead}.old").mkdir()
    (tmp_path / "report").mkdir()
    remove_left(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "report"]
    assert (tmp_path / "bundle" / "manifest.json").read_text() == "old"


def test_links_are_removed_and_not_followed(tmp_path: Path, dead: int) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    (tmp_path / f".bundle.{dead}.tmp").symlink_to(tmp_path / "precious")
    remove_left(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    assert (tmp_path / "precious" / "file").exists()
