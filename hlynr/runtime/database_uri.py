"""Addresses of SQLite databases, whose file may lie in a folder of any name."""

from pathlib import Path
from urllib.parse import quote, unquote

_PLAIN, _FILE, _QUERY = ":///", ":///file:", "?uri=true"


def absolute(uri: str, root: Path, driver: str = "sqlite") -> str:
    """A ``sqlite:///PATH`` of params.yaml with the path resolved against the project; any other URI unchanged."""
    path = uri.removeprefix("sqlite:///")
    return uri if path == uri else of(root.resolve() / path, driver)


def of(path: Path, driver: str = "sqlite") -> str:
    """The address of an absolute path.

    In SQLAlchemy's URLs a path cannot have a question mark, not even a quoted one; in those of SQLite, which it passes
    on, it can. They name the driver, because MLflow makes the folder of what it takes for a path.
    """
    if "?" not in str(path):
        return f"{driver}{_PLAIN}{path}"
    return f"{driver if '+' in driver else f'{driver}+pysqlite'}{_FILE}{quote(str(path))}{_QUERY}"


def file(uri: str) -> Path | None:
    """The file of an address by `of`; None for that of a server."""
    driver, _, path = uri.partition(_PLAIN)
    if driver.partition("+")[0] != "sqlite":
        return None
    return Path(unquote(path.removeprefix("file:").removesuffix(_QUERY)) if path.startswith("file:") else path)
