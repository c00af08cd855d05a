"""Makes the pictures of the README and of dashboards.md: `python docs/_site/pictures.py`, with the groups `browser` and
`docs` installed.

The demo's ledger in the real dashboard, by the system's Chromium, light and dark. Few colours keep them small.
"""

from __future__ import annotations

import io
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from itertools import product
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
WIDE, HIGH = 1440, 810
COLOURS = 64
PAGES = {
    "dashboard": ("?range=30d", HIGH),
    "changed": ("/changed?range=7d", 900),
    "calls": ("/calls?range=30d&outcome=ok&sort=cost&tag=customer:acme", 620),
    "budgets": ("/budgets", 760),
    "session": ("/session?session=agent-1", 900),
}
"""Each picture: of which page, and how high."""
LAST_S = 60.0


def main() -> None:
    """Writes a picture of each page, light and dark."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        ledger = Path(made) / "ledger.db"
        claudetrace = (sys.executable, "-m", "claudetrace")
        subprocess.run([*claudetrace, "demo", "--no-serve", "--db", ledger], check=True, capture_output=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        serve = [*claudetrace, "dashboard", "--no-open", "--port", port, "--db", ledger]
        with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as server:
            try:
                take(f"http://127.0.0.1:{port}/-/claudetrace")
            finally:
                server.terminate()


def take(url: str) -> None:
    deadline = time.monotonic() + LAST_S
    while time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            break
        time.sleep(0.2)
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for (name, (path, high)), scheme in product(PAGES.items(), ("light", "dark")):
            target = FOLDER / f"{name}-{scheme}.png"
            target.write_bytes(small(picture(browser, url + path, scheme, high)))
            print(f"{target.name}: {target.stat().st_size / 1024:.0f} KiB")
        browser.close()


def picture(browser: Browser, url: str, scheme: str, high: int) -> bytes:
    page = browser.new_page(viewport={"width": WIDE, "height": high}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(url)
    page.wait_for_load_state("networkidle")
    return page.screenshot()


def small(png: bytes) -> bytes:
    """The picture with `COLOURS` colours."""
    made = io.BytesIO()
    reduced = Image.open(io.BytesIO(png)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    reduced.save(made, "PNG", optimize=True)
    return made.getvalue()


if __name__ == "__main__":
    main()
