"""The winner of a search as a strategy of params.yaml."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from hlynr.config import params, strict_yaml
from hlynr.ops.versioning import params_file
from hlynr.records.base import write_text
from hlynr.records.tuning import TuneRecord
from hlynr.studies.tuning.search_config import SearchConfig, overlay


def proposal(path: Path, search: SearchConfig, record: TuneRecord) -> tuple[str, str]:
    """The file's text as it is, and with the winner as the strategy that is called like the study."""
    before = path.read_text(encoding="utf-8")
    after = params_file.with_strategy(before, record.study, overlay(search, record.won.train))
    return before, after


def diff(path: Path, before: str, after: str) -> str:
    """What would change, as `diff -u` shows it; empty if nothing would."""
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), str(path))
    return "".join(lines)


def write(path: Path, after: str, name: str, overrides: Iterable[str] = ()) -> None:
    """Write the file, if it reads as it should with the new strategy.

    Raises:
        hlynr.config.params.ConfigError: if it does not; the file is left as it was.
    """
    params.parse(strict_yaml.load(after), [*overrides, f"run.strategy={name}"])
    write_text(path, after)
