"""What `hlynr prune` did, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hlynr.records.service import PruneRecord
from hlynr.report.tables import grid

if TYPE_CHECKING:
    from rich.console import RenderableType


def pruned(record: PruneRecord) -> RenderableType:
    """What goes, what stays and why, and what did not work."""
    from rich.console import Group
    from rich.padding import Padding

    blocks = [grid(headline(record), _items(record))] if record.items else []
    kept = [{"kept": str(each.count), "": each.kind, "since": each.reason} for each in record.kept]
    lines = [] if record.items else [headline(record)]
    lines += [*record.notes, *(f"WARNING: {fault}" for fault in record.faults)]
    return Group(*blocks, *([grid("Kept", kept)] if kept else []), *(Padding(line, (0, 1)) for line in lines))


def headline(record: PruneRecord) -> str:
    """The whole of it in a line."""
    if not record.items:
        return f"Nothing to prune: all that is older than {record.days} days has come to a decision"
    said = "Would remove" if record.dry_run else "Removed"
    return f"{said} {len(record.items)} thing{'s' if len(record.items) > 1 else ''}, {_size(record.bytes)}"


def _items(record: PruneRecord) -> list[dict[str, str]]:
    return [
        {
            "what": item.kind,
            "name": item.name,
            "reason": item.reason,
            "age": "-" if item.age_days is None else f"{item.age_days:.0f} d",
            "size": "-" if item.bytes is None else _size(item.bytes),
        }
        for item in record.items
    ]


def _size(count: int) -> str:
    return next((f"{count / unit:.1f} {name}" for name, unit in (("GB", 1e9), ("MB", 1e6)) if count >= unit), "") or (
        f"{count / 1e3:.1f} kB"
    )
