"""The README's first screen, tried as a new user would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer

from ._pages import PAGES, ROOT, fences

README = PAGES["README.md"]
# It begins and ends with what changes from run to run.
CHANGING = re.compile(r"from \d{4}-\d\d-\d\d \d\d:\d\d")


def test_its_first_call_prints_what_it_says(tmp_path: Path) -> None:
    """The code of the README prints the README's line, and the report is the README's on a screen of 80 columns."""
    code, report = fences("README.md", "python")[0].text, fences("README.md", "console")[0].text
    said = next(fence.text for fence in fences("README.md", "") if "1 call" in fence.text)
    message = _wire.message("Hello!", _wire.usage(1_000, 50), model="claude-haiku-5-5")
    with PlayServer(_answers.answer(message, times=None)) as api:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        environment = {
            **kept,
            "ANTHROPIC_API_KEY": "k",
            "ANTHROPIC_BASE_URL": api.url,
            "CLAUDETRACE_DB": str(tmp_path / "ledger.db"),
        }
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment, check=False
        )
    assert (ran.stdout, ran.stderr) == (said, "")

    command, _, shown = report.partition("\n")
    screen = "from claudetrace.cli import _text, main; _text.is_screen = lambda: True; main()"
    told = subprocess.run(
        [sys.executable, "-c", screen, *command.split()[2:]],
        capture_output=True,
        text=True,
        env={**environment, "COLUMNS": "80", "NO_COLOR": "1"},
        check=True,
    ).stdout
    table = told.partition("\n\nLedger:")[0]
    assert CHANGING.sub("", table) == CHANGING.sub("", shown.rstrip())
    assert max(map(len, shown.splitlines())) <= 80


def test_it_is_short() -> None:
    """It has under 200 lines, and its pictures are small."""
    assert len(README.splitlines()) < 200
    pictures = re.findall(r'"(docs/pictures/[^"]+)"', README)
    assert len(pictures) == 2
    assert max((ROOT / name).stat().st_size for name in pictures) < 100_000
