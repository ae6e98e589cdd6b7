"""Alerts: always a line in the log, and a message to a webhook, whose address appears nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import services
from support.services import Receiver

from hlynr.config.sections import Alerts
from hlynr.service import alerts

SETTINGS = Alerts(send=("failed", "promoted"), timeout=2.0)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(alerts, "RETRY", 0.01)
    monkeypatch.delenv(alerts.WEBHOOK_FILE, raising=False)
    with services.receiving() as found:
        monkeypatch.setenv(alerts.WEBHOOK, found.url)
        yield found


def _log(root: Path) -> list[str]:
    return alerts.log_file(root).read_text(encoding="utf-8").splitlines()


def test_an_alert_is_a_line_and_a_message(tmp_path: Path, chat: Receiver) -> None:
    alerts.notify(tmp_path, SETTINGS, "promoted", "version 3\nis champion", "run-7")
    (line,) = _log(tmp_path)
    assert line[20:] == "promoted  version 3 is champion"
    (message,) = chat.alerts
    assert message.pop("when").startswith(line[:10])
    name = tmp_path.name
    assert message == {
        "kind": "promoted",
        "text": f"{name}: version 3 is champion",
        "project": name,
        "flow_run": "run-7",
    }


def test_an_alert_that_is_not_sent_is_logged(tmp_path: Path, chat: Receiver) -> None:
    alerts.notify(tmp_path, SETTINGS, "collapsed", "attempt 1")
    assert _log(tmp_path)[0].endswith("collapsed attempt 1")
    assert chat.alerts == []


def test_without_a_webhook_an_alert_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(alerts.WEBHOOK, raising=False)
    monkeypatch.delenv(alerts.WEBHOOK_FILE, raising=False)
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    assert len(_log(tmp_path)) == 1


def test_a_failed_request_is_repeated(tmp_path: Path, chat: Receiver) -> None:
    chat.statuses = [500, 503, 200]
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    assert len(chat.alerts) == 3
    assert len(_log(tmp_path)) == 1


def test_a_webhook_that_fails_is_logged_without_its_address(tmp_path: Path, chat: Receiver) -> None:
    chat.statuses = [500]
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    alert, fault = _log(tmp_path)
    assert alert.endswith("failed    something")
    assert fault[20:] == "not sent  the webhook failed 3 times: Internal Server Error"
    assert "secret-path" in chat.url
    assert "secret-path" not in "".join(_log(tmp_path))


def test_the_address_may_be_in_a_file(tmp_path: Path, chat: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(alerts.WEBHOOK)
    file = tmp_path / "webhook"
    file.write_text(chat.url + "\n")
    monkeypatch.setenv(alerts.WEBHOOK_FILE, str(file))
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    assert len(chat.alerts) == 1


@pytest.mark.parametrize("address", ["nonsense", "file:///etc/passwd"])
def test_an_invalid_address_is_logged(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(alerts.WEBHOOK, address)
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    assert _log(tmp_path)[1].endswith("the address of the webhook does not begin with http:// or https://")


def test_an_alert_that_cannot_be_logged_is_printed_and_sent(
    tmp_path: Path, chat: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".hlynr").write_text("a file where the folder should be")
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    assert capsys.readouterr().out.endswith("failed    something\n")
    assert len(chat.alerts) == 1
