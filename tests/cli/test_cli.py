"""The command line: invalid input, messages, files written, and exit codes."""

from __future__ import annotations

import errno
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import psutil
import pytest
from support import projects
from support.projects import RetrainedProject

from hlynr.cli import app
from hlynr.records.retraining import Promotion
from hlynr.records.training import TrainResult
from hlynr.rl import bundle
from hlynr.runtime import file_modes
from hlynr.runtime.errors import BAD_INPUT, DONE, INTERRUPTED, NOT_READY, TRAINING_FAILED
from hlynr.service import prefect_server

VERBS = [verb.name or verb.callback.__name__ for verb in app.app.registered_commands if verb.callback]


class Answer(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Hlynr = Callable[..., Answer]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project that is no git repository."""
    return projects.make(tmp_path / "project", "versioning.enabled=false", git=False)


@pytest.fixture
def hlynr(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Hlynr:
    """The command, in this process, which keeps its umask."""
    monkeypatch.setattr(app.file_modes, "keep_private", lambda: None)

    def call(folder: Path, *arguments: str) -> Answer:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["hlynr", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app.main()
        captured = capfd.readouterr()
        return Answer(int(ended.value.code or 0), captured.out, captured.err)

    return call


PN = ("evaluate", "--policy", "pn")
INVALID = {
    "evaluate": "exactly one is needed",
    "evaluate --policy pn --bundle outputs/train/bundle": "--policy and --bundle given; exactly one is needed",
    "evaluate --policy pm": "pm is not one of zero, random, pursuit, heading, pn, apn, inertial; did you mean pn?",
    "evaluate --policy pn --scenario referense": "did you mean reference?",
    "evaluate --policy pn --episodes 0": "--episodes: 0 is not in [1, 1000000]",
    "evaluate --policy pn --episodes -3": "--episodes: -3 is not in",
    "evaluate --policy pn --seed -1": "--seed: -1 is not in [0, 2147483647]",
    "evaluate --policy pn --json nowhere/x.json": "nowhere does not exist",
    "evaluate --policy pn --json hlynr": "hlynr: is a folder",
    "evaluate --policy pn --out outputs/evaluate": "takes a --bundle and its settings from params.yaml only",
    "evaluate --bundle nowhere": "nowhere: is no bundle",
    "evaluate --bundle hlynr": "is no bundle",
    "evaluate --bundle hlynr --out params.yaml": "params.yaml is a file; a folder is needed",
    "evaluate --bundle hlynr --out params.yaml/deeper": "params.yaml is a file; a folder is needed",
    "evaluate --model hlynr-intercept": "no model has been registered yet",
    "evaluate --policy pn --params nowhere.yaml": "nowhere.yaml: cannot be read: No such file or directory",
    "evaluate --policy pn --params hlynr": "hlynr: cannot be read: Is a directory",
    "train --set train.sead=3": "train.sead: unknown key (value 3); did you mean seed?",
    "train --set train.seed": "is not of the form section.key=value",
    "train --set train.seed=x --set train.gamma=2": "train.gamma: 2 should be less than or equal to 1",
    "train --out dvc.yaml": "dvc.yaml is a file; a folder is needed",
    "train --json nowhere/x.json": "nowhere does not exist",
    "train --set run.outputs=dvc.yaml": "run.outputs: ",
    "diagnose nowhere --set run.outputs=dvc.yaml/deeper": "dvc.yaml is a file; a folder is needed",
    "stability --set stability.folder=dvc.yaml": "stability.folder: ",
    "evaluate --policy pn --json params.yaml/x.json": "Not a directory",
    "retrain --set gate.baselin=0": "did you mean baseline?",
    "retrain --json nowhere/x.json": "nowhere does not exist",
    "promote": "result.json: is missing; run hlynr train and hlynr evaluate --out first",
    "restore x --to hlynr": "--to: hlynr: exists already; a new or empty folder is needed",
    "doctor --params nowhere.yaml": "cannot be read",
    "ui --set tracking.uri=mlruns": "tracking.uri",
}


@pytest.mark.parametrize("command", INVALID)
def test_bad_input_is_a_line_each_and_writes_nothing(root: Path, hlynr: Hlynr, command: str) -> None:
    before = projects.files(root)
    answer = hlynr(root, *command.split())
    assert answer.code == BAD_INPUT
    assert answer.out == ""
    assert INVALID[command] in answer.err
    assert all(line.startswith("hlynr: ") for line in answer.lines)
    assert len(answer.lines) == command.count("--set") or len(answer.lines) == 1
    assert projects.files(root) == before


@pytest.mark.parametrize("command", ["evalute", "train --sed 3", "evaluate --episodes many", "ui --port 0", "restore"])
def test_usage_errors_are_readable(root: Path, hlynr: Hlynr, command: str) -> None:
    answer = hlynr(root, *command.split())
    assert answer.code == BAD_INPUT
    assert "Usage: hlynr" in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(root: Path, hlynr: Hlynr, verb: str) -> None:
    answer = hlynr(root, verb, "--help")
    assert answer.code == DONE
    assert "--params" in answer.out


def test_the_former_verb_is_an_alias_that_the_help_does_not_list(root: Path, hlynr: Hlynr) -> None:
    assert {"stability", "study"} <= set(VERBS)
    former = hlynr(root, "study", "--help").out.replace("hlynr study", "hlynr stability")
    assert former.split() == hlynr(root, "stability", "--help").out.split()
    listed = hlynr(root, "--help").out
    assert " stability " in listed
    assert " study " not in listed


def test_the_installed_command_reports_bad_input_in_the_same_way(root: Path) -> None:
    done = projects.run(root, "hlynr", "train", "--set", "train.sead=3")
    assert done.returncode == BAD_INPUT
    assert done.stderr == "hlynr: train.sead: unknown key (value 3); did you mean seed?\n"


def test_a_link_to_the_params_leaves_the_project_where_the_link_is(root: Path, hlynr: Hlynr, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "params.yaml").rename(elsewhere / "shared.yaml")
    (root / "params.yaml").symlink_to(elsewhere / "shared.yaml")
    assert f"{root} is writable" in hlynr(root, "doctor", "--json", "-").out


def test_evaluating_a_law_writes_only_the_record(root: Path, hlynr: Hlynr) -> None:
    before = projects.files(root)
    record, again = root / "pn.json", root / "again.json"
    shown = hlynr(root, *PN, "--episodes", "300", "--seed", "7", "--json", str(record))
    assert shown.code == DONE
    assert "proportional navigation" in shown.out
    assert shown.err == ""
    found = json.loads(record.read_text())
    assert {"success_rate", "success_rate_ci", "mean_reward", "mean_final_distance", "outcomes"} <= found.keys()
    assert (found["episodes"], found["scenario"], found["seed"]) == (300, "reference", 7)
    hlynr(root, *PN, "--episodes", "300", "--seed", "7", "--json", again.name, "--set", "evaluation.batch_size=77")
    assert again.read_text() == record.read_text()
    assert projects.files(root).keys() - before.keys() == {"pn.json", "again.json"}


def test_standard_output_holds_nothing_but_the_record(root: Path, hlynr: Hlynr) -> None:
    truth = json.loads(hlynr(root, *PN, "--episodes", "300", "--truth", "--json", "-").out)
    estimate = json.loads(hlynr(root, *PN, "--episodes", "300", "--json", "-").out)
    assert truth["success_rate"] > 0.9 > estimate["success_rate"]


def test_a_reader_that_stops_reading_is_no_fault(root: Path) -> None:
    line = "hlynr validate --schema | head -c 10"
    done = projects.run(root, "bash", "-c", line)
    assert done.stderr == ""


def test_verbs_that_look_leave_no_store_behind(root: Path, hlynr: Hlynr) -> None:
    before = projects.files(root)
    assert "no champion yet" in hlynr(root, "champions").out
    assert hlynr(root, "champions", "--json", "-").out.strip() == "[]"
    rolled_back = hlynr(root, "rollback")
    assert (rolled_back.code, rolled_back.lines) == (
        NOT_READY,
        ["hlynr: hlynr-intercept has no champion to roll back from"],
    )
    assert hlynr(root, "doctor").code == DONE
    assert projects.files(root) == before


def test_doctor_names_what_is_missing(root: Path, hlynr: Hlynr, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    answer = hlynr(root, "doctor", "--set", "versioning.enabled=true")
    assert answer.code == NOT_READY
    failed = [line.split()[0] for line in answer.out.splitlines() if "FAIL" in line]
    assert failed == ["disk", "git", "dvc"] or failed == ["disk", "git"]
    assert "git init" in answer.out


def test_doctor_names_an_invalid_webhook_without_its_address(
    root: Path, hlynr: Hlynr, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HLYNR_WEBHOOK", "http://127.0.0.1:80a/secret")
    answer = hlynr(root, "doctor")
    assert answer.code == NOT_READY
    (line,) = [line for line in answer.out.splitlines() if "FAIL" in line]
    assert line.split()[0] == "webhook"
    assert "secret" not in answer.out
    up = hlynr(root, "up")
    assert (up.code, up.lines) == (
        NOT_READY,
        ["hlynr: webhook: HLYNR_WEBHOOK: the address of the webhook has an invalid host or port"],
    )


def test_retrain_is_busy_before_anything_is_started(root: Path, hlynr: Hlynr, monkeypatch: pytest.MonkeyPatch) -> None:
    from hlynr.runtime import locks

    monkeypatch.setattr(prefect_server, "start", lambda _: pytest.fail("the server was started"))
    with locks.one_at_a_time(root):
        file_modes.tighten(root)  # the process that holds the lock would have made it private
        answer = hlynr(root, "retrain")
    assert answer.code == NOT_READY
    assert answer.lines == [f"hlynr: {root}: another retraining is going on here; wait for it, or stop it"]


def test_a_full_disk_is_one_line_and_leaves_no_part(root: Path, hlynr: Hlynr, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        write(path, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    before = projects.files(root)
    monkeypatch.setattr(Path, "write_bytes", half)
    answer = hlynr(root, *PN, "--episodes", "10", "--json", "pn.json")
    assert answer.code == NOT_READY
    assert len(answer.lines) == 1
    assert answer.lines[0].endswith("No space left on device")
    assert projects.files(root) == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("no database, certainly not one of MLflow's", "file is not a database"), (None, "database is locked")],
)
def test_a_store_that_cannot_be_used_is_one_line(
    retraining: RetrainedProject, hlynr: Hlynr, root: Path, content: str | None, complaint: str
) -> None:
    (root / "mlruns" / "mlflow.db").parent.mkdir(exist_ok=True)
    if content is None:
        shutil.copy(retraining.root / "mlruns" / "mlflow.db", root / "mlruns" / "mlflow.db")
    else:
        (root / "mlruns" / "mlflow.db").write_text(content)
    file_modes.tighten(root)
    with _held(root / "mlruns" / "mlflow.db") if content is None else closing(sqlite3.connect(":memory:")):
        answer = hlynr(root, "champions")
    assert answer.code == NOT_READY
    database = f"sqlite:///{root}/mlruns/mlflow.db"
    assert answer.lines == [f"hlynr: tracking.uri: the MLflow database {database} cannot be used: {complaint}"]


@contextmanager
def _held(database: Path) -> Iterator[None]:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def test_training_by_hand_stops_resumes_and_ends(tmp_path: Path) -> None:
    """Ctrl-C keeps the best; --resume goes on under the same lineage, in the same MLflow run."""
    root = projects.make(tmp_path / "project", *projects.LONG, "train.timesteps=40960", git=False)
    stopped = projects.start(root, "hlynr", "train")
    projects.until((root / "outputs/train/checkpoints/latest.pt").exists, "a checkpoint")
    os.killpg(stopped.pid, signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == INTERRUPTED, said
    assert said.splitlines()[-1] == "hlynr: interrupted; the same command with --resume goes on from here"
    first = TrainResult.read(root / "outputs/train/result.json")
    assert first.interrupted
    assert _runs(root) == [(first.lineage.mlflow_run_id, "KILLED")]
    done = projects.run(root, "hlynr", "train", "--resume", "--json", "record.json")
    result = TrainResult.read(root / "outputs/train/result.json")
    assert done.returncode == DONE, done.stderr
    assert result.lineage.id == first.lineage.id
    assert result.resumed_from is not None
    assert json.loads((root / "record.json").read_text())["resumed_from"] == result.resumed_from
    assert _runs(root) == [(first.lineage.mlflow_run_id, "FINISHED")]


def _runs(root: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(root / "mlruns" / "mlflow.db")) as connection:
        return connection.execute("select run_uuid, status from runs order by start_time").fetchall()


def test_an_aborted_training_is_exit_3_with_its_record_and_best_bundle(
    retraining: RetrainedProject, hlynr: Hlynr, tmp_path: Path
) -> None:
    out, record = tmp_path / "train", tmp_path / "record.json"
    aborted = ("--set", "monitor.abort_after=4096", "--set", "monitor.abort_below=0.99")
    answer = hlynr(retraining.root, "train", "--out", str(out), "--json", str(record), *aborted)
    assert answer.code == TRAINING_FAILED, answer.err
    result = TrainResult.model_validate_json(record.read_text())
    assert result.verdict.status == "abort"
    assert result.timesteps == 4096
    assert bundle.digest(out / "bundle") == result.bundle_sha256


def test_retrain_shows_its_steps_and_writes_one_record(retraining: RetrainedProject) -> None:
    steps = [line.removesuffix(" ...") for line in retraining.done.stderr.splitlines() if line.endswith(" ...")]
    assert steps == ["validate", "train", "version", "evaluate", "version", "gate", "promote"]
    progress = [line for line in retraining.done.stderr.splitlines() if "timesteps/s" in line]
    assert len(progress) >= 2
    assert progress[-1].split()[:3] == ["16,384", "/", "16,384"]
    written = json.loads((retraining.outputs / "retrain.json").read_text())
    assert json.loads(retraining.done.stdout) == {key: value for key, value in written.items() if key != "sha256"}


def test_the_champion_can_be_judged_and_is_in_the_history(retraining: RetrainedProject, hlynr: Hlynr) -> None:
    history = [
        Promotion.model_validate(entry) for entry in json.loads(hlynr(retraining.root, "champions", "--json", "-").out)
    ]
    assert history[0] == retraining.record.promotion
    assert history[0].action == "promoted"
    assert "promoted" in hlynr(retraining.root, "champions").out
    options = ("--episodes", "200", "--json", "-")
    by_name = json.loads(hlynr(retraining.root, "evaluate", "--model", "models:/hlynr-intercept/1", *options).out)
    assert by_name["success_rate"] == retraining.record.evaluation.heldout.success_rate
    for unknown in ("models:/hlynr-intercept/99", "models:/hlynr-intercept@unknown", "hlynr-intercept"):
        invalid = hlynr(retraining.root, "evaluate", "--model", unknown)
        assert (invalid.code, len(invalid.lines)) == (BAD_INPUT, 1)


def test_promote_takes_what_the_outputs_hold(hlynr: Hlynr, root: Path) -> None:
    outputs = root / "outputs"
    for step in (("train",), ("evaluate", "--bundle", "outputs/train/bundle", "--out", "outputs/evaluate")):
        done = hlynr(root, *step)
        assert done.code == DONE, done.err
    newest = TrainResult.read(outputs / "train" / "result.json")
    answer = hlynr(root, "promote", "--json", "-")
    assert answer.code == DONE, answer.err
    assert Promotion.model_validate_json(answer.out).lineage_id == newest.lineage.id
    mixed = shutil.copytree(outputs, root / "mixed")
    newest.model_copy(update={"bundle_sha256": "0" * 64}).write(mixed / "train" / "result.json")
    invalid = hlynr(root, "promote", "--set", "run.outputs=mixed")
    assert invalid.code == BAD_INPUT
    assert "judges another bundle than the newest; evaluate again" in invalid.err


def test_the_evaluate_stage_writes_the_same_bytes_again(
    retraining: RetrainedProject, hlynr: Hlynr, tmp_path: Path
) -> None:
    judged, out = retraining.outputs / "train" / "bundle", tmp_path / "evaluate"
    answer = hlynr(retraining.root, "evaluate", "--bundle", str(judged), "--out", str(out))
    assert answer.code == DONE, answer.err
    for name in ("report.json", "metrics.json", "comparison.csv"):
        assert (out / name).read_bytes() == (retraining.outputs / "evaluate" / name).read_bytes()


def test_the_ui_serves_runs_and_artifacts_and_ends_on_a_signal(retraining: RetrainedProject) -> None:
    port = prefect_server.free_port()
    server = projects.start(retraining.root, "hlynr", "ui", "--port", str(port))
    try:
        base = f"http://127.0.0.1:{port}"
        projects.until(lambda: _get(f"{base}/health") == b"OK", "the UI")
        run = retraining.record.lineage.mlflow_run_id
        report = _get(f"{base}/get-artifact?path=report.json&run_uuid={run}")
        assert report is not None
        assert json.loads(report)["bundle_sha256"] == retraining.record.evaluation.bundle_sha256
        taken = projects.run(retraining.root, "hlynr", "ui", "--port", str(port))
        assert (taken.returncode, taken.stderr.count("\n")) == (NOT_READY, 1)
    finally:
        everything = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    projects.until(lambda: not any(process.is_running() for process in everything), "its end", 30)


def _get(url: str) -> bytes | None:
    try:
        with urlopen(url, timeout=10) as response:
            return bytes(response.read())
    except OSError:
        return None


def test_a_terminal_gets_a_bar(root: Path) -> None:
    script = (
        "from hlynr.runtime.progress import TrainProgress, console\n"
        "with console() as terminal:\n"
        "    terminal.progress(TrainProgress(device='cpu', timesteps=5, budget=10, success_rate=0.5, best_success=0.6,"
        " mean_reward=0.1, timesteps_per_second=1000.0, eta_seconds=90.0))\n"
    )
    leader, follower = pty.openpty()
    subprocess.run([sys.executable, "-c", script], stderr=follower, check=True, env=projects.environment(TERM="xterm"))
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "50 %  success 50.0%  best 60.0%  1,000/s  ETA 1:30" in shown
