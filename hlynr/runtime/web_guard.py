"""Serves Prefect, MLflow and optuna-dashboard to their own pages alone.

A server on localhost can be reached by every page that a browser of the machine shows: by a request across origins, or
under a foreign host name that its owner maps to 127.0.0.1 (DNS rebinding). Both carry the foreign name in Host or
Origin. Every server that we start runs behind this one check.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
EVERYWHERE = ("0.0.0.0", "::")
"""Addresses to listen on that are no names to be reached by."""
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+?)\.?(?::([0-9]{1,5}))?", re.IGNORECASE)
_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_DEFAULT_PORTS = ("80", "443")
_PLAIN = [(b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"SAMEORIGIN")]
_REJECTED = b"Rejected: the %s is not this server's; service.allowed_hosts in params.yaml names those that are.\n"


@dataclass(frozen=True)
class Authority:
    """Name and port of a Host or Origin header; no port means that of the scheme."""

    name: str
    port: str | None

    @classmethod
    def parse(cls, text: str) -> Authority | None:
        """None for anything but ``name``, ``name:port``, ``[IPv6]`` or ``[IPv6]:port``."""
        found = _AUTHORITY.fullmatch(text)
        return cls(found[1].lower(), found[2]) if found else None

    def matches(self, allowed: str) -> bool:
        """Whether an entry of ``service.allowed_hosts`` names it; one without a port means all of them."""
        name, port = _entry(allowed)
        ports = _DEFAULT_PORTS if self.port is None else (self.port,)
        return fnmatchcase(self.name, name) and (port is None or any(fnmatchcase(each, port) for each in ports))


def _entry(allowed: str) -> tuple[str, str | None]:
    """Patterns of the name and the port of an entry; more than one colon make an IPv6 address."""
    name, colon, port = allowed.lower().rstrip(".").partition(":")
    if ":" in port:
        return f"[[]{allowed.lower().strip('[]')}]", None
    return name, port if colon else None


@dataclass(frozen=True)
class AllowedHosts:
    """Decides by its headers whether a request may be answered by the server that listens on ``host`` and ``port``."""

    host: str
    port: int
    allowed: tuple[str, ...] = ()
    """``service.allowed_hosts``."""

    def rejected(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Name of the header for which the request must be rejected; None if it may be answered."""
        values: dict[str, list[str]] = {}
        for name, value in headers:
            values.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1").strip())
        host = Authority.parse(values["host"][0]) if len(values.get("host", [])) == 1 else None
        if host is None or not self._is_ours(host):
            return "Host"
        if any(not self._is_own_page(origin, host) for origin in values.get("origin", [])):
            return "Origin"
        foreign = not {*values.get("sec-fetch-site", [])} <= {"same-origin", "none"}
        return "Sec-Fetch-Site" if foreign and not _is_link(method, values) else None

    def _is_ours(self, host: Authority) -> bool:
        """The port of localhost is not compared: a forwarded one (ssh -L, a container's) is another one."""
        own = [] if self.host in EVERYWHERE else [f"[{self.host}]" if ":" in self.host else self.host.lower()]
        return host.name in (*LOOPBACK, *own) or self._is_named(host)

    def _is_own_page(self, origin: str, host: Authority) -> bool:
        """A page of this very server, also under another of its names; no other one, also none of localhost."""
        scheme = _SCHEME.match(origin)
        page = Authority.parse(origin[scheme.end() :]) if scheme else None
        if page is None:
            return False
        return page == host or (page.port == str(self.port) and self._is_ours(page)) or self._is_named(page)

    def _is_named(self, authority: Authority) -> bool:
        return any(authority.matches(entry) for entry in self.allowed)


def _is_link(method: str, values: dict[str, list[str]]) -> bool:
    """Whether a user follows a link from another page; the answer is shown in a tab, and that page cannot read it."""
    return (method, values.get("sec-fetch-mode"), values.get("sec-fetch-dest")) == ("GET", ["navigate"], ["document"])


@dataclass(frozen=True)
class WebGuard:
    """An ASGI application that rejects foreign requests with 403, websockets and preflights among them.

    No answer lets another origin read it: headers of CORS are removed.
    """

    app: App
    hosts: AllowedHosts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
        elif rejected := self.hosts.rejected(scope.get("method", "GET"), scope["headers"]):
            await _reject(scope, send, rejected)
        else:
            await self.app(scope, receive, _closed(send))


async def _reject(scope: Message, send: Send, header: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the answer is 403
        return
    body = _REJECTED % header.encode()
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": 403, "headers": [*_PLAIN, length, *_HEADERS]})
    await send({"type": "http.response.body", "body": body})


def _closed(send: Send) -> Send:
    async def closed(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message.get("headers", ())
                if not bytes(name).lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *_HEADERS]}
        await send(message)

    return closed


def serve(app: App, host: str, port: int, allowed: Iterable[str], *, lifespan: bool = True) -> None:
    """Serve an ASGI application behind the guard, until SIGINT or SIGTERM.

    Args:
        allowed: ``service.allowed_hosts``.
        lifespan: whether the application has work to do before its first request.
    """
    import uvicorn

    guarded = WebGuard(app, AllowedHosts(host, port, tuple(allowed)))
    uvicorn.run(
        guarded, host=host, port=port, log_level="error", lifespan="on" if lifespan else "off", server_header=False
    )
