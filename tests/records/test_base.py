"""Records as files: whole or not at all, and only those of this version."""

import errno
from pathlib import Path

import pytest

from hlynr.records.base import Record, write_bytes, write_text


class Example(Record):
    number: int
    rate: float = float("inf")


def test_a_record_comes_back(tmp_path: Path) -> None:
    path = Example(number=3).write(tmp_path / "new" / "folder" / "example.json")
    assert Example.read(path) == Example(number=3)
    path.write_text('{"number": 3, "rate": 1.0, "of_another_version": 1}')
    with pytest.raises(ValueError, match="of_another_version"):
        Example.read(path)


def test_a_write_that_fails_leaves_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "some.bin"
    write_bytes(path, b"old")

    def full(file: Path, content: bytes) -> int:
        with file.open("wb") as opened:
            opened.write(content[:1])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device") as refusal:
        write_text(path, "new")
    assert refusal.value.filename == str(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"some.bin": b"old"}
