"""The answers of `hlynr status` and `hlynr prune` for the terminal."""

from collections.abc import Iterable
from datetime import datetime

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from hlynr.records.service import PruneRecord, ServiceStatus
from hlynr.records.store_finding import StoreFinding
from hlynr.report import text
from hlynr.report.tables import grid

SIGNS = {"healthy": "ok", "elsewhere": "ok", "starting": "warn", "not answering": "FAIL", "down": "FAIL"}


def status(found: ServiceStatus) -> RenderableType:
    """Services, retrainings, champion and disk, each a short table."""
    blocks = _section(f"{'Healthy' if found.healthy else 'NOT HEALTHY'}: {found.reason}", _components(found))
    upcoming = f"next retraining {_time(found.next_run)}" if found.next_run else "no retraining is scheduled"
    blocks += _section(f"Schedule {found.schedule}, {upcoming}", _retrainings(found))
    disk = ", ".join(f"{use.name} {text.size(use.bytes)}" for use in found.disk)
    lines = [*_up(found), f"Champion: {_champion(found)}", f"Disk: {disk}; {text.size(found.disk_free)} free"]
    review = [Text(f" Review the retrainings: {found.review}", no_wrap=True, overflow="ignore")] if found.review else []
    return Group(*blocks, *(Padding(line, (0, 1)) for line in [*findings(found.findings), *lines]), *review)


def findings(found: Iterable[StoreFinding]) -> list[str]:
    """A line for each, with what mends it."""
    return [f"{'REPAIRED' if each.repaired else 'TO MEND'}: {each.what} ({each.remedy})" for each in found]


def _champion(found: ServiceStatus) -> str:
    if found.champion is not None:
        return text.headline(found.champion)
    number = found.champion_version
    return "no champion yet" if number is None else f"Version {number} is champion, by an alias that was set by hand."


def pruned(record: PruneRecord) -> RenderableType:
    """What `hlynr prune` removed, what stays and why, and what failed."""
    blocks: list[RenderableType] = []
    lines = [*record.notes, *(f"WARNING: {fault}" for fault in record.faults)]
    if record.items:
        blocks.append(grid(headline(record), _pruned_items(record)))
    else:
        lines.insert(0, headline(record))
    if record.kept:
        blocks.append(grid("Kept", [{"kept": str(k.count), "": k.kind, "since": k.reason} for k in record.kept]))
    return Group(*blocks, *(Padding(line, (0, 1)) for line in lines))


def headline(record: PruneRecord) -> str:
    """The result in a line."""
    if not record.items:
        return f"Nothing to prune: all that is older than {record.days} days has a decision"
    said = "Would remove" if record.dry_run else "Removed"
    return f"{said} {len(record.items)} thing{'s' if len(record.items) > 1 else ''}, {text.size(record.bytes)}"


def _pruned_items(record: PruneRecord) -> list[dict[str, str]]:
    return [
        {
            "what": item.kind,
            "name": item.name,
            "reason": item.reason,
            "age": "-" if item.age_days is None else f"{item.age_days:.0f} d",
            "size": "-" if item.bytes is None else text.size(item.bytes),
        }
        for item in record.items
    ]


def _section(title: str, rows: list[dict[str, str]]) -> list[RenderableType]:
    """The title before the table, not in it: there it would wrap at the width of the table."""
    return [Text(title, style="bold"), grid("", rows) if rows else ""]


def _up(found: ServiceStatus) -> list[str]:
    if found.since is None:
        return []
    took = "" if found.took is None else f", healthy after {found.took:.0f} s"
    load = found.load
    uses = "" if load is None else f"; uses {text.size(load.memory)} of memory and {load.cpu:.1%} of a core"
    logs = sorted({each.log.rpartition("/")[0] for each in found.components if each.log})
    return [f"Logs: {', '.join(logs)}", f"Up: since {_time(found.since)} UTC{took}{uses}"]


def _components(found: ServiceStatus) -> list[dict[str, str]]:
    return [
        {
            "service": each.name,
            "state": SIGNS[each.state],
            "": each.state + (f", restarts: {each.restarts}" if each.restarts else ""),
            "address": each.url or "-",
        }
        for each in found.components
    ]


def _retrainings(found: ServiceStatus) -> list[dict[str, str]]:
    return [
        {
            "run": run.name,
            "began (UTC)": _time(run.began),
            "took": text.duration(run.seconds) if run.seconds is not None else "-",
            "state": run.state,
            "result": run.verdict or "-",
        }
        for run in found.runs
    ]


def _time(when: datetime | None) -> str:
    return "-" if when is None else f"{when:%Y-%m-%d %H:%M}"
