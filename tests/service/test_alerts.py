"""Alerts: always a line in the log, and a message to a webhook, whose address appears nowhere.

Whatever the webhook does is one line in the log, within the deadline, and reaches nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import faulty_servers, projects, services
from support.faulty_servers import HEAD, NOT_HTTP, answering
from support.services import Receiver

from hlynr.config.sections import Alerts
from hlynr.runtime import webhook
from hlynr.service import alert_sender, alerts

SETTINGS = Alerts(send=("failed", "promoted"), timeout=20.0)


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (webhook.WEBHOOK, webhook.WEBHOOK_FILE, webhook.SECRET):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(alert_sender, "RETRY", 0.01)


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with services.receiving() as found:
        monkeypatch.setenv(webhook.WEBHOOK, found.url)
        yield found


def _log(root: Path) -> list[str]:
    return alerts.log_file(root).read_text(encoding="utf-8").splitlines()


def _received(chat: Receiver) -> None:
    projects.until(lambda: bool(chat.alerts), "the alert", 60.0)


def _deliver(url: str, deadline: float = 20.0) -> str | None:
    return alert_sender.deliver(url, b"{}", {}, deadline)


def test_an_alert_is_a_line_and_a_message(tmp_path: Path, chat: Receiver) -> None:
    alerts.notify(tmp_path, SETTINGS, "promoted", "version 3\nis champion", "run-7")
    (line,) = _log(tmp_path)
    assert line[20:] == "promoted  version 3 is champion"
    _received(chat)
    (message,) = chat.alerts
    assert message.pop("when").startswith(line[:10])
    name = tmp_path.name
    assert message == {
        "kind": "promoted",
        "text": f"{name}: version 3 is champion",
        "project": name,
        "flow_run": "run-7",
    }


def test_an_alert_that_is_not_to_be_sent_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(webhook.WEBHOOK, "an address that would be invalid")
    alerts.notify(tmp_path, SETTINGS, "collapsed", "attempt 1")
    (line,) = _log(tmp_path)
    assert line.endswith("collapsed attempt 1")


def test_without_a_webhook_an_alert_is_logged(tmp_path: Path) -> None:
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    assert len(_log(tmp_path)) == 1


def test_a_failed_request_is_repeated(chat: Receiver) -> None:
    chat.statuses = [500, 503, 200]
    assert _deliver(chat.url) is None
    assert len(chat.alerts) == 3


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (429, 3), (404, 1), (302, 1), (307, 1), (304, 1), (199, 3)])
def test_only_2xx_counts_as_delivered(chat: Receiver, status: int, tries: int) -> None:
    chat.statuses = [status]
    fault = _deliver(chat.url)
    if status != 199:  # an interim answer that nothing follows
        assert fault == f"the webhook did not take it, tried {tries} times: it answered {status}"
    assert fault is not None
    assert len(chat.alerts) == tries


def test_a_redirect_is_not_followed(chat: Receiver) -> None:
    with faulty_servers.serving(answering("302 Found", b"", f"Location: {chat.url}")) as server:
        assert str(_deliver(f"http://{server.address}/x")).endswith("it answered 302")
    assert chat.alerts == []


@pytest.mark.parametrize("answer", NOT_HTTP.values(), ids=NOT_HTTP)
def test_an_answer_that_is_not_http_is_a_line(answer: bytes) -> None:
    with faulty_servers.serving(faulty_servers.saying(answer)) as server:
        fault = str(_deliver(f"http://{server.address}/secret-path"))
        assert len(server.requests) == 3
    assert fault.startswith("the webhook did not take it, tried 3 times: ")
    assert "secret-path" not in fault
    assert server.address not in fault


@pytest.mark.parametrize(
    "beginning", [b"", b"HTTP/1.1 ", HEAD + b"X-Long: "], ids=["nothing", "status line", "headers"]
)
def test_a_server_that_drips_ends_at_the_deadline(beginning: bytes) -> None:
    with faulty_servers.serving(faulty_servers.dripping(beginning)) as server:
        began = time.monotonic()
        assert "no whole answer within" in str(_deliver(f"http://{server.address}/x", 1.0)) or beginning == b""
        assert time.monotonic() - began < 15.0


@pytest.mark.parametrize(
    "handler",
    [
        faulty_servers.endless,
        faulty_servers.dripping(HEAD + b"\r\n"),
        answering("200 OK", b"\x1f\x8b" + b"\0garbage" * 40, "Content-Encoding: gzip"),
        faulty_servers.saying(HEAD + b"Content-Length: 1000000\r\n\r\nthe rest never comes"),
    ],
    ids=["endless", "dripping", "gzip", "cut"],
)
def test_the_body_of_an_answer_does_not_matter(handler: faulty_servers.Handler) -> None:
    with faulty_servers.serving(handler) as server:
        assert _deliver(f"http://{server.address}/x") is None


@pytest.mark.parametrize(
    ("handler", "scheme", "reason"),
    [
        (faulty_servers.resetting, "http", "Connection reset by peer"),
        (faulty_servers.silent, "http", "no whole answer within 0.5 s"),
        (answering("200 OK"), "https", "it does not speak TLS"),
    ],
)
def test_why_an_alert_was_not_delivered(handler: faulty_servers.Handler, scheme: str, reason: str) -> None:
    with faulty_servers.serving(handler) as server:
        assert reason in str(_deliver(f"{scheme}://{server.address}/x", 0.5))


def test_a_closed_port_and_an_unknown_host() -> None:
    assert str(_deliver("http://127.0.0.1:9/secret", 0.5)).endswith(": Connection refused")
    fault = str(_deliver("http://no-such-host.invalid/secret", 5.0))
    assert "its host name is not known" in fault or "no whole answer" in fault
    assert "invalid" not in fault


def test_a_proxy_is_not_used_for_this_machine(chat: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert _deliver(chat.url) is None
    monkeypatch.setenv("http_proxy", "nonsense://[")
    assert str(_deliver("http://example.org/x")).startswith("the webhook did not take it, tried 3 times: ")


def test_a_slow_webhook_is_logged_after_this_process_has_ended(tmp_path: Path) -> None:
    """The process that alerts ends while the alert is under way."""
    script = (
        "import sys; from pathlib import Path\n"
        "from hlynr.config.sections import Alerts; from hlynr.service import alerts\n"
        "alerts.notify(Path(sys.argv[1]), Alerts(send=('failed',), timeout=5.0), 'failed', 'x'); print('returned')"
    )
    with faulty_servers.serving(faulty_servers.dripping(HEAD)) as server:
        environment = os.environ | {webhook.WEBHOOK: f"http://{server.address}/secret-path"}
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout == "returned\n"
        assert len(_log(tmp_path)) == 1, "it has waited for the webhook"
        projects.until(lambda: len(_log(tmp_path)) == 2, "the end of the alert", 60.0)
    assert _log(tmp_path)[1][20:] == "not sent  the webhook did not take it, tried 1 times: no whole answer within 5 s"


def test_an_alert_whose_process_is_killed_is_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def popen(*arguments: object, **options: object) -> object:
        started.append(plain(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    plain = subprocess.Popen
    monkeypatch.setattr(alerts.subprocess, "Popen", popen)
    with faulty_servers.serving(faulty_servers.silent) as server:
        monkeypatch.setenv(webhook.WEBHOOK, f"http://{server.address}/x")
        alerts.notify(tmp_path, SETTINGS, "failed", "x")
        projects.until(lambda: bool(server.requests), "the request", 60.0)
        started[0].send_signal(signal.SIGKILL)
        projects.until(lambda: len(_log(tmp_path)) == 2, "the line", 60.0)
    assert _log(tmp_path)[1].endswith("not sent  its process ended with exit code -9")


def test_a_process_that_cannot_be_started_is_a_line(
    tmp_path: Path, chat: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts.sys, "executable", str(tmp_path / "missing"))
    alerts.notify(tmp_path, SETTINGS, "failed", "x")
    assert _log(tmp_path)[1].endswith("not sent  FileNotFoundError")


def test_a_secret_signs_the_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(webhook.SECRET, "key")
    with faulty_servers.serving(answering("204 No Content")) as server:
        monkeypatch.setenv(webhook.WEBHOOK, f"http://{server.address}/x")
        alerts.notify(tmp_path, SETTINGS, "failed", "x")
        projects.until(lambda: bool(server.requests), "the request", 60.0)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    signature = hmac.new(b"key", body, hashlib.sha256).hexdigest()
    assert f"x-hlynr-signature: sha256={signature}".encode() in head.lower()


def test_a_text_of_any_bytes_is_one_line_and_a_bounded_message(tmp_path: Path, chat: Receiver) -> None:
    alerts.notify(tmp_path, SETTINGS, "failed", "a\x1b[2J\0\udce9\r\nb" + "x" * 100_000)
    (line,) = _log(tmp_path)
    assert line[20:].startswith("failed    a?[2J??")
    _received(chat)
    assert len(chat.alerts[0]["text"]) == alerts.LONGEST


def test_an_invalid_address_is_logged_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(webhook.WEBHOOK, "http://127.0.0.1:80a/secret")
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    assert _log(tmp_path)[1][20:] == "not sent  HLYNR_WEBHOOK: the address of the webhook has an invalid host or port"


def test_an_alert_that_cannot_be_logged_is_printed_and_sent(
    tmp_path: Path, chat: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".hlynr").write_text("a file where the folder should be")
    alerts.notify(tmp_path, SETTINGS, "failed", "something")
    assert capsys.readouterr().out.endswith("failed    something\n")
    _received(chat)


def test_a_log_that_is_a_fifo_does_not_hold_the_alert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".hlynr").mkdir()
    os.mkfifo(alerts.log_file(tmp_path))
    alerts.notify(tmp_path, SETTINGS, "collapsed", "something")
    assert capsys.readouterr().out.endswith("collapsed something\n")
