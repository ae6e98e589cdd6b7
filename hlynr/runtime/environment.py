"""The environment variables of our processes: what is set, cleared and kept, and why.

A variable that a user has set for other work must not change what a retraining does. Entry points call `prepare`, and
every process is started with `of_child`; nothing else reads the whole environment or writes to it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Hosts that are reached without a proxy, whatever the user's environment says."""
_NO_PROXY = ("no_proxy", "NO_PROXY")


def _width(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) < 4 and int(value) > 0


def _usable_proxy(value: str) -> bool:
    """Whether Prefect's HTTP client accepts it: any other proxy is an error even for requests that go past it."""
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@dataclass(frozen=True)
class Rule:
    """What happens to the variables of these names; of several rules the first that fits."""

    names: str
    """Shell patterns, separated by spaces."""
    reason: str
    kept: bool = False
    """Otherwise cleared."""
    if_: Callable[[str], bool] | None = None
    """Kept only with such a value."""
    beside: str | None = None
    """Kept only if this variable is set, too."""
    value: str | None = None
    """Set to this, also where the variable is missing."""

    def fits(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.names.split())

    def keeps(self, value: str, around: Mapping[str, str]) -> bool:
        suits = self.if_ is None or self.if_(value)
        return self.kept and suits and (self.beside is None or bool(around.get(self.beside)))


def _set(name: str, value: str, reason: str) -> Rule:
    return Rule(name, reason, value=value)


_ELSEWHERE = "PREFECT_API_URL"
RULES = (
    # proxies; no_proxy is extended
    Rule("*_[Pp][Rr][Oo][Xx][Yy]", "the way to webhooks, S3 and tracking servers elsewhere; one that no client of ours "
         "takes, like SOCKS, would end them all", True, _usable_proxy),
    # Prefect
    Rule(_ELSEWHERE, "a server elsewhere", True, bool),
    Rule("PREFECT_API_KEY PREFECT_API_AUTH_STRING PREFECT_API_SSL_CERT_FILE PREFECT_API_TLS_INSECURE_SKIP_VERIFY "
         "PREFECT_CLIENT_CUSTOM_HEADERS", "for the server elsewhere", True, bool, beside=_ELSEWHERE),
    _set("DO_NOT_TRACK", "true", "no telemetry, of Prefect and MLflow"),
    _set("PREFECT_SERVER_ANALYTICS_ENABLED", "false", "no telemetry"),
    Rule("PREFECT_*", "another profile, server, database, result store, retry or log level than the tested one; a "
         "project's Prefect has its home in the project, where the user's profiles are not read"),
    # MLflow
    Rule("MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN MLFLOW_TRACKING_AWS_SIGV4 "
         "MLFLOW_TRACKING_INSECURE_TLS MLFLOW_TRACKING_*_CERT_PATH", "credentials for tracking.uri", True, bool),
    Rule("MLFLOW_S3_* MLFLOW_GCS_* MLFLOW_BOTO_*", "where and how artifacts are stored", True, bool),
    Rule("MLFLOW_HTTP_REQUEST_TIMEOUT MLFLOW_HTTP_REQUEST_MAX_RETRIES MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR",
         "patience with a tracking server elsewhere", True, str.isdecimal),
    _set("MLFLOW_DISABLE_TELEMETRY", "true", "no telemetry, which also writes to the home directory"),
    _set("MLFLOW_LOGGING_LEVEL", "WARNING", "no progress messages between ours"),
    _set("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false", "likewise"),
    _set("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true", "standard output is where --json - puts the record"),
    _set("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false", "seven processes that take half a minute to start, outlive "
         "the server and have nothing to do here"),
    _set("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true", "web_guard decides which requests are answered"),
    Rule("MLFLOW_*", "another store, experiment or run than the project's; a server without its security checks"),
    Rule("FLASK_* GUNICORN_* UVICORN_* WEB_CONCURRENCY FORWARDED_ALLOW_IPS", "options of the servers that we start"),
    # DVC and git
    Rule("DVC_GLOBAL_CONFIG_DIR DVC_SYSTEM_CONFIG_DIR", "where the user's remotes and credentials are", True, bool),
    Rule("DVC_SITE_CACHE_DIR", "where DVC keeps its locks and indices", True, bool),
    _set("DVC_NO_ANALYTICS", "1", "no telemetry"),
    Rule("DVC_* DVCLIVE_* STUDIO_*", "another repository or experiment; experiments sent to DVC Studio"),
    Rule("GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL", "who commits", True, bool),
    Rule("GIT_CONFIG_* GIT_CEILING_DIRECTORIES GIT_DISCOVERY_ACROSS_FILESYSTEM GIT_EXEC_PATH GIT_SSH* GIT_SSL_* "
         "GIT_ASKPASS GIT_HTTP_*", "the user's configuration, credentials and installation of git", True),
    _set("GIT_OPTIONAL_LOCKS", "0", "reading must not lock the user's index"),
    _set("GIT_TERMINAL_PROMPT", "0", "a question would wait for ever"),
    Rule("GIT_*", "another repository or index, as in a hook; dates, by which experiments are kept; path patterns"),
    # Python
    Rule("PYTHONPATH PYTHONHOME PYTHONNOUSERSITE PYTHONUSERBASE PYTHONPLATLIBDIR PYTHONEXECUTABLE PYTHONPYCACHEPREFIX "
         "PYTHONDONTWRITEBYTECODE", "where the packages are that this command itself runs with", True),
    Rule("PYTHONHASHSEED PYTHONUNBUFFERED PYTHONFAULTHANDLER PYTHONMALLOC", "no result depends on it", True),
    _set("PYTHONUTF8", "1", "paths and texts are UTF-8 under LC_ALL=C, too"),
    Rule("PYTHON*", "warnings as errors, missing docstrings, a prompt at the end, traces in logs, other encodings"),
    # numerics: bit-equal weights from the same seed, on the threads of train.torch_threads
    Rule("PYTORCH_*ALLOC_CONF", "memory of the GPU", True),
    Rule("TORCH_* PYTORCH_* TORCHINDUCTOR_* ATEN_* ONEDNN_* DNNL_* NVIDIA_TF32_OVERRIDE CUBLAS_* CUDNN_*",
         "other kernels"),
    Rule("OMP_* GOMP_* KMP_* LIBOMP_* MKL_* OPENBLAS_* GOTO_* BLIS_* VECLIB_* NUMEXPR_* NPY_* SCIPY_*",
         "other sums of floating-point numbers; threads that spin, or all on one core"),
    Rule("NUMBA_*", "kernels that are not compiled, slow or debugged, and another cache than the one of this version"),
    # what else libraries read
    _set("MPLBACKEND", "Agg", "figures are files; a window would need a display"),
    Rule("MATPLOTLIBRC", "another style than the reports'"),
    Rule("OPTUNA_* SQLALCHEMY_*", "another storage; warnings as errors"),
    Rule("COLUMNS LINES", "the terminal's size", True, _width),
    Rule("TERMINAL_WIDTH TYPER_* _TYPER_*", "help texts of another shape; not a number is a traceback"),
)  # fmt: skip
"""All other variables are kept, such as CUDA_VISIBLE_DEVICES, TMPDIR, LANG, TZ, AWS_*, PG* and HLYNR_*."""


def prepare() -> None:
    """Apply the rules to this process; to be called before a library reads them.

    Python reads some at its start. Where one of them has to be another, this process starts again with the same
    arguments; so this function may not return.
    """
    wanted = _ruled(os.environ)
    unheard = {name for name in os.environ.keys() - wanted.keys() if name.startswith("PYTHON")} - {"PYTHONIOENCODING"}
    if unheard or sys.getfilesystemencoding() != "utf-8":
        streams = {"PYTHONIOENCODING": sys.stdout.encoding} if sys.stdout else {}  # what the terminal shows
        os.execve(sys.executable, sys.orig_argv, wanted | streams)
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


def of_child(own: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process that we start: this one's under the rules, and ``own``, which no rule changes."""
    return _ruled(os.environ) | dict(own or {})


def extend(variables: Mapping[str, str]) -> None:
    """Set variables for the libraries in this process, which no rule changes."""
    os.environ.update(variables)


def fixed(*prefixes: str) -> dict[str, str]:
    """The variables with such a beginning that the rules set."""
    return {rule.names: rule.value for rule in RULES if rule.value is not None and rule.names.startswith(prefixes)}


def reach_directly(host: str) -> None:
    """Let requests of this process and its children to one more host of ours go past the user's proxies."""
    os.environ.update(_past_proxies(os.environ, host))


def _ruled(given: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if _kept(name, value, given)}
    return kept | fixed("") | _past_proxies(given)


def _kept(name: str, value: str, given: Mapping[str, str]) -> bool:
    rule = next((rule for rule in RULES if rule.fits(name)), None)
    return rule is None or rule.keeps(value, given)


def _past_proxies(given: Mapping[str, str], *hosts: str) -> dict[str, str]:
    """Both spellings of ``no_proxy``: libraries differ in which they read. An entry in brackets ends httpx."""
    entries = [entry.strip(" []") for name in _NO_PROXY for entry in given.get(name, "").split(",")]
    everything = "*" in entries
    value = "*" if everything else ",".join(dict.fromkeys(filter(None, [*entries, *LOOPBACK, *hosts])))
    return dict.fromkeys(_NO_PROXY, value)
