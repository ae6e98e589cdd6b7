"""What people see in the MLflow UI after a retraining, in a real browser: runs, charts, figures and the registry.

Needs Chromium and the chromedriver of its version; Debian has both as chromium and chromium-driver.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, TimeoutException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from support import projects
from support.projects import RetrainedProject

from hlynr.ops.registry import versions
from hlynr.ops.tracking import store, views
from hlynr.report import text

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed")

PATIENCE = 30.0
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1600,1100")
ABSENT = (NoSuchElementException, StaleElementReferenceException)
"""While the page is still being made, or made again."""

Found = TypeVar("Found")


@dataclass(frozen=True)
class Page:
    """The browser's one page; when something does not appear in time, a screenshot stays behind."""

    browser: webdriver.Chrome
    server: str
    folder: Path

    def open(self, address: str) -> None:
        """By way of an empty page: if only the part behind the # changed, the page would first show what it had."""
        self.browser.get("about:blank")
        self.browser.get(f"{self.server}/#{address.partition('#')[2] or address}")

    def until(self, what: str, condition: Callable[[], Found]) -> Found:
        """What the condition gives as soon as it gives something."""
        waiting = WebDriverWait(self.browser, PATIENCE, poll_frequency=0.2, ignored_exceptions=ABSENT)
        try:
            return waiting.until(lambda _: condition())
        except TimeoutException:
            picture = self.folder / "page.png"
            self.browser.save_screenshot(str(picture))
            pytest.fail(f"not on the page: {what}; {picture} shows what is")

    def text(self) -> str:
        return self.browser.find_element(By.TAG_NAME, "body").text

    def shows(self, *texts: str) -> None:
        for wanted in texts:
            self.until(wanted, lambda wanted=wanted: wanted in self.text())

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def click(self, words: str) -> None:
        """What carries just these words."""
        path = f"//*[normalize-space(text())='{words}']"
        self.until(words, lambda: self.browser.find_element(By.XPATH, path)).click()

    def table(self, first: str) -> list[list[str]]:
        """The rows of the table whose first heading is this, as they can be read."""
        tables = self.until(f"a table of {first}", lambda: [t for t in self.all("table") if t.text.startswith(first)])
        return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in _rows(tables[0])][1:]


def _rows(table: WebElement) -> list[WebElement]:
    return table.find_elements(By.TAG_NAME, "tr")


@pytest.fixture(scope="module")
def retraining(tmp_path_factory: pytest.TempPathFactory) -> RetrainedProject:
    """A project of these tests' own: other tests decide about the shared one again, which changes its pages."""
    return projects.retrained(tmp_path_factory.mktemp("browser") / "project")


@pytest.fixture(scope="module")
def server(retraining: RetrainedProject) -> Iterator[str]:
    """`hlynr ui` over the project, on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = projects.start(retraining.root, "hlynr", "ui", "--port", str(port))
    address = f"http://127.0.0.1:{port}"
    try:
        projects.until(lambda: _answers(address), "the MLflow UI")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=30)


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except (URLError, OSError):
        return False


@pytest.fixture(scope="module")
def browser(server: str) -> Iterator[webdriver.Chrome]:
    """Chromium without a window, in which the assistant's panel has been opened and closed before."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for option in OPTIONS:
        options.add_argument(option)
    started = webdriver.Chrome(options=options, service=Service(executable_path=str(DRIVER)))
    try:
        started.get(f"{server}/health")
        started.execute_script("localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')")
        yield started
    finally:
        started.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, server: str, tmp_path: Path) -> Page:
    return Page(browser, server, tmp_path)


@pytest.fixture(scope="module")
def opened(retraining: RetrainedProject) -> store.Store:
    return store.open_store(retraining.project.config, retraining.root)


def test_the_list_shows_the_retraining_and_its_attempts(
    page: Page, retraining: RetrainedProject, opened: store.Store
) -> None:
    lineage, rate = retraining.record.lineage, retraining.record.evaluation.heldout.success_rate
    parent = opened.client.get_run(str(lineage.mlflow_parent_run_id)).info.run_name
    attempt = opened.client.get_run(str(lineage.mlflow_run_id)).info.run_name
    assert parent.startswith("#0 · promoted · ")
    page.open(views.address("", opened.experiment_id))
    page.shows(parent, "heldout/success_rate", "One run per retraining")
    assert attempt not in page.text()
    cells = page.all("[role=gridcell][col-id='metrics.`heldout/success_rate`']")
    assert f"{rate:.3g}" in [cell.text for cell in cells]
    page.browser.find_element(By.XPATH, f"//*[@role='gridcell'][.//a[.='{parent}']]//button").click()
    page.shows(attempt)


def test_the_attempts_page_shows_its_result_its_metrics_and_every_rule(
    page: Page, retraining: RetrainedProject, opened: store.Store
) -> None:
    record = retraining.record
    page.open(_run(retraining, opened))
    page.shows("Version 1 is the first champion.", text.reason(record.decision.reason))
    page.click("Show more")
    assert page.table("rule") == _rules(retraining)
    (search,) = page.until("the search of metrics", lambda: page.all("input[placeholder='Search metrics']"))
    search.send_keys("heldout/success_rate")
    row = page.until("the metric's row", lambda: page.browser.find_element(By.XPATH, _row("heldout/success_rate")))
    assert float(row.text.split("\n")[1]) == pytest.approx(record.evaluation.heldout.success_rate)
    page.shows(f"Registered models\n{opened.model}\nv1")  # links to what was registered from it


def _row(metric: str) -> str:
    return f"//*[@role='row'][.//a[normalize-space()='{metric}']]"


def test_the_curves_of_the_training_come_first_among_the_charts(
    page: Page, retraining: RetrainedProject, opened: store.Store
) -> None:
    page.open(f"{_run(retraining, opened)}/model-metrics")
    page.until("a chart", lambda: page.all(".js-plotly-plot .ytick text"))
    first, _, others = page.text().partition("Add chart")
    assert "eval" in first.split()
    assert {"mean_final_distance", "mean_reward", "success_rate"} <= set(others.partition("Add chart")[0].split())


@pytest.mark.parametrize("figure", ["learning-curve.png", "comparison.png"])
def test_figures_are_shown(page: Page, retraining: RetrainedProject, opened: store.Store, figure: str) -> None:
    page.open(f"{_run(retraining, opened)}/artifacts/figures/{figure}")
    page.shows("miss-distance.png", "trajectories.png", figure)
    wide = "return [...document.images].some(image => image.naturalWidth > 800)"
    page.until(f"the picture {figure}", lambda: page.browser.execute_script(wide))


def test_the_models_page_shows_the_champion(page: Page, opened: store.Store) -> None:
    champion = versions.champion(opened)
    assert champion is not None
    assert champion.success is not None
    page.open(f"/models/{opened.model}")
    rate, *interval = champion.success
    success = text.success(rate, (interval[0], interval[1]))
    page.shows("@ champion", f'mlflow.pyfunc.load_model("models:/{opened.model}@champion")')
    assert ["champion", str(champion.version), success, "the one in use"] in page.table("alias")
    _, version, decision, _, then = page.table("UTC")[-1]
    assert (version, decision, then) == ("1", "promoted", "1")
    assert "hlynr.history" not in page.text()


def test_the_versions_page_has_every_rule_of_the_gate(
    page: Page, retraining: RetrainedProject, opened: store.Store
) -> None:
    page.open(f"/models/{opened.model}/versions/{retraining.record.promotion.version}")
    page.shows(retraining.record.decision.reason, retraining.record.lineage.id, "hlynr.gate")
    assert page.table("rule") == _rules(retraining)


def _run(retraining: RetrainedProject, opened: store.Store) -> str:
    return f"/experiments/{opened.experiment_id}/runs/{retraining.record.lineage.mlflow_run_id}"


def _rules(retraining: RetrainedProject) -> list[list[str]]:
    return [
        [rule.name, rule.value, rule.bound, "pass" if rule.passed else "FAIL"]
        for rule in retraining.record.decision.rules
    ]
