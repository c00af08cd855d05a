"""gunicorn's workers under one budget: it holds, is told once, and nothing is left reserved when they are stopped."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import closing, suppress
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
from _asking import HELLO, until

import claudetrace
from claudetrace._demo import _answers
from tests.alerts._receiver import Receiver
from tests.processes._running import outside_pytest
from tests.processes.test_servers import STOP_S, UnixConnection, is_answering

if TYPE_CHECKING:
    from claudetrace._demo._server import PlayServer

SMALL = 20
"""So many calls the app's small budget has."""
GUNICORN = ("gunicorn", "--workers", "2", "--bind", "unix:socket", "--log-level", "error", "_app:wsgi")


def ask(path: Path, statuses: list[tuple[str, int]]) -> None:
    """Sends requests of both kinds by turns until the server is gone."""
    with closing(UnixConnection(path)) as connection, suppress(OSError, HTTPException):
        while True:
            for kind in ("small", "large"):
                connection.request("GET", f"/?{kind}")
                response = connection.getresponse()
                response.read()
                statuses.append((kind, response.status))


@pytest.mark.parametrize(
    "how", [("--preload", "--worker-class", "gthread", "--threads", "4"), ()], ids=["preload", "own"]
)
def test_workers_share_a_budget_and_leave_nothing_reserved(
    how: tuple[str, ...], server: PlayServer, tmp_path: Path
) -> None:
    """Stopped amid requests: exactly what fits was let through, each threshold came once, and all is settled."""
    pytest.importorskip("gunicorn", reason="install the dependency group `frameworks` for the tests of servers")
    server.add(_answers.answer(HELLO, times=None))
    db, socket, statuses = tmp_path / "ledger.db", tmp_path / "socket", []
    with Receiver() as receiver:
        environment = {**outside_pytest(), "APP_DB": str(db), "APP_API": server.url}
        environment["APP_HOOK"] = f"http://{receiver.at}/hook"
        command = (sys.executable, "-m", *GUNICORN, *how, "--pythonpath", str(Path(__file__).parent))
        clients = [threading.Thread(target=ask, args=(socket, statuses)) for _ in range(4)]
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                until(lambda: is_answering(socket))
                for client in clients:
                    client.start()
                until(lambda: ("small", 429) in statuses and len(statuses) >= 100)
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_S) == 0
            finally:
                process.kill()
        for client in clients:
            client.join()
        told = [orjson.loads(got.body) for got in receiver.got]

    assert Counter(each["threshold"] for each in told if each["kind"] == "threshold") == {0.5: 1, 0.8: 1, 1.0: 1}
    assert {each["budget"] for each in told} == {"small"}
    assert settled(db) == {"small": (SMALL, 0, 0), "all": (len(server.requests), 0, 0)}
    with claudetrace.Ledger(db) as ledger:
        rows = Counter((call.tags["kind"], call.error_type) for call in ledger.calls(limit=1_000_000))
    assert rows["small", None] == SMALL
    assert rows["small", None] + rows["large", None] == len(server.requests)
    assert Counter(statuses)["large", 429] == 0


def settled(db: Path) -> dict[str, tuple[int, int, int]]:
    """What each budget has spent and reserved, and how many reservations are open, as the file says."""
    with closing(sqlite3.connect(f"{os.fspath(db)}.budgets")) as connection:
        (left,) = connection.execute("SELECT COUNT(*) FROM charges WHERE owner IS NOT NULL").fetchone()
        sql = """
            SELECT b.name, SUM(c.spent_calls), SUM(c.reserved_calls)
            FROM counters AS c
            JOIN budgets AS b ON b.id = c.budget_id
            GROUP BY b.name
        """
        return {name: (spent, reserved, left) for name, spent, reserved in connection.execute(sql)}
