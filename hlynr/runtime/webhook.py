"""The webhook's address and secret: from the environment or a file, never from params.yaml, and in no message."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from hlynr.runtime.errors import EnvironmentNotReady

WEBHOOK = "HLYNR_WEBHOOK"
WEBHOOK_FILE = "HLYNR_WEBHOOK_FILE"
SECRET = "HLYNR_WEBHOOK_SECRET"
"""Environment variable with a key; alerts then carry a signature."""
LONGEST = 8192
"""[characters] of an address."""
_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


def address() -> str | None:
    """The address that alerts go to; None if none is configured.

    Raises:
        EnvironmentNotReady: if it is invalid or its file cannot be read; the message does not hold it.
    """
    if url := os.environ.get(WEBHOOK, "").strip():
        return _valid(url, WEBHOOK)
    if path := os.environ.get(WEBHOOK_FILE):
        return _valid(_content(Path(path)), f"{WEBHOOK_FILE}: {path}")
    return None


def _content(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # opening a FIFO would wait for its writer
            raise EnvironmentNotReady(f"{WEBHOOK_FILE}: {path}: is not a regular file")
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(LONGEST + 2).strip()
    except OSError as error:
        raise EnvironmentNotReady(f"{WEBHOOK_FILE}: {path}: {error.strerror}") from None
    except ValueError:
        raise EnvironmentNotReady(f"{WEBHOOK_FILE}: is not a path") from None


def _valid(url: str, source: str) -> str:
    fault = _fault(url)
    if fault:
        raise EnvironmentNotReady(f"{source}: the address of the webhook {fault}")
    return url


def _fault(url: str) -> str | None:
    if not url:
        return "is empty"
    if len(url) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if not url.lower().startswith(("http://", "https://")):
        return "does not begin with http:// or https://"
    if not re.fullmatch(r"[!-~]+", url):
        return "holds a space, a line break or a character beyond ASCII; write the host as xn--..., the rest with %"
    try:
        return _part_fault(urlsplit(url))
    except ValueError:
        return "has an invalid host or port"


def _part_fault(parts: SplitResult) -> str | None:
    if "@" in parts.netloc:
        return "holds a user name or password, which are not sent; put a token into its path"
    if not parts.hostname:
        return "names no host"
    if parts.port == 0 or parts.netloc.endswith(":"):
        return "has an invalid port; 1 to 65535 are allowed"
    if "[" in parts.netloc:
        ipaddress.IPv6Address(parts.hostname.partition("%")[0])
    elif not _NAME.fullmatch(parts.hostname):
        return "has an invalid host"
    return None
