"""A real disk that fills up while calls go on: the program lives, and each of its calls is in the ledger afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import claudetrace
from claudetrace._demo import _answers, _wire
from claudetrace._demo._server import PlayServer
from tests.processes._running import outside_pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = """
import sys, time
import anthropic, claudetrace
db, url, seconds, budgets = sys.argv[1:]
budget = claudetrace.Budget("cap", usd=1_000_000, per="total", on_exceeded="block", forecast=False)
claudetrace.instrument(db=db, budgets=[budget] if budgets == "yes" else [])
client = anthropic.Anthropic(api_key="k", base_url=url, max_retries=0)
number, until = 0, time.monotonic() + float(seconds)
while time.monotonic() < until:
    with claudetrace.tag(number=number, filler="x" * 200):
        client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=[])
    number += 1
    print(number, flush=True)
    time.sleep(0.01)
"""


@pytest.fixture
def server() -> Iterator[PlayServer]:
    with PlayServer(_answers.answer(_wire.message("Hello.", _wire.usage(10, 5)), times=None)) as playing:
        yield playing


def fill(folder: Path) -> None:
    """Takes every byte that is free, as another program would."""
    with (folder / "filler").open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 14, 1 << 10):
            try:
                while file.write(b"x" * size) == size:
                    continue
            except OSError:
                continue


@pytest.mark.parametrize("budgets", ["no", "yes"])
@pytest.mark.parametrize("full", ["from the start", "amid calls", "until after the end"])
def test_a_full_disk_neither_kills_nor_loses(full: str, budgets: str, small_disk: Path, server: PlayServer) -> None:
    """Filled at any moment, and freed before or after the program ends: exit 0, each call once, none lost."""
    folder = small_disk / "data"
    folder.mkdir()
    db = folder / "ledger.db"
    if full == "from the start":
        fill(small_disk)
    command = [sys.executable, "-B", "-c", PROGRAM, str(db), server.url, "12", budgets]
    with subprocess.Popen(
        command, env=outside_pytest(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 8
        time.sleep(2)
        while time.monotonic() < until:
            fill(small_disk)
            time.sleep(0.05)
        if full != "until after the end":
            (small_disk / "filler").unlink()
        said, complaints = process.communicate(timeout=60)
    (small_disk / "filler").unlink(missing_ok=True)

    assert process.returncode == 0, complaints
    made = len(said.split())
    with claudetrace.Ledger(db) as ledger:
        rows = Counter(call.tags["number"] for call in ledger.calls(limit=None))
    assert (len(rows), max(rows.values())) == (made, 1), complaints


def test_doctor_and_report_live_on_a_full_disk(small_disk: Path, server: PlayServer) -> None:
    """They say how much is free and how much is needed, and open nothing."""
    db = small_disk / "ledger.db"
    command = [sys.executable, "-B", "-c", PROGRAM, str(db), server.url, "1", "no"]
    subprocess.run(command, env=outside_pytest(), check=True, capture_output=True, timeout=60)
    fill(small_disk)
    for arguments in (["doctor"], ["report"]):
        command = [sys.executable, "-B", "-m", "claudetrace", *arguments, "--db", str(db)]
        ran = subprocess.run(command, env=outside_pytest(), capture_output=True, text=True, timeout=60)
        assert ran.returncode in (1, 2)
        assert "MB free" in ran.stdout + ran.stderr
        assert "Traceback" not in ran.stderr
