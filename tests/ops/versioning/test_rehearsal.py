"""The rehearsal of a save meets what the save would meet, and leaves nothing, even if one was killed before it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import projects

from hlynr.config import params
from hlynr.ops.versioning import experiments, rehearsal
from hlynr.ops.versioning.experiments import VersioningError

KEPT = {".hlynr", ".hlynr/versioning.lock", ".git/refs/exps"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return projects.make(tmp_path_factory.mktemp("rehearsal") / "project")


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(template, tmp_path / "pr\u00fcf ?#%20")


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/dvc"


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may be busy."""
    monkeypatch.setattr(rehearsal, "GIT_TIMEOUT", 300.0)
    monkeypatch.setattr(rehearsal, "DVC_TIMEOUT", 300.0)


def _rehearse(root: Path) -> str:
    return rehearsal.rehearse(root, params.load(root / "params.yaml"), push=True)


def _everything(root: Path) -> set[str]:
    """All files and folders, git's own included; but the lock, and the folder of refs that git keeps."""
    return {str(path.relative_to(root)) for path in root.rglob("*")} - KEPT


def test_nothing_remains(root: Path) -> None:
    before = _everything(root)
    assert _rehearse(root) == f"local ({root}/.dvc/storage)"
    assert _everything(root) - before == set()
    assert experiments.saved(root) == []


@pytest.mark.parametrize("moment", ["hlynr.ops.versioning.experiments.ask", "hlynr.ops.versioning.experiments.remove"])
def test_what_a_killed_one_leaves_is_removed(root: Path, moment: str) -> None:
    """Killed after DVC has pushed and nothing is removed, and with the ref made."""
    before = _everything(root)
    module, _, name = moment.rpartition(".")
    script = (
        f"import os, signal, sys\nfrom pathlib import Path\nimport {module} as where\n"
        "from hlynr.config import params\nfrom hlynr.ops.versioning import rehearsal\n"
        f"where.{name} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "root = Path(sys.argv[1])\nrehearsal.rehearse(root, params.load(root / 'params.yaml'), push=True)\n"
    )
    killed = subprocess.run([sys.executable, "-P", "-c", script, str(root)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert _everything(root) - before
    _rehearse(root)
    assert _everything(root) - before == set()


def test_objects_of_a_killed_one_are_pushed_again_and_removed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _everything(root)
    worker = Path(experiments.__file__).with_name("dvc_worker.py")
    killing = worker.read_text("utf-8").replace(
        "finally:\n            _discard", "finally:\n            return {}; _discard"
    )
    (folder := root.parent / "ours").mkdir()
    (folder / "dvc_worker.py").write_text(killing, "utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(experiments, "__file__", str(folder / "experiments.py"))
        with pytest.raises(KeyError):
            _rehearse(root)
    assert [name for name in _everything(root) - before if name.startswith(".dvc/storage/")]
    _rehearse(root)
    assert _everything(root) - before == set()


def _remote(url: str) -> Callable[[Path], object]:
    return lambda root: (root / ".dvc/config").write_text(f"[core]\nremote = r\n['remote \"r\"']\nurl = {url}\n")


def _hook(root: Path) -> None:
    hook = root / ".git/hooks/reference-transaction"
    hook.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    hook.chmod(0o755)


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (_remote("gs://bucket/dvc"), r"requires? .*dvc-gs"),
        (_remote("nonsense://bucket"), "nonsense"),
        (lambda root: (root / ".dvc/config").write_text(""), "no remote specified"),
        (lambda root: (root / ".dvc/config").write_text("[core\n"), "DVC"),
        (lambda root: (root / ".dvc/storage").write_text("a file"), "DVC: "),
        (lambda root: (root / ".dvc/cache").write_text("a file"), "DVC: "),
        (lambda root: (root / "dvc.yaml").write_text("stages: {}\n"), "no stage has the out outputs/train/bundle"),
        (_hook, "not today"),
        (lambda root: shutil.rmtree(root / ".git"), "versioning needs a git repository; run `git init`"),
    ],
)
def test_what_would_end_the_save_is_found(root: Path, spoil: Callable[[Path], object], line: str) -> None:
    spoil(root)
    with pytest.raises(VersioningError, match=line) as caught:
        _rehearse(root)
    assert "\n" not in str(caught.value)
    assert not (root / ".hlynr/worktrees").exists()


def test_a_remote_that_does_not_answer(root: Path, silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _remote(silent)(root)
    monkeypatch.setattr(rehearsal, "DVC_TIMEOUT", 5.0)
    with pytest.raises(VersioningError, match="rehearse took longer than 5 s"):
        _rehearse(root)


@pytest.mark.parametrize("setting", ["commit.gpgsign", "core.autocrlf", "user.useConfigOnly"])
def test_settings_of_git_that_do_not_matter(root: Path, setting: str) -> None:
    projects.checked(root, "git", "config", setting, "true")
    assert _rehearse(root).startswith("local ")


def test_dvc_reads_its_own_configuration(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A default remote of the user's own configuration, with a percent sign in its address."""
    (tmp_path / "global").mkdir()
    (tmp_path / "global" / "config").write_text(f"[core]\nremote = r\n['remote \"r\"']\nurl = {tmp_path}/50%/dvc\n")
    (root / ".dvc/config").write_text("")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "global"))
    assert _rehearse(root) == f"r ({tmp_path}/50%/dvc)"


def test_a_save_that_is_going_on_is_not_disturbed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "WAIT", 0.1)
    with experiments.lock(root):
        assert _rehearse(root) == "another save is going on"
