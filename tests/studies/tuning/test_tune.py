"""`hlynr tune` from the command line: killed, resumed, confirmed, shown, written into params.yaml."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, Popen
from urllib.request import urlopen

import psutil
import pytest
from support import projects, searches
from support.optuna_studies import finished, trials_of

from hlynr.ops.tracking import store
from hlynr.records.tuning import FINISHED, TrialRecord, TuneRecord
from hlynr.runtime import database_uri
from hlynr.service import prefect_server
from hlynr.studies.tuning import search_config
from hlynr.studies.tuning.search_config import SearchConfig
from hlynr.studies.tuning.tune import MIN_TRIALS

TRIALS = 10
COMMAND = ("hlynr", "tune", "--trials", str(TRIALS), "--workers", "2")


@dataclass(frozen=True)
class Searched:
    """A search that was killed twice on its way."""

    setting: SearchConfig
    before: list[TrialRecord]
    """The trials when all was killed."""
    done: CompletedProcess[str]
    record: TuneRecord

    @property
    def root(self) -> Path:
        return Path(self.setting.root)


def workers_of(process: Popen[str]) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if _is_worker(child)]


def _is_worker(child: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # also of one that has ended and is not yet waited for
        return "hlynr.studies.tuning.search_worker" in child.cmdline()
    return False


def stopped_at_work(found: SearchConfig, process: Popen[str]) -> list[psutil.Process]:
    """The workers that are in the middle of a trial, all stopped there; where there are none, all go on.

    A stopped worker's trial cannot end before the worker is killed, however long that takes on a busy machine.
    """
    workers = workers_of(process)
    for worker in workers:
        worker.suspend()
    if not _is_locked(found):
        places = [trial.place or "" for trial in trials_of(found) if trial.state == "running" and trial.course]
        if busy := [worker for worker in workers if any(place.endswith(f":{worker.pid}") for place in places)]:
            return busy
    for worker in workers:
        worker.resume()
    return []


def _is_locked(found: SearchConfig) -> bool:
    """Whether the database is held, for as long as its holder is stopped: reading it would wait for a minute."""
    file = database_uri.file(database_uri.absolute(found.config.tune.storage, Path(found.root)))
    with closing(sqlite3.connect(str(file), timeout=0)) as connection, suppress(sqlite3.OperationalError):
        connection.execute("select count(*) from trials").fetchone()
        return False
    return True


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """A worker is killed after the first trial, all processes after some more; then the same command resumes."""
    # Beginners that hardly succeed: none is pruned, and only one that forgets everything has collapsed.
    lenient = ("tune.prune_below=0.0", "monitor.collapse_fraction=0.01")
    root = searches.make(tmp_path_factory.mktemp("search") / "project", *lenient)
    found = search_config.load(root / "params.yaml")
    process = projects.start(root, *COMMAND)
    try:
        projects.until(lambda: finished(found) >= 1, "a first trial")
        stopped: list[psutil.Process] = []
        projects.until(lambda: stopped.extend(stopped_at_work(found, process)) or bool(stopped), "a worker at work")
        stopped[0].kill()
        for worker in workers_of(process):
            if worker != stopped[0]:
                worker.resume()
        for count in (2, 3, 4):  # each in its own time: the killed worker's successor starts beside them
            projects.until(lambda count=count: finished(found) >= count, f"{count} trials")
        projects.until(lambda: bool(stopped_at_work(found, process)), "workers at work")
    finally:
        for every in (psutil.Process(process.pid), *workers_of(process)):
            every.kill()
        process.communicate()
    before = trials_of(found)
    done = projects.run(root, *COMMAND, "--json", "record.json")
    assert done.returncode == 0, done.stderr
    return Searched(found, before, done, TuneRecord.read(root / "record.json"))


def test_every_finished_trial_is_kept_and_none_is_repeated(searched: Searched) -> None:
    kept = [trial for trial in searched.before if trial.state in FINISHED]
    now = {trial.number: trial for trial in searched.record.trials}
    assert len(kept) >= 4
    assert [now[trial.number] for trial in kept] == kept
    done = [trial for trial in now.values() if trial.state in FINISHED]
    assert TRIALS <= len(done) <= TRIALS + 1  # two workers may end at the same moment
    assert len({json.dumps(trial.params, sort_keys=True) for trial in done}) == len(done)


def test_every_stale_trial_is_retried_with_the_same_parameters(searched: Searched) -> None:
    trials = {trial.number: trial for trial in searched.record.trials}
    stale = [trial for trial in trials.values() if trial.state == "failed"]
    assert len(stale) >= 2  # of one worker killed alone, and of at least one killed with everything
    for trial in stale:
        retries = [other for other in trials.values() if other.retry_of in (trial.number, trial.retry_of)]
        assert any(retry.state in FINISHED and trial.params.items() <= retry.params.items() for retry in retries)
    assert {trial.state for trial in trials.values()} <= FINISHED | {"failed"}


def test_a_killed_worker_is_replaced(searched: Searched) -> None:
    assert len({trial.place for trial in searched.record.trials if trial.place}) >= 4


def test_the_winner_is_confirmed_on_fresh_seeds_beside_the_strategy(searched: Searched) -> None:
    record, tune = searched.record, searched.setting.config.tune
    assert [candidate.trial is None for candidate in record.candidates] == [True, False]
    for candidate in record.candidates:
        assert tuple(run.seed for run in candidate.runs) == tune.confirm.seeds
        assert {run.heldout_seed for run in candidate.runs} == {tune.confirm.heldout_seed}
    assert not set(tune.confirm.seeds) & set(tune.seeds)
    base, best = record.candidates
    assert best.gain is not None
    assert record.winner == (best.name if best.gain > 0 and not best.collapsed else base.name)
    assert record.winner in searched.done.stdout


def test_mlflow_has_a_run_for_each_trial_below_one_for_the_search(searched: Searched) -> None:
    opened = store.open_store(searched.setting.config, searched.root)
    (parent,) = opened.client.search_runs([opened.experiment_id], "tags.`hlynr.study` = 'stability'")
    below = opened.client.search_runs([opened.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    states = {int(run.data.tags["hlynr.trial.number"]): run.data.tags["hlynr.trial.state"] for run in below}
    assert states == {trial.number: trial.state for trial in searched.record.trials}
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["hlynr.winner"] == searched.record.winner
    assert searched.record.reason in parent.data.tags["mlflow.note.content"]
    artifacts = {entry.path for entry in opened.client.list_artifacts(parent.info.run_id, "report")}
    assert {f"report/{name}" for name in ("README.md", "tune.json", "learning.png")} <= artifacts
    drawn = sum(trial.state in ("complete", "infeasible") for trial in searched.record.trials) >= MIN_TRIALS
    assert ("report/history.png" in artifacts) == drawn
    one = next(trial for trial in searched.record.trials if trial.state == "complete")
    (run,) = (run for run in below if run.data.tags["hlynr.trial.number"] == str(one.number))
    assert run.data.metrics["objective"] == one.value
    assert run.data.params["train.gamma"] == json.dumps(one.train["gamma"])
    curve = opened.client.get_metric_history(run.info.run_id, "eval/success_rate/seed_101")
    assert {entry.step: entry.value for entry in curve} == {
        point.timesteps: point.success_rate for point in one.runs[0].points
    }


def test_a_search_that_is_done_is_only_written_again(searched: Searched) -> None:
    again = projects.run(searched.root, *COMMAND, "--json", "again.json")
    assert again.returncode == 0, again.stderr
    known = TuneRecord.read(searched.root / "again.json")
    assert known.model_copy(update={"created": searched.record.created}) == searched.record
    opened = store.open_store(searched.setting.config, searched.root)
    assert len(opened.client.search_runs([opened.experiment_id], "tags.`hlynr.study` = 'stability'")) == 1


@pytest.mark.parametrize(("seed", "place"), [((), 0), (("--set", "train.seed=102"), 1)])
def test_a_trial_alone_has_the_curve_that_it_had_in_the_study(
    searched: Searched, seed: tuple[str, ...], place: int
) -> None:
    best = max((trial for trial in searched.record.trials if trial.state == "complete"), key=lambda one: one.value or 0)
    done = projects.run(searched.root, "hlynr", "train", "--trial", f"stability:{best.number}", *seed, "--json", "-")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "hlynr: the same curve as in the study, 4 evaluations"
    curve = [(point["timesteps"], point["success_rate"]) for point in json.loads(done.stdout)["evaluations"]]
    assert curve == [(point.timesteps, point.success_rate) for point in best.runs[place].points]


@pytest.mark.parametrize(
    ("reference", "line"),
    [
        ("stability", "hlynr: --trial: stability: is not STUDY:N, like stability:7"),
        ("stability:999", "hlynr: --trial: stability:999: the study has the trials 0 to "),
        ("other:1", "hlynr: tune.study: other: is no study in "),
    ],
)
def test_a_trial_that_does_not_exist_is_one_line(searched: Searched, reference: str, line: str) -> None:
    done = projects.run(searched.root, "hlynr", "train", "--trial", reference)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(line)


def test_applying_shows_the_diff_and_asks(searched: Searched) -> None:
    before = (searched.root / "params.yaml").read_text()
    if searched.record.strategy_kept:
        done = projects.run(searched.root, *COMMAND, "--apply", "--yes")
        assert (done.returncode, (searched.root / "params.yaml").read_text()) == (0, before)
        assert done.stderr.splitlines()[-1].endswith("; nothing is written")
        return
    unasked = projects.run(searched.root, *COMMAND, "--apply")
    assert unasked.returncode == 2
    assert unasked.stderr.splitlines()[-1] == "hlynr: --apply: needs --yes where there is no terminal to ask on"
    assert "+  stability:" in unasked.stdout
    assert (searched.root / "params.yaml").read_text() == before
    done = projects.run(searched.root, *COMMAND, "--apply", "--yes")
    assert done.returncode == 0, done.stderr
    assert projects.run(searched.root, "hlynr", "validate", "--strategy", "stability").returncode == 0
    (searched.root / "params.yaml").write_text(before)


def test_a_study_with_another_definition_is_unchanged(searched: Searched) -> None:
    before = trials_of(searched.setting)
    done = projects.run(searched.root, *COMMAND, "--set", "tune.drop_penalty=0.5")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hlynr: tune.study: stability was begun with tune.drop_penalty = 1.0, not 0.5; ")
    assert trials_of(searched.setting) == before


def test_ctrl_c_puts_the_trials_back_and_leaves_no_process(searched: Searched) -> None:
    found = search_config.load(searched.root / "params.yaml", ["tune.study=another"])
    process = projects.start(searched.root, *COMMAND, "--study", "another")
    projects.until(lambda: finished(found) >= 1, "a first trial")
    busy = [searched.root, *workers_of(process)]
    elsewhere = projects.run(searched.root, *COMMAND, "--study", "third")
    assert elsewhere.returncode == 4
    assert "another search is going on here" in elsewhere.stderr
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=90)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "hlynr: interrupted; the same command goes on from here"
    assert not any(worker.is_running() for worker in busy[1:])  # type: ignore[union-attr]
    states = {trial.state for trial in trials_of(found)}
    assert "running" not in states
    assert "waiting" in states
    again = projects.run(searched.root, *COMMAND[:3], str(finished(found) + 1), "--study", "another")
    assert again.returncode == 0, again.stderr


def test_the_dashboard_shows_the_searches_and_stops_on_a_signal(searched: Searched) -> None:
    port = prefect_server.free_port()
    server = projects.start(searched.root, "hlynr", "ui", "--tune", "--port", str(port))

    def studies_shown() -> list[str]:
        try:
            with urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=10) as response:
                return [found["study_name"] for found in json.load(response)["study_summaries"]]
        except OSError:
            return []

    try:
        projects.until(lambda: "stability" in studies_shown(), "the dashboard")
        everything = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    projects.until(lambda: not any(process.is_running() for process in everything), "its end", 30)


def test_without_a_search_there_is_no_dashboard(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(searches.FILE.read_text())
    done = projects.run(tmp_path, "hlynr", "ui", "--tune")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hlynr: --tune: there is no search in sqlite:///")
