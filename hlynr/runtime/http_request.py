"""One HTTP request with a deadline for all of it: name, connection, every byte of the answer."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.outside import causes

LIMIT = 16 * 1024**2
"""[bytes] of an answer's body."""


class NoAnswerError(EnvironmentNotReady):
    """No whole HTTP answer came; the message says why, and never names the address."""


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status; a redirect is not followed."""

    status: int
    body: bytes


def send(
    method: str,
    url: str,
    deadline: float,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limit: int = LIMIT,
) -> Answer:
    """Send a request and read the answer, through the user's proxy unless the host is this machine.

    Args:
        deadline: [s] from now until the last byte; a server that sends a byte a second does not exceed it.
        limit: [bytes] of the body that are accepted; with 0 the body is not read.

    Raises:
        NoAnswerError: if no whole answer comes in time.
    """
    # Not asyncio.run, which would wait for a name server after the deadline.
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    try:
        exchange = _exchange(method, url, body, dict(headers or {}), limit)
        return loop.run_until_complete(asyncio.wait_for(exchange, deadline))
    except TimeoutError:
        raise NoAnswerError(f"no whole answer within {deadline:.3g} s") from None
    except NoAnswerError:
        raise
    except Exception as error:  # any: proxies, certificates and the other side's bytes fail in many classes
        raise NoAnswerError(_reason(error)) from None
    finally:
        loop.close()


async def _exchange(method: str, url: str, body: bytes | None, headers: dict[str, str], limit: int) -> Answer:
    import httpx

    own = is_this_machine(urlsplit(url).hostname or "")
    async with (
        httpx.AsyncClient(timeout=None, follow_redirects=False, trust_env=not own) as client,
        client.stream(method, url, content=body, headers={"Accept-Encoding": "identity"} | headers) as response,
    ):
        received = bytearray()
        if limit:
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) > limit:
                    raise NoAnswerError(f"more than {limit / 1e6:.3g} MB came as the answer")
        return Answer(response.status_code, bytes(received))


def is_this_machine(host: str) -> bool:
    """Whether a host name or address is the loopback's."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _reason(error: BaseException) -> str:
    """Why there is no answer, in words that hold neither the address nor what the other side sent."""
    for link in causes(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {link.verify_message.partition(',')[0]}"  # then its host follows
        if isinstance(link, ssl.SSLError):
            return f"it does not speak TLS ({link.reason})"
        if isinstance(link, socket.gaierror):
            return "its host name is not known"
        if isinstance(link, OSError) and link.errno:
            return os.strerror(link.errno)
    return {
        "RemoteProtocolError": "what came is no whole HTTP answer",
        "ProxyError": "the proxy does not let it through",
    }.get(type(error).__name__, type(error).__name__)
