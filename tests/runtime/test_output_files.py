"""Files that a user names: what stands there is written to, followed or replaced, as a shell's > would.

Never tried on a real device: a test that fails as root would replace it for the whole machine.
"""

import errno
import os
import pty
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from hlynr.runtime import output_files
from hlynr.runtime.errors import EnvironmentNotReady, InputError

ROOT_USER = os.geteuid() == 0
TEXT = '{"é": 1}\n'


def write(path: Path) -> None:
    """As a verb does: checked before the work, written after it."""
    output_files.require_file("--json", path)
    output_files.write_text(path, TEXT)


def reason(check: Callable[[str, Path], None], path: Path) -> str:
    with pytest.raises(InputError) as caught:
        check("--json", path)
    assert str(caught.value).startswith(f"--json: {path}: ")
    return str(caught.value)


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def read_in_background(path: Path) -> Callable[[], str]:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(path.read_text()), daemon=True)
    thread.start()

    def result() -> str:
        thread.join(30)
        return found[0]

    return result


def test_a_new_file_gets_the_usual_mode(tmp_path: Path) -> None:
    write(tmp_path / "x.json")
    (tmp_path / "usual").touch()
    assert (tmp_path / "x.json").read_text() == TEXT
    assert (tmp_path / "x.json").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert names(tmp_path) == {"x.json", "usual"}


def test_a_regular_file_is_replaced_with_mode_and_attributes_kept(tmp_path: Path) -> None:
    path, other_name = tmp_path / "x.json", tmp_path / "hard-link"
    path.write_text("before")
    path.chmod(0o640)
    with suppress(OSError):  # not every file system has them
        os.setxattr(path, "user.kept", b"1")
    attributes = os.listxattr(path)
    os.link(path, other_name)
    write(path)
    assert path.read_text() == TEXT
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listxattr(path) == attributes
    assert other_name.read_text() == "before"
    assert path.stat().st_mtime > other_name.stat().st_mtime - 1


@pytest.mark.skipif(not ROOT_USER, reason="gives a file away")
def test_a_replaced_file_keeps_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.touch()
    os.chown(path, 1234, 4321)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
    assert path.read_text() == TEXT


def test_a_file_that_cannot_be_replaced_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(self: Path, target: Path) -> Path:
        raise OSError(errno.EBUSY, "Device or resource busy")  # a file mounted into a container

    path = tmp_path / "x.json"
    path.write_text("a longer text that stood there before")
    before = path.stat().st_ino
    monkeypatch.setattr(Path, "replace", busy)
    write(path)
    assert (path.read_text(), path.stat().st_ino) == (TEXT, before)
    assert names(tmp_path) == {"x.json"}


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read = read_in_background(path)
    write(path)
    assert read() == TEXT
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.skipif(not ROOT_USER, reason="makes a device")
@pytest.mark.parametrize(("minor", "error"), [(3, None), (7, "No space left on device")])
def test_a_device_is_written_to(tmp_path: Path, minor: int, error: str | None) -> None:
    path, link = tmp_path / "device", tmp_path / "link"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))  # null and full, in a folder of the test's own
        path.open("wb").close()
    except PermissionError:
        pytest.skip("no devices in a container without the right")
    link.symlink_to(path)
    for name in (path, link):
        if error:
            with pytest.raises(EnvironmentNotReady, match=f"{name}: cannot be written: {error}"):
                write(name)
        else:
            write(name)
    assert stat.S_ISCHR(path.stat().st_mode)
    assert link.is_symlink()
    assert names(tmp_path) == {"device", "link"}


def test_a_terminal_is_written_to() -> None:
    controller, terminal = pty.openpty()
    name = Path(os.ttyname(terminal))
    write(name)
    assert os.read(controller, 100).decode().splitlines() == TEXT.splitlines()
    assert stat.S_ISCHR(name.stat().st_mode)
    os.close(terminal)
    os.close(controller)


@pytest.mark.parametrize("target", ["file.json", "missing.json", "chain"])
def test_a_link_is_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    end = tmp_path / "elsewhere" / ("file.json" if target == "chain" else target)
    if target != "missing.json":
        end.write_text("before")
    (tmp_path / "elsewhere" / "chain").symlink_to("file.json")
    link = tmp_path / "link.json"
    link.symlink_to(Path("elsewhere") / target)
    write(link)
    assert link.is_symlink()
    assert end.read_text() == TEXT
    assert not end.is_symlink()


COMMAND = """
import sys
from pathlib import Path
from hlynr.runtime import output_files
path = Path(sys.argv[1])
print("before")
output_files.require_file("--json", path)
output_files.write_text(path, "record\\n")
print("after")
"""


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
@pytest.mark.parametrize("kind", ["file", "pipe", "socket"])
def test_an_open_descriptor_is_written_to_in_order(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    command = [sys.executable, "-c", COMMAND, name]
    if kind == "file":
        with (tmp_path / "out").open("w") as file:
            subprocess.run(command, cwd=tmp_path, stdout=file, check=True)
        found = (tmp_path / "out").read_text()
    elif kind == "pipe":
        found = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, check=True, text=True).stdout
    else:
        ours, theirs = socket.socketpair()
        with closing(ours), closing(theirs):
            subprocess.run(command, cwd=tmp_path, stdout=theirs, check=True)
            found = ours.recv(1000).decode()
    assert found == "before\nrecord\nafter\n"
    assert names(tmp_path) - {"out"} == {"link"}


def test_a_closed_or_reading_descriptor_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with (tmp_path / "x").open() as reading:
        number = reading.fileno()
        assert "is not open for writing" in reason(output_files.require_file, Path(f"/dev/fd/{number}"))
    assert "is not open for writing" in reason(output_files.require_file, Path(f"/proc/self/fd/{number}"))


def _folder(path: Path) -> Path:
    (path / "folder").mkdir()
    (path / "to-folder").symlink_to("folder")
    return path / "to-folder"


def _loop(path: Path) -> Path:
    (path / "one").symlink_to("two")
    (path / "two").symlink_to("one")
    return path / "one"


def _dangling(path: Path) -> Path:
    (path / "link").symlink_to("nowhere/x.json")
    return path / "link"


def _below_a_file(path: Path) -> Path:
    (path / "file").touch()
    return path / "file" / "x.json"


def _socket(path: Path) -> Path:
    with closing(socket.socket(socket.AF_UNIX)) as listening:
        listening.bind(str(path / "socket"))
    return path / "socket"


IMPOSSIBLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "folder": (lambda path: path, "is a folder"),
    "link to a folder": (_folder, "is a folder"),
    "links in a circle": (_loop, "Too many levels of symbolic links"),
    "link into a missing folder": (_dangling, "nowhere does not exist"),
    "missing folder": (lambda path: path / "nowhere" / "x.json", "nowhere does not exist"),
    "below a file": (_below_a_file, "Not a directory"),
    "long name": (lambda path: path / ("x" * 300), "File name too long"),
    "long path": (lambda path: path / "/".join(["x" * 200] * 30), "File name too long"),
    "null character": (lambda path: path / "x\0y", "holds a null character"),
    "socket": (_socket, "is a socket"),
    "kernel's folder": (lambda path: Path("/proc/hlynr.json"), "No such file or directory"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_written_is_found_before_the_work(tmp_path_factory: pytest.TempPathFactory, case: str) -> None:
    folder = tmp_path_factory.mktemp("x")
    make, expected = IMPOSSIBLE[case]
    path = make(folder)
    before = names(folder)
    assert expected in reason(output_files.require_file, path)
    assert names(folder) == before


@pytest.mark.skipif(ROOT_USER, reason="root may write everywhere")
def test_missing_permission_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "x.json").touch(0o444)
    assert "is not writable" in reason(output_files.require_file, tmp_path / "x.json")
    tmp_path.chmod(0o555)
    assert "is not writable" in reason(output_files.require_file, tmp_path / "new.json")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_folder_that_takes_no_file_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(folder: Path) -> Path:
        raise OSError(number, os.strerror(number))

    (tmp_path / "old.json").write_text("before")
    monkeypatch.setattr(output_files, "_create", refuse)
    for check, path in ((output_files.require_file, tmp_path / "x.json"), (output_files.require_folder, tmp_path)):
        assert os.strerror(number) in reason(check, path)
    if number != errno.ENOSPC:
        write(tmp_path / "old.json")  # the file itself may be written
        assert (tmp_path / "old.json").read_text() == TEXT


def test_a_pipe_without_a_reader_is_a_line() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    path = Path(f"/dev/fd/{writing}")
    with pytest.raises(EnvironmentNotReady, match="cannot be written: Broken pipe"):
        write(path)
    os.close(writing)


def test_a_name_of_the_greatest_length_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 255)
    write(path)
    assert path.read_text() == TEXT
    write(path)


FOLDERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "file": (lambda path: _below_a_file(path).parent, "is a file; a folder is needed"),
    "below a file": (_below_a_file, "is a file; a folder is needed"),
    "link to nothing": (_dangling, "is a file; a folder is needed"),
    "links in a circle": (_loop, "a folder is needed"),
    "long name": (lambda path: path / ("x" * 300), "File name too long"),
    "null character": (lambda path: path / "x\0y", "holds a null character"),
    "kernel's folder": (lambda path: Path("/proc/hlynr/deeper"), "No such file or directory"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_what_cannot_be_a_folder_is_found_before_the_work(tmp_path: Path, case: str) -> None:
    make, expected = FOLDERS[case]
    path = make(tmp_path)
    before = names(tmp_path)
    assert expected in reason(output_files.require_folder, path)
    assert names(tmp_path) == before


def test_a_folder_that_is_there_or_can_be_made_is_good(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "new" / "deeper", _folder(tmp_path)):
        output_files.require_folder("--out", path)
    assert names(tmp_path) == {"folder", "to-folder"}
