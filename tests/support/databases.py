"""Databases on a real PostgreSQL server, for the tests that need one; its address is HLYNR_TEST_POSTGRES.

That is a server on which databases may be made, like postgresql://postgres@127.0.0.1:5432/postgres.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg2
import pytest

SERVER = os.environ.get("HLYNR_TEST_POSTGRES", "")
needed = pytest.mark.skipif(not SERVER, reason="HLYNR_TEST_POSTGRES names no PostgreSQL server to test against")


@contextmanager
def fresh(purpose: str) -> Iterator[str]:
    """The address of a new database, dropped afterwards."""
    name = f"hlynr_{purpose}_{os.getpid()}"
    server = psycopg2.connect(SERVER)
    server.autocommit = True
    try:
        with server.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            try:
                yield urlsplit(SERVER)._replace(path=f"/{name}").geturl()
            finally:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        server.close()
