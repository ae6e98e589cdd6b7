"""A training in a terminal or a log: its status, the monitor's verdict and its curves, once or until it ends.

At most 80 columns wide; no colour says anything that the words do not say.
"""

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hlynr.records.training import TrainingStatus
from hlynr.report import charts, status, text

Look = Callable[[], TrainingStatus | None]

WIDTH = 80
BAR, COURSE = 40, 28
INTERVAL = 1.0
"""[s] between two looks."""
PATIENCE = 30.0
"""[s] to wait for a missing status, as while another training begins in its folder."""
STATES = {"running": "bold green", "finished": "bold"}


@dataclass(frozen=True)
class ViewSize:
    """How much is shown: rows of the two charts, 0 for none, and whether the signs are."""

    success: int
    reward: int
    signs: bool


SIZES = (
    ViewSize(8, 6, True),
    ViewSize(5, 4, True),
    ViewSize(5, 4, False),
    ViewSize(4, 3, False),
    *(ViewSize(rows, 0, False) for rows in (7, 5, 4, 3, 0)),
)
"""For lower and lower terminals."""


class TrainingView:
    """A training's status as a rich renderable.

    Args:
        baseline: success to beat, drawn across the success chart.
        at: when the status was read, UTC.
        fit: leave out what does not fit the terminal's height.
    """

    def __init__(self, training: TrainingStatus, baseline: float, at: datetime, *, fit: bool = False) -> None:
        self._training, self._baseline, self._at, self._fit = training, baseline, at, fit

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        options = options.update(width=min(options.max_width, WIDTH), height=None)
        glyphs = charts.ASCII if options.ascii_only else charts.BRAILLES
        for size in SIZES:
            whole = Group(*self._blocks(size, options.max_width, glyphs))
            if not self._fit or len(console.render_lines(whole, options)) <= console.size.height:
                break
        yield Constrain(whole, options.max_width)

    def _blocks(self, size: ViewSize, width: int, glyphs: charts.Glyphs) -> Iterator[RenderableType]:
        training = self._training
        yield _head(training, self._at)
        yield _progress(training, glyphs)
        if not training.evaluations:
            yield _facts(status.verdict(training))
            return
        yield _facts([*status.verdict(training), *status.standing(training)])
        if size.success:
            yield _success(training, self._baseline, width, size.success, glyphs)
        if size.reward:
            yield _reward(training, width, size.reward, glyphs)
        if size.signs:
            yield _signs(status.signs(training), glyphs)


def _head(training: TrainingStatus, at: datetime) -> Text:
    title, state = f"Training {training.lineage.id}: ", status.state(training, at)
    style = STATES.get(training.state, "bold red")
    return Text.assemble((title, "bold"), (state, style), f"\n{status.origin(training)}\n")


def _progress(training: TrainingStatus, glyphs: charts.Glyphs) -> Text:
    progress = training.progress
    done = min(progress.timesteps / max(progress.budget, 1), 1.0)
    bar = f"{charts.bar(done, BAR, glyphs)} {100 * done:.0f} %"
    counted = f"  {progress.timesteps:,} / {progress.budget:,} timesteps"
    return Text.assemble((bar, "cyan"), f"{counted}\n{status.speed(training)}\n")


def _success(training: TrainingStatus, baseline: float, width: int, rows: int, glyphs: charts.Glyphs) -> RenderableType:
    points = [(point.timesteps, point.success_rate) for point in training.evaluations]
    peak = (training.verdict.peak_timesteps, training.verdict.peak_success)
    top = 1.0 if max(peak[1], baseline) > 0.5 else 0.5
    title = f"\nSuccess on {training.evaluations[-1].episodes} engagements each"
    drawn = charts.chart(
        points,
        charts.Edges(_right(training), 0.0, top),
        lambda rate: f"{100 * rate:.0f} %",
        width=width,
        rows=rows,
        glyphs=glyphs,
        level=baseline,
        mark=peak,
    )
    return Text.assemble((f"{title} ({glyphs.mark} peak, {glyphs.level} baseline)\n", "bold"), drawn)


def _reward(training: TrainingStatus, width: int, rows: int, glyphs: charts.Glyphs) -> RenderableType:
    points = [(point.timesteps, point.mean_reward) for point in training.evaluations]
    edges = charts.edges_around([reward for _, reward in points if math.isfinite(reward)] or [0.0], _right(training))
    zero = 0.0 if edges.bottom < 0.0 < edges.top else None
    title = f"\nMean reward, {text.signed(points[-1][1])} now{f' ({glyphs.level} zero)' if zero == 0.0 else ''}\n"
    drawn = charts.chart(points, edges, text.signed, width=width, rows=rows, glyphs=glyphs, level=zero)
    return Text.assemble((title, "bold"), drawn)


def _right(training: TrainingStatus) -> int:
    reached = max(training.progress.timesteps, training.evaluations[-1].timesteps)
    return charts.extent(reached, training.progress.budget)


def _signs(signs: Iterable[status.Sign], glyphs: charts.Glyphs) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Leading signs")
    for name in ("now", "lowest", "highest"):
        table.add_column(name, justify="right")
    if glyphs is not charts.ASCII:
        table.add_column("course")
    for sign in signs:
        cells = [sign.name, *sign.range(), charts.spark(sign.values, COURSE)]
        table.add_row(*cells[: len(table.columns)])
    return Padding(table, (1, 0, 0, 0))


def _facts(facts: Iterable[status.Fact]) -> RenderableType:
    """Names, and words that wrap beside them."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for fact in facts:
        table.add_row(Text(fact.name, style="bold"), Text(fact.words, style=fact.style))
    return table


def follow(look: Look, baseline: float) -> None:
    """Show a training until it ends or Ctrl-C.

    On a terminal the view takes the whole screen and is printed in full at the end; elsewhere it is printed once,
    then a line for every evaluation that follows, and one for the end.
    """
    console = Console()
    show = _redraw if sys.stdout.isatty() and not console.is_dumb_terminal else _print
    show(console, looks(look), baseline)


def looks(look: Look) -> Iterator[TrainingStatus]:
    """A status every `INTERVAL` until one is final, or there has been none for `PATIENCE`."""
    heard = time.monotonic()
    while time.monotonic() - heard < PATIENCE:
        newest = look()
        if newest is not None:
            heard = time.monotonic()
            yield newest
            if newest.state != "running":
                return
        time.sleep(INTERVAL)


def _redraw(console: Console, statuses: Iterator[TrainingStatus], baseline: float) -> None:
    newest = None
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        for newest in statuses:
            live.update(TrainingView(newest, baseline, datetime.now(UTC), fit=True), refresh=True)
    if newest is not None:
        console.print(TrainingView(newest, baseline, datetime.now(UTC)))


def _print(console: Console, statuses: Iterator[TrainingStatus], baseline: float) -> None:
    shown = None
    with suppress(KeyboardInterrupt):
        for newest in statuses:
            if shown is None or shown.lineage.id != newest.lineage.id:
                console.print(TrainingView(newest, baseline, datetime.now(UTC)))
            else:
                for line in status.news(shown, newest, datetime.now(UTC)):
                    print(line, flush=True)
            shown = newest
