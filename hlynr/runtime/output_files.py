"""Files that a user names: written as the shell's ``>`` would, and a regular file whole or not at all.

Terminal, pipe, character device and open descriptor (``/dev/stdout``, ``/dev/fd/3``) are written to. A symbolic link is
followed. Only a regular file, or nothing, is replaced in one move, by a file of the same owner, mode and attributes;
its other hard links keep the former content, as they do with git. Where its folder does not let it be replaced, as with
a file that is mounted into a container, it is written in place.

`hlynr.records.base.write_bytes` writes the files that we name ourselves, and replaces whatever stands there: an output
may be a link into DVC's cache, which must not be written through.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
import sys
from contextlib import suppress
from errno import EACCES, EBUSY, EPERM, EROFS
from pathlib import Path

from hlynr.runtime import file_modes
from hlynr.runtime.errors import EnvironmentNotReady, InputError

_LINKS = 40  # Linux follows so many
_IRREPLACEABLE = {EACCES, EBUSY, EPERM, EROFS}


def require_file(option: str, path: Path) -> None:
    """Check that `write_text` can write ``path``, by what it will do and without changing what stands there.

    Raises:
        InputError: if it cannot; the message begins with ``option``.
    """
    if (reason := _obstacle(path)) is not None:
        raise InputError(f"{option}: {path}: {reason}")


def require_folder(option: str, path: Path) -> None:
    """Check that ``path`` is a folder that can be written in, or can be made one; makes nothing.

    Raises:
        InputError: if not; the message begins with ``option``.
    """
    if (reason := _obstacle_to_folder(path)) is not None:
        raise InputError(f"{option}: {path}: {reason}")


def write_text(path: Path, text: str) -> None:
    """Write in UTF-8.

    Raises:
        EnvironmentNotReady: if the system cannot, say because the disk is full, or the pipe has no reader any more; a
            regular file is then as it was, unless it had to be written in place.
    """
    content = text.encode()
    try:
        if (descriptor := _own_descriptor(path)) is not None:
            _write_descriptor(descriptor, content)
        elif path.exists() and not path.is_file():
            _write_in_place(path, content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise EnvironmentNotReady(f"{path}: cannot be written: {error.strerror}") from None


def _obstacle(path: Path) -> str | None:
    """Why the file cannot be written, or None."""
    try:
        if (descriptor := _own_descriptor(path)) is not None:
            return None if _is_open_for_writing(descriptor) else "is not open for writing"
        mode = path.stat().st_mode
    except FileNotFoundError:
        return _obstacle_to_a_new(Path(os.path.realpath(path)))
    except OSError as error:
        return error.strerror
    except ValueError:
        return "holds a null character"
    for is_kind, kind in ((stat.S_ISDIR, "a folder"), (stat.S_ISBLK, "a disk"), (stat.S_ISSOCK, "a socket")):
        if is_kind(mode):
            return f"is {kind}; a file is needed"
    return None if os.access(path, os.W_OK) else "is not writable"


def _obstacle_to_a_new(path: Path) -> str | None:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    try:
        os.unlink(_create(path.parent))
    except OSError as error:
        return _not_writable(error, path.parent)
    return None


def _obstacle_to_folder(path: Path) -> str | None:
    existing = next(each for each in (path.absolute(), *path.absolute().parents) if os.path.lexists(each))
    try:
        if not existing.is_dir():
            return f"{existing} is a file; a folder is needed"
        with suppress(FileNotFoundError):
            path.stat()  # a name may be too long for a file that is not there, too
        os.unlink(_create(existing))
    except OSError as error:
        return _not_writable(error, existing)
    except ValueError:
        return "holds a null character"
    return None


def _not_writable(error: OSError, folder: Path) -> str:
    denied = error.errno in (EACCES, EPERM, EROFS)
    return f"{folder} is not writable: {error.strerror}" if denied else str(error.strerror)


def _own_descriptor(path: Path) -> int | None:
    """The number where the path leads to an open file of this process, whatever it is: opened anew by its path, a
    redirected output would be cut, and a socket cannot be opened at all."""
    for _ in range(_LINKS):
        folder = os.path.realpath(path.parent)
        if re.fullmatch(rf"/proc/{os.getpid()}/(task/\d+/)?fd", folder) and path.name.isdecimal():
            return int(path.name)
        if not path.is_symlink():
            return None
        path = Path(folder, os.readlink(path))
    return None


def _is_open_for_writing(descriptor: int) -> bool:
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False


def _write_descriptor(descriptor: int, content: bytes) -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()  # what was printed before stays before it
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)


def _write_in_place(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_TRUNC | os.O_NOCTTY
    with os.fdopen(os.open(path, flags), "wb") as file:
        file.write(content)


def _replace(path: Path, content: bytes) -> None:
    try:
        temporary = _create(path.parent)
    except OSError as error:
        if error.errno not in _IRREPLACEABLE or not path.exists():
            raise
        _write_in_place(path, content)
        return
    try:
        temporary.write_bytes(content)
        _take_over(path, temporary)
    finally:
        temporary.unlink(missing_ok=True)


def _take_over(path: Path, temporary: Path) -> None:
    """Put ``temporary`` in the place of ``path``, as its owner's and with its mode and attributes."""
    try:
        if path.exists():
            before = path.stat()
            os.chown(temporary, before.st_uid, before.st_gid)
            shutil.copystat(path, temporary)
            os.utime(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in _IRREPLACEABLE:
            raise
        _write_in_place(path, temporary.read_bytes())


def _create(folder: Path) -> Path:
    """A new empty file in the folder, with the mode that every new file gets."""
    path = folder / f".hlynr-{secrets.token_hex(6)}.tmp"
    with file_modes.as_the_user():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    return path
