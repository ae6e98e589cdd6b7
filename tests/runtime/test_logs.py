"""Logs stay short, and a writer that has one open goes on writing to it."""

from pathlib import Path

import pytest

from hlynr.runtime import logs
from hlynr.service import alert_sender


def test_a_long_log_begins_anew_under_its_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES", 100)
    log = tmp_path / "service.log"
    with log.open("a", buffering=1) as writer:
        for number in range(30):
            writer.write(f"line {number} of a process that runs for a year\n")
            logs.cut(log)
    assert log.stat().st_size <= 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["service.log", "service.log.1"]
    assert (tmp_path / "service.log.1").read_text().startswith("line ")


def test_what_cannot_be_cut_raises_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES", 0)
    logs.cut(tmp_path / "missing.log")
    (tmp_path / "some.log").write_text("line\n")
    (tmp_path / "some.log.1").mkdir()  # the copy fails, as on a full disk
    logs.cut(tmp_path / "some.log")
    assert (tmp_path / "some.log").read_text() == ""


def test_the_log_of_alerts_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOG_BYTES", 100)
    log = tmp_path / "alerts.log"
    for _ in range(20):
        alert_sender.write_line(log, "failed    the training failed")
    assert log.stat().st_size < 200
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alerts.log", "alerts.log.1"]
