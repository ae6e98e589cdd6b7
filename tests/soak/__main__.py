"""Retrain again and again under a real `hlynr up`, and record what grows: ``python -m soak --runs 50``.

Interrupted or killed, the same command goes on with the same project and adds to the same record.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from support import ROOT, projects, services

from soak import measure

SETTINGS = (
    *projects.EASY_GATE,
    "schedule.cron=null",
    "train.timesteps=4096",
    "train.checkpoint_interval=2048",
    "monitor.interval=2048",
    "evaluation.heldout_episodes=100",
)
WARM_UP = 2
"""Runs that the fit leaves out: the first ones load libraries, make tables and fill caches."""
RUNS_A_YEAR = 365
RECORD = ROOT / "docs" / "reliability" / "soak.json"


def main() -> None:
    options = _options()
    root = options.folder.resolve() / "project"
    temporary = options.folder.resolve() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(temporary)
    tempfile.tempdir = str(temporary)
    begun = (root / "params.yaml").exists()
    record = _read(options.record) if begun else {"commit": _commit(), "settings": list(SETTINGS), "samples": []}
    if not begun:
        projects.make(root, *services.free_ports(), *SETTINGS)
    service = services.Service(root)
    service.up()
    try:
        while len(record["samples"]) < options.runs:
            record["samples"].append(_sample(service, len(record["samples"]) + 1))
            options.record.parent.mkdir(parents=True, exist_ok=True)
            options.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            options.record.with_suffix(".md").write_text(page(record), encoding="utf-8")
    finally:
        service.down()
    print(page(record))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "hlynr-soak"))
    parser.add_argument("--record", type=Path, default=RECORD)
    return parser.parse_args()


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def _sample(service: services.Service, number: int) -> dict[str, Any]:
    """Retrain once, wait for the end, measure."""
    begun = time.monotonic()
    ended = service.ended(service.begin(), patience=1200.0)
    state = str(ended["state_name"])
    if state != "Completed":
        raise SystemExit(f"run {number} ended as {state}: {ended['state']['message']}")
    seconds = time.monotonic() - begun
    pid = service.state.pid
    found = measure.measured(service, measure.temporary_folder())
    return {
        "run": number,
        "service": f"{pid} {psutil.Process(pid).create_time():.0f}",
        "seconds": round(seconds, 1),
        "quantities": {name: round(value, 1) for name, value in found.items()},
    }


def page(record: dict[str, Any]) -> str:
    """A table of what each quantity was at first and last, and how it grows by a linear fit."""
    samples = record["samples"]
    lines = [
        "# Growth under `hlynr up`",
        "",
        f"{len(samples)} retrainings one after another at commit {record['commit']}, "
        f"{statistics.mean(each['seconds'] for each in samples):.0f} s each on average. `make soak` repeats it. "
        f"The growth is a linear fit without the first {WARM_UP} runs; a year has {RUNS_A_YEAR}.",
        "",
        "| quantity | first | last | a run | a year |",
        "|---|---|---|---|---|",
    ]
    for name in samples[-1]["quantities"]:
        known = [(each["run"], each["quantities"][name]) for each in samples if name in each["quantities"]]
        slope = _slope(name, samples)
        growth = "- | -" if slope is None else f"{slope:+.2f} | {slope * RUNS_A_YEAR:+,.0f}"
        lines.append(f"| {name} | {known[0][1]:,.0f} | {known[-1][1]:,.0f} | {growth} |")
    return "\n".join(lines) + "\n"


def _slope(name: str, samples: list[dict[str, Any]]) -> float | None:
    """Growth a run; of what a process takes only as long as the service was not started again."""
    newest = samples[-1]["service"]
    of_process = name.endswith(("memory MB", "descriptors"))
    points = [
        (each["run"], each["quantities"][name])
        for each in samples[WARM_UP:]
        if name in each["quantities"] and (each["service"] == newest or not of_process)
    ]
    return statistics.linear_regression(*zip(*points, strict=True)).slope if len(points) > 1 else None


if __name__ == "__main__":
    main()
