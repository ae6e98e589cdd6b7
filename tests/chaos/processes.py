"""Commands as forks of a process that has imported everything, and their Python children as forks, too.

An import of torch, MLflow, Prefect and DVC costs more than everything that a small retraining does. A fork has them.
The children of a command are forked by a process of their own, since the command has threads by then; they are its
children all the same: the parent that they lose is adopted by the command, which is the reaper of its descendants.
"""

from __future__ import annotations

import atexit
import ctypes
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

FORKER = "chaos-forker"
"""Name of the process that forks a command's children; it is no part of the run."""
_SUBREAPER, _NAME = 36, 15  # of prctl


def adopt() -> None:
    """Become the parent of descendants whose parent has ended."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def fork(run: Callable[[], object], folder: Path, output: Path, begin: Callable[[], object]) -> int:
    """Run it in a session of its own in ``folder``; standard output and error go to files beside ``output``.

    Args:
        begin: called first, and before anything is forked.

    Returns:
        The id of the process.
    """
    sys.stdout.flush()  # or the fork would write it, too
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir(folder)
        begin()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(output.with_suffix(f".{name}"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        adopt()
        subprocess.Popen = _forking(_Forker())  # type: ignore[misc]
    except BaseException:
        traceback.print_exc()
        os._exit(70)
    _leave(run)


def _leave(run: Callable[[], object]) -> NoReturn:
    """Run it and end as the interpreter does, without the parent's frames below."""
    code = 1
    try:
        found = run()
        code = found if isinstance(found, int) else 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    for step in (threading._shutdown, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):  # type: ignore[attr-defined]
        try:
            step()
        except BaseException:
            traceback.print_exc()
    os._exit(code)


class _Forker:
    """This process's single-threaded helper, which forks; it ends with this process."""

    def __init__(self) -> None:
        self._own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        if os.fork() == 0:
            self._own.close()
            ctypes.CDLL(None).prctl(_NAME, FORKER.encode(), 0, 0, 0)
            _fork_on_request(theirs)
        theirs.close()

    def fork(self, request: dict[str, Any], streams: Sequence[int]) -> int:
        """Fork; returns the id of what is by then a child of this process."""
        with self._lock:
            socket.send_fds(self._own, [json.dumps(request).encode()], list(streams))
            return int(self._own.recv(64))


def _fork_on_request(requests: socket.socket) -> NoReturn:
    """Until the other side is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        message, streams, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not message:
            os._exit(0)
        (reader, writer), (ready, adopted) = os.pipe(), os.pipe()
        between = os.fork()
        if between == 0:
            os.close(adopted)
            child = os.fork()
            if child:
                os.write(writer, str(child).encode())
                os._exit(0)
            requests.close()
            os.read(ready, 1)  # until its parent has ended and the command is its parent
            for pipe in (reader, writer, ready):
                os.close(pipe)
            _become(json.loads(message), streams)
        os.waitpid(between, 0)
        requests.send(os.read(reader, 64))
        for each in (reader, writer, ready, adopted, *streams):
            os.close(each)


def _become(request: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """The Python program of a request."""
    if request["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = request["arguments"]
    _leave(lambda: _program(request))


def _program(request: dict[str, Any]) -> None:
    if request["module"]:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(request["arguments"][0], run_name="__main__")


def _forking(forker: _Forker) -> type[subprocess.Popen[Any]]:
    """`subprocess.Popen`, where a program of this Python is forked by ``forker`` instead of being executed."""
    bind = inspect.signature(subprocess.Popen._execute_child).bind  # type: ignore[attr-defined]

    class Popen(subprocess.Popen[Any]):
        def _execute_child(self, *given: Any) -> None:
            asked = bind(self, *given).arguments
            request = _request(asked["args"])
            if request is None:
                super()._execute_child(*given)  # type: ignore[misc]
                return
            request |= {
                "session": asked["start_new_session"],
                "folder": str(asked["cwd"] or os.getcwd()),
                "environment": dict(os.environ if asked["env"] is None else asked["env"]),
            }
            theirs = [asked["p2cread"], asked["c2pwrite"], asked["errwrite"]]
            self.pid = forker.fork(request, [own if fd == -1 else fd for own, fd in enumerate(theirs)])
            self._child_created = True
            for fd in {*theirs} - {-1, getattr(self, "_devnull", -1)}:
                os.close(fd)
            if getattr(self, "_devnull", None) is not None:
                os.close(self._devnull)

    return Popen


def _request(command: Any) -> dict[str, Any] | None:
    """A Python program as ``python -P -m MODULE ...`` or ``python -P FILE ...``; None for any other command."""
    if not isinstance(command, (list, tuple)) or os.fspath(command[0]) != sys.executable or command[1] != "-P":
        return None
    rest = [os.fspath(part) for part in command[2:]]
    if rest[0] == "-m":
        return {"module": rest[1], "arguments": rest[1:]}
    return {"module": None, "arguments": rest}
