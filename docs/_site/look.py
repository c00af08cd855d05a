"""Opens every page of the site in the system's Chromium, wide and narrow; `--pictures` keeps them, light and dark.

A request beyond this machine, an error in the console and a page that scrolls sideways are faults.
"""

from __future__ import annotations

import contextlib
import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

SITE = Path(__file__).resolve().parents[2] / ".docs" / "site"
WIDTHS = (1400, 390)
SCHEMES = ("light", "dark")


def main() -> int:
    """Prints what is wrong; 1 if anything is."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        print("there is no Chromium here: the pages were not looked at")
        return 0
    paths = sorted(path.relative_to(SITE) for path in SITE.rglob("*.html") if path.name != "404.html")
    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        faults = [fault for width in WIDTHS for fault in looked_at(browser, url, paths, width)]
        browser.close()
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{len(paths)} pages looked at, {len(faults)} faults")
    return int(bool(faults))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def served() -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def looked_at(browser: Browser, url: str, paths: list[Path], width: int) -> Iterator[str]:
    keep = "--pictures" in sys.argv
    for scheme in SCHEMES if keep else SCHEMES[:1]:
        with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:  # type: ignore[arg-type]
            page = context.new_page()
            said = heard(page, url)
            for path in paths:
                page.goto(f"{url}/{path}".removesuffix("index.html"), wait_until="load")
                yield from (f"{path} at {width}: {each}" for each in said)
                said.clear()
                if (over := overflow(page)) > 0:
                    yield f"{path} at {width}: is {over} pixels wider than the screen"
                if keep:
                    name = "-".join(path.parts[:-1]) or "index"
                    page.screenshot(path=SITE.parent / "seen" / f"{name}-{width}-{scheme}.png")


def heard(page: Page, url: str) -> list[str]:
    """A list that fills with requests to elsewhere, errors in the console and failures of scripts."""
    said: list[str] = []
    page.on("request", lambda each: None if each.url.startswith(url) else said.append(f"asks {each.url}"))
    page.on("console", lambda each: said.append(f"says {each.text}") if each.type == "error" else None)
    page.on("pageerror", lambda error: said.append(f"fails: {error}"))
    return said


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


if __name__ == "__main__":
    sys.exit(main())
