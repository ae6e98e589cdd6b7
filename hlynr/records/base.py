"""Frozen records, to and from JSON.

Only these and paths cross the borders between tasks, stages and processes, never models or arrays.
Rates are fractions in [0, 1], distances in metres, times in seconds unless a name says otherwise.
"""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Frozen; unknown keys are errors, so that a record of another version is not read in part."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    def write(self, path: Path) -> Path:
        """Write as JSON, atomically; makes missing folders."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, self.model_dump_json(indent=2) + "\n")
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it holds no such record.
        """
        return cls.model_validate_json(path.read_text(encoding="utf-8"))


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # instead of none, for a full disk, or of the temporary name
        raise
    finally:
        temporary.unlink(missing_ok=True)
