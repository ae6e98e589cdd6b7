"""Frozen records, to and from JSON.

Only these and paths cross the borders between tasks, stages and processes, never models or arrays.
Rates are fractions in [0, 1], distances in metres, times in seconds unless a name says otherwise.
"""

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from hlynr.records.guarded_file import DamagedFileError, read_bytes

SIZE_LIMIT = 100_000_000
"""[bytes] of a record: a million episodes take a tenth of it."""
_SEAL = b',\n  "sha256": "%s"\n}\n'
_SEALED = re.compile(re.escape(_SEAL % b"HEX").replace(b"HEX", b"([0-9a-f]{64})") + rb"\Z")


class Record(BaseModel):
    """Frozen; unknown keys are errors, so that a record of another version is not read in part."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def write(self, path: Path) -> Path:
        """Write as JSON, atomically, with the sha256 of all its other entries as its last; makes missing folders."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = self.model_dump_json(indent=2).encode()
        write_bytes(path, content.removesuffix(b"\n}") + _SEAL % hashlib.sha256(content).hexdigest().encode())
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote, or an earlier version did without a sha256.

        Raises:
            OSError: if the file cannot be read, is no regular file, or larger than `SIZE_LIMIT`.
            DamagedFileError: if it holds no such record, or was changed since it was written.
        """
        content = read_bytes(path, SIZE_LIMIT)
        if sealed := _SEALED.search(content):
            content = content[: sealed.start()] + b"\n}"
            if hashlib.sha256(content).hexdigest().encode() != sealed[1]:
                raise DamagedFileError(path, "was changed: its sha256 is not that of its other entries")
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            reason = f"is no {cls.__name__} of this version: {first_error(error)}"
            raise DamagedFileError(path, reason) from None


def first_error(error: ValidationError) -> str:
    """The first of pydantic's complaints, on one line: key and what is allowed."""
    first = error.errors(include_url=False)[0]
    key = "".join(f"{part}: " for part in first["loc"])
    return " ".join(f"{key}{first['msg']}".split())[:200]


class StoredRecord(Record, extra="allow"):
    """Kept in a store that machines of several versions share: what a newer one adds is kept, and goes unread."""


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table for DVC's plots, each line ended by a line feed alone."""
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows([header, *rows])
    write_text(path, content.getvalue())


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: a reader finds the old one or the whole new one, and a full disk leaves no part."""
    temporary = intermediate(path)
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # instead of none, for a full disk, or of the temporary name
        raise
    finally:
        temporary.unlink(missing_ok=True)


def intermediate(path: Path, kind: Literal["tmp", "old"] = "tmp") -> Path:
    """The name beside ``path`` for what becomes it, or was it.

    `hlynr.runtime.scratch.left` finds what has such a name by a process that is gone.
    """
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")
