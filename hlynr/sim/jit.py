"""Compilation of the kernels, cached on disk per version of the sources.

Numba's own cache looks only at the file that holds a function: a change in a function it calls from another file
would silently keep running the old code. Here the cache folder's name holds a digest of all kernel sources.
"""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from hlynr.runtime import scratch

F = TypeVar("F", bound=Callable[..., Any])
_PACKAGE = Path(__file__).parents[1]


def _cache_folder() -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    for source in sorted([*_PACKAGE.glob("sim/*.py"), *_PACKAGE.glob("envs/*.py")]):
        digest.update(source.read_bytes())
    name = f"numba-{digest.hexdigest()[:16]}"
    if os.access(_PACKAGE, os.W_OK):
        return str(_PACKAGE / "__pycache__" / name)
    return str(_owned(scratch.user_folder()) / name)


def _owned(folder: Path) -> Path:
    """The folder if it is this user's alone, else a new one: what lies in the cache is run."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return folder  # numba says why it cannot write there
    owned = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return folder if owned else Path(tempfile.mkdtemp(prefix=folder.name))


_FOLDER = _cache_folder()


def kernel(function: F, **options: Any) -> F:
    """Numba's ``njit`` with fastmath off, the GIL released, and this package's cache folder."""
    settings: Any = numba.config
    before = settings.CACHE_DIR
    settings.CACHE_DIR = _FOLDER
    try:
        return cast(F, numba.njit(cache=True, nogil=True, **options)(function))
    finally:
        settings.CACHE_DIR = before


def inlined(function: F) -> F:
    """A small compiled function, spliced into its callers."""
    return kernel(function, inline="always")


def compiles() -> bool:
    """Whether numba compiles: with ``NUMBA_DISABLE_JIT`` the kernels run as Python, hundreds of times slower."""
    settings: Any = numba.config
    return not settings.DISABLE_JIT
