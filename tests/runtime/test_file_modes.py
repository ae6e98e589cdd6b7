"""Who may read what our processes write, and that what earlier versions wrote is closed."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
from support import ROOT, projects

from hlynr.runtime import file_modes
from hlynr.sim import jit

WRITE = """
import os, subprocess, sys
from pathlib import Path
from hlynr.ops.versioning import git
from hlynr.runtime import environment, file_modes, output_files
os.umask(0o022)
environment.prepare()
file_modes.keep_private()
file_modes.keep_private()
here = Path.cwd()
(here / "ours").mkdir()
(here / "ours" / "file").write_text("")
subprocess.run(["sh", "-c", "mkdir ours/child; echo > ours/child/file"], env=environment.of_child(), check=True)
output_files.write_text(here / "named", "")
git.run(here, "init", "repository")
subprocess.run([sys.executable, "-c", sys.argv[1]], env=environment.of_child(), check=True)
"""
GRANDCHILD = """
from pathlib import Path
from hlynr.runtime import output_files
output_files.write_text(Path("named by a child"), "")
Path("ours/of a child").touch()
"""


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_ours_are_private_and_what_the_user_names_and_gits_are_not(tmp_path: Path) -> None:
    projects.checked(tmp_path, sys.executable, "-c", WRITE, GRANDCHILD, PYTHONPATH=str(ROOT))
    ours = {path.name: _mode(path) for path in (tmp_path, *tmp_path.rglob("ours/**/*"), tmp_path / "ours")}
    del ours[tmp_path.name]
    assert ours == {"file": 0o600, "child": 0o700, "ours": 0o700, "of a child": 0o600}
    assert _mode(tmp_path / "named") == _mode(tmp_path / "named by a child") == 0o644
    assert _mode(tmp_path / "repository" / ".git" / "HEAD") == 0o644
    assert _mode(tmp_path / "repository" / ".git") == 0o755


@pytest.mark.parametrize("umask", ["", "none", "8", "-1", "1777"])
def test_without_a_usable_note_of_the_users_umask_it_is_that_of_the_process(
    umask: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HLYNR_UMASK", umask)
    before = os.umask(0o027)
    try:
        assert file_modes.users_umask() == 0o027
    finally:
        os.umask(before)


def _made(root: Path, name: str, mode: int) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(mode)
    return path


def test_what_earlier_versions_wrote_is_closed_once(tmp_path: Path) -> None:
    closed = [_made(tmp_path, name, 0o644) for name in ("mlruns/mlflow.db", "mlruns/artifacts/a/b", ".hlynr/x.log")]
    program = _made(tmp_path, ".hlynr/program", 0o755)
    closed_already = _made(tmp_path, ".hlynr/prefect/secret", 0o600)
    readme = _made(tmp_path, "mlruns/README.md", 0o644)
    outside = _made(tmp_path, "outputs/report.html", 0o644)
    (tmp_path / "mlruns" / "link").symlink_to(outside)
    assert file_modes.tighten(tmp_path) == 4  # a clone has the README, so no word of it
    assert [_mode(path) for path in (*closed, closed_already, readme)] == [0o600] * 5
    assert (_mode(program), _mode(outside)) == (0o700, 0o644)
    folders = [path for name in file_modes.FOLDERS for path in (tmp_path / name, *(tmp_path / name).rglob("*"))]
    assert {_mode(path) for path in folders if path.is_dir()} == {0o700}
    closed[0].chmod(0o644)
    assert file_modes.tighten(tmp_path) == 0  # in a folder that nobody else can enter


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_what_belongs_to_another_user_or_lies_behind_a_link_stays(tmp_path: Path) -> None:
    theirs = _made(tmp_path, "mlruns/theirs", 0o644)
    os.chown(theirs, 12345, 12345)
    elsewhere = _made(tmp_path, "elsewhere/file", 0o644)
    (tmp_path / ".hlynr").symlink_to(elsewhere.parent)
    assert file_modes.tighten(tmp_path) == 0
    assert _mode(theirs) == _mode(elsewhere) == 0o644


def test_the_command_line_says_so_in_one_line(tmp_path: Path) -> None:
    root = projects.make(tmp_path / "project", git=False)
    assert projects.run(root, "hlynr", "validate").stderr == ""
    _made(root, ".hlynr/service/state.json", 0o644)
    assert projects.run(root, "hlynr", "validate").stderr == (
        "hlynr: the files in .hlynr and mlruns can now be read by their owner alone\n"
    )
    assert projects.run(root, "hlynr", "validate").stderr == ""


def test_compiled_code_is_not_taken_from_a_folder_that_others_can_write_to(tmp_path: Path) -> None:
    own = tmp_path / "own"
    assert jit._owned(own) == own
    assert _mode(own) == 0o700
    own.chmod(0o777)
    assert jit._owned(own) != own
    own.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(own)
    assert jit._owned(link) != link
