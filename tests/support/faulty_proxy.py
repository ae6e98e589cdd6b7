"""A TCP proxy before a real server, whose faults are switched on and off while connections stand."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import sleep
from typing import Literal

Fault = Literal["none", "delay", "freeze", "cut", "garbage", "refuse"]


@dataclass
class FaultyProxy:
    """Passes bytes between its clients and ``target`` until a fault is set.

    ``delay`` holds every piece back for ``seconds``; ``freeze`` passes nothing and keeps connections open; ``cut``
    resets standing connections and new ones once they say something; ``garbage`` replaces what the server answers by
    random bytes; ``refuse`` accepts no connection at all, and resets those that stand.
    """

    target: tuple[str, int]
    port: int
    seconds: float = 1.0
    seed: int = 0
    _fault: Fault = "none"
    _open: list[socket.socket] = field(default_factory=list)
    _listener: socket.socket | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def set(self, fault: Fault) -> None:
        """From now on; standing connections are affected, too."""
        self._fault = fault
        if fault == "refuse":
            self._close_listener()
        elif self._listener is None:
            self._listen()
        if fault in ("cut", "refuse"):
            self._reset_all()

    def close(self) -> None:
        """End it and all its connections."""
        self._close_listener()
        self._reset_all()

    def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=50)
        self._listener, self.port = listener, listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.target, timeout=10.0)
            except OSError:
                _reset(client)
                continue
            server.settimeout(None)
            self._open += [client, server]
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass_on, args=(source, sink, answers), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        noise = random.Random(self.seed)
        with suppress(OSError):
            while chunk := source.recv(65536):
                if self._fault == "delay":
                    sleep(self.seconds)
                while self._fault == "freeze":
                    sleep(0.05)
                if self._fault in ("cut", "refuse"):
                    break
                sink.sendall(noise.randbytes(len(chunk)) if answers and self._fault == "garbage" else chunk)
        for each in (source, sink):
            _reset(each) if self._fault in ("cut", "refuse") else _shut(each)

    def _close_listener(self) -> None:
        if self._listener is not None:
            _shut(self._listener)
            self._listener = None

    def _reset_all(self) -> None:
        connections, self._open = self._open, []
        for each in connections:
            _reset(each)


@contextmanager
def proxying(host: str, port: int) -> Iterator[FaultyProxy]:
    """A proxy on a free port of 127.0.0.1, without a fault at first."""
    proxy = FaultyProxy((host, port), 0)
    proxy.set("none")
    try:
        yield proxy
    finally:
        proxy.close()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _reset(connection: socket.socket) -> None:
    """Close so that the other side sees a reset."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    _shut(connection)
