"""The ledger: one row for each fault that met a command, kept over all runs of `make chaos`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from support import ROOT

from chaos import page
from hlynr.runtime import locks

FILE = ROOT / "docs" / "reliability" / "ledger.json"

Row = dict[str, Any]


def read(file: Path = FILE) -> dict[str, list[Row]]:
    """``faults`` and ``mended``; both empty if there is no ledger yet."""
    if not file.exists():
        return {"faults": [], "mended": []}
    found: dict[str, list[Row]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def write(found: dict[str, list[Row]], file: Path = FILE) -> None:
    """A row a line, so that a change shows what it adds."""
    file.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        f'"{name}": [\n' + ",\n".join(json.dumps(row, ensure_ascii=False) for row in found[name]) + "\n]"
        for name in ("faults", "mended")
    ]
    unfinished = file.with_suffix(".new")
    unfinished.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    unfinished.replace(file)


def add(rows: list[Row], file: Path = FILE) -> None:
    """Append to the ledger, to which others may add at the same time, and write the page anew."""
    with locks.hold(file.parent / ".lock"):
        found = read(file)
        found["faults"] += rows
        write(found, file)
        file.with_name("README.md").write_text(page.written(found), encoding="utf-8")


def following(rows: list[Row], kind: str) -> int:
    """The seed of the next chain of a kind."""
    return 1 + max((row["seed"] for row in rows if row["kind"] == kind), default=0)


def commit() -> str:
    """Of the code that runs, marked if it is not what was committed."""

    def git(*command: str) -> str:
        return subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "hlynr", "flows", "params.yaml", "dvc.yaml")
    return git("rev-parse", "--short=10", "HEAD") + ("+changes" if changed else "")
