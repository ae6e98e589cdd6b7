"""How a search is shown while it goes on."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from support.searches import trial

from hlynr.records.tuning import TrialRecord
from hlynr.studies.tuning import search_board as boards
from hlynr.studies.tuning.search_board import SearchBoard


def shown(trials: list[TrialRecord], wanted: int = 8) -> SearchBoard:
    return SearchBoard("stability", wanted, lambda: trials)


def test_the_line_counts_what_is_done_and_names_the_best() -> None:
    trials = [
        trial(0, 0.5),
        trial(1, 0.9, state="infeasible"),
        trial(2, None, state="pruned"),
        trial(3, None, state="failed"),
        trial(4, None, state="running", seconds=None),
        trial(5, None, state="running", seconds=None),
    ]
    assert shown(trials).line() == (
        "search stability: 3 of 8 trials (2 running, 1 pruned, 1 infeasible, 1 failed); best 0.500 (trial 0); ETA 0:25"
    )
    assert shown([]).line() == "search stability: 0 of 8 trials; best -; ETA -"
    assert shown(trials, wanted=3).eta() == 0.0


def test_each_event_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "INTERVAL", 0.0)
    trials = [trial(0, 0.5)]
    board = shown(trials)
    trials += [
        trial(1, None, state="failed", runs=()),
        trial(2, None, state="pruned", runs=()),
        trial(3, 0.6, retry_of=1),
        trial(4, None, state="failed", runs=()),
        trial(5, None, state="running"),
    ]
    said: list[str] = []
    for _ in range(2):
        board.report(said.append)
    assert said == [
        "trial 1: failed, its worker crashed; trial 3 retries it",
        "trial 2: pruned, value -, 10.0 s",
        "trial 3: complete, success 55.0% at the end, 60.0% at its best, value 0.600, 10.0 s",
        "trial 4: failed",
    ]


def test_the_study_is_not_read_at_every_refresh() -> None:
    reads: list[int] = []

    def read() -> list[TrialRecord]:
        reads.append(1)
        return []

    board = SearchBoard("stability", 2, read)
    for _ in range(100):
        board.refresh()
    assert len(reads) == 2


def test_the_table_shows_the_newest_trials_and_fits_a_terminal() -> None:
    board = shown([trial(number, 0.5) for number in range(20)] + [trial(20, None, state="waiting")])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(board.table())
    lines = console.export_text().splitlines()
    rows = [line for line in lines if "complete" in line]
    assert [int(line.split()[0]) for line in rows] == list(range(12, 20))
    assert max(len(line.rstrip()) for line in rows) <= 80
    assert "waiting" not in console.export_text()
