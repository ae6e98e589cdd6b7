"""File locks: held once, freed with their process, with a message of their own when they are held."""

import subprocess
import sys
from pathlib import Path

import pytest

from hlynr.runtime import locks
from hlynr.runtime.errors import EnvironmentNotReady


def test_one_retraining_at_a_time_until_its_process_is_gone(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from hlynr.runtime import locks\n"
        "with locks.one_at_a_time(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentNotReady, match="another retraining"), locks.one_at_a_time(tmp_path):
            pass
        other.kill()
        other.wait()
        with locks.one_at_a_time(tmp_path):
            pass


def test_two_kinds_of_work_do_not_exclude_each_other(tmp_path: Path) -> None:
    with locks.one_at_a_time(tmp_path, "search"), locks.one_at_a_time(tmp_path, "pruning"):
        pass


def test_a_held_lock_raises_what_the_caller_wants(tmp_path: Path) -> None:
    path, waited = tmp_path / "new" / "some.lock", []
    with locks.hold(path, on_wait=lambda: waited.append(0)):
        assert waited == []
        busy = ValueError("is held")
        with (
            pytest.raises(ValueError, match="is held"),
            locks.hold(path, busy=busy, wait=0.1, on_wait=lambda: waited.append(1)),
        ):
            pass
        with pytest.raises(locks.BusyError, match=r"some\.lock: another process"), locks.hold(path, wait=0.0):
            pass
    assert waited == [1]


def test_an_error_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locks.one_at_a_time(tmp_path):
        raise KeyError
    with locks.one_at_a_time(tmp_path):
        pass
