"""A real browser under a foreign host name that leads to this machine, and on a page of a foreign origin.

Needs Chromium and the chromedriver of its version, as tests/test_browser.py.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import optuna
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.by import By
from support import projects, services
from support.services import Service

from hlynr.service.prefect_server import free_port

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed")
EVIL = "evil.example.org"
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--host-resolver-rules=MAP {EVIL} 127.0.0.1")
READ = "return fetch(arguments[0]).then(answer => answer.text()).then(text => 'read: ' + text, error => String(error))"
WRITE = """
const [url, mode, type] = arguments;
const asked = {method: "POST", body: "{}", mode: mode, headers: {"Content-Type": type}};
return fetch(url, asked).then(answer => answer.type + " " + answer.status, error => String(error));
"""
LISTEN = """
const [url, done] = arguments, socket = new WebSocket(url, ["prefect"]);
socket.onopen = () => done("open");
socket.onerror = () => done("closed");
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in OPTIONS:
        options.add_argument(option)
    found = webdriver.Chrome(options=options, service=Driver(str(DRIVER)))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page of a foreign origin."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<title>evil</title>")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{EVIL}:{server.server_port}/"
        server.shutdown()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """optuna-dashboard over a study."""
    root = projects.make(tmp_path_factory.mktemp("dashboard") / "project", git=False)
    optuna.create_study(storage=f"sqlite:///{root / 'studies.db'}", study_name="mine")
    port = free_port()
    changes = ("--set", "tune.storage=sqlite:///studies.db")
    process = projects.start(root, "hlynr", "ui", "--tune", "--port", str(port), *changes)
    try:
        projects.until(lambda: _answers(f"http://127.0.0.1:{port}/api/studies"), "the dashboard")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)


def _answers(url: str) -> bool:
    try:
        return services.status_of(url) == 200
    except OSError:
        return False


@pytest.fixture(params=["prefect", "mlflow", "dashboard"])
def server(request: pytest.FixtureRequest, service: Service) -> str:
    """The address of each server in turn."""
    if request.param == "dashboard":
        return str(request.getfixturevalue("dashboard"))
    return str(service.component(request.param).url)


def test_a_foreign_host_name_is_rejected(browser: webdriver.Chrome, server: str) -> None:
    port = urlsplit(server).port
    for path in ("/", "/api/studies", "/api/admin/version", "/ajax-api/2.0/mlflow/experiments/search?max_results=1"):
        browser.get(f"http://{EVIL}:{port}{path}")
        shown = browser.find_element(By.TAG_NAME, "body").text
        assert shown.startswith("Rejected: the Host is not this server's"), shown[:200]


def test_a_foreign_page_can_neither_read_nor_write(browser: webdriver.Chrome, server: str, page: str) -> None:
    browser.get(page)
    for path in ("/", "/api/studies", "/api/health", "/ajax-api/2.0/mlflow/experiments/search?max_results=1"):
        assert browser.execute_script(READ, f"{server}{path}") == "TypeError: Failed to fetch"
    for path in ("/api/studies", "/api/flows/", "/api/2.0/mlflow/experiments/create"):
        assert browser.execute_script(WRITE, f"{server}{path}", "cors", "application/json").startswith("TypeError")


def test_a_foreign_page_can_begin_no_run(
    service: Service, browser: webdriver.Chrome, page: str, tmp_path: Path
) -> None:
    """Also not by a request without preflight, whose answer the page cannot read."""
    count = service.post("/flow_runs/count", {})
    nightly = service.get("/deployments/name/retrain/nightly")
    browser.get(page)
    url = f"{service.api.url}/deployments/{nightly['id']}/create_flow_run"
    for mode, kind in (("cors", "application/json"), ("cors", "text/plain"), ("no-cors", "text/plain")):
        browser.execute_script(WRITE, url, mode, kind)
    assert service.post("/flow_runs/count", {}) == count
    for path in ("/events/in", "/logs/out"):
        socket = f"ws{service.api.url.removeprefix('http')}{path}"
        assert browser.execute_async_script(LISTEN, socket) == "closed"


def test_the_owner_opens_prefect_with_the_string(service: Service, browser: webdriver.Chrome) -> None:
    """The page asks for it, under each name of the server, and then shows the deployment."""
    port = urlsplit(service.api.url).port
    for name in ("127.0.0.1", "localhost"):
        browser.get(f"http://{name}:{port}/deployments")
        projects.until(lambda: bool(browser.find_elements(By.CSS_SELECTOR, "input[type=password]")), "the question", 60)
        browser.find_element(By.CSS_SELECTOR, "input[type=password]").send_keys(f"{service.api.auth_string}\n")
        projects.until(lambda: "nightly" in browser.find_element(By.TAG_NAME, "body").text, "the deployment", 60)
