"""What our processes see of the user's environment, and that nothing else of it matters to them."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.request import getproxies

import httpx
import psutil
import pytest
import requests
from support import ROOT, projects

from hlynr.config import params
from hlynr.ops.versioning import experiments, git
from hlynr.runtime import environment, processes
from hlynr.runtime.environment import RULES
from hlynr.service.prefect_api import answers

HOSTILE = {
    "PREFECT_PROFILE": "cloud", "PREFECT_PROFILES_PATH": "/nowhere/profiles.toml", "PREFECT_HOME": "/nowhere",
    "PREFECT_API_KEY": "pnu_secret", "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite:////nowhere/prefect.db",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "nonsense://nowhere", "PREFECT_SERVER_API_BASE_PATH": "/elsewhere",
    "PREFECT_LOGGING_LEVEL": "LOUD", "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "perhaps", "PREFECT_TEST_MODE": "1",
    "PREFECT_TASKS_DEFAULT_RETRIES": "9", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "never",
    "MLFLOW_TRACKING_URI": "file:///nowhere", "MLFLOW_REGISTRY_URI": "file:///nowhere", "MLFLOW_RUN_ID": "0" * 32,
    "MLFLOW_EXPERIMENT_ID": "77", "MLFLOW_EXPERIMENT_NAME": "other", "MLFLOW_LOGGING_LEVEL": "LOUD",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "soon", "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true",
    "DVC_ROOT": "/nowhere", "DVC_STUDIO_TOKEN": "isat_secret", "DVC_EXP_AUTO_PUSH": "1", "DVC_EXP_NAME": "other",
    "DVC_NO_ANALYTICS": "", "STUDIO_TOKEN": "isat_secret",
    "GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere", "GIT_INDEX_FILE": "/nowhere", "GIT_COMMON_DIR": "/nowhere",
    "GIT_OBJECT_DIRECTORY": "/nowhere", "GIT_NAMESPACE": "other", "GIT_EXTERNAL_DIFF": "false",
    "GIT_COMMITTER_DATE": "2001-01-01T00:00:00", "GIT_LITERAL_PATHSPECS": "1", "GIT_TRACE": "1",
    "PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2", "PYTHONINSPECT": "1", "PYTHONDEVMODE": "1",
    "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONSAFEPATH": "1", "PYTHONSTARTUP": "/nowhere",
    "PYTHONINTMAXSTRDIGITS": "640", "PYTHONPROFILEIMPORTTIME": "1",
    "OMP_NUM_THREADS": "none", "OMP_THREAD_LIMIT": "1", "KMP_AFFINITY": "compact", "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": "AVX2", "ATEN_CPU_CAPABILITY": "default",
    "TORCH_COMPILE_DISABLE": "1", "NUMBA_DISABLE_JIT": "1", "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": "/nowhere",
    "MPLBACKEND": "TkAgg", "MATPLOTLIBRC": "/nowhere", "OPTUNA_STORAGE": "sqlite:////nowhere/optuna.db",
    "SQLALCHEMY_WARN_20": "1", "WEB_CONCURRENCY": "7", "FORWARDED_ALLOW_IPS": "*", "UVICORN_ROOT_PATH": "/elsewhere",
    "GUNICORN_CMD_ARGS": "--bind 0.0.0.0", "FLASK_DEBUG": "1", "DO_NOT_TRACK": "0", "COLUMNS": "0", "LINES": "none",
    "TERMINAL_WIDTH": "none",
    "ALL_PROXY": "socks5://127.0.0.1:9", "https_proxy": "http://[bad", "ws_proxy": "socks4://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": "[::1],corp.example.org",
}  # fmt: skip
"""Of each group of rules what would change a retraining."""
KEPT = {
    "CUDA_VISIBLE_DEVICES": "", "TMPDIR": "/tmp", "LANG": "de_DE.UTF-8", "PGPASSWORD": "p", "AWS_ACCESS_KEY_ID": "a",
    "HLYNR_WEBHOOK": "http://127.0.0.1/hook", "MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_S3_ENDPOINT_URL": "http://s3",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "DVC_GLOBAL_CONFIG_DIR": "/tmp/dvc", "GIT_AUTHOR_NAME": "Somebody",
    "GIT_SSH_COMMAND": "ssh -i key", "PYTHONPATH": "/opt/packages", "http_proxy": "http://u:p@proxy.example.org:3128",
    "PREFECT_API_URL": "http://main.example.org:4200/api", "PREFECT_API_AUTH_STRING": "user:word", "COLUMNS": "90",
}  # fmt: skip


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which no rule applies to anything yet."""
    for name in [name for name in os.environ if any(rule.fits(name) for rule in RULES)]:
        monkeypatch.delenv(name)
    return monkeypatch


def _given(patch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        patch.setenv(name, value)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_child_sees_what_would_change_a_retraining(only: pytest.MonkeyPatch, name: str) -> None:
    only.setenv(name, HOSTILE[name])
    alone = environment.of_child()
    if name in ("http_proxy", "HTTP_PROXY"):
        assert alone[name] == HOSTILE[name]  # the way to what is elsewhere
    else:
        assert alone.get(name) != HOSTILE[name]


def test_every_rule_meets_a_hostile_value_or_keeps_something() -> None:
    known = {**HOSTILE, **KEPT}
    untried = [rule.names for rule in RULES if rule.value is None and not any(rule.fits(name) for name in known)]
    assert set(untried) <= {
        "DVC_SITE_CACHE_DIR",
        "PYTHONHASHSEED PYTHONUNBUFFERED PYTHONFAULTHANDLER PYTHONMALLOC",
        "PYTORCH_*ALLOC_CONF",
    }
    assert all(rule.reason for rule in RULES)


def test_children_keep_credentials_and_what_belongs_to_the_machine(only: pytest.MonkeyPatch) -> None:
    _given(only, KEPT)
    alone = environment.of_child({"PREFECT_HOME": "ours"})
    assert {name: alone.get(name) for name in KEPT} == KEPT
    assert alone["PREFECT_HOME"] == "ours"


def test_a_key_for_another_prefect_server_stays_only_beside_its_address(only: pytest.MonkeyPatch) -> None:
    only.setenv("PREFECT_API_AUTH_STRING", "user:word")
    assert "PREFECT_API_AUTH_STRING" not in environment.of_child()
    only.setenv("PREFECT_API_URL", "")
    assert not {"PREFECT_API_AUTH_STRING", "PREFECT_API_URL"} & environment.of_child().keys()


PROXY_LISTS = {
    "none": ({}, ""),
    "own": ({"no_proxy": "corp.example.org"}, "corp.example.org,"),
    "both spellings": ({"no_proxy": "a.org", "NO_PROXY": "b.org, a.org"}, "a.org,b.org,"),
    "in brackets": ({"NO_PROXY": "[::1]"}, ""),
}


@pytest.mark.parametrize("given", PROXY_LISTS)
def test_no_proxy_is_extended(only: pytest.MonkeyPatch, given: str) -> None:
    variables, before = PROXY_LISTS[given]
    _given(only, variables)
    alone = environment.of_child()
    assert alone["no_proxy"] == alone["NO_PROXY"]
    assert set(alone["no_proxy"].split(",")) == {*filter(None, before.split(",")), "localhost", "127.0.0.1", "::1"}


def test_no_proxy_for_everything_stays_so(only: pytest.MonkeyPatch) -> None:
    only.setenv("NO_PROXY", "*")
    assert environment.of_child()["no_proxy"] == "*"  # with anything beside it, urllib would no longer understand it


@pytest.fixture
def own_server() -> str:
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hello)
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/api"


@pytest.mark.parametrize(
    "proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "socks4://x", "http://[bad", "nonsense:x"]
)
@pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY"])
def test_every_client_reaches_our_own_server_past_any_proxy(
    only: pytest.MonkeyPatch, own_server: str, name: str, proxy: str
) -> None:
    only.setenv(name, proxy)
    environment.prepare()
    assert answers(own_server, b"", 5)
    assert requests.get(own_server, timeout=5).ok
    assert httpx.get(own_server, timeout=5).is_success


def test_the_host_of_the_service_is_reached_directly_and_others_by_the_proxy(only: pytest.MonkeyPatch) -> None:
    only.setenv("http_proxy", "http://proxy.example.org:3128")
    environment.prepare()
    environment.reach_directly("192.0.2.7")
    assert "192.0.2.7" in environment.of_child()["no_proxy"].split(",")
    assert getproxies()["http"] == "http://proxy.example.org:3128"
    assert requests.utils.should_bypass_proxies("http://192.0.2.7:4200/api", None)
    assert not requests.utils.should_bypass_proxies("http://hooks.example.org/x", None)


def test_the_command_line_starts_again_without_what_python_has_read(tmp_path: Path) -> None:
    """Its help texts are docstrings, a warning would end it, and at its end it would wait for input."""
    hostile = {name: value for name, value in HOSTILE.items() if name != "PYTHONPROFILEIMPORTTIME"}
    helped = projects.run(tmp_path, "hlynr", "--help", **hostile)
    assert (helped.returncode, helped.stderr) == (0, "")
    assert "Run the whole pipeline once" in helped.stdout
    missing = projects.run(tmp_path, "hlynr", "validate", **hostile, LC_ALL="C")
    assert missing.returncode == 2
    assert "params.yaml" in missing.stderr


SEEN = """
import json, sys
from pathlib import Path
from hlynr.runtime import environment
environment.prepare()
from hlynr.config import params
shown = {"flags": [sys.flags.optimize, sys.flags.inspect, sys.flags.dev_mode], "options": sys.warnoptions}
shown |= {"files": sys.getfilesystemencoding(), "arguments": sys.argv[1:]}
shown |= {"digest": params.load(Path(sys.argv[1])).digest()}
print(json.dumps(shown))
"""


@pytest.mark.parametrize("given", [{}, HOSTILE, HOSTILE | {"LC_ALL": "C"}], ids=["plain", "hostile", "in the C locale"])
def test_an_entry_point_runs_as_in_a_plain_environment(given: Mapping[str, str]) -> None:
    path = str(ROOT / "params.yaml")
    shown = json.loads(projects.checked(ROOT, sys.executable, "-c", SEEN, path, "Köln", **given))
    assert shown == {
        "flags": [0, 0, False],
        "options": [],
        "files": "utf-8",
        "arguments": [path, "Köln"],
        "digest": params.load(ROOT / "params.yaml").digest(),
    }


def test_git_dvc_and_a_training_child_do_their_work_in_a_hostile_environment(
    only: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    projects.checked(tmp_path, "git", "init", "--quiet")
    projects.commit(tmp_path, "first")
    _given(only, HOSTILE)
    assert git.run(tmp_path, "rev-parse", "--show-toplevel") == str(tmp_path)
    with pytest.raises(experiments.VersioningError, match="DVC repository"):
        experiments.ask("read", tmp_path, root=str(tmp_path), revision="HEAD", paths=["x"], destination=str(tmp_path))
    with processes.start([sys.executable, "-c", "import sys; sys.stdin.read(); assert False, 'heard'"]) as child:
        seen = psutil.Process(child.pid).environ()
        child.communicate("{}")
    assert child.returncode == 1  # not optimized away
    assert not {"NUMBA_DISABLE_JIT", "OMP_THREAD_LIMIT", "PYTHONOPTIMIZE", "GIT_DIR"} & seen.keys()


INHERITING = {"process_guard.py", "dvc_worker.py", "preflight.py"}
"""Run below a process of ours, or only ask nvidia-smi."""


STARTS = ("subprocess.run", "subprocess.Popen")


def test_nothing_else_writes_to_the_environment_or_builds_one_for_a_process() -> None:
    faults = []
    for path in [*(ROOT / "hlynr").rglob("*.py"), *(ROOT / "flows").rglob("*.py")]:
        if path.name == "environment.py":
            continue
        text = path.read_text(encoding="utf-8")
        faults += [(path.name, used) for used in re.findall(r"os\.(?:environ(?!\.get\()|putenv|unsetenv).*", text)]
        calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
        for call in [call for call in calls if ast.unparse(call.func) in STARTS and path.name not in INHERITING]:
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}.get("env", "")
            faults += [] if given.startswith("environment.of_child(") else [(path.name, f"env={given}")]
    assert faults == []
