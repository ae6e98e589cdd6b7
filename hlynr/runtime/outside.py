"""What went wrong with a database or a server outside the program, from the errors of the libraries that ask it.

Classes are known by their names, because importing the libraries takes longer than most commands.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from traceback import walk_tb
from typing import Any
from urllib.parse import urlsplit

LONGEST = 300
"""[characters] of what another program says in a message of ours."""
CREDENTIALS = "it asks for other credentials"


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from or during, and so on."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def brief(error: object) -> str:
    """An error's text on one line of bounded length, or its class."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def masked(address: str) -> str:
    """The address without a password, and without what follows a question mark, where one may be, too."""
    if address.startswith("sqlite:"):
        return address
    scheme, separator, rest = address.partition("://")
    return scheme + separator + re.sub(r"^([^/@:]*):[^/]*@", r"\1@", rest).partition("?")[0]


def first(error: BaseException, look: Callable[[BaseException], str | None]) -> str | None:
    """What ``look`` says of the error or the nearest of its causes."""
    return next((fault for link in causes(error) if (fault := look(link)) is not None), None)


def server_of(error: BaseException) -> str | None:
    """Scheme, host and port that the failed request went to, if the error knows them."""
    for link in causes(error):
        url = urlsplit(str(_request(link, "url") or ""))
        if url.netloc:
            return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
    return None


def status_fault(code: int) -> str:
    """What an HTTP status that is no answer means."""
    return f"answers {code}: {CREDENTIALS}" if code in (401, 403) else f"answers {code}"


def of_class(error: BaseException, *names: str) -> bool:
    """Whether the error is of one of these classes, given as module and name, or of a class below one."""
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)


def of_library(error: BaseException, *packages: str) -> bool:
    """Whether the error's class comes from one of these packages."""
    return type(error).__module__.partition(".")[0] in packages


def raised_in(error: BaseException, module: str) -> bool:
    """Whether a function of that module or package was running when the error was raised."""
    frames = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return any(f"{name}.".startswith(f"{module}.") for name in frames)


def database_fault(error: BaseException) -> str | None:
    """Why a database did not do what was asked, in its own words; None if the error is not of a database."""
    if type(error) in (sqlite3.DatabaseError, sqlite3.OperationalError):  # their subclasses are faults of the program
        return brief(error)
    if of_class(error, "psycopg2.Error") and not of_class(error, "psycopg2.IntegrityError", "psycopg2.DataError"):
        return brief(error)
    if of_class(error, "sqlalchemy.exc.TimeoutError"):
        return "all connections to it are in use"
    if isinstance(error, UnicodeDecodeError) and raised_in(error, "sqlalchemy"):
        return "what it sends is no text"
    return None


def server_fault(error: BaseException) -> str | None:
    """What a server answered instead, as a verb and its object: ``answers 503``; None if the error is not of one."""
    if of_library(error, "requests"):
        return _requests(error)
    if of_class(error, "httpx.HTTPStatusError"):
        return status_fault(status_of(error))
    if of_class(error, "httpx.HTTPError", "httpx.InvalidURL"):
        return "does not answer"
    if of_library(error, "botocore", "boto3", "s3transfer"):
        return f"does not take or give files: {brief(error)}"
    return None


def _requests(error: BaseException) -> str | None:
    if of_class(error, "requests.exceptions.SSLError"):
        return "has no certificate that is accepted, or does not speak TLS"
    if of_class(error, "requests.exceptions.ProxyError"):
        return "is not reached through the proxy of the environment"
    if of_class(error, "requests.exceptions.RetryError"):
        repeated = re.search(r"too many (\d{3}) error", str(error))
        return status_fault(int(repeated[1])) if repeated else "does not answer"
    if of_class(error, "requests.exceptions.HTTPError"):
        code = status_of(error)
        return status_fault(code) if code in (401, 403, 429) or code >= 500 else None
    if of_class(error, "requests.exceptions.ChunkedEncodingError", "requests.exceptions.ContentDecodingError"):
        return "breaks off its answer, or garbles it"
    if of_class(error, "requests.exceptions.InvalidJSONError"):
        return "answers something else than was asked for"
    return "does not answer"


def _request(error: BaseException, field: str) -> Any:
    try:
        return getattr(getattr(error, "request", None), field, None)
    except RuntimeError:  # httpx raises it where there is no request
        return None


def status_of(error: BaseException) -> int:
    """The HTTP status that an error carries; 0 if none."""
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)
