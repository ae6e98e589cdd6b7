"""The answer of `hlynr status` in a terminal of 80 columns."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

from hlynr.records.service import ComponentStatus, DiskUse, Load, RetrainingRun, ServiceStatus
from hlynr.report import service

NOON = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
PARTS = (
    ComponentStatus(
        name="prefect", state="healthy", url="http://127.0.0.1:4200", pid=7, log=".hlynr/service/prefect.log"
    ),
    ComponentStatus(name="mlflow", state="elsewhere", url="http://main:5000", pid=None, log=None),
    ComponentStatus(name="worker", state="down", url=None, pid=8, restarts=3, log=".hlynr/service/worker.log"),
)
RETRAINING = RetrainingRun(
    id="r", name="calm-otter", state="Completed", began=NOON, seconds=93.0, verdict="Promoted: 98 %."
)
DISK = (DiskUse(name="runs and models", path="mlruns", bytes=3_400_000_000),)
STATUS = ServiceStatus(
    healthy=False,
    reason="worker is down",
    components=PARTS,
    since=NOON,
    took=14.2,
    load=Load(memory=790_000_000, cpu=0.024),
    next_run=NOON,
    schedule="0 2 * * * (UTC)",
    runs=(RETRAINING,),
    champion=None,
    review="http://127.0.0.1:5000/#/retrainings",
    disk=DISK,
    disk_free=81_000_000_000,
)


def _lines(status: ServiceStatus) -> list[str]:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(service.status(status))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_everything_is_there_and_fits() -> None:
    lines = _lines(STATUS)
    text = " ".join(" ".join(lines).split())
    assert lines[0] == "NOT HEALTHY: worker is down"
    assert "prefect ok healthy http://127.0.0.1:4200" in text
    assert "mlflow ok elsewhere http://main:5000" in text
    assert "worker FAIL down, restarts: 3 -" in text
    assert "Logs: .hlynr/service Up: since" in text
    assert "Schedule 0 2 * * * (UTC), next retraining 2026-11-25 12:00" in text
    assert "calm-otter 2026-11-25 12:00" in text
    assert "Promoted: 98 %." in text
    assert "Up: since 2026-11-25 12:00 UTC, healthy after 14 s; uses 790 MB of memory and 2.4% of a core" in text
    assert "Review the retrainings: http://127.0.0.1:5000/#/retrainings" in text
    assert "Champion: no champion yet" in text
    assert "runs and models 3.4 GB; 81.0 GB free" in text
    assert max(map(len, lines)) <= 80


def test_nothing_is_up() -> None:
    empty = {"components": (), "runs": (), "since": None, "took": None, "load": None, "next_run": None}
    lines = _lines(STATUS.model_copy(update=empty | {"reason": "the service is not up", "schedule": "none"}))
    assert lines[0] == "NOT HEALTHY: the service is not up"
    assert "Schedule none, no retraining is scheduled" in lines
    assert not any(line.startswith(" Up:") for line in lines)
