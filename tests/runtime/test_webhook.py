"""The webhook's address: valid, or one line that does not hold it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hlynr.runtime import webhook
from hlynr.runtime.errors import NOT_READY, EnvironmentNotReady

INVALID = {
    "nonsense-secret": "does not begin with http:// or https://",
    "file:///etc/secret": "does not begin with http:// or https://",
    "http://127.0.0.1:80a/secret": "has an invalid host or port",
    "http://127.0.0.1:80000/secret": "has an invalid host or port",
    "http://127.0.0.1:0/secret": "has an invalid port; 1 to 65535 are allowed",
    "http://127.0.0.1:/secret": "has an invalid port; 1 to 65535 are allowed",
    "http:///secret": "names no host",
    "https://:443/secret": "names no host",
    "http://user:secret@example.org/x": "holds a user name or password",
    "http://[::1/secret": "has an invalid host or port",
    "http://[nonsense]/secret": "has an invalid host or port",
    "http://a\\b/secret": "has an invalid host",
    "http://a..b/secret": "has an invalid host",
    "http://example.org/a secret": "holds a space",
    "http://example.org/a\r\nX-Header: secret": "holds a space, a line break",
    "http://exämple.org/secret": "or a character beyond ASCII",
    "http://example.org/" + "secret" * 2000: "is longer than 8192 characters",
}


@pytest.fixture(autouse=True)
def _no_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (webhook.WEBHOOK, webhook.WEBHOOK_FILE):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("url", "fault"), INVALID.items(), ids=range(len(INVALID)))
def test_an_invalid_address(url: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "address"
    file.write_text(url, encoding="utf-8")
    for name, value in ((webhook.WEBHOOK_FILE, str(file)), (webhook.WEBHOOK, url)):
        monkeypatch.setenv(name, value)
        with pytest.raises(EnvironmentNotReady) as caught:
            webhook.address()
        message = str(caught.value)
        assert message.startswith(name)
        assert fault in message
        assert "secret" not in message
        assert "\n" not in message
        assert caught.value.exit_code == NOT_READY


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/x", "https://hooks.example.org/a/b?c=%20#d", "HTTP://[::1]:80", "http://a_b.local/"]
)
def test_a_valid_address(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "address"
    file.write_bytes(url.encode() + b"\r\n")
    monkeypatch.setenv(webhook.WEBHOOK_FILE, str(file))
    assert webhook.address() == url
    monkeypatch.setenv(webhook.WEBHOOK, f" {url}\n")
    assert webhook.address() == url


def test_without_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert webhook.address() is None
    monkeypatch.setenv(webhook.WEBHOOK, "")  # as compose.yaml sets it
    assert webhook.address() is None


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "empty").touch()
    faults = {
        "missing": "No such file or directory",
        ".": "is not a regular file",
        "fifo": "is not a regular file",
        "binary": "does not begin with http",
        "empty": "is empty",
    }
    for name, fault in faults.items():
        monkeypatch.setenv(webhook.WEBHOOK_FILE, str(tmp_path / name))
        with pytest.raises(EnvironmentNotReady, match=fault):
            webhook.address()
