"""What a verb prints: the record for people or as JSON, and lines for standard error."""

from __future__ import annotations

import json as encoder
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import typer

from hlynr.runtime import streams
from hlynr.runtime.errors import INTERRUPTED
from hlynr.runtime.output_files import write_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hlynr.records.base import Record

    Writable: TypeAlias = Record | Sequence[Record] | Mapping[str, object]


def show(renderable: RenderableType | None, record: Writable, json: Path | None) -> None:
    """Write the record to the file ``json``, and print for people unless it went to standard output."""
    from pydantic_core import to_jsonable_python

    text = encoder.dumps(to_jsonable_python(record), indent=2)
    if json == Path("-"):
        print(text)
        streams.require_written()
        return
    if json is not None:
        write_text(json, text + "\n")
    from rich.console import Console

    Console().print(renderable)


def say(line: str) -> None:
    """Print a line to standard error."""
    print(f"hlynr: {line}", file=sys.stderr)


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Answer Ctrl-C with a line and its exit code; trainings have written their checkpoints when it arrives here."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"interrupted; {advice}")
        raise typer.Exit(INTERRUPTED) from None
