"""Alerts: a line in a log, and a message to a webhook if one is configured."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import AwareDatetime

from hlynr.config.sections import Alerts, NotifiedEvent
from hlynr.records.base import Record
from hlynr.runtime import environment, webhook
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service.alert_sender import write_line

LONGEST = 2000
"""[characters] of a message's text; chat services take little more."""
SIGNATURE = "X-Hlynr-Signature"
"""Header with the body's HMAC, as ``sha256=...``, if `webhook.SECRET` is set."""


class AlertMessage(Record):
    """The message as the webhook gets it, as JSON; chat services show ``text``."""

    kind: NotifiedEvent
    text: str
    project: str
    """The folder's name."""
    flow_run: str | None
    when: AwareDatetime


def log_file(root: Path) -> Path:
    """Every alert, a line each, the newest last."""
    return root / ".hlynr" / "alerts.log"


def notify(root: Path, settings: Alerts, kind: NotifiedEvent, text: str, flow_run: str | None = None) -> None:
    """Log the alert and hand it to a process that sends it; returns at once, and raises nothing.

    That process outlives this one, and logs the alert as not sent after `alerts.timeout` at the latest.
    """
    log, line = log_file(root.absolute()), _printable(text)
    write_line(log, f"{kind:<9} {line}")
    if kind not in settings.send:
        return
    try:
        if url := webhook.address():
            name = _printable(root.name)
            shown = f"{name}: {line}"[:LONGEST]
            alert = AlertMessage(kind=kind, text=shown, project=name, flow_run=flow_run, when=datetime.now(UTC))
            _hand_over(log, url, alert.model_dump_json(), settings.timeout)
    except EnvironmentNotReady as error:
        write_line(log, f"not sent  {error}")
    except Exception as error:  # any: an alert must not end what it is about
        write_line(log, f"not sent  {type(error).__name__}")


def _printable(text: str) -> str:
    """One line of characters that every encoding and terminal takes."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


def _hand_over(log: Path, url: str, body: str, deadline: float) -> None:
    headers = {"Content-Type": "application/json"}
    if secret := os.environ.get(webhook.SECRET):
        headers[SIGNATURE] = f"sha256={hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()}"
    request = {"log": str(log), "url": url, "body": body, "headers": headers, "deadline": deadline}
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", "hlynr.service.alert_sender"],
        env=environment.of_child(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,  # who kills this process's group does not kill the alert
    )
    assert child.stdin is not None
    with suppress(BrokenPipeError), child.stdin:  # its exit code is logged
        child.stdin.write(json.dumps(request).encode())
    with suppress(RuntimeError):  # no thread can be started any more when the interpreter ends
        threading.Thread(target=_log_end, args=(child, log), name="hlynr-alert", daemon=True).start()


def _log_end(child: subprocess.Popen[bytes], log: Path) -> None:
    """The child logs what became of the alert, unless it was killed."""
    if child.wait():
        write_line(log, f"not sent  its process ended with exit code {child.returncode}")
