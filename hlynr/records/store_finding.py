"""What the stores or the disk hold that this project cannot use, or that only a dead process can have left."""

from hlynr.records.base import Record


class StoreFinding(Record):
    """One such thing."""

    what: str
    """One line."""
    remedy: str
    """The command or act that mends it."""
    repairable: bool = False
    """Whether `hlynr doctor --repair` removes it, since only a dead process can have left it."""
    repaired: bool = False
    """Whether it did."""
