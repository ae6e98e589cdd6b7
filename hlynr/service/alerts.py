"""Alerts: a line in a log, and a message to a webhook if one is configured.

The webhook's address may itself be a secret, so it is read from the environment or a file, never from params.yaml.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from pydantic import AwareDatetime

from hlynr.config.sections import Alerts, NotifiedEvent
from hlynr.records.base import Record
from hlynr.runtime.errors import EnvironmentNotReady

WEBHOOK = "HLYNR_WEBHOOK"
WEBHOOK_FILE = "HLYNR_WEBHOOK_FILE"
TRIES = 3
RETRY = 2.0
"""[s] between two tries."""


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


def webhook() -> str | None:
    """The address that alerts go to; None if none is configured.

    Raises:
        EnvironmentNotReady: if the file cannot be read, or holds no address.
    """
    url = os.environ.get(WEBHOOK)
    if not url and (path := os.environ.get(WEBHOOK_FILE)):
        try:
            url = Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise EnvironmentNotReady(f"{WEBHOOK_FILE}: {path}: {error.strerror}") from None
    if url and not url.startswith(("http://", "https://")):
        raise EnvironmentNotReady(f"{WEBHOOK}: the address of the webhook does not begin with http:// or https://")
    return url or None


def notify(root: Path, settings: Alerts, kind: NotifiedEvent, text: str, flow_run: str | None = None) -> None:
    """Log the alert and send it; if that fails, the log says so, and nothing is raised."""
    line, now = " ".join(text.split()), datetime.now(UTC)
    _log(root, now, f"{kind:<9} {line}")
    if kind not in settings.send:
        return
    alert = AlertMessage(kind=kind, text=f"{root.name}: {line}", project=root.name, flow_run=flow_run, when=now)
    try:
        if url := webhook():
            _send(url, alert, settings.timeout)
    except EnvironmentNotReady as error:
        _log(root, now, f"not sent  {error}")


def _send(url: str, alert: AlertMessage, timeout: float) -> None:
    """Raises `EnvironmentNotReady`, without the address, if the webhook does not take it."""
    request = Request(url, alert.model_dump_json().encode(), {"Content-Type": "application/json"})
    fault = "no answer"
    for attempt in range(TRIES):
        time.sleep(RETRY if attempt else 0.0)
        try:
            with urlopen(request, timeout=timeout):
                return
        except (URLError, OSError, ValueError) as error:
            fault = str(getattr(error, "reason", None) or type(error).__name__)
    raise EnvironmentNotReady(f"the webhook failed {TRIES} times: {fault}")


def _log(root: Path, when: datetime, line: str) -> None:
    line = f"{when:%Y-%m-%d %H:%M:%S} {line}"
    try:
        log_file(root).parent.mkdir(parents=True, exist_ok=True)
        with log_file(root).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError:
        print(line, flush=True)  # a full disk: the service's log may be elsewhere
