"""Servers that answer wrongly, slowly or not at all: each connection is handled by a function of the test's choice."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import sleep

Handler = Callable[[socket.socket], None]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


@dataclass
class FaultyServer:
    """A TCP server on 127.0.0.1."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    """The beginning of each request, as far as one was read."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def serving(handler: Handler) -> Iterator[FaultyServer]:
    """A server that reads what comes first and then leaves the connection to the handler."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
        server = FaultyServer(listener.getsockname()[1])

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError, ssl.SSLError):
                server.requests.append(_request(connection))
                handler(connection)

        def accept() -> None:
            with suppress(OSError):  # closed
                while True:
                    threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


def _request(connection: socket.socket) -> bytes:
    """Headers and body."""
    received = b""
    connection.settimeout(5.0)
    while b"\r\n\r\n" not in received:
        if not (chunk := connection.recv(65536)):
            return received
        received += chunk
        if not received[:1].isalpha():  # TLS
            return received
    head, _, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    wanted = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < wanted and (chunk := connection.recv(65536)):
        body += chunk
    return head + b"\r\n\r\n" + body


def saying(answer: bytes) -> Handler:
    """Send these bytes and close."""
    return lambda connection: connection.sendall(answer)


def answering(status: str, body: bytes = b"", *headers: str) -> Handler:
    """A whole HTTP answer, like ``503 Service Unavailable``."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return saying("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def dripping(beginning: bytes, drop: bytes = b"x") -> Handler:
    """Send the beginning, then the drop ten times a second for ever."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(beginning)
        while True:
            sleep(0.1)
            connection.sendall(drop)

    return drip


def endless(connection: socket.socket) -> None:
    """A body without end, as fast as it is read."""
    connection.sendall(HEAD + b"\r\n")
    while True:
        connection.sendall(b"x" * 65536)


def silent(connection: socket.socket) -> None:
    """Read, and never answer."""
    connection.settimeout(None)
    while connection.recv(65536):
        pass


def resetting(connection: socket.socket) -> None:
    """Close with a reset instead of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


NOT_HTTP: dict[str, bytes] = {
    "banner": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "zeros": b"\0" * 200,
    "status line with a zero": b"HTTP/1.1 2\x0000 OK\r\n\r\n",
    "cut in the headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "TLS": bytes.fromhex("15030300020228"),
    "status of letters": b"HTTP/1.1 abc OK\r\n\r\n",
}
"""Answers that are not HTTP."""
