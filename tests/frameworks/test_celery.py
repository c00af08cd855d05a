"""Celery: a real worker with forked processes, over a broker of files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import claudetrace
from claudetrace._demo._server import PlayServer

from ._api import REASON

pytest.importorskip("celery", reason=f"celery {REASON}")

TASKS = 20
SENDS = f"""
import _tasks
sent = [_tasks.answer.delay(number) for number in range({TASKS})]
print(len({{each.get(timeout=60, interval=0.05) for each in sent}}))
"""


def test_each_task_of_forked_workers_is_one_tagged_row(server: PlayServer, tmp_path: Path) -> None:
    """Twenty tasks over two forked workers, then a warm stop: twenty rows, each with its own tags."""
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"APP_FOLDER": str(tmp_path), "APP_API": server.url}
    place = Path(__file__).parent
    command = [sys.executable, "-m", "celery", "-A", "_tasks", "worker", "-P", "prefork", "-c", "2", "-l", "error"]
    with subprocess.Popen(
        [*command, "--without-mingle", "--without-gossip", "--without-heartbeat"],
        cwd=place,
        env={**environment, "APP_METERED": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as worker:
        try:
            done = subprocess.run(
                [sys.executable, "-c", SENDS], cwd=place, env=environment, check=True, stdout=subprocess.PIPE
            )
            worker.send_signal(signal.SIGTERM)
            worker.wait(25)
        finally:
            worker.kill()
    with claudetrace.Ledger(tmp_path / "ledger.db") as ledger:
        rows = sorted((str(call.user_id), str(call.feature)) for call in ledger.calls(limit=1_000))

    assert (done.stdout, worker.returncode) == (b"2\n", 0)
    assert rows == sorted((f"u{number}", "answer") for number in range(TASKS))
