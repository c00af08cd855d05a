"""A real browser on pages that are really served; skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from claudetrace.cli._demo import _budget as set_budgets
from tests.dashboards._made import help_desk, hostile_rows, write

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = ROOT / "artefacts" / "dashboards"
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
READY_S = 30.0


def missing(what: str) -> None:
    """Skips for want of `what`; in CI that is a failure, since there nothing may be skipped."""
    if os.environ.get("CI"):
        pytest.fail(f"the pages are not tested without {what}, and CI must test them", pytrace=False)
    pytest.skip(f"the pages are not tested in a browser: there is no {what}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium, driven by Playwright, whose event loop keeps others from running while it lives."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright (pip install playwright)")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing("Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of ninety days, with hostile names among them."""
    path = write(tmp_path_factory.mktemp("browser") / "ledger.db", help_desk(90) + hostile_rows())
    set_budgets(path)
    return path


@pytest.fixture(scope="session")
def served(desk: Path) -> Iterator[str]:
    """Where `claudetrace dashboard` serves the ledger."""
    yield from serve(desk)


def serve(ledger: Path, *more: str) -> Iterator[str]:
    """Starts `claudetrace dashboard` on a free port, and ends it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "claudetrace", "dashboard", "--no-open", "--port", str(port), "--db", str(ledger)]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "dashboards"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([*command, *more], env=environment, stdout=subprocess.DEVNULL) as server:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + READY_S
        while True:
            with suppress(OSError), urllib.request.urlopen(f"{url}/-/claudetrace", timeout=5):
                break
            assert server.poll() is None, "the dashboard did not start"
            assert time.monotonic() < deadline, "the dashboard did not answer"
            time.sleep(0.1)
        yield url
        server.terminate()
        server.wait(10)


class Tab:
    """A tab that notes what must not be: words in the console, failures, requests to elsewhere."""

    def __init__(self, page: Any, base: str) -> None:
        self.page, self.base = page, base
        self.wrong: list[str] = []
        page.on("console", lambda said: self.wrong.append(f"console: {said.text}") if said.type != "log" else None)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._requested)
        page.on("dialog", lambda dialog: (self.wrong.append("dialog"), dialog.dismiss()))

    def _requested(self, request: Any) -> None:
        if not request.url.startswith((self.base, "data:")):
            self.wrong.append(f"request: {request.url}")

    def go(self, path: str) -> Any:
        """Opens a page of ours and waits for all its panels."""
        answer = self.page.goto(f"{self.base}/-/claudetrace{path}")
        self.settle()
        return answer

    def settle(self) -> None:
        from playwright.sync_api import expect

        self.page.wait_for_load_state("load")
        # Not a function for the page to call: our policy forbids a script that is made from text.
        expect(self.page.locator("[aria-busy]")).to_have_count(0)

    def hacked(self) -> Any:
        return self.page.evaluate("window.hacked")

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def axe(self) -> list[str]:
        """What axe-core finds that is serious or moderate, with all that can be opened open."""
        self.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {node['target']} {node['failureSummary'][:200]}"
            for each in found["violations"]
            if each["impact"] in ("moderate", "serious", "critical")
            for node in each["nodes"][:3]
        ]

    def shot(self, name: str) -> None:
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=ARTEFACTS / f"{name}.png", full_page=True)


@pytest.fixture
def open_tab(chromium: Any, served: str) -> Iterator[Callable[..., Tab]]:
    """Opens tabs of a width and a colour scheme; what went wrong in one fails the test."""
    tabs: list[Tab] = []

    def opened(width: int = 1400, scheme: str = "light", base: str = served, **more: Any) -> Tab:
        # Stale requests of the page before would count as errors of the next.
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            reduced_motion="reduce",
            bypass_csp=False,
            **more,
        )
        tab = Tab(context.new_page(), base)
        tabs.append(tab)
        return tab

    yield opened
    wrong = [each for tab in tabs for each in tab.wrong]
    for tab in tabs:
        tab.page.context.close()
    assert wrong == []
