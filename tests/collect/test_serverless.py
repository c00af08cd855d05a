"""The example of a serverless handler: what it has answered is in the central ledger, whatever becomes of its disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from claudetrace.cli import main

from .collecting import Collecting, ask, wait_for

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
PROGRAM = """
import os, shutil, signal, sys
from serverless_handler import METER, handler
for user in ("ada", "ben"):
    handler({"user": user, "text": "What does a meter do?"}, None)
if sys.argv[1] == "without disk":
    shutil.rmtree(METER.settings.db.parent)
os.kill(os.getpid(), signal.SIGKILL)
"""
BY_USER = "SELECT user_id, COUNT(*), SUM(cost_picousd) FROM calls GROUP BY user_id ORDER BY user_id"
ANSWERED = [("ada", 1, 9_400_000), ("ben", 1, 9_400_000)]


def run(tmp_path: Path, how: str, **environment: str) -> str:
    """What it wrote until it was killed, right after its second answer."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        capture_output=True, text=True, cwd=EXAMPLES, timeout=60, check=False,
        env={**kept, "TMPDIR": str(tmp_path), "HOME": str(tmp_path), **environment},
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (-9, "")
    return ran.stdout


def test_records_arrive_before_the_answer(collecting: Callable[..., Collecting], tmp_path: Path) -> None:
    """Each answer's rows are acknowledged before it leaves: the instance and its disk may go at once."""
    collector = collecting()
    assert run(tmp_path, "without disk", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{collector.url}/v1/logs") == ""
    wait_for(lambda: ask(collector.db, BY_USER) == ANSWERED)


def test_a_receiver_that_is_away_is_told(tmp_path: Path) -> None:
    """`flush` says that rows did not arrive, and they wait on the disk."""
    said = run(tmp_path, "with disk", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT="http://127.0.0.1:9/v1/logs")
    assert said.count("Some calls are still on") == 2
    assert ask(tmp_path / "claudetrace" / "ledger.db", "SELECT COUNT(*) FROM unsent") == [(2,)]


def test_lines_are_in_the_log_before_the_answer(tmp_path: Path, central: Path) -> None:
    """Without a receiver the platform's log has each answer's rows, and an import of it is the same ledger."""
    (log := tmp_path / "log").write_text(run(tmp_path, "without disk"))
    CliRunner().invoke(main, ["import", str(log), "--db", str(central)], catch_exceptions=False)
    assert ask(central, BY_USER) == ANSWERED


@pytest.mark.parametrize("receiver", ["none", "away"])
def test_budgets_are_settled_before_the_answer(receiver: str, tmp_path: Path) -> None:
    """Nothing stays reserved of an instance that is gone, also where the receiver of records took the whole time."""
    away = {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://127.0.0.1:9/v1/logs"} if receiver == "away" else {}
    run(tmp_path, "with disk", **away)
    db = tmp_path / "claudetrace" / "ledger.db"
    told = CliRunner().invoke(main, ["budgets", "--json", "--db", str(db)], catch_exceptions=False)
    (budget,) = json.loads(told.stdout)["budgets"]
    told_of = [(each["key"], each["spent_usd"], float(each["reserved_usd"])) for each in budget["states"]]
    assert told_of == [("ada", "0.000009400000", 0), ("ben", "0.000009400000", 0)]
