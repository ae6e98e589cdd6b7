"""Records as files: whole or not at all, and only those of this version."""

import errno
import hashlib
import json
import os
from pathlib import Path

import pytest

from hlynr.records.base import Record, write_bytes, write_text
from hlynr.records.guarded_file import DamagedFileError
from hlynr.runtime.errors import BAD_INPUT, UserError, as_user_error


class Example(Record):
    number: int
    rate: float = float("inf")


def test_a_record_comes_back(tmp_path: Path) -> None:
    path = Example(number=3).write(tmp_path / "new" / "folder" / "example.json")
    assert Example.read(path) == Example(number=3)
    path.write_text('{"number": 3, "rate": 1.0, "of_another_version": 1}')
    with pytest.raises(ValueError, match="of_another_version"):
        Example.read(path)


def test_a_record_that_was_changed_is_rejected_in_one_line(tmp_path: Path) -> None:
    path = Example(number=3, rate=0.5).write(tmp_path / "example.json")
    whole = path.read_bytes()
    assert json.loads(whole)["sha256"] == hashlib.sha256(b'{\n  "number": 3,\n  "rate": 0.5\n}').hexdigest()
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 0x01
        path.write_bytes(changed)
        with pytest.raises(DamagedFileError, match=f"^{path}: (was changed|is no Example of this version)") as refusal:
            Example.read(path)
        assert "\n" not in str(refusal.value)
        assert as_user_error(refusal.value).exit_code == BAD_INPUT  # type: ignore[union-attr]


def test_a_record_of_an_earlier_version_has_no_sha256(tmp_path: Path) -> None:
    path = tmp_path / "example.json"
    path.write_text('{"number": 3, "rate": 1.0}')
    assert Example.read(path) == Example(number=3, rate=1.0)


HURTFUL = {
    "empty": b"",
    "truncated": b'{\n  "number": 3,\n  "ra',
    "no text": b"\xff\xfe\x00",
    "deep": b"[" * 1_000_000,
    "deep in a field": b'{"number": ' + b"[" * 1_000_000,
    "a million digits": b'{"number": ' + b"1" * 1_000_000 + b"}",
    "a number as text": b'{"number": "3x"}',
    "a list": b"[]",
}


@pytest.mark.parametrize("case", HURTFUL)
def test_a_record_made_to_hurt_is_rejected_in_one_line(tmp_path: Path, case: str) -> None:
    path = tmp_path / "example.json"
    path.write_bytes(HURTFUL[case])
    with pytest.raises(DamagedFileError, match="is no Example of this version") as refusal:
        Example.read(path)
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize("kind", ["pipe", "folder", "large", "link in a circle", "missing"])
def test_only_a_regular_file_of_a_possible_size_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "example.json"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(2**40)  # takes no room
    elif kind == "link in a circle":
        path.symlink_to(path.name)
    with pytest.raises(OSError, match=r"example\.json") as refusal:
        Example.read(path)
    assert kind == "missing" or isinstance(as_user_error(refusal.value), UserError)


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
