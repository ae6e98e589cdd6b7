"""Messages about a name that does not exist: which there are, and which is spelt most like it."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The known name that is spelt most like ``name``; None where none is as close as ``cutoff`` in [0, 1]."""
    return next(iter(get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


def not_one_of(name: str, known: Iterable[str]) -> str:
    """``is not one of A, B; did you mean B?``"""
    known = list(known)
    close = nearest(name, known)
    return f"is not one of {', '.join(known)}" + (f"; did you mean {close}?" if close else "")
