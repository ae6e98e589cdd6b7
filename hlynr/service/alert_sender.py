"""Sends one alert to the webhook: a process of its own, so that nothing else waits for a server that answers slowly.

The request is JSON on standard input, since the address may be a secret. The end of an alert that is not delivered is a
line in the log of alerts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from hlynr.runtime import http_request, logs

TRIES = 3
RETRY = 2.0
"""[s] between two tries."""
_WORTH_REPEATING = (408, 429)
"""Answers below 500 that another try may change."""


def write_line(log: Path, line: str) -> None:
    """Append a line to the log of alerts, with the time; raises nothing."""
    line = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        logs.cut(log)
        with open(log, "a", encoding="utf-8", opener=_not_waiting) as file:
            file.write(line + "\n")
    except OSError:
        with suppress(OSError, ValueError):
            print(line, flush=True)  # a full disk: the service's log may be elsewhere


def _not_waiting(path: str, flags: int) -> int:
    """Opening a FIFO fails instead of waiting for its reader."""
    return os.open(path, flags | os.O_NONBLOCK, 0o600)


def deliver(url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> str | None:
    """Post the alert, again after a failure that may pass; returns why it was not delivered, without the address.

    Args:
        deadline: [s] for all tries together.
    """
    ends, fault, tries = time.monotonic() + deadline, "no time", 0
    while tries < TRIES and (left := ends - time.monotonic()) > 0:
        tries += 1
        try:
            status = http_request.send("POST", url, left, body=body, headers=headers, limit=0).status
        except http_request.NoAnswerError as error:
            fault = str(error)
        else:
            if 200 <= status < 300:
                return None
            fault = f"it answered {status}"
            if status < 500 and status not in _WORTH_REPEATING:
                break
        time.sleep(max(min(RETRY, ends - time.monotonic()), 0.0))
    return f"the webhook did not take it, tried {tries} times: {fault}"


def main() -> None:
    """Deliver what standard input says, or log why it was not delivered."""
    request = json.loads(sys.stdin.buffer.read())
    fault = deliver(request["url"], request["body"].encode(), request["headers"], request["deadline"])
    if fault:
        write_line(Path(request["log"]), f"not sent  {fault}")


if __name__ == "__main__":
    main()
    os._exit(0)  # not waiting for a thread that still asks a name server
