"""Writes the winner of a search into params.yaml as a strategy."""

from __future__ import annotations

import difflib
from pathlib import Path

from hlynr.config import params, strict_yaml
from hlynr.ops.versioning import params_file
from hlynr.records.base import write_text
from hlynr.records.tuning import TuneRecord
from hlynr.studies.tuning.search_config import SearchConfig, overlay


def proposal(path: Path, search: SearchConfig, record: TuneRecord) -> tuple[str, str]:
    """The text of the file, now and with the winner as the strategy named like the study."""
    before = path.read_text(encoding="utf-8")
    after = params_file.with_strategy(before, record.study, overlay(search, record.won.train))
    return before, after


def diff(path: Path, before: str, after: str) -> str:
    """The change, as `diff -u` shows it; empty if there is none."""
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), str(path), str(path))
    return "".join(lines)


def write(path: Path, after: str, name: str) -> None:
    """Write the file, if it is valid with the new strategy.

    Raises:
        hlynr.config.params.ConfigError: if it is not; the file is unchanged.
    """
    params.parse(strict_yaml.load(after), [f"run.strategy={name}"])
    write_text(path, after)
