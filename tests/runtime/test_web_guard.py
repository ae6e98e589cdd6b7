"""Which requests a server answers, by Host, Origin and what a browser says about the page that asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hlynr.runtime.web_guard import AllowedHosts, WebGuard

NAMED = ("mlflow.example.org", "proxy.example.org:8443", "*.lab.example.org:*", "fd00::7")
HOSTS = AllowedHosts("127.0.0.1", 4200, NAMED)


def _rejected(hosts: AllowedHosts = HOSTS, method: str = "GET", **headers: str | list[str]) -> str | None:
    sent = [
        (name.replace("_", "-").encode(), value.encode())
        for name, values in headers.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    return hosts.rejected(method, sent)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:4200",
        "localhost:4200",
        "LocalHost:4200",
        "localhost.:4200",
        "[::1]:4200",
        "localhost",
        "localhost:14200",  # a forwarded port
        "mlflow.example.org",
        "MLflow.Example.ORG:5000",
        "proxy.example.org:8443",
        "a.lab.example.org:1",
        "[fd00::7]:4200",
    ],
)
def test_its_own_names_are_answered(host: str) -> None:
    assert _rejected(host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.org",
        "evil.example.org:4200",
        "127.0.0.1.evil.example.org:4200",
        "localhost.evil.example.org",
        "evil.localhost:4200",
        "localhost@evil.example.org",
        "localhost:4200@evil.example.org",
        "localhost:4200.evil.example.org",
        "localhost:4200,evil.example.org",
        "evil.example.org#localhost",
        "0.0.0.0:4200",
        "127.1:4200",
        "2130706433:4200",
        "[::ffff:127.0.0.1]:4200",
        "10.0.0.5:4200",
        "proxy.example.org",
        "proxy.example.org:8444",
        "example.org",
        "a.mlflow.example.org",
        "localhost:port",
        "localhost:",
        ":4200",
        "http://localhost:4200",
        "localhost\x00",
        "localhost ",
        "",
    ],
)
def test_every_other_host_is_rejected(host: str) -> None:
    wanted = None if host == "localhost " else "Host"  # blanks around a value are not part of it
    assert _rejected(host=host) == wanted


def test_without_or_with_two_hosts_a_request_is_rejected() -> None:
    assert _rejected() == "Host"
    assert _rejected(origin="http://127.0.0.1:4200") == "Host"
    assert _rejected(host=["127.0.0.1:4200", "evil.example.org"]) == "Host"
    assert _rejected(host="evil.example.org", x_forwarded_host="localhost:4200", forwarded="host=localhost") == "Host"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:4200", "http://127.0.0.1:4200"),
        ("127.0.0.1:4200", "http://localhost:4200"),  # the same server under its other name
        ("localhost:14200", "http://localhost:14200"),
        ("[::1]:4200", "http://[::1]:4200"),
        ("mlflow.example.org", "https://mlflow.example.org"),
        ("127.0.0.1:4200", "https://mlflow.example.org"),  # a proxy that changes the host
        ("127.0.0.1:4200", "https://proxy.example.org:8443"),
        ("localhost:4200", "HTTP://LOCALHOST:4200"),
    ],
)
def test_its_own_pages_are_answered(host: str, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "DELETE"):
        assert _rejected(method=method, host=host, origin=origin) is None


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example.org",
        "http://evil.example.org:4200",
        "http://127.0.0.1:4200.evil.example.org",
        "http://127.0.0.1:8888",  # another server of this machine
        "http://localhost",
        "https://proxy.example.org",
        "null",
        "NULL",
        "file://",
        "chrome-extension://localhost:4200",
        "localhost:4200",
        "http://",
        "",
    ],
)
def test_every_other_origin_is_rejected(origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "PATCH"):
        assert _rejected(method=method, host="127.0.0.1:4200", origin=origin) == "Origin"
    assert _rejected(host="127.0.0.1:4200", origin=["http://127.0.0.1:4200", origin]) == "Origin"


def test_a_page_elsewhere_may_link_here_but_neither_embed_nor_load() -> None:
    link = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    assert _rejected(host="localhost:4200", **link) is None
    assert _rejected(host="localhost:4200", sec_fetch_site="none", sec_fetch_mode="navigate") is None
    assert _rejected(host="localhost:4200", sec_fetch_site="same-origin", sec_fetch_mode="cors") is None
    for changed in (
        {"sec_fetch_mode": "no-cors", "sec_fetch_dest": "image"},
        {"sec_fetch_dest": "iframe"},
        {"sec_fetch_site": "same-site", "sec_fetch_mode": "no-cors", "sec_fetch_dest": "script"},
    ):
        assert _rejected(host="localhost:4200", **{**link, **changed}) == "Sec-Fetch-Site"
    assert _rejected(method="POST", host="localhost:4200", **link) == "Sec-Fetch-Site"


@pytest.mark.parametrize(
    ("listening", "host", "rejected"),
    [
        ("192.0.2.5", "192.0.2.5:4200", None),
        ("Main.example.org", "main.example.org:4200", None),
        ("fd00::5", "[fd00::5]:4200", None),
        ("0.0.0.0", "0.0.0.0:4200", "Host"),
        ("0.0.0.0", "192.0.2.5:4200", "Host"),
        ("::", "[::]:4200", "Host"),
    ],
)
def test_the_address_that_it_listens_on_is_a_name_of_its_own(listening: str, host: str, rejected: str | None) -> None:
    assert _rejected(AllowedHosts(listening, 4200), host=host) == rejected


def _answer(scope: dict[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """What the guard sends, and whether the application was asked."""
    asked, sent = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope)
        headers = [(b"Access-Control-Allow-Origin", b"*"), (b"access-control-allow-headers", b"*"), (b"etag", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"yes"})

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(WebGuard(app, HOSTS)(scope, None, send))  # type: ignore[arg-type]
    return sent, bool(asked)


def test_a_rejection_does_not_reach_the_application() -> None:
    evil = [(b"host", b"evil.example.org")]
    (start, body), asked = _answer({"type": "http", "method": "OPTIONS", "headers": evil})
    assert (start["status"], asked) == (403, False)
    assert b"the Host is not this server's; service.allowed_hosts" in body["body"]
    assert not any(name.startswith(b"access-control") for name, _ in start["headers"])
    (closed,), asked = _answer({"type": "websocket", "headers": evil})
    assert (closed["type"], asked) == ("websocket.close", False)
    foreign = [(b"host", b"localhost:4200"), (b"origin", b"http://evil.example.org")]
    (closed,), asked = _answer({"type": "websocket", "headers": foreign})
    assert (closed["type"], asked) == ("websocket.close", False)


def test_no_answer_can_be_read_across_origins_or_framed() -> None:
    (start, _), asked = _answer({"type": "http", "method": "GET", "headers": [(b"host", b"localhost:4200")]})
    assert asked
    headers = dict(start["headers"])
    assert headers == {b"etag": b"1", b"x-content-type-options": b"nosniff", b"x-frame-options": b"SAMEORIGIN"}
    assert _answer({"type": "lifespan"})[1]
